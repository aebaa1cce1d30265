"""A chain of cards with the IP stack, its host as a router, and a computer outside: what tests of the IP stack stand on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.card.applications import DATAGRAMS, STANDARD
from bench.card.card import Card
from bench.card.ip_profile import IpProfile
from bench.card.ip_stack import CardIp
from bench.card.profile import Application, CardProfile
from bench.host.ip_peers import IpPeer, Outside
from bench.host.names import NameZone
from bench.host.router import Router, RouterSettings
from bench.host.uplink_line import LineSettings, UplinkLine
from bench.net.chain_control import address_of
from bench.net.connection import Connection, Reason
from bench.net.icmp import Icmp
from bench.net.node import ErrorReport, Node
from bench.net.protocols import Proto, address
from tests.support import FAST, Chain

SIZES = {4: 4, 6: 16}


def ip_profile(
    *applications: tuple[str, Application], mtu: int = 1280, ip: IpProfile | None = None, channel: bool = False
) -> CardProfile:
    """A card with the IP stack; without applications the standard ones and those over UDP."""
    return CardProfile(
        identity=b"TEST",
        ta1=FAST,
        mtu=mtu,
        applications=applications or STANDARD,
        ip_applications=() if applications else DATAGRAMS,
        channel_stack=channel,
        ip=ip if ip is not None else IpProfile(),
    )


class User:
    """A program outside with one TCP connection."""

    def __init__(self, net: "IpChain") -> None:
        self.net = net
        self.got = bytearray()
        self.todo = bytearray()
        self.open = False
        self.ended = False
        self.reason: Reason | None = None
        self.connection: Connection | None = None

    def write(self, data: bytes) -> None:
        self.todo += data
        self._pump()

    def finish(self) -> None:
        assert self.connection is not None
        self.net.peer.tcp.close(self.connection, self.net.engine.now)

    def opened(self, connection: Connection) -> None:
        self.connection = connection
        self.open = True
        self._pump()

    def received(self, connection: Connection) -> None:
        self.got += self.net.peer.tcp.read(connection, 1 << 20, self.net.engine.now)
        self.ended = connection.peer_ended

    def room(self, _connection: Connection) -> None:
        self._pump()

    def closed(self, _connection: Connection, reason: Reason) -> None:
        self.reason = reason

    def _pump(self) -> None:
        if self.open and self.connection is not None and self.reason is None:
            taken = self.net.peer.tcp.send(self.connection, bytes(self.todo), self.net.engine.now)
            del self.todo[:taken]


class IpChain(Chain):
    """Nothing is powered before ``start``."""

    def __init__(
        self,
        *profiles: CardProfile,
        settings: RouterSettings | None = None,
        zone: NameZone | None = None,
        line: LineSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*profiles, **{"mtu": 576, **options})
        self.router: Router = self.host.route(settings, zone)
        self.line = UplinkLine(self.engine, line or LineSettings(), 1, self.sink)
        self.outside = Outside(self.engine, self.line)
        self.peer: IpPeer = self.outside.peer
        self.router.connect(self.line)

    def ip(self, number: int) -> CardIp:
        found = self.cards[number - 1].ip
        assert found is not None
        return found

    def start_all(self, cards: int | None = None, addresses: int = 2) -> "IpChain":
        """Power, and wait until every card has its addresses and the host the routes to them."""
        self.host.start()
        self.wait_addresses(cards, addresses)
        return self

    def wait_addresses(self, cards: int | None = None, addresses: int = 2) -> None:
        mine = self.cards[:cards]

        def has_all(card: Card) -> bool:
            ip = card.ip
            if ip is None or len(ip.addresses) != addresses:
                return False
            return all(self.router.route_to(each) is not None for each in ip.addresses)

        self.wait(lambda: all(has_all(card) for card in mine), 120)

    def address(self, node: int, version: int = 4) -> bytes:
        """By chain numbering."""
        return address_of(self.router.prefixes[SIZES[version]], node)

    def connect(self, destination: bytes, port: int, *, opens: bool = True) -> User:
        user = User(self)
        user.connection = self.peer.tcp.connect(destination, port, user, self.engine.now)
        self.wait(lambda: user.open or user.reason is not None, 400)
        assert user.open is opens, user.reason
        return user

    def echo_over(self, user: User, data: bytes) -> None:
        """Have bytes echoed by whoever is at the other end."""
        before = len(user.got)
        user.write(data)
        self.wait(lambda: len(user.got) - before >= len(data) or user.reason is not None)
        assert bytes(user.got[before:]) == data

    def ping(self, node: Node, destination: bytes, size: int = 56, hop_limit: int = 64) -> str:
        """``reply``, or what the ICMP error says, or ``silence``."""
        answers: list[str] = []
        payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))

        def replied(_source: bytes, message: Icmp, _now: int) -> None:
            answers.append("reply" if message.payload == payload else "damaged")

        def told(report: ErrorReport, now: int) -> None:
            if report.too_big:
                node.ping(destination, 7, 2, payload, now, hop_limit=hop_limit)
            else:
                answers.append(report.reason)

        node.on_echo_reply = replied
        node.error_handlers[Proto.ICMP] = node.error_handlers[Proto.ICMPV6] = told
        node.ping(destination, 7, 1, payload, self.engine.now, hop_limit=hop_limit)
        self.engine.wait(lambda: bool(answers), self.ticks(5))
        return answers[0] if answers else "silence"

    def let(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        self.engine.wait(until, self.ticks(seconds))

    def remove(self, number: int) -> None:
        self.readers[number - 1].remove()

    def insert(self, number: int) -> None:
        self.readers[number - 1].insert(self.cards[number - 1].contacts)


def cards(count: int, *applications: tuple[str, Application], **options: Any) -> list[CardProfile]:
    """So many cards, named card-1 and so on."""
    return [
        replace(ip_profile(*applications), ip=IpProfile(name=f"card-{number}", **options))
        for number in range(1, count + 1)
    ]


__all__ = ["IpChain", "User", "address", "cards", "ip_profile"]
