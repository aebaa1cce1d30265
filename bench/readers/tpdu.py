"""A slot over the virtual line to a software card, at TPDU or character level: what CCID firmware drives (``bench.ccid.slot.Slot``).

Power and PPS, rate and times are the host's business at this level, as on a real reader: PPS travels as an XfrBlock, and only SetParameters changes
what this end of the line goes by. A host that forgets it hears garbage. T=0 TPDUs are carried by ``T0Terminal``; of T=1, blocks there and back as
they are, CWT and BWT watched, so that the host's own T=1 sees every block.

Longer than other files: one slot, at both levels, with one line and one set of parameters.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from bench.ccid.codes import HEADER, PowerSelect, SlotError
from bench.ccid.parameters import ProtocolParameters, T0Parameters, T1Parameters
from bench.ccid.slot import Done, RateAndClock, SlotAnswer, SlotRefusal
from bench.engine import Engine
from bench.iso7816.atr import Atr
from bench.iso7816.disturbance import Disturbance
from bench.iso7816.line import Burst, CardEnd
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.pps import PPSS, Pps, evaluate
from bench.iso7816.rates import (
    BGT_ETU,
    GUARD_ETU,
    RATE_DEFAULT,
    TURNAROUND_T0_ETU,
    Rate,
    all_rates,
    card_guard_etu,
    cwt_etu,
)
from bench.iso7816.t0 import T0Terminal
from bench.readers.activation import Activated, Activation, Wishes
from bench.readers.tpdu_line import CardLine
from bench.readers.tpdu_raw import RawExchange, RawTiming, T0Exchange, Whole, block_whole, of_length, pps_whole
from bench.readers.tpdu_timing import LineTimes, at_rate, parameters_of
from bench.readers.waiting import WaitingWatch

CLASS_OF: Final = {PowerSelect.V5: "A", PowerSelect.V3: "B", PowerSelect.V1_8: "C"}
_RATE_OFFSET: Final = HEADER
"""Where bmFindexDindex is in SetParameters, and dwClockFrequency in SetDataRateAndClockFrequency."""
_FAR_PAST: Final = -(10**30)


@dataclass(frozen=True, slots=True)
class SlotTraits:
    """What a slot's hardware can do."""

    clocks_hz: tuple[int, ...] = (4_000_000,)
    """Card clocks; the first is the one it begins with."""
    classes: str = "ABC"
    maximum_rate_bps: int = 1_000_000
    level: ExchangeLevel = ExchangeLevel.TPDU
    auto_parameters: bool = False
    """After the answer to reset it goes by that, not by the defaults."""
    auto_pps: bool = False
    """It makes the PPS itself, before the first exchange."""
    clock_stop: bool = False


Machine = T0Exchange | RawExchange


class TpduSlot:
    """A Slot. ``insert`` and ``remove`` are its hands."""

    mismatch_ppm = 0

    def __init__(self, engine: Engine, traits: SlotTraits) -> None:
        self.engine = engine
        self.traits = traits
        self.clock_hz = traits.clocks_hz[0]
        self.on_card: Callable[[bool], None] = _nobody
        self.line = CardLine(engine, self)
        self.clock_runs = True
        self.atr: Atr | None = None
        """Of the card that is active."""
        self.operating_class = ""
        self._parameters: ProtocolParameters = T0Parameters()
        self._etu = self._times.etu(RATE_DEFAULT)
        self._fresh = False
        """Nothing but the answer to reset has gone by, in negotiable mode: a PPS may come."""
        self._activation: Activation | None = None
        self._machine: Machine | None = None
        """What is under way."""
        self._t0: T0Exchange | None = None
        self._done: Done | None = None
        self._watch = WaitingWatch(engine, self._look)
        self._last_sent = _FAR_PAST
        self._heard = _FAR_PAST
        """Leading edge of the card's last character."""
        self._heard_etu = 0
        self._early = bytearray()
        """Character level: what came before it was asked for."""

    # -- hands -------------------------------------------------------------------------------------------------------------

    def insert(self, card: CardEnd) -> None:
        """Put a card on the contacts, in the place of one that is there."""
        self.remove()
        self.line.insert(card)
        self.on_card(True)

    def remove(self) -> CardEnd | None:
        """Take the card away. What is under way ends with ICC_MUTE."""
        card = self.line.remove()
        if card is not None:
            done = self._done
            self._deactivated()
            self.on_card(False)
            if done is not None:
                done(SlotAnswer(error=SlotError.ICC_MUTE, text="the card was taken away"))
        return card

    def disturb(self, disturbance: Disturbance | None) -> None:
        """What characters suffer on the line from now on."""
        self.line.disturb(disturbance)

    # -- Slot ----------------------------------------------------------------------------------------------------------------

    @property
    def present(self) -> bool:
        return self.line.card is not None

    @property
    def active(self) -> bool:
        return self.atr is not None

    @property
    def parameters(self) -> ProtocolParameters:
        return self._parameters

    def power_on(self, select: PowerSelect, done: Done) -> None:
        self.power_off()
        if not self.present:
            done(SlotAnswer(error=SlotError.ICC_MUTE, text="no card"))
            return
        classes = CLASS_OF.get(select, self.traits.classes)
        if classes not in self.traits.classes:
            done(SlotAnswer(error=SlotError.BAD_FIELD_7, text=f"class {classes} is not supplied"))
            return
        self._done = done
        self._activation = Activation(self, Wishes(classes=classes))
        self._activation.cold()

    def power_off(self) -> None:
        if self.line.card is not None and (self.active or self._activation is not None):
            self.line.card.power_down(self.engine.now)
        self._deactivated()

    def transfer(self, data: bytes, bwi: int, level: int, done: Done) -> None:
        if self.atr is None or not self.clock_runs:
            why = "CLK is stopped" if self.active else "the card is not active"
            done(SlotAnswer(error=SlotError.ICC_MUTE, text=why))
            return
        self._done = done
        if self._fresh and self.traits.auto_pps and data[:1] != bytes((PPSS,)):
            request = self._own_pps(self.atr)
            if request is not None:
                self._negotiate(self.atr, request, lambda: self._begin(data, bwi, level))
                return
        self._begin(data, bwi, level)

    def drop(self) -> None:
        self._done = None
        self._machine = None
        self._watch.cancel()
        if self._activation is not None:
            self.power_off()
        if self._t0 is not None:
            self._t0 = (
                None  # it is in the middle of a command: the next one begins afresh, after the card's waiting time
            )
            self._last_sent = max(self._last_sent, self.engine.now)

    def set_parameters(self, parameters: ProtocolParameters) -> None:
        rate = Rate(parameters.ta1)
        if rate.baud(self.clock_hz) > self.traits.maximum_rate_bps:
            raise SlotRefusal(
                _RATE_OFFSET, f"{rate} is {float(rate.baud(self.clock_hz)):.0f} bit/s, too fast for this slot"
            )
        if parameters.protocol == 1 and isinstance(parameters, T1Parameters):
            cwt, guard = cwt_etu(parameters.cwi), card_guard_etu(parameters.guard, 1)
            if cwt < guard:
                raise SlotRefusal(HEADER + 3, f"CWT of {cwt} etu is shorter than the guard time")
        if not (self._fresh and self.traits.auto_pps):
            self._listen_at(parameters.ta1)
        self._parameters = parameters
        self._t0 = None

    def reset_parameters(self) -> None:
        atr = self.atr if self.traits.auto_parameters else None
        self._parameters = T0Parameters() if atr is None else parameters_of(atr)
        self._listen_at(self._parameters.ta1)
        self._t0 = None

    def set_class_bytes(self, get_response: int, envelope: int) -> None:
        raise SlotRefusal(SlotError.CMD_NOT_SUPPORTED, f"{get_response:02X} {envelope:02X}: the host makes the TPDUs")

    def clock(self, running: bool) -> None:
        if not self.traits.clock_stop:
            raise SlotRefusal(SlotError.CMD_NOT_SUPPORTED, "CLK cannot be stopped")
        self.clock_runs = running

    def set_rate_and_clock(self, wanted: RateAndClock) -> RateAndClock:
        """The clock of an active card stays; a rate is the nearest that F and D give."""
        clock_hz = min(self.traits.clocks_hz, key=lambda each: abs(each - wanted.clock_khz * 1000))
        if clock_hz != self.clock_hz:
            if self.active:
                raise SlotRefusal(_RATE_OFFSET, "the clock of an active card stays: power it off first")
            self.clock_hz = clock_hz
            self._etu = self._times.etu(RATE_DEFAULT)
        ta1 = RATE_DEFAULT
        if self.active:
            ta1 = self._nearest(wanted.rate_bps).ta1
            self.set_parameters(at_rate(self._parameters, ta1))
        return RateAndClock(clock_hz // 1000, int(Rate(ta1).baud(clock_hz)))

    # -- one exchange ----------------------------------------------------------------------------------------------------

    def _begin(self, data: bytes, bwi: int, level: int) -> None:
        assert self.atr is not None
        pps = self._fresh and data[:1] == bytes((PPSS,))
        self._fresh = False
        parameters = self._parameters
        if self.traits.level is ExchangeLevel.CHARACTER:
            times = self._times
            timing = times.initial(self.atr) if pps else times.raw(parameters, self._etu, self.atr, bwi)
            self._characters(data, level, timing, signals=not pps and parameters.protocol == 0)
        elif pps:
            self._raw(data, self._times.initial(self.atr), pps_whole, signals=False)
        elif isinstance(parameters, T1Parameters):
            timing = self._times.t1(parameters, self._etu, bwi)
            self._raw(data, timing, block_whole(2 if parameters.crc else 1), signals=False)
        else:
            self._tpdu(data)

    def _tpdu(self, data: bytes) -> None:
        assert isinstance(self._parameters, T0Parameters)
        assert self.atr is not None
        if self._t0 is None:
            timing = self._times.t0(self._parameters, self._etu, self.atr)
            self._t0 = T0Exchange(T0Terminal(timing, self._since(timing.turnaround_to_card)))
        first = self._t0.begin(data, max(self.engine.now, self._last_sent + self._t0.terminal.timing.pitch_to_card))
        self._machine = self._t0
        self._step(first)

    def _raw(self, data: bytes, timing: RawTiming, whole: Whole, *, signals: bool) -> None:
        machine = RawExchange(timing, whole, signals=signals)
        turnaround = max((BGT_ETU if self._parameters.protocol else TURNAROUND_T0_ETU) * timing.etu, timing.pitch)
        start = max(self.engine.now, self._since(turnaround) + turnaround, self._last_sent + timing.pitch)
        self._machine = machine
        burst = machine.begin(data, start if data else self.engine.now)
        if burst is not None:
            self._step(burst)
        else:
            self._keep_watch()

    def _characters(self, data: bytes, count: int, timing: RawTiming, *, signals: bool) -> None:
        """Send them, and give so many of the card's; what came without being asked for counts where nothing is sent."""
        if data:
            self._early.clear()
        early = bytes(self._early[:count])
        del self._early[: len(early)]
        done = self._done
        assert done is not None
        if len(early) == count and not data:
            self._finish(SlotAnswer(early))
            return
        self._done = lambda answer: done(self._counted(early, count, answer))
        self._raw(data, timing, of_length(count - len(early)), signals=signals)
        if not count:
            machine = self._machine
            self.engine.at(self._last_sent, lambda: self._finish(SlotAnswer()) if machine is self._machine else None)

    def _counted(self, early: bytes, count: int, answer: SlotAnswer) -> SlotAnswer:
        if answer.error is not None and not early:
            return answer
        got = early + answer.data
        self._early += got[count:]
        return SlotAnswer(got[:count])

    def _own_pps(self, atr: Atr) -> Pps | None:
        """What this reader asks for by itself: the protocol set, at the card's rate or the one set."""
        parameters = self._parameters
        ta1 = parameters.ta1 if parameters.ta1 != RATE_DEFAULT else atr.rate.ta1
        if Rate(ta1).baud(self.clock_hz) > self.traits.maximum_rate_bps:
            ta1 = RATE_DEFAULT
        other = Rate(ta1).etu_cycles != Rate(RATE_DEFAULT).etu_cycles
        if not other and parameters.protocol == atr.first_protocol:
            return None
        return Pps(parameters.protocol, ta1 if other else None)

    def _negotiate(self, atr: Atr, request: Pps, then: Callable[[], None]) -> None:
        done = self._done

        def answered(answer: SlotAnswer) -> None:
            self._done = done
            result = evaluate(request, answer.data)
            if not result.outcome.successful:
                self.power_off()
                assert done is not None
                done(SlotAnswer(error=SlotError.ICC_PROTOCOL_NOT_SUPPORTED, text=f"PPS: {result.detail}"))
                return
            self._parameters = at_rate(self._parameters, result.rate.ta1)
            self._listen_at(result.rate.ta1)
            then()

        self._done = answered
        self._fresh = False
        self._raw(request.encode(), self._times.initial(atr), pps_whole, signals=False)

    def _step(self, step: Burst | SlotAnswer | None) -> None:
        if isinstance(step, Burst):
            self._last_sent = step.last
            self.line.send(step)
            self._keep_watch()
        elif step is not None:
            self._finish(step)
        else:
            self._keep_watch()

    def _finish(self, answer: SlotAnswer) -> None:
        done, self._done = self._done, None
        self._machine = None
        if done is not None:
            done(answer)

    def _keep_watch(self) -> None:
        assert self._machine is not None
        self._watch.keep(self._machine.deadline)

    def _look(self) -> None:
        machine = self._machine
        if machine is not None and self._watch.over(machine.deadline, self.line.arriving):
            self._finish(machine.expire())

    def _nearest(self, rate_bps: int) -> Rate:
        """The nearest rate that this slot can do; of the two codes of 372, the one that the default has."""
        able = [
            each for each in all_rates() if each.ta1 >> 4 and each.baud(self.clock_hz) <= self.traits.maximum_rate_bps
        ]
        return min(able, key=lambda each: abs(each.baud(self.clock_hz) - rate_bps))

    # -- times -----------------------------------------------------------------------------------------------------------

    def _listen_at(self, ta1: int) -> None:
        self._etu = self._times.etu(ta1)

    def _since(self, turnaround: int) -> int:
        """From where a turn-around counts: the guard time of the last character at an old rate (9.1) may be longer than one at a fast new one."""
        return max(self._heard, self._heard + GUARD_ETU * self._heard_etu - turnaround)

    @property
    def _times(self) -> LineTimes:
        return LineTimes(self.engine.timebase, self.clock_hz)

    # -- the line's owner --------------------------------------------------------------------------------------------------

    @property
    def etu(self) -> int:
        """Its etu now, in ticks, at which it listens."""
        return self._etu

    @property
    def signals(self) -> bool:
        """Whether it gives the error signal now: under T=0, from the first command on."""
        machine = self._machine or self._t0
        return machine is not None and machine.signals

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        """A burst of the card has been taken; ``damaged`` are the indices of characters with wrong parity."""
        self.line.heard(burst)
        if self._activation is not None:
            self._activation.heard(burst, damaged)
            return
        self._heard, self._heard_etu = burst.last, burst.etu
        if self._machine is not None:
            self._step(self._machine.receive(burst, damaged))
        elif self._t0 is not None:
            self._t0.receive(burst, damaged)  # out of turn: the next command's guard time runs from it
        elif self.traits.level is ExchangeLevel.CHARACTER:
            self._early += burst.data

    def signalled(self, burst: Burst, index: int) -> None:
        """The card gave the error signal for character ``index`` of a burst of ours."""
        if self._activation is not None:
            self._activation.signalled(burst, index)
        elif self._machine is not None:
            self._step(self._machine.signalled(burst, index))

    # -- an ActivationLine ---------------------------------------------------------------------------------------------------

    def activation_send(self, burst: Burst) -> None:
        self._last_sent = burst.last
        self.line.send(burst)

    def card_here(self) -> CardEnd | None:
        return self.line.card

    def activation_reset(self) -> None:
        self.line.reset()

    def arriving(self) -> Burst | None:
        return self.line.arriving

    def rst_rises(self) -> None:
        pass

    def activated(self, result: Activated) -> None:
        self._activation = None
        self.atr = result.atr
        self.operating_class = result.operating_class
        self._fresh = result.atr.specific_mode is None
        self._heard, self._heard_etu = result.burst.last, result.burst.etu
        self._last_sent = _FAR_PAST
        self.reset_parameters()
        self._finish(SlotAnswer(result.atr.encode()))

    def not_activated(self, why: str) -> None:
        done = self._done
        self.power_off()
        if done is not None:
            done(SlotAnswer(error=_activation_error(why), text=why))

    def _deactivated(self) -> None:
        if self._activation is not None:
            self._activation.cancel()
            self._activation = None
        self._watch.cancel()
        self.line.reset()
        self._machine = self._t0 = self._done = None
        self.atr = None
        self.operating_class = ""
        self._fresh = False
        self._early.clear()
        self._parameters = T0Parameters()
        self._listen_at(RATE_DEFAULT)
        self.clock_runs = True


def _activation_error(why: str) -> SlotError:
    """The bError for an activation that failed (``bench.readers.activation``)."""
    if why == "mute":
        return SlotError.ICC_MUTE
    if why.startswith("class"):
        return SlotError.ICC_CLASS_NOT_SUPPORTED
    if "parity" in why:
        return SlotError.XFR_PARITY_ERROR
    if "TCK" in why:
        return SlotError.BAD_ATR_TCK
    if "TS" in why:
        return SlotError.BAD_ATR_TS
    return SlotError.ICC_PROTOCOL_NOT_SUPPORTED


def _nobody(_present: bool) -> None:
    pass
