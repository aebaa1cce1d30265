"""The hop spoken by hand, command by command, without the host (docs/protocol.md, 1 and 2), over T=0: a judge does not ask the machine it judges.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Step
from bench.scenario.steps.support import wait

FIRST, LAST, TOGGLE, RESERVED = 0x80, 0x40, 0x20, 0x10
CONTROL, CHANNEL, NO_KIND = 0, 1, 0x0F
KINDS = (0, 1, 4, 6, 7)
PIECE = 254
"""Bytes of a packet that fit one segment."""
ENVELOPE, GET_RESPONSE = 0xC2, 0xC0
SEQUENCED, EXPLICIT, EXPECT = 0x80, 0x40, 0x01
HELLO, HELLO_ANSWER = 1, 2
OPEN = 1
TAKEN, NOTHING, NO_SENSE, NO_HEADER, NOT_ANNOUNCED = 0x9000, 0x6200, 0x6A80, 0x6700, 0x6985
MORE, AGAIN = 0x61, 0x6C
MTU = 64
LOOKS = 30
DRAIN = 200
"""Segments that a card may have for us after a greeting, at most."""


def hello(node: int = 0, mtu: int = MTU) -> bytes:
    """HELLO of a terminal side with that number, polling every 50 ms."""
    return bytes((HELLO, 1, node)) + mtu.to_bytes(2, "big") + b"\x00\x32"


class Hand:
    """A terminal side that does what it is told. ``sent`` and ``expected`` are its two toggles."""

    def __init__(self, context: StepContext) -> None:
        self.context = context
        self.port = context.rig.host.link.port
        if self.port.level is ExchangeLevel.APDU or context.point.given.protocol != "T=0":
            raise NotApplicable("the hop is spoken by hand over T=0 only, where each command is an exchange of its own")
        self.sent = self.expected = 0

    def power(self) -> None:
        """Cold reset: both toggles begin at 0."""
        ups: list[PowerUp] = []
        self.context.engine.call(lambda: self.port.power_up(ups.append))
        wait(self.context, lambda: bool(ups))
        if not ups or ups[0].error:
            raise BenchFault(f"the card could not be powered: {ups[0].error if ups else 'no answer'}")
        self.sent = self.expected = 0

    def say(self, command: bytes) -> bytes:
        """One command; gives data and status word. The card fails the point where nothing comes."""
        answers: list[Answer] = []
        self.context.engine.call(lambda: self.port.submit(command, answers.append))
        wait(self.context, lambda: bool(answers))
        if not answers or len(answers[0].response) < 2:
            self.context.fail(f"{command.hex(' ').upper()} was not answered: {answers[0].error if answers else 'mute'}")
        return answers[0].response

    @property
    def p1(self) -> int:
        return SEQUENCED | (EXPECT if self.expected else 0)

    def envelope(self, payload: bytes, marks: int = FIRST | LAST, kind: int = CONTROL, *, again: bool = False) -> int:
        """One segment; gives the status word. The toggle goes on, unless the segment is said ``again``."""
        if again:
            self.sent ^= 1
        segment = bytes((marks | (TOGGLE if self.sent else 0) | kind,)) + payload
        self.sent ^= 1
        return _sw(self.say(bytes((0x80, ENVELOPE, self.p1, 0, len(segment))) + segment))

    def poll(self) -> int:
        """A poll; gives the status word."""
        return _sw(self.say(bytes((0x80, GET_RESPONSE, self.p1, 0, 0))))

    def fetch(self, length: int, cla: int = 0x80, p1: int | None = None) -> bytes:
        """A fetch of so many bytes; gives data and status word."""
        return self.say(bytes((cla, GET_RESPONSE, self.p1 if p1 is None else p1, 0, length)))

    def taken(self) -> None:
        """Acknowledge the segment that came: the next command expects the one after it."""
        self.expected ^= 1

    def drain(self) -> list[bytes]:
        """Everything the card has to give now, acknowledged segment by segment."""
        found: list[bytes] = []
        while (sw := self.poll()) != NOTHING:
            self.must(sw >> 8 == AGAIN, f"a poll was answered {sw:04X}, expected 6Cxx or 6200")
            answer = self.fetch(sw & 0xFF)
            self.must(
                len(answer) - 2 == sw & 0xFF, f"a segment of {len(answer) - 2} bytes came after 6C{sw & 0xFF:02X}"
            )
            found.append(answer[:-2])
            self.taken()
            self.must(len(found) < DRAIN, f"{DRAIN} segments came, and more are announced")
        return found

    def rest(self) -> None:
        """A tenth of a second without a command; a card takes a second of that for the end of the hop."""
        self.context.engine.wait(lambda: False, self.context.engine.timebase.nanoseconds(10**8))

    def greet(self, node: int = 0, mtu: int = MTU) -> bytes:
        """HELLO, and the packet that answers it."""
        sw = self.envelope(hello(node, mtu))
        self.must(sw >> 8 == MORE, f"HELLO was answered {sw:04X}, expected 61xx")
        answer = self.fetch(sw & 0xFF)
        self.must(len(answer) - 2 == sw & 0xFF, f"{len(answer) - 2} bytes came after {sw:04X}")
        self.taken()
        packet = answer[1:-2]
        self.must(packet[:1] == bytes((HELLO_ANSWER,)), f"HELLO was answered {packet.hex(' ').upper()}")
        return packet

    def packet(self, kind: int, length: int) -> int:
        """A packet of zeros, in segments as long as may be; gives the last status word."""
        sw, at = TAKEN, 0
        while at < length:
            end = min(at + PIECE, length)
            marks = (FIRST if at == 0 else 0) | (LAST if end == length else 0)
            sw = self.envelope(bytes(end - at), marks, kind)
            at = end
            if sw == NO_SENSE:
                break
        return sw

    def quiet(self, milliseconds: int) -> None:
        """No command for so long."""
        self.context.engine.wait(lambda: False, self.context.engine.timebase.nanoseconds(milliseconds * 10**6))

    def must(self, held: bool, otherwise: str) -> None:
        """The card fails the point where it does not hold."""
        if not held:
            self.context.fail(otherwise)


def _sw(response: bytes) -> int:
    return int.from_bytes(response[-2:], "big")


def _status_words(hand: Hand) -> None:
    """1.3: a segment that is taken is answered 9000, or 61xx where one waits."""
    hand.power()
    answer = hand.greet()
    hand.must(answer[2] == 1, f"the first card took number {answer[2]}")
    hand.drain()
    sw = hand.envelope(b"\x04\x07\x00", marks=FIRST)  # a part of a packet: nothing can be said to it
    hand.must(sw == TAKEN or sw >> 8 == MORE, f"a first segment was answered {sw:04X}, expected 9000 or 61xx")


def _polls(hand: Hand) -> None:
    """1.3: 6200 where nothing waits, 6Cxx where a segment of xx bytes does."""
    hand.power()
    sw = hand.poll()
    hand.must(sw == NOTHING, f"a poll of a card that was not greeted was answered {sw:04X}, expected 6200")
    hand.envelope(hello())
    sw = hand.poll()
    hand.must(sw >> 8 == AGAIN, f"a poll of a card with an answer waiting was answered {sw:04X}, expected 6Cxx")
    answer = hand.fetch(sw & 0xFF)
    hand.must(len(answer) - 2 == sw & 0xFF, f"{len(answer) - 2} bytes came after {sw:04X}")
    hand.taken()
    hand.drain()
    sw = hand.poll()
    hand.must(sw == NOTHING, f"a poll of a card that has given everything was answered {sw:04X}, expected 6200")


def _no_sense(hand: Hand) -> None:
    """1.3: marks out of order, an unknown kind, more than the MTU: 6A80, and the hop goes on."""
    hand.power()
    for marks, kind, what in (
        (LAST, CONTROL, "a last segment of nothing"),
        (0, CONTROL, "a middle segment of nothing"),
        (FIRST | LAST, NO_KIND, "a segment of kind 15"),
    ):
        sw = hand.envelope(b"\x01\x02\x03", marks, kind)
        hand.must(sw == NO_SENSE, f"{what} was answered {sw:04X}, expected 6A80")
    hand.greet()
    hand.drain()
    long = hand.envelope(bytes(250), FIRST | LAST, CHANNEL)
    hand.must(long == NO_SENSE, f"250 bytes where the MTU is {MTU} were answered {long:04X}, expected 6A80")
    hand.must(hand.greet()[2] == 1, "after segments without sense HELLO was not answered as before")


def _no_header(hand: Hand) -> None:
    """1.3: an ENVELOPE without a segment header: 6700, and nothing is taken."""
    hand.power()
    sw = _sw(hand.say(bytes((0x80, ENVELOPE, hand.p1, 0, 0))))
    hand.must(sw == NO_HEADER, f"an ENVELOPE without data was answered {sw:04X}, expected 6700")
    hand.greet()


def _plain_fetch(hand: Hand) -> None:
    """1.4: right after 61xx, with class 80 or 00, the segment and 9000; unannounced, 6985."""
    for cla in (0x80, 0x00):
        hand.power()
        if cla == 0x80:
            sw = _sw(hand.fetch(5, cla, 0))
            hand.must(sw == NOT_ANNOUNCED, f"a plain fetch of nothing was answered {sw:04X}, expected 6985")
        sw = hand.envelope(hello())
        answer = hand.fetch(sw & 0xFF, cla, 0)
        good = len(answer) - 2 == sw & 0xFF and _sw(answer) == TAKEN and answer[1] == HELLO_ANSWER
        hand.must(good, f"a plain fetch of class {cla:02X} after {sw:04X} was answered {answer.hex(' ').upper()}")
        if cla == 0x80:
            again = hand.fetch(len(answer) - 2)
            hand.must(again[:-2] == answer[:-2], "a plain fetch acknowledged the segment: another came after it")
        hand.taken()
        hand.must(answer[:-2] not in hand.drain(), "a segment that a plain fetch brought and R acknowledged came again")


def _envelope_again(hand: Hand) -> None:
    """1.5: a repeated ENVELOPE is answered as the first time, and its packet is not taken twice."""
    hand.power()
    first = hand.envelope(hello())
    second = hand.envelope(hello(), again=True)
    hand.must(first == second, f"the same ENVELOPE was answered {first:04X}, then {second:04X}")
    answers = [each for each in hand.drain() if each[0] & 0x0F == CONTROL and each[1] == HELLO_ANSWER]
    hand.must(len(answers) == 1, f"one HELLO said twice was answered {len(answers)} times")


def _fetch_again(hand: Hand) -> None:
    """1.5: the same bytes until they are acknowledged, then others."""
    hand.power()
    length = hand.envelope(hello()) & 0xFF
    first = hand.fetch(length)
    for _ in range(2):
        sw = hand.poll()
        hand.must(
            sw == AGAIN << 8 | length,
            f"a poll before the acknowledgement was answered {sw:04X}, expected 6C{length:02X}",
        )
        again = hand.fetch(length)
        hand.must(again == first, f"a repeated fetch brought {again.hex(' ').upper()}, first {first.hex(' ').upper()}")
    hand.taken()
    rest = hand.drain()
    hand.must(first[:-2] not in rest, "a segment that was acknowledged came again")
    toggles = [each[0] & TOGGLE for each in (first, *rest)]
    turns = all(a != b for a, b in pairwise(toggles))
    hand.must(turns, "two segments with one toggle came after each other")


def _ordinary_class(hand: Hand) -> None:
    """1.1: what has class 00 never touches the hop."""
    hand.power()
    segment = bytes((FIRST | LAST,)) + hello()
    hand.say(bytes((0x00, ENVELOPE, 0, 0, len(segment))) + segment)
    sw = hand.poll()
    hand.must(sw == NOTHING, f"HELLO in an ENVELOPE of class 00 reached the hop: a poll was answered {sw:04X}")
    hand.must(hand.greet()[2] == 1, "the hop does not begin with toggle 0 after an ENVELOPE of class 00")


def _toggles_after_reset(hand: Hand) -> None:
    """1.5: both toggles begin at 0 after every reset."""
    for _ in range(3):
        hand.power()
        length = hand.envelope(hello()) & 0xFF
        answer = hand.fetch(length)
        hand.must(not answer[0] & TOGGLE, "the card's first segment after a reset has toggle 1")
        hand.must(answer[1:2] == bytes((HELLO_ANSWER,)), "a first segment with toggle 0 was not taken after a reset")
        hand.taken()
        hand.poll()  # acknowledges: either toggle would go on with 1


def _greeted_again(hand: Hand) -> None:
    """2: HELLO again is answered again; where the number has changed the card forgets its channels, and opens them anew from its new number."""
    hand.power()
    first = hand.greet()
    hand.drain()
    again = hand.greet()
    hand.must(first == again, f"HELLO again was answered {again.hex(' ').upper()}, first {first.hex(' ').upper()}")
    hand.must(not _opens(hand.drain()), "a HELLO that changed nothing made the card open its channels again")
    other = hand.greet(4)
    hand.must(other[2] == 5, f"HELLO of node 4 was answered by number {other[2]}, expected 5")
    opens: list[bytes] = []
    for _ in range(LOOKS):
        opens = opens or _opens(hand.drain())
        hand.rest()
    hand.must(bool(opens), "a card with another number did not open its services anew")
    hand.must(all(each[3] == 5 for each in opens), "a card with number 5 opened a channel from another number")


def _opens(segments: list[bytes]) -> list[bytes]:
    return [each for each in segments if each[0] & 0x0F == CHANNEL and each[0] & FIRST and each[1] & 0x0F == OPEN]


def _sense(sw: int) -> bool:
    """Whether a segment was taken."""
    return sw == TAKEN or sw >> 8 == MORE


def _headers(hand: Hand) -> None:
    """1.2 and 1.3: each header of a segment, at the begin of a packet and inside one: taken, or 6A80 and the packet is discarded."""
    hand.power()
    hand.greet()
    hand.drain()
    for inside in (False, True):
        for header in range(0x100):
            if header & TOGGLE:
                continue  # set by the hand
            marks, kind = header & ~0x0F, header & 0x0F
            hand.drain()  # what the card may have said to the packet before
            if inside:
                hand.must(_sense(hand.envelope(b"\x00", FIRST, CHANNEL)), "a first segment of a channel's was refused")
            sw = hand.envelope(b"\x00" * 5, marks, kind)
            good = kind in KINDS and not header & RESERVED and bool(header & FIRST) is not inside
            good = good and (not inside or kind == CHANNEL)
            where = "inside a packet" if inside else "outside a packet"
            hand.must(
                good == _sense(sw) and good != (sw == NO_SENSE), f"header {header:02X} {where} was answered {sw:04X}"
            )
            if good and not header & LAST:  # the packet is under way: end it
                hand.must(_sense(hand.envelope(b"\x00", LAST, kind)), f"the end of a packet of kind {kind} was refused")
    hand.drain()
    hand.must(hand.greet()[2] == 1, "after all headers HELLO was not answered as before")


def _lengths(hand: Hand) -> None:
    """1.3: a packet as long as the MTU is taken, one byte more is not, whatever the segments; a PPP frame's protocol field does not count."""
    for mtu in (64, 254, 255, 256, 508, 509, 600):
        hand.power()
        answer = hand.greet(mtu=mtu)
        mine = int.from_bytes(answer[3:5], "big")
        hand.must(mine <= mtu, f"told an MTU of {mtu} the card answered {mine}")
        hand.drain()
        for kind, spare in ((CHANNEL, 0), (4, 0), (6, 0), (7, 2)):
            sw = hand.packet(kind, mine + spare)
            hand.must(_sense(sw), f"{mine + spare} bytes of kind {kind} where the MTU is {mine} were answered {sw:04X}")
            sw = hand.packet(kind, mine + spare + 1)
            hand.must(
                sw == NO_SENSE,
                f"{mine + spare + 1} bytes of kind {kind} where the MTU is {mine} were answered {sw:04X}",
            )
        hand.drain()


def _fetch_lengths(hand: Hand) -> None:
    """1.3 and 1.4: a fetch of another length than the segment's is answered 6Cxx, and so is the plain one."""
    hand.power()
    length = hand.envelope(hello()) & 0xFF
    for p1 in (None, 0):
        for wrong in (1, length - 1, length + 1, 255, 0):
            if p1 == 0:
                hand.envelope(hello(), again=True)  # announces it again
            answer = hand.fetch(wrong, p1=p1)
            good = len(answer) == 2 and _sw(answer) == AGAIN << 8 | length
            hand.must(good, f"a fetch of {wrong} where {length} wait was answered {answer[-2:].hex(' ').upper()}")
    answer = hand.fetch(length)
    hand.must(len(answer) - 2 == length, "the segment did not come after fetches of other lengths")
    hand.taken()


def _explicit(hand: Hand) -> None:
    """1.3: with E a fetched segment comes with 61xx where another of xx bytes waits, else with 9000, and so until none is left."""
    hand.power()
    sw = hand.envelope(hello())
    count = 0
    while sw >> 8 == MORE:
        answer = hand.fetch(sw & 0xFF, p1=hand.p1 | EXPLICIT)
        hand.must(len(answer) - 2 == sw & 0xFF, f"{len(answer) - 2} bytes came after {sw:04X}")
        hand.taken()
        sw = _sw(answer)
        count += 1
        hand.must(count < DRAIN, f"{DRAIN} segments came, and more are announced")
    hand.must(sw == TAKEN, f"the last segment came with {sw:04X}, expected 9000")
    sw = hand.poll()
    hand.must(sw == NOTHING, f"after a segment with 9000 a poll was answered {sw:04X}, expected 6200")


def _silence(hand: Hand) -> None:
    """2: a card waits for two poll periods and a second, in which it is as before; then it answers 6985 until it is reset."""
    hand.power()
    hand.greet()
    hand.drain()
    for _ in range(2):
        hand.quiet(1050)
        sw = hand.poll()
        hand.must(sw != NOT_ANNOUNCED, f"after 1.05 s without a command a poll was answered {sw:04X}")
        hand.drain()
    hand.quiet(5000)  # two periods of 50 ms, a second, and the waiting time of the line
    for sw in (hand.poll(), hand.envelope(hello()), hand.poll()):
        hand.must(sw == NOT_ANNOUNCED, f"a card that had heard nothing for 5 s answered {sw:04X}, expected 6985")
    hand.power()
    hand.must(hand.greet()[2] == 1, "a card that had given up its hop was not as new after a reset")


RULES: dict[str, Callable[[Hand], None]] = {
    "status-words": _status_words,
    "polls": _polls,
    "no-sense": _no_sense,
    "no-header": _no_header,
    "plain-fetch": _plain_fetch,
    "envelope-again": _envelope_again,
    "fetch-again": _fetch_again,
    "ordinary-class": _ordinary_class,
    "toggles-after-reset": _toggles_after_reset,
    "greeted-again": _greeted_again,
    "headers": _headers,
    "lengths": _lengths,
    "fetch-lengths": _fetch_lengths,
    "explicit": _explicit,
    "silence": _silence,
}


class HopByHand(Step):
    """Speaks the hop to the first card by itself, without the host, and holds one rule of docs/protocol.md. Without `power_on`: it powers the card.

    Example:
        - hop_by_hand: {rule: fetch-again}
    """

    verb: ClassVar[str] = "hop_by_hand"

    rule: Annotated[
        Literal[
            "status-words",
            "polls",
            "no-sense",
            "no-header",
            "plain-fetch",
            "envelope-again",
            "fetch-again",
            "ordinary-class",
            "toggles-after-reset",
            "greeted-again",
            "headers",
            "lengths",
            "fetch-lengths",
            "explicit",
            "silence",
        ],
        Field(description="which"),
    ]

    def run(self, context: StepContext) -> None:
        if context.rig.host.link.powered:
            raise BenchFault("hop_by_hand speaks to the card itself: there must be no power_on before it")
        RULES[self.rule](Hand(context))
