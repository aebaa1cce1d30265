"""Readers that are wrong on purpose: activation, waiting, T=1, polls of a terminal. They are the software reader's; a real one is what it is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bench.flaws import Flaw, Method, flaw
from bench.hop.terminal import HopTerminal
from bench.iso7816 import t0
from bench.iso7816.atr import AtrError, parse_atr
from bench.iso7816.line import Burst
from bench.iso7816.pps import evaluate, expected_length
from bench.iso7816.t0 import T0Terminal
from bench.iso7816.t0_line import T0Timing
from bench.iso7816.t1_block import swap_nad
from bench.iso7816.t1_terminal import T1Terminal
from bench.readers.activation import Activation

FEW: Final = 3
"""NULL bytes, or requests for more time, that an impatient terminal takes in an exchange."""


def _burst_sooner(plain: Method) -> Method:
    """Characters to the card are 12 etu apart, whatever extra guard time it asks for."""

    def at_rate(*arguments: object, **more: object) -> object:
        timing = plain(*arguments, **more)
        assert isinstance(timing, T0Timing)
        return T0Timing(timing.etu, timing.pitch_to_terminal, timing.pitch_to_terminal, timing.waiting_time)

    return at_rate


def _short_wait(plain: Method) -> Method:
    """The work waiting time is taken for shorter by 2 etu."""

    def send(terminal: T0Terminal, data: bytes, earliest: int) -> object:
        burst = plain(terminal, data, earliest)
        terminal.deadline -= 2 * terminal.timing.etu
        return burst

    return send


def _few_nulls(plain: Method) -> Method:
    def procedure(terminal: T0Terminal, byte: int, ins: int) -> object:
        if byte == t0.NULL and terminal._nulls >= FEW:
            terminal._nulls = t0.NULLS
        return plain(terminal, byte, ins)

    return procedure


def _few_requests(plain: Method) -> Method:
    def init(terminal: T1Terminal, *arguments: object, **more: object) -> None:
        plain(terminal, *arguments, **{**more, "requests_max": FEW})

    return init


def _nad_swapped(plain: Method) -> Method:
    """Blocks bear SAD and DAD in each other's places."""

    def begin(terminal: T1Terminal, apdu: bytes, now: int, nad: int = 0x02) -> object:
        return plain(terminal, apdu, now, swap_nad(nad))

    return begin


def _highest_class(plain: Method) -> Method:
    def cold(activation: Activation) -> None:
        activation._left.reverse()
        plain(activation)

    return cold


def _takes_any_pps(_plain: Method) -> Method:
    """Any answer to PPS is taken for an echo."""

    def heard(activation: Activation, burst: Burst) -> None:
        said = bytes(activation._heard)
        if len(said) > 2 and len(said) >= expected_length(said[1]) and activation._pps is not None:
            echo = evaluate(activation._pps, activation._pps.encode())
            activation._done(echo.rate, echo.protocol, burst)

    return heard


def _gives_up_pps(_plain: Method) -> Method:
    return lambda activation, why: activation._give_up(why)


def _any_mode(_plain: Method) -> Method:
    """What only the card knows is taken for the default."""

    def heard(activation: Activation, burst: Burst) -> None:
        try:
            atr = parse_atr(bytes(activation._heard))
        except AtrError:
            return
        activation.cancel()
        activation._atr = atr
        activation._done(atr.rate, atr.first_protocol, burst)

    return heard


def _seldom(plain: Method) -> Method:
    def init(terminal: HopTerminal, *arguments: object, **more: object) -> None:
        plain(terminal, *arguments, **more)
        terminal.first, terminal.longest, terminal.period = (
            2 * terminal.first,
            2 * terminal.longest,
            2 * terminal.period,
        )

    return init


def _never_gives_up(plain: Method) -> Method:
    def failed(terminal: HopTerminal, error: str) -> None:
        terminal._attempts = 0
        plain(terminal, error)

    return failed


_LISTED: Final = (
    flaw(
        "guard-time-ignored",
        "sends characters 12 etu apart, whatever the card asks for",
        "IFD-GT-1",
        T0Timing,
        "at_rate",
        _burst_sooner,
    ),
    flaw(
        "impatient",
        "gives the card up 2 etu before its waiting time is over",
        "IFD-WT-2",
        T0Terminal,
        "_send",
        _short_wait,
    ),
    flaw("nulls-counted", "takes three NULL bytes and no more", "IFD-NULL-1", T0Terminal, "_procedure", _few_nulls),
    flaw(
        "requests-counted",
        "grants three requests for more time and no more",
        "IFD-WTX-1",
        T1Terminal,
        "__init__",
        _few_requests,
    ),
    flaw("nad-swapped", "T=1: swaps SAD and DAD", "T1-CHAIN-1", T1Terminal, "begin", _nad_swapped),
    flaw(
        "highest-class-first",
        "supplies the highest operating class first",
        "IFD-CLASS-1",
        Activation,
        "cold",
        _highest_class,
    ),
    flaw("any-pps-taken", "takes any answer to PPS for an echo", "IFD-PPS-1", Activation, "_pps_heard", _takes_any_pps),
    flaw(
        "left-out-taken",
        "takes a rate that the PPS response leaves out for granted",
        "IFD-PPS-4",
        Activation,
        "_pps_heard",
        _takes_any_pps,
    ),
    flaw(
        "no-fall-back",
        "gives a card up that failed PPS, although it is to fall back",
        "IFD-PPS-3",
        Activation,
        "_pps_failed",
        _gives_up_pps,
    ),
    flaw(
        "implicit-mode-taken",
        "works with a card whose parameters it does not know",
        "IFD-MODE-1",
        Activation,
        "_atr_heard",
        _any_mode,
    ),
    flaw("polls-seldom", "polls half as often as it is told to", "HOP-POLL-2", HopTerminal, "__init__", _seldom),
    flaw("never-gives-up", "tries a command again without end", "HOP-DOWN-1", HopTerminal, "failed", _never_gives_up),
)
FLAWS: Final[Mapping[str, Flaw]] = MappingProxyType({each.name: each for each in _LISTED})
"""Every wrong reader by its name."""
