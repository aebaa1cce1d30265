"""HopTerminal against HopCard with nothing between them but a reader that can do what readers do, and lose what readers lose."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from bench.hop.card import HopAnswer, HopCard
from bench.hop.queue import FairQueue, Queued
from bench.hop.segment import HOP_CLASS, INS_ENVELOPE, Kind
from bench.hop.terminal import HopTerminal

PERIOD = 10


class Way(Enum):
    """How answers come back (docs/protocol.md, 1.4)."""

    TPDU = auto()
    """T=0: 61xx and 6Cxx reach the terminal side."""
    INLINE = auto()
    """T=1: data and Le travel together."""
    FETCHES_00 = auto()
    """The reader answers 61xx and 6Cxx itself, with class 00."""
    FETCHES_80 = auto()
    """The same with the class of the command."""


class Fault(Enum):
    """What happens to one exchange between terminal side and card."""

    NONE = auto()
    COMMAND_LOST = auto()
    ANSWER_LOST = auto()
    TWICE = auto()
    """The command reaches the card twice (a link layer that repeats); the second answer comes back."""
    APDU_BEFORE = auto()
    """An ordinary command comes in between: it withdraws an announcement."""
    FETCH_LOST = auto()
    """Of a reader that fetches itself: its fetch reaches the card, the answer to it is lost."""


@dataclass(slots=True)
class Pair:
    """Both sides, and what each has delivered."""

    terminal: HopTerminal
    card: HopCard
    to_terminal: list[tuple[Kind, bytes]]
    to_card: list[tuple[Kind, bytes]]
    way: Way
    exchanges: int = 0
    """Commands the terminal side gave."""

    @property
    def idle(self) -> bool:
        """Nothing is under way in either direction."""
        return not (
            len(self.terminal.queue)
            or len(self.card.queue)
            or self.terminal.cutter.current
            or self.terminal.in_exchange
            or self.card.joiner.pending
            or self.terminal.joiner.pending
        )


def make_pair(way: Way, mtu: int, explicit: bool, refuse: Iterator[bool]) -> Pair:
    terminal = HopTerminal(FairQueue(mtu), mtu, explicit=explicit, inline=way is Way.INLINE, period=PERIOD)
    card = HopCard(FairQueue(mtu), mtu)
    pair = Pair(terminal, card, [], [], way)
    card.on_packet = lambda kind, packet: pair.to_card.append((kind, packet))
    card.has_room = lambda _size: not next(refuse, False)
    return pair


def push(queue: FairQueue, kind: Kind, packet: bytes) -> None:
    queue.push(Queued(kind, packet, None if kind is Kind.CONTROL else b"flow"), force=True)


def _execute(card: HopCard, command: bytes, inline: bool) -> HopAnswer:
    """One command as the card's dispatcher hands it on."""
    header = command[:5]
    if header[0] != HOP_CLASS:  # class 0X: a plain fetch where something was announced
        assert card.announced
        return card.plain_fetch(header[4] or 256, inline)
    if header[1] == INS_ENVELOPE:
        data, le = command[5 : 5 + header[4]], 256 if inline else None
        return card.envelope(header[2], data, le)
    return card.get_response(header[2], header[4] or 256, inline)


def _carry(pair: Pair, command: bytes, fault: Fault) -> bytes | None:
    """One exchange of the terminal side, through the reader. None: no answer."""
    card, inline = pair.card, pair.way is Way.INLINE
    if fault is Fault.APDU_BEFORE:
        card.withdraw()
    if fault is Fault.COMMAND_LOST:
        return None
    answer = _execute(card, command, inline)
    if fault is Fault.TWICE:
        answer = _execute(card, command, inline)
    if fault is Fault.ANSWER_LOST:
        return None
    if pair.way in (Way.FETCHES_00, Way.FETCHES_80):
        cla = 0x00 if pair.way is Way.FETCHES_00 else HOP_CLASS
        if answer.sw >> 8 == 0x6C:  # asks again with the length it was told
            command = command[:4] + bytes((answer.sw & 0xFF,))
            answer = _execute(card, command, inline)
        if answer.sw >> 8 == 0x61 and not answer.data:
            answer = _execute(card, bytes((cla, 0xC0, 0, 0, answer.sw & 0xFF)), inline)
            if fault is Fault.FETCH_LOST:
                return None
    return answer.data + answer.sw.to_bytes(2, "big")


def run(pair: Pair, faults: Iterator[Fault], at_most: int, before: Callable[[int], bool] | None = None) -> None:
    """Until nothing is under way. A command that failed once is spared, so that four attempts are never reached.

    ``before`` is called ahead of every exchange with its number, and tells whether more is to come.
    """
    now, last = 0, b""
    quiet = 0
    for _ in range(at_most):
        more = before is not None and before(pair.exchanges)
        command = pair.terminal.next_command(now)
        if command is None:
            assert pair.terminal.deadline > now, "a terminal side that waits must say until when"
            now = pair.terminal.deadline
            continue
        pair.exchanges += 1
        fault = Fault.NONE if pair.terminal.attempts else next(faults, Fault.NONE)
        if pair.terminal.attempts:
            assert command == last, "a repetition is the same command, unchanged (1.5)"
        last = command
        response = _carry(pair, command, fault)
        now += 1
        if response is None:
            pair.terminal.failed("mute")
        else:
            delivered = pair.terminal.answered(response, now)
            if delivered is not None:
                pair.to_terminal.append((delivered.kind, delivered.data))
        quiet = quiet + 1 if pair.idle and not more else 0
        if quiet > 6:  # the card's last segment is acknowledged by polls
            return
    raise AssertionError(f"packets still under way after {at_most} steps")
