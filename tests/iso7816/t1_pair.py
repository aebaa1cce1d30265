"""A T=1 terminal and card on one line, in virtual time, with a channel between them that may disturb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.engine import Timebase, Timer, VirtualEngine
from bench.iso7816.atr import T1Parameters, build_atr, parse_atr
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t1_block import LRC, BlockError, EdcScheme, decode_block
from bench.iso7816.t1_card import ApduHandler, ApduLater, ApduReply, T1Card
from bench.iso7816.t1_line import T1Timing
from bench.iso7816.t1_outcome import T1Outcome
from bench.iso7816.t1_terminal import T1Terminal

CLOCK_HZ = 3_571_200
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)


def timing(ta1: int = 0x11, extra_guard_time: int = 0xFF, bwi: int = 0, cwi: int = 5) -> T1Timing:
    """The timing of a card with these interface bytes."""
    atr = parse_atr(
        build_atr(protocols=(1,), ta1=ta1, extra_guard_time=extra_guard_time, t1=T1Parameters(bwi_cwi=bwi << 4 | cwi))
    )
    return T1Timing.at_rate(atr, Rate(ta1), CLOCK_HZ, TIMEBASE)


TIMING = timing()


class Echo:
    """A node that answers with the command reversed and 9000, so that nothing arrives by being merely reflected."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        """Bytes of the answer; None: as many as the command."""
        self.executed: list[bytes] = []

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        del later
        self.executed.append(apdu)
        return ApduReply(self.answer(apdu))

    def answer(self, apdu: bytes) -> bytes:
        """What it answers to a command."""
        data = apdu[::-1]
        if self.size is not None:
            data = (data * (self.size // max(1, len(data)) + 1))[: self.size]
        return data + b"\x90\x00"


class Patient:
    """A node that promises its answer and gives it after `ticks`."""

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.executed: list[bytes] = []
        self.pair: Pair | None = None

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        self.executed.append(apdu)
        assert self.pair is not None
        self.pair.engine.after(self.ticks, lambda: later(ApduReply(apdu[::-1] + b"\x90\x00")))
        return None


@dataclass(frozen=True, slots=True)
class Heard:
    """A burst as it arrives, with the indices of characters whose parity is wrong."""

    burst: Burst
    damaged: tuple[int, ...] = ()


Disturb = Callable[[str, int, Burst], Sequence[Heard]]
"""Direction (">" to the card, "<" from it), how many bursts went that way before, the burst: what arrives."""


def undisturbed(_direction: str, _index: int, burst: Burst) -> Sequence[Heard]:
    """A line that does nothing."""
    return (Heard(burst),)


def flip(burst: Burst, at: int, mask: int) -> Heard:
    """A burst with bits of one character flipped; an odd number of them is seen by parity."""
    data = bytearray(burst.data)
    data[at] ^= mask
    return Heard(replace(burst, data=bytes(data)), (at,) if mask.bit_count() % 2 else ())


class Pair:
    """Both sides. `lines` is the transcript: `> I(0,0)`, `< R(1)`; a block that arrives broken or not at all has `x`."""

    def __init__(
        self,
        nodes: ApduHandler | Mapping[int, ApduHandler] | None = None,
        *,
        times: T1Timing = TIMING,
        disturb: Disturb = undisturbed,
        ifsc: int = 32,
        edc: EdcScheme = LRC,
        requests_max: int = 1000,
        wtx: int = 1,
    ) -> None:
        self.node = Echo()
        if nodes is None:
            nodes = self.node
        mapping = nodes if isinstance(nodes, Mapping) else {0: nodes}
        self.engine = VirtualEngine(TIMEBASE)
        self.edc = edc
        self.terminal = T1Terminal(times, -(10**15), ifsc=ifsc, edc=edc, requests_max=requests_max)
        self.card = T1Card(mapping, times, ifsc=ifsc, edc=edc, wtx=wtx)
        self.disturb = disturb
        self.lines: list[str] = []
        self.bursts: list[tuple[str, Burst]] = []
        self.outcome: T1Outcome | None = None
        self.counts = {">": 0, "<": 0}
        self._watch: Timer | None = None
        self._reminder: Timer | None = None

    def exchange(self, apdu: bytes, nad: int = 0) -> T1Outcome:
        """One command, to its outcome."""
        return self.finish(self.terminal.begin(apdu, self.engine.now, nad))

    def announce_ifsd(self, size: int) -> T1Outcome:
        """S(IFS request), to its outcome."""
        burst = self.terminal.announce_ifsd(size, self.engine.now)
        assert burst is not None
        return self.finish(burst)

    def resynch(self) -> T1Outcome:
        """S(RESYNCH request), to its outcome."""
        return self.finish(self.terminal.resynch(self.engine.now))

    def finish(self, first: Burst) -> T1Outcome:
        """From the first burst to the outcome; fails if there is none within an hour of the line's time."""
        self.outcome = None
        self._from_terminal(first)
        self.engine.wait(lambda: self.outcome is not None, 3600 * TIMEBASE.hz)
        return self._ended()

    @property
    def transcript(self) -> str:
        """All blocks so far, one a line."""
        return "\n".join(self.lines)

    def inject(self, burst: Burst | None) -> None:
        """The card sends this."""
        if burst is not None:
            self._from_card(burst)

    def _ended(self) -> T1Outcome:
        assert self.outcome is not None, "the exchange never ended"
        return self.outcome

    # --- the line ----------------------------------------------------------------------------------------------------

    def _arrivals(self, direction: str, burst: Burst) -> Sequence[Heard]:
        self.bursts.append((direction, burst))
        arrivals = self.disturb(direction, self.counts[direction], burst)
        self.counts[direction] += 1
        self.lines.append(f"{direction}{self._mark(burst, arrivals)} {self._name(burst.data)}")
        return arrivals

    def _mark(self, burst: Burst, arrivals: Sequence[Heard]) -> str:
        return "" if b"".join(heard.burst.data for heard in arrivals) == burst.data else "x"

    def _name(self, data: bytes) -> str:
        try:
            return str(decode_block(data, self.edc))
        except BlockError as error:
            return f"? {error.rule.name}"

    def _from_terminal(self, burst: Burst) -> None:
        for heard in self._arrivals(">", burst):
            self.card.incoming(heard.burst)
            self.engine.at(heard.burst.taken, partial(self._card_receives, heard))
        self._watch_terminal()

    def _from_card(self, burst: Burst) -> None:
        for heard in self._arrivals("<", burst):
            self.terminal.incoming(heard.burst)
            self.engine.at(heard.burst.taken, partial(self._terminal_receives, heard))

    def _card_receives(self, heard: Heard) -> None:
        self._card_sends(self.card.receive(heard.burst, self._later, heard.damaged))

    def _later(self, reply: ApduReply) -> None:
        self._card_sends(self.card.complete(reply, self.engine.now))

    def _card_sends(self, burst: Burst | None) -> None:
        if burst is not None:
            self._from_card(burst)
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
        if self.card.deadline is not None:
            self._reminder = self.engine.at(self.card.deadline, self._remind)

    def _remind(self) -> None:
        self._card_sends(self.card.remind())

    def _terminal_receives(self, heard: Heard) -> None:
        self._terminal_says(self.terminal.receive(heard.burst, heard.damaged))

    def _terminal_says(self, step: Burst | T1Outcome | None) -> None:
        if isinstance(step, T1Outcome):
            self.outcome = step
        elif step is not None:
            self._from_terminal(step)
        self._watch_terminal()

    def _watch_terminal(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.terminal.busy:
            self._watch = self.engine.at(self.terminal.deadline, self._expire)

    def _expire(self) -> None:
        self._watch = None
        if self.engine.now >= self.terminal.deadline:
            self._terminal_says(self.terminal.expire(self.engine.now))
        else:
            self._watch_terminal()
