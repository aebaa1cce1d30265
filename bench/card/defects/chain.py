"""Cards that are wrong as members of a chain: numbers, reports, and what they pass on (docs/protocol.md, sections 2 and 3)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench.card.card import Card
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.channels.message import TYPE_BITS, MessageType
from bench.channels.node import Emission
from bench.channels.route_table import Port, Route, RouteTable
from bench.hop.chain import ChainMember
from bench.hop.control import ControlType, Hello, HelloAnswer


class _SkipsANumber(ChainMember):
    def _greeted(self, hello: Hello) -> None:
        super()._greeted(replace(hello, node=hello.node + 1))


class _NumberTwice(ChainMember):
    """Greets as the node before it did: the card behind takes the same number."""

    def _hello(self) -> bytes:
        hello = super()._hello()
        return hello[:2] + bytes((hello[2] - 1,)) + hello[3:]

    def _answered(self, answer: HelloAnswer) -> None:
        super()._answered(replace(answer, facts=replace(answer.facts, node=answer.facts.node + 1)))


class _AnswersOnce(ChainMember):
    def _greeted(self, hello: Hello) -> None:
        if self.number is None:
            super()._greeted(hello)


def _not_reporting(kind: ControlType) -> type[ChainMember]:
    class NotReporting(ChainMember):
        def _report(self, packet: bytes) -> None:
            if packet[0] != kind:
                super()._report(packet)

    return NotReporting


class _FirstComersOnly(ChainMember):
    """Whoever comes back is not reported again."""

    told: frozenset[bytes] = frozenset()

    def _report(self, packet: bytes) -> None:
        if packet not in self.told:
            super()._report(packet)
        if packet[0] == ControlType.NODE_UP:
            self.told |= {packet}


class _KeepsToItself(Emission):
    """What is for others ends here."""

    def forward(self, packet: bytes, came_by: Port | None, force: bool = True) -> bool:
        return True if came_by is not None else super().forward(packet, came_by, force)


class _Garbles(Emission):
    def forward(self, packet: bytes, came_by: Port | None, force: bool = True) -> bool:
        if came_by is Port.OUTWARD and packet[0] & TYPE_BITS == MessageType.DATA:
            packet = packet[:-1] + bytes((packet[-1] ^ 1,))
        return super().forward(packet, came_by, force)


class _Silent(Emission):
    def _tell_source(self, packet: bytes) -> None:
        """Nobody is told."""


class _NoLoopBack(RouteTable):
    def resolve(self, destination: int) -> Route:
        return Route(Port.LOCAL, None) if destination == self.chain.number else super().resolve(destination)


def _member(kind: type[ChainMember]) -> Callable[[Card], None]:
    return lambda card: become(card.chain, kind)


def _emission(kind: type[Emission]) -> Callable[[Card], None]:
    return lambda card: become(card.node.emission, kind)


def _defect(name: str, text: str, requirement: str, card: Callable[[Card], None]) -> Defect:
    return Defect(name, text, requirement, card=card, parks=True)


DEFECTS: Final = (
    _defect("number-skipped", "takes the number after the next", "CHAIN-NUM-1", _member(_SkipsANumber)),
    _defect("number-twice", "gives the card behind it its own number", "CHAIN-NUM-1", _member(_NumberTwice)),
    _defect(
        "arrivals-unreported",
        "does not report the cards behind it",
        "CHAIN-NUM-2",
        _member(_not_reporting(ControlType.NODE_UP)),
    ),
    _defect("greeted-once", "answers the first greeting alone", "CHAIN-NUM-3", _member(_AnswersOnce)),
    _defect(
        "departures-unreported",
        "does not report that a card went",
        "CHAIN-DOWN-1",
        _member(_not_reporting(ControlType.NODE_DOWN)),
    ),
    _defect("return-unreported", "does not report a card that came back", "CHAIN-UP-1", _member(_FirstComersOnly)),
    _defect("keeps-what-passes", "keeps what is for other cards", "CHAIN-ROUTE-1", _emission(_KeepsToItself)),
    _defect("unreachable-untold", "tells nobody what cannot go on", "CHAIN-ROUTE-2", _emission(_Silent)),
    _defect(
        "garbles-what-passes",
        "alters a bit of what it passes on towards the host",
        "CHAIN-ROUTE-1",
        _emission(_Garbles),
    ),
    _defect("no-loop-back", "does not reach itself", "CH-LOOP-1", lambda card: become(card.node.routes, _NoLoopBack)),
)
"""Every card that is wrong in a chain."""
