"""Where the links, the chain and the stacks of one node meet: each packet goes to the stack of its kind, each change to all of them.

A stack is a plug: it takes packets of its kinds from either link, sends with ``link(port).submit``, and offers the four calls upward.
"""

from collections.abc import Callable, Hashable, Iterable
from enum import Enum
from typing import Protocol

from bench.hop.chain import ChainMember
from bench.hop.control import NodeFacts
from bench.hop.link import Link
from bench.hop.segment import Kind
from bench.hop.terminal_link import TerminalLink


class Port(Enum):
    """The ways out of a node."""

    LOCAL = "local"
    INWARD = "IO#1"
    OUTWARD = "IO#2"


class Stack(Protocol):
    """What plugs in."""

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """A packet of one of its kinds came whole."""

    def taken(self, flow: Hashable) -> None:
        """A link has taken a packet of this flow: there is room again. Flows of other stacks are told, too."""

    def forgotten(self) -> None:
        """The node's number or MTU changed, or it has none any more."""

    def node_up(self, facts: NodeFacts) -> None:
        """A node further out was reported."""

    def node_down(self, node: int, reason: str) -> None:
        """That node, and every one beyond it, went."""


class Junction:
    """One node's."""

    def __init__(self, chain: ChainMember) -> None:
        self.chain = chain
        self.stacks: list[Stack] = []
        self.unknown = 0
        """Packets of a kind that no stack here carries."""
        self.may_overtake: Callable[[Kind, bytes], bool] = _any
        """What its links' queues ask of a short packet; to be set before they are attached."""
        self.weigh: Callable[[Kind, bytes], int] = _one
        """How many shares of a line the flow of a packet has; to be set before they are attached."""
        self._by_kind: dict[Kind, Stack] = {}
        chain.on_forget = self._forgotten
        chain.on_node_up = self._node_up
        chain.on_node_down = self._node_down

    def plug(self, kinds: Iterable[Kind], stack: Stack) -> None:
        """Give a stack the packets of its kinds. Raises ValueError where another one has them."""
        for kind in kinds:
            if kind is Kind.CONTROL or kind in self._by_kind:
                raise ValueError(f"packets of kind {kind.name} have a taker already")
            self._by_kind[kind] = stack
        self.stacks.append(stack)

    def attach_inward(self, link: Link) -> None:
        """IO#1: towards the host."""
        self.chain.inward = link
        self._attach(link, Port.INWARD)

    def attach_outward(self, link: TerminalLink) -> None:
        """IO#2: towards the next card."""
        self.chain.connect_outward(link)
        self._attach(link, Port.OUTWARD)

    def link(self, port: Port) -> Link | None:
        """The link of a port, None where there is none."""
        return self.chain.inward if port is Port.INWARD else self.chain.outward

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """A packet came whole over one of the links."""
        stack = self._by_kind.get(kind)
        if stack is not None:
            stack.receive(kind, packet, came_by)
        elif kind is Kind.CONTROL:
            self.chain.receive(packet, from_inward=came_by is Port.INWARD)
        else:
            self.unknown += 1

    def _attach(self, link: Link, port: Port) -> None:
        link.queue.on_taken = self._taken
        link.queue.may_overtake = self.may_overtake
        link.queue.weigh = self.weigh
        link.on_packet = lambda kind, packet: self.receive(kind, packet, port)

    def _taken(self, flow: Hashable) -> None:
        for stack in self.stacks:
            stack.taken(flow)

    def _forgotten(self) -> None:
        for stack in self.stacks:
            stack.forgotten()

    def _node_up(self, facts: NodeFacts) -> None:
        for stack in self.stacks:
            stack.node_up(facts)

    def _node_down(self, node: int, reason: str) -> None:
        for stack in self.stacks:
            stack.node_down(node, reason)


def _any(_kind: Kind, _packet: bytes) -> bool:
    return True


def _one(_kind: Kind, _packet: bytes) -> int:
    return 1
