"""Channel messages that the bench says itself (docs/protocol.md, 3), and what a card makes of them: a judge does not ask the codec it judges.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from bench.hop.segment import Kind
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import ANSWER_WITHIN, service, wait
from bench.scenario.units import Count, Duration, Line, Span

OPEN, OPENED, REFUSED, DATA, CREDIT, SHUT, CLOSE, UNREACHABLE = range(1, 9)
NAMES = ("?", "OPEN", "OPENED", "REFUSED", "DATA", "CREDIT", "SHUT", "CLOSE", "UNREACHABLE")
VERSION = 0x40
TYPE_BITS = 0x0F
HEADER_LENGTH = 5
KEPT = 12
"""Bytes of a message that come back in UNREACHABLE."""
TCP_CLIENT = 2
NO_ADDRESS, NAME, IPV4, IPV6 = 0, 1, 4, 6
SERVICE_UNKNOWN = 9
NEVER_GIVEN = 250
"""A number that a card which declares fewer channels gives to none."""
OURS = range(224, 256)
"""Numbers of the host's ends that the bench speaks for; the host itself begins with 1."""
HOST = 0


def message(kind: int, card: int, channel: int, credit: int = 0, body: bytes = b"") -> bytes:
    """A message of the host's to a card."""
    return bytes((VERSION | kind, card, HOST, channel, credit)) + body


def name_of(packet: bytes) -> str:
    """What a message is, for people."""
    kind = packet[0] & TYPE_BITS
    return f"{NAMES[kind] if kind < len(NAMES) else f'type {kind}'} ({packet.hex(' ').upper()})"


@dataclass(slots=True)
class Correspondent:
    """Speaks to one card in the host's place: hears what is for the numbers ``OURS``, and all else goes on to the host. Use it with ``with``."""

    context: StepContext
    card: int
    heard: list[bytes] = field(default_factory=list)
    _said: set[bytes] = field(default_factory=set)
    _next: Iterator[int] = field(default_factory=lambda: iter(OURS))
    _onward: Callable[[Kind, bytes], None] | None = None

    def __enter__(self) -> "Correspondent":
        self.context.engine.call(self._begin)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.context.engine.call(self._end)

    def number(self) -> int:
        """A number that was not used before."""
        return next(self._next)

    def say(self, packet: bytes) -> None:
        """Send it."""
        self._said.add(packet[:KEPT])
        link = self.context.rig.host.link
        self.context.engine.call(lambda: link.submit(Kind.CHANNEL, packet, packet[1:4], force=True))

    def answer(self, what: str) -> bytes:
        """The next message heard, which is taken away. The card fails the point where none comes."""
        wait(self.context, lambda: bool(self.heard))
        if not self.heard:
            self.context.fail(f"{what} was not answered within {ANSWER_WITHIN}")
        return self.heard.pop(0)

    def listen(self, span: Span) -> list[bytes]:
        """Everything heard during ``span``."""
        self.context.engine.wait(lambda: False, span.ticks(self.context.engine.timebase))
        found, self.heard = self.heard, []
        return found

    def open(self, port: int, credit: int, *, kind: int = NO_ADDRESS, address: bytes = b"") -> tuple[int, int]:
        """Open a channel to a service; gives our number of it and the card's. The card fails the point where it is not opened as it must."""
        own = self.number()
        mtu = self.context.rig.host.link.mtu
        body = bytes((own, TCP_CLIENT)) + port.to_bytes(2, "big") + mtu.to_bytes(2, "big") + bytes((kind,)) + address
        self.say(message(OPEN, self.card, 0, credit, body))
        opened = self.answer(f"OPEN to port {port}")
        if opened[0] & TYPE_BITS != OPENED or len(opened) != HEADER_LENGTH + 5:
            self.context.fail(f"OPEN to port {port} was answered {name_of(opened)}, expected OPENED with 5 bytes")
        if opened[3] != own:
            self.context.fail(f"OPENED is for channel {opened[3]}, the OPEN was of channel {own}")
        theirs, at, can = opened[5], int.from_bytes(opened[6:8], "big"), int.from_bytes(opened[8:10], "big")
        if not theirs or can < 32 or (port and at != port):
            self.context.fail(
                f"OPENED tells channel {theirs}, port {at}, MTU {can}: a number, port {port}, at least 32"
            )
        return own, theirs

    def close(self, own: int, theirs: int) -> None:
        """Close a channel, and hold that the card closes it, too; DATA and CREDIT still under way are passed over."""
        self.say(message(CLOSE, self.card, theirs, 0, b"\0"))
        while (answer := self.answer("CLOSE"))[0] & TYPE_BITS in (DATA, CREDIT, SHUT):
            pass
        if answer[0] & TYPE_BITS != CLOSE or answer[3] != own:
            self.context.fail(f"CLOSE was answered {name_of(answer)}, expected CLOSE for channel {own}")

    def _begin(self) -> None:
        link = self.context.rig.host.link
        self._onward, link.on_packet = link.on_packet, self._take

    def _end(self) -> None:
        if self._onward is not None:
            self.context.rig.host.link.on_packet = self._onward

    def _take(self, kind: Kind, packet: bytes) -> None:
        mine = kind is Kind.CHANNEL and len(packet) >= HEADER_LENGTH and packet[1:3] == bytes((HOST, self.card))
        back = mine and packet[0] & TYPE_BITS == UNREACHABLE and packet[HEADER_LENGTH:] in self._said
        if mine and (packet[3] in OURS or back):
            self.heard.append(packet)
        elif self._onward is not None:
            self._onward(kind, packet)


class OpenByMessage(Step):
    """Says OPEN to a card in all the ways there are to name a service, and one that nobody offers, and holds each answer.

    Example:
        - open_by_message: {to: echo}
    """

    verb: ClassVar[str] = "open_by_message"

    to: Annotated[Line, Field(description="name of a service")] = "echo"
    card: Annotated[Count, Field(description="its card")] = 1

    def run(self, context: StepContext) -> None:
        port = service(context, self.to, self.card).port
        ways = (
            (port, NO_ADDRESS, b""),
            (port, IPV4, bytes((192, 0, 2, 7))),
            (port, IPV6, bytes.fromhex("20010db8000000000000000000000007")),
            (0, NAME, self.to.encode("ascii")),
        )
        taken = {each.port for each in context.rig.host.gateway.services() if each.card == self.card}
        nobody = next(each for each in range(40_000, 65_536) if each not in taken)
        with Correspondent(context, self.card) as end:
            for at, kind, address in ways:
                end.close(*end.open(at, 1, kind=kind, address=address))
            own = end.number()
            body = bytes((own, TCP_CLIENT)) + nobody.to_bytes(2, "big") + b"\x00\x40\x00"
            end.say(message(OPEN, self.card, 0, 1, body))
            refused = end.answer(f"OPEN to port {nobody}")
            if refused[0] & TYPE_BITS != REFUSED or refused[3] != own or refused[5:] != bytes((SERVICE_UNKNOWN,)):
                context.fail(
                    f"OPEN to port {nobody}, which nobody serves, was answered {name_of(refused)}, "
                    f"expected REFUSED for channel {own} with cause 09"
                )


class ExactCredit(Step):
    """Opens a channel to a service that always has something to send, gives it credit bit by bit, and counts what it sends.

    Example:
        - exact_credit: {to: chargen}
          measure:
            beyond: {equals: 0, unit: messages}
    """

    verb: ClassVar[str] = "exact_credit"
    measures: ClassVar = {"beyond": Measure("messages", "DATA that came without credit")}

    to: Annotated[Line, Field(description="name of the service")] = "chargen"
    card: Annotated[Count, Field(description="its card")] = 1
    quiet: Annotated[Duration, Field(description="how long to wait for what must not come")] = Span(2 * 10**9)

    def run(self, context: StepContext) -> None:
        port = service(context, self.to, self.card).port
        beyond = 0
        with Correspondent(context, self.card) as end:
            for first in (0, 1, 5):
                own, theirs = end.open(port, first)
                beyond += self._count(context, end, first)
                for more in (1, 2, 7):
                    end.say(message(CREDIT, self.card, theirs, more))
                    beyond += self._count(context, end, more)
                end.close(own, theirs)
        context.measured("beyond", beyond)

    def _count(self, context: StepContext, end: Correspondent, wanted: int) -> int:
        """How many more than ``wanted`` messages come. The card fails the point where fewer do."""
        wait(context, lambda: sum(_is_data(each) for each in end.heard) >= wanted)
        came = sum(_is_data(each) for each in end.listen(self.quiet))
        if came < wanted:
            context.fail(f"{came} messages came for a credit of {wanted}")
        return came - wanted


class StrayMessages(Step):
    """Says messages for channels that were never opened, and for one that is closed, and holds that each comes back as UNREACHABLE, and ends do not.

    Example:
        - stray_messages: {}
    """

    verb: ClassVar[str] = "stray_messages"

    to: Annotated[Line, Field(description="name of a service to open and close")] = "echo"
    card: Annotated[Count, Field(description="the card")] = 1
    quiet: Annotated[Duration, Field(description="how long to wait for what must not come")] = Span(10**9)

    def run(self, context: StepContext) -> None:
        port = service(context, self.to, self.card).port
        with Correspondent(context, self.card) as end:
            own, closed = end.open(port, 1)
            end.close(own, closed)
            end.listen(self.quiet)
            for channel in (NEVER_GIVEN, closed):
                for kind, body in ((DATA, b"somebody there?"), (DATA, b""), (CREDIT, b""), (SHUT, b"")):
                    said = message(kind, self.card, channel, 1, body)
                    end.say(said)
                    answer = end.answer(f"{NAMES[kind]} for channel {channel}, which is not open,")
                    expected = bytes((VERSION | UNREACHABLE, HOST, self.card, 0, 0)) + said[:KEPT]
                    if answer != expected:
                        context.fail(f"{name_of(said)} was answered {name_of(answer)}, expected {name_of(expected)}")
                for kind, body in ((CLOSE, b"\0"), (REFUSED, b"\1")):
                    end.say(message(kind, self.card, channel, 0, body))
                if answers := end.listen(self.quiet):
                    context.fail(
                        f"CLOSE or REFUSED for channel {channel}, which is not open, got {name_of(answers[0])}"
                    )


class MalformedMessages(Step):
    """Says messages that are none, for an open channel and for none, and holds that each is dropped: no answer, and the channel goes on.

    Example:
        - malformed_messages: {}
    """

    verb: ClassVar[str] = "malformed_messages"

    to: Annotated[Line, Field(description="name of a service that echoes")] = "echo"
    card: Annotated[Count, Field(description="its card")] = 1
    quiet: Annotated[Duration, Field(description="how long to wait for what must not come")] = Span(10**9)

    def run(self, context: StepContext) -> None:
        port = service(context, self.to, self.card).port
        with Correspondent(context, self.card) as end:
            own, theirs = end.open(port, 4)
            for wrong in _malformed(self.card, theirs, port, end.number()):
                end.say(wrong)
                if answers := end.listen(self.quiet):
                    context.fail(f"{wrong.hex(' ').upper()} is no message, and was answered {name_of(answers[0])}")
            word = context.random.randbytes(20)
            end.say(message(DATA, self.card, theirs, 0, word))
            while not _is_data(answer := end.answer("DATA on the channel after messages that are none")):
                pass
            if answer[3] != own or answer[HEADER_LENGTH:] != word:
                context.fail(f"the channel's echo is {name_of(answer)} after messages that are none")
            end.close(own, theirs)


def _malformed(card: int, channel: int, port: int, own: int) -> Iterator[bytes]:
    """Messages that clause 3 has discarded: too short, of another version, of an unknown type, with a body that does not fit."""
    whole = message(CLOSE, card, channel, 0, b"\0")
    for length in range(2, HEADER_LENGTH):
        yield whole[:length]
    for version in (0x00, 0x80, 0xC0):
        yield bytes((version | CLOSE,)) + whole[1:]
    for kind in (0, *range(9, 16)):
        yield message(kind, card, channel, 1)
    yield message(CLOSE, card, channel)
    yield message(CLOSE, card, channel, 0, b"\0\0")
    yield message(SHUT, card, channel, 0, b"\0")
    yield message(CREDIT, card, channel, 9, b"\0")
    to = port.to_bytes(2, "big")
    yield message(OPEN, card, 0, 1, bytes((own, TCP_CLIENT)) + to)
    yield message(OPEN, card, 0, 1, bytes((own, 0x77)) + to + b"\x00\x40\x00")
    yield message(OPEN, card, 0, 1, bytes((own, TCP_CLIENT)) + to + b"\x00\x40\x04\x7f")
    yield message(OPEN, card, 0, 1, bytes((own, TCP_CLIENT)) + to + b"\x00\x40\x05")


def _is_data(packet: bytes) -> bool:
    return packet[0] & TYPE_BITS == DATA
