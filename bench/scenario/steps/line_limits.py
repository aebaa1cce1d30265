"""The limit of the first hop's line, and what its exchanges took of it."""

from collections.abc import Sequence

from bench.engine import Timebase
from bench.hop.limit import LineLimit, T0Limit, T1Limit
from bench.iso7816.atr import parse_atr
from bench.iso7816.atr_values import Edc
from bench.iso7816.line import CHARACTER_END_ETU, etu_near
from bench.iso7816.rates import Rate, card_guard_etu, guard_cycles
from bench.observe import Exchange
from bench.scenario.context import StepContext


def line_limit(context: StepContext, exchanges: Sequence[Exchange]) -> LineLimit | None:
    """The limit of the first hop's line; None where the reader shows neither the rate nor the clock."""
    link = context.rig.host.link
    port = link.port
    if not port.ta1 or not port.clock_hz or not exchanges:
        return None
    timebase = context.engine.timebase
    rate = Rate(port.ta1)
    etu = etu_near(rate, port.clock_hz, timebase)
    card = context.point.given.card_time.ticks(timebase)
    atr = parse_atr(link.atr)
    cycles = guard_cycles(atr.extra_guard_time, port.protocol, rate, atr.rate, atr.has_t15)
    to_card = int(cycles * timebase.hz / port.clock_hz)
    if port.protocol == 0:
        return T0Limit(etu, to_card, card)
    from_card = card_guard_etu(atr.extra_guard_time, 1) * etu
    return T1Limit(etu, to_card, from_card, atr.ifsc, edc=2 if atr.edc is Edc.CRC else 1, card=card)


def exchange_error(context: StepContext, limit: LineLimit, exchanges: Sequence[Exchange]) -> float:
    """Largest difference between an exchange's duration and the time its characters must take: the turn to the next command is left out."""
    worst = 0
    for exchange in exchanges:
        best = limit.exchange(exchange.sent_bytes, exchange.received_bytes)
        worst = max(worst, abs(exchange.duration_ticks + limit.tail - best))
    return context.engine.timebase.to_ns(worst) * 1.0


def character_time(exchanges: Sequence[Exchange], timebase: Timebase) -> float | None:
    """Etu from leading edge to leading edge within exchanges, over all whose characters were seen; None where none were.

    An exchange's time ends with its last character's parity bit, which is no leading edge: that character is taken off.
    """
    seen = [e for e in exchanges if e.characters > 1 and not e.error and e.ta1 and e.clock_hz]
    if not seen:
        return None
    etus = sum((e.wire_ticks / etu_near(Rate(e.ta1), e.clock_hz, timebase) - CHARACTER_END_ETU) * e.count for e in seen)
    return etus / sum((e.characters - 1) * e.count for e in seen)
