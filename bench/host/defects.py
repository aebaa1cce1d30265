"""Hosts that are wrong on purpose: gateway, directory, router, names. Each is caught by the scenario of the requirement that it breaks."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from weakref import WeakKeyDictionary

from bench.channels.channel import Channel
from bench.channels.message import HEADER_LENGTH
from bench.flaws import Flaw, Method, flaw
from bench.host.gateway import Gateway, Service
from bench.host.ip_pool import AddressPool
from bench.host.memory import HostMemory
from bench.host.names import NameZone, Record
from bench.host.packet_uplink import PacketUplink
from bench.host.peers import InProcessUplink
from bench.host.router import NOWHERE, Router
from bench.host.uplink_line import UplinkLine
from bench.net.chain_control import AddressPacket, NamePacket
from bench.net.errors_out import ErrorBucket

HOUR_S: Final = 3600
BORROWED: Final = 8
"""Messages that go beyond the credit."""


# -- channels ----------------------------------------------------------------------------------------------------------


def _stale(plain: Method) -> Method:
    """What was listed once stays on the list."""
    listed: WeakKeyDictionary[Gateway, dict[tuple[int, int, bool], Service]] = WeakKeyDictionary()

    def services(gateway: Gateway) -> list[Service]:
        now = plain(gateway)
        assert isinstance(now, list)
        seen = listed.setdefault(gateway, {})
        seen.update({(each.card, each.port, each.udp): each for each in now})
        return list(seen.values())

    return services


def _other_card(plain: Method) -> Method:
    def services(gateway: Gateway) -> list[Service]:
        now = plain(gateway)
        assert isinstance(now, list)
        return [replace(each, card=each.card + 1) for each in now]

    return services


def _one_port(plain: Method) -> Method:
    """Every service whose port the host may choose is said to have the same."""

    def accept(channel: Channel, owner: object, port: int, mtu: int, window: int) -> object:
        chosen = channel.transport.is_server and not channel.port
        return plain(channel, owner, 49_152 if chosen else port, mtu, window)

    return accept


def _patient(_plain: Method) -> Method:
    def watch(gateway: Gateway, pipe: object, channel: Channel) -> None:
        """An OPEN is waited for without end."""
        del gateway, pipe, channel

    return watch


def _cut(plain: Method) -> Method:
    """A datagram loses its last byte where it fills a message."""

    def send(channel: Channel, data: bytes) -> object:
        return plain(channel, data[:-1] if channel.transport.is_udp and len(data) > HEADER_LENGTH else data)

    return send


def _any_address(plain: Method) -> Method:
    def connect(uplink: InProcessUplink, address: object, port: int, udp: bool, *more: object) -> object:
        return plain(uplink, address, port + 1, udp, *more)

    return connect


# -- IP ----------------------------------------------------------------------------------------------------------------


def _first_address(_plain: Method) -> Method:
    def take(pool: AddressPool, identity: bytes, refused: Iterable[bytes] = ()) -> bytes:
        del identity, refused
        return pool.first

    return take


def _silent_refusals(_plain: Method) -> Method:
    def refuse(router: Router, refused: AddressPacket | NamePacket) -> None:
        router.refused.append(refused)

    return refuse


def _forgetful(_plain: Method) -> Method:
    return lambda _router: HostMemory()


def _names_for_all(_plain: Method) -> Method:
    def claim(zone: NameZone, label: str, identity: bytes, host: object, addresses: tuple[bytes, ...]) -> bool:
        zone.records[label] = Record(identity, host, addresses)
        return True

    return claim


def _long_lived(plain: Method) -> Method:
    def init(zone: NameZone) -> None:
        plain(zone)
        zone.ttl = HOUR_S

    return init


def _nothing(_plain: Method) -> Method:
    return lambda *_arguments: None


def _no(_plain: Method) -> Method:
    return lambda *_arguments: False


def _first_host(plain: Method) -> Method:
    """A name stays with the host that it was claimed from first."""

    def claim(zone: NameZone, label: str, identity: bytes, host: object, addresses: tuple[bytes, ...]) -> object:
        known = zone.records.get(label)
        if known is not None and known.host is not None and known.host is not host:
            return True
        return plain(zone, label, identity, host, addresses)

    return claim


def _own_prefix_out(plain: Method) -> Method:
    def connect(router: Router, uplink: PacketUplink) -> None:
        plain(router, uplink)
        router.node.routes.withdraw(NOWHERE)

    return connect


def _any_source(plain: Method) -> Method:
    def connect(router: Router, uplink: PacketUplink) -> None:
        plain(router, uplink)
        for each in router.node.interfaces.values():
            each.checks_sources = False

    return connect


def _tells_nothing(plain: Method) -> Method:
    def connect(router: Router, uplink: PacketUplink) -> None:
        plain(router, uplink)
        router.node.errors = ErrorBucket(0, 0, 0)

    return connect


def _no_latency(_plain: Method) -> Method:
    return lambda _line: 0


def _prefix_kept(plain: Method) -> Method:
    """Cards that are there already are told of no new prefix."""

    def tell(router: Router, packet: bytes) -> None:
        if len(router.cards) < 2:
            plain(router, packet)

    return tell


_LISTED: Final = (
    flaw("directory-stale", "lists services that have gone", "DIR-2", Gateway, "services", _stale),
    flaw(
        "directory-of-another-card",
        "lists services under the next card's number",
        "DIR-1",
        Gateway,
        "services",
        _other_card,
    ),
    flaw("port-reused", "tells every service the same port", "GATE-2", Channel, "accept", _one_port),
    flaw(
        "open-awaited-for-ever",
        "never gives up an OPEN that is not answered",
        "GATE-4",
        Gateway,
        "_watch_open",
        _patient,
    ),
    flaw("datagrams-cut", "loses the last byte of datagrams", "GATE-5", Channel, "send", _cut),
    flaw(
        "another-port-called",
        "connects to the port beside the one that a card names",
        "GATE-1",
        InProcessUplink,
        "connect",
        _any_address,
    ),
    flaw("address-given-twice", "gives every card the same address", "IP-ADDR-4", AddressPool, "take", _first_address),
    flaw(
        "address-given-twice-after-a-restart",
        "gives every card the same address after it was started anew",
        "IP-ADDR-9",
        AddressPool,
        "take",
        _first_address,
    ),
    flaw("empty-pool-untold", "tells nobody that its pool is empty", "IP-ADDR-11", Router, "_refuse", _silent_refusals),
    flaw("leases-forgotten", "forgets which card had which address", "IP-ADDR-8", Router, "memory", _forgetful),
    flaw(
        "new-prefix-untold", "tells cards that are there of no new prefix", "IP-ADDR-12", Router, "_tell", _prefix_kept
    ),
    flaw(
        "names-for-an-hour", "answers questions for names for an hour", "IP-NAME-1", NameZone, "__init__", _long_lived
    ),
    flaw("names-stay", "knows names of cards that have gone", "IP-NAME-1", NameZone, "leave", _nothing),
    flaw("name-granted-twice", "grants a name twice", "IP-NAME-2", NameZone, "claim", _names_for_all),
    flaw(
        "moved-card-lost",
        "keeps a name with the host that it was claimed from first",
        "IP-NAME-3",
        NameZone,
        "claim",
        _first_host,
    ),
    flaw("resets-nothing", "does not reset connections to a card that has gone", "IP-TCP-4", Router, "_to_gone", _no),
    flaw(
        "resets-nothing-of-the-moved",
        "does not reset connections to a card that moved",
        "IP-TCP-7",
        Router,
        "_to_gone",
        _no,
    ),
    flaw("tells-nothing", "tells nobody what it cannot reach", "IP-ROUTE-3", Router, "connect", _tells_nothing),
    flaw("routes-stay", "keeps routes over a hop that died", "IP-ROUTE-2", Router, "node_down", _nothing),
    flaw(
        "own-prefix-sent-out", "sends what is for its own prefix out", "IP-ROUTE-9", Router, "connect", _own_prefix_out
    ),
    flaw("any-source-taken", "takes packets from any source", "IP-ROUTE-10", Router, "connect", _any_source),
    flaw(
        "no-latency", "has an uplink without the latency it was given", "IP-ROUTE-8", UplinkLine, "delay", _no_latency
    ),
)
FLAWS: Final[Mapping[str, Flaw]] = MappingProxyType({each.name: each for each in _LISTED})
"""Every wrong host by its name."""
