"""Single PPP frames to the card and its answers, octet by octet: nothing here knows the codec that the card uses."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from pydantic import Field

from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.segment import Kind
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Duration, Line, Span, Truth

RAW: Final = "ppp frames"
"""The note that ``ppp_frames`` leaves."""
LCP: Final = bytes.fromhex("c021")
_REQUEST, _ACK = 1, 2
ANSWER: Final = Span(10 * 10**9)


@dataclass(slots=True)
class RawPeer:
    """A peer without a mind: keeps what comes, acknowledges every Configure-Request of LCP where it is told to, or sends all back."""

    junction: Junction
    acks: bool
    mirrors: bool = False
    came: list[bytes] = field(default_factory=list)
    opened: bool = False
    """The card has acknowledged a request of ours and had its own acknowledged."""
    acked: bool = False

    def send(self, frame: bytes) -> None:
        link = self.junction.link(Port.OUTWARD)
        if link is None or not link.submit(Kind.PPP, frame, RAW):
            raise BenchFault("the hop takes no frame now")

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """See ``Stack``."""
        del kind, came_by
        self.came.append(packet)
        if self.mirrors:
            self.send(packet)
        elif self.acks and packet[:3] == LCP + bytes((_REQUEST,)):
            self.acked = True
            self.send(LCP + bytes((_ACK,)) + packet[3:])

    def taken(self, flow: Hashable) -> None:
        """See ``Stack``."""

    def forgotten(self) -> None:
        """See ``Stack``."""

    def node_up(self, facts: NodeFacts) -> None:
        """See ``Stack``."""

    def node_down(self, node: int, reason: str) -> None:
        """See ``Stack``."""


def raw(context: StepContext) -> RawPeer:
    """The peer that ``ppp_frames`` has set up. Raises BenchFault where no step did."""
    return context.note(RAW, RawPeer)


class PppFrames(Step):
    """Sets up a peer that sends single frames (`ppp_frame`). It acknowledges what the card asks for, so that LCP comes up as soon as the card agrees
    to a request without options; unless `opens` is false.

    Example:
        - ppp_frames: {}
    """

    verb: ClassVar[str] = "ppp_frames"

    opens: Annotated[Truth, Field(description="whether LCP is to come up first")] = True
    mirrors: Annotated[Truth, Field(description="send every frame back to the card, as a line that is looped back")] = (
        False
    )
    quiet_after: Annotated[Duration, Field(description="with `mirrors`: by when the card must have given up")] = Span(
        120 * 10**9
    )

    def run(self, context: StepContext) -> None:
        if context.rig.chain is None:
            raise NotApplicable("single frames are sent on software rigs so far")
        junction = context.rig.host.node.junction
        peer = RawPeer(junction, self.opens, self.mirrors)
        context.notes[RAW] = peer
        context.engine.call(lambda: junction.plug((Kind.PPP,), peer))
        if self.mirrors:
            self._mirror(context, peer)
        elif self.opens:
            answer = exchange(context, LCP + bytes.fromhex("01e00004"), lambda frame: frame[2:4] == b"\x02\xe0")
            if answer is None:
                context.fail("a Configure-Request without options was not acknowledged")
            wait(context, lambda: peer.acked, Span(30 * 10**9))
            wait(context, lambda: False, Span(10**9))
            if not peer.acked:
                context.fail("the card sends no Configure-Request of its own")

    def _mirror(self, context: StepContext, peer: RawPeer) -> None:
        wait(context, lambda: bool(peer.came), Span(10 * 10**9))
        if not peer.came:
            context.fail("the card sends no Configure-Request")
        wait(context, lambda: False, self.quiet_after)
        if any(each[:2] != LCP for each in peer.came):
            context.fail("the card opened a link with itself")
        before = len(peer.came)
        wait(context, lambda: False, Span(60 * 10**9))
        if len(peer.came) > before:
            context.fail(
                f"the card still negotiates with itself after {self.quiet_after}: {len(peer.came)} frames so far"
            )


class PppFrame(Step):
    """Sends one frame (protocol and information, in hexadecimal), and holds that the card answers as expected. In what is expected `..` is any byte,
    and a `*` at the end any number of them.

    Example:
        - ppp_frame: {send: "c021 0917 0008 00000000", expect: "c021 0a17 0008 ........"}
    """

    verb: ClassVar[str] = "ppp_frame"
    measures: ClassVar = {"answered_after": Measure("ms", "until the answer")}

    send: Annotated[Line, Field(description="the frame")]
    expect: Annotated[
        Line | None, Field(description="its answer; none: the card must stay silent, but for Configure-Requests")
    ] = None
    within: Annotated[Duration, Field(description="how long it may take")] = Span(5 * 10**9)

    def run(self, context: StepContext) -> None:
        try:
            frame = bytes.fromhex(self.send)
        except ValueError:
            raise BenchFault(f"{self.send!r} is no frame in hexadecimal") from None
        peer = raw(context)
        begun = context.engine.now
        if self.expect is None:
            before = len(peer.came)
            exchange(context, frame, lambda _frame: False, self.within)
            said = [each for each in peer.came[before:] if each[2:3] != bytes((_REQUEST,))]
            if said:  # beside Configure-Requests, which the card repeats by itself
                context.fail(
                    f"{_short(self.send)} was answered with {_short(said[0].hex())}: it must be discarded in silence"
                )
            return
        wanted = self.expect.replace(" ", "").lower()
        before = len(peer.came)
        if exchange(context, frame, lambda each: _fits(each, wanted), self.within) is None:
            answers = [each.hex() for each in peer.came[before:] if each[2:3] != bytes((_REQUEST,))]
            heard = _short(", ".join(answers) or "nothing")
            context.fail(f"{_short(self.send)} was answered with {heard}, expected {_short(self.expect)}")
        context.measured("answered_after", milliseconds(context, context.engine.now - begun))


def exchange(
    context: StepContext, frame: bytes, wanted: Callable[[bytes], bool], within: Span = ANSWER
) -> bytes | None:
    """Send a frame, and wait for one that is wanted; None where none came."""
    peer = raw(context)
    seen = len(peer.came)
    context.engine.call(lambda: peer.send(frame))
    wait(context, lambda: any(wanted(each) for each in peer.came[seen:]), within)
    return next((each for each in peer.came[seen:] if wanted(each)), None)


def _short(text: str) -> str:
    """For people."""
    return text if len(text) <= 80 else f"{text[:77]}..."


def _fits(frame: bytes, wanted: str) -> bool:
    have = frame.hex()
    if wanted.endswith("*"):
        wanted = wanted[:-1]
        have = have[: len(wanted)]
    return len(have) == len(wanted) and all(w in (".", h) for h, w in zip(have, wanted, strict=True))
