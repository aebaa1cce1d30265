"""A member of a chain: takes a number, greets outward, passes on who came and went (docs/protocol.md, section 2). Shared by host and card.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable

from bench.hop.control import (
    LAST_NODE,
    VERSION,
    ControlError,
    DownReason,
    Hello,
    HelloAnswer,
    NodeDown,
    NodeFacts,
    NodeUp,
    decode_control,
)
from bench.hop.link import Link
from bench.hop.queue import URGENT
from bench.hop.segment import Kind
from bench.hop.terminal_link import TerminalLink

REASONS = {"mute": DownReason.MUTE, "absent": DownReason.ABSENT, "bad protocol": DownReason.BAD_PROTOCOL}


class ChainMember:
    """One node's view of its chain. The host is given number 0; a card gets its number with the greeting."""

    def __init__(
        self,
        mtu: int,
        poll_ms: int,
        *,
        number: int | None = None,
        channels: int = 0,
        ports: int = 1,
        identity: bytes = b"",
    ) -> None:
        self.own_mtu = mtu
        self.mtu = mtu
        """What holds here: never more than inward."""
        self.poll_ms = poll_ms
        self.number = number
        self.channels = channels
        self.ports = ports
        self.identity = identity
        self.inward: Link | None = None
        self.outward: TerminalLink | None = None
        self.beyond: dict[int, NodeFacts] = {}
        """Nodes further out, as far as they were reported."""
        self.malformed = 0
        self.on_number: Callable[[int, int], None] = _no_number
        """This node was numbered: number, longest poll period in ms."""
        self.on_forget: Callable[[], None] = _nothing
        """The number or the MTU changed: channels are void."""
        self.on_node_up: Callable[[NodeFacts], None] = _no_facts
        self.on_node_down: Callable[[int, str], None] = _no_node
        self.others: dict[int, Callable[[bytes, bool], None]] = {}
        """Control packets of stacks, by type: packet, whether it came from inward."""

    def connect_outward(self, link: TerminalLink) -> None:
        """Greet whoever appears on ``link``."""
        self.outward = link
        link.greet = self._hello
        link.on_change = self._outward_changed

    def receive(self, packet: bytes, *, from_inward: bool) -> None:
        """A control packet came. What makes no sense from that side is counted and dropped."""
        if packet and packet[0] in self.others:
            self.others[packet[0]](packet, from_inward)
            return
        try:
            control = decode_control(packet)
        except ControlError:
            self.malformed += 1
            return
        if isinstance(control, Hello) and from_inward:
            self._greeted(control)
        elif isinstance(control, HelloAnswer) and not from_inward:
            self._answered(control)
        elif isinstance(control, NodeUp) and not from_inward:
            self._came(control.facts)
        elif isinstance(control, NodeDown) and not from_inward:
            self._went(control.node, control.reason)
        else:
            self.malformed += 1

    def lost_inward(self) -> None:
        """The terminal side is gone: so is the number, and whoever was numbered from it."""
        self.number = None
        self.beyond.clear()
        self.on_forget()

    def _hello(self) -> bytes:
        if self.number is None:
            raise RuntimeError("a node greets outward only once it is numbered: two cards would share a number")
        return Hello(VERSION, self.number, self.mtu, self.poll_ms).encode()

    def _greeted(self, hello: Hello) -> None:
        if hello.node >= LAST_NODE or hello.version < 1 or self.inward is None:
            self.malformed += 1
            return
        number, mtu = hello.node + 1, min(hello.mtu, self.own_mtu)
        changed = (number, mtu) != (self.number, self.mtu)
        was_numbered = self.number is not None
        self.number, self.mtu = number, mtu
        if changed and was_numbered:
            self.on_forget()
        facts = NodeFacts(number, mtu, self.channels, self.ports, self.identity)
        self.inward.submit(Kind.CONTROL, HelloAnswer(min(VERSION, hello.version), facts).encode(), URGENT)
        self.on_number(number, hello.poll_ms)
        if self.outward is not None and self.outward.powered:
            self.outward.submit(Kind.CONTROL, self._hello(), URGENT)

    def _answered(self, answer: HelloAnswer) -> None:
        facts = answer.facts
        if (
            self.outward is None
            or self.number is None
            or answer.version != VERSION
            or facts.node != self.number + 1
            or facts.mtu > self.mtu
        ):
            self.malformed += 1
            return
        self.outward.greeted(facts.mtu)
        self._came(facts)

    def _came(self, facts: NodeFacts) -> None:
        if self.number is None or facts.node <= self.number:
            self.malformed += 1
            return
        self.beyond[facts.node] = facts
        self.on_node_up(facts)
        self._report(NodeUp(facts).encode())

    def _went(self, node: int, reason: DownReason) -> None:
        if self.number is None or node <= self.number:
            self.malformed += 1
            return
        for gone in [number for number in self.beyond if number >= node]:
            del self.beyond[gone]
        self.on_node_down(node, reason.name.lower().replace("_", " "))
        self._report(NodeDown(node, reason).encode())

    def _outward_changed(self, up: bool, reason: str) -> None:
        if not up and self.number is not None:
            self._went(self.number + 1, REASONS.get(reason, DownReason.UNKNOWN))

    def _report(self, packet: bytes) -> None:
        if self.inward is not None:
            self.inward.submit(Kind.CONTROL, packet, URGENT)


def _no_number(_number: int, _poll_ms: int) -> None:
    pass


def _nothing() -> None:
    pass


def _no_facts(_facts: NodeFacts) -> None:
    pass


def _no_node(_node: int, _reason: str) -> None:
    pass
