"""Hosts that are wrong on purpose, on the network of sound cards: each is caught by the scenario of the requirement that it breaks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from bench.host.ip_pool import AddressPool
from bench.host.memory import HostMemory
from bench.host.names import NameZone, Record
from bench.host.packet_uplink import PacketUplink
from bench.host.router import NOWHERE, Router
from bench.host.uplink_line import UplinkLine
from bench.net.chain_control import AddressPacket, NamePacket
from bench.net.errors_out import ErrorBucket
from bench.observe import Verdict

from .test_network_defects import points, run

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class WrongHost:
    """What it does, and what must catch it."""

    requirement: str
    patch: Patch


def _same_address(patch: pytest.MonkeyPatch) -> None:
    def take(pool: AddressPool, identity: bytes, refused: Iterable[bytes] = ()) -> bytes:
        del identity, refused
        return pool.first

    patch.setattr(AddressPool, "take", take)


def _silent_refusals(patch: pytest.MonkeyPatch) -> None:
    def refuse(router: Router, refused: AddressPacket | NamePacket) -> None:
        router.refused.append(refused)

    patch.setattr(Router, "_refuse", refuse)


def _forgetful(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Router, "memory", lambda _router: HostMemory())


def _names_for_all(patch: pytest.MonkeyPatch) -> None:
    def claim(zone: NameZone, label: str, identity: bytes, host: object, addresses: tuple[bytes, ...]) -> bool:
        zone.records[label] = Record(identity, host, addresses)
        return True

    patch.setattr(NameZone, "claim", claim)


def _long_lived(patch: pytest.MonkeyPatch) -> None:
    plain = NameZone.__init__

    def init(zone: NameZone) -> None:
        plain(zone)
        zone.ttl = 3600

    patch.setattr(NameZone, "__init__", init)


def _names_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NameZone, "leave", lambda _zone, _label, _host: None)


def _names_of_the_first_host(patch: pytest.MonkeyPatch) -> None:
    plain = NameZone.claim

    def claim(zone: NameZone, label: str, identity: bytes, host: object, addresses: tuple[bytes, ...]) -> bool:
        known = zone.records.get(label)
        if known is not None and known.host is not None and known.host is not host:
            return True
        return plain(zone, label, identity, host, addresses)

    patch.setattr(NameZone, "claim", claim)


def _no_resets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Router, "_to_gone", lambda _router, _packet: False)


def _own_prefix_goes_out(patch: pytest.MonkeyPatch) -> None:
    plain = Router.connect

    def connect(router: Router, uplink: PacketUplink) -> None:
        plain(router, uplink)
        router.node.routes.withdraw(NOWHERE)

    patch.setattr(Router, "connect", connect)


def _any_source(patch: pytest.MonkeyPatch) -> None:
    plain = Router.connect

    def connect(router: Router, uplink: PacketUplink) -> None:
        plain(router, uplink)
        for each in router.node.interfaces.values():
            each.checks_sources = False

    patch.setattr(Router, "connect", connect)


def _routes_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Router, "node_down", lambda _router, _node, _reason: None)


def _tells_nothing(patch: pytest.MonkeyPatch) -> None:
    plain = Router.connect

    def connect(router: Router, uplink: PacketUplink) -> None:
        plain(router, uplink)
        router.node.errors = ErrorBucket(0, 0, 0)

    patch.setattr(Router, "connect", connect)


def _no_latency(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UplinkLine, "delay", lambda _line: 0)


def _keeps_the_prefix_to_itself(patch: pytest.MonkeyPatch) -> None:
    plain = Router._tell

    def tell(router: Router, packet: bytes) -> None:
        if len(router.cards) < 2:  # cards that are there already are told nothing new
            plain(router, packet)

    patch.setattr(Router, "_tell", tell)


WRONG = {
    "gives-an-address-twice": WrongHost("IP-ADDR-4", _same_address),
    "gives-an-address-twice-after-a-restart": WrongHost("IP-ADDR-9", _same_address),
    "tells-nobody-of-an-empty-pool": WrongHost("IP-ADDR-11", _silent_refusals),
    "forgets-its-leases": WrongHost("IP-ADDR-8", _forgetful),
    "tells-no-new-prefix": WrongHost("IP-ADDR-12", _keeps_the_prefix_to_itself),
    "answers-for-an-hour": WrongHost("IP-NAME-1", _long_lived),
    "knows-names-of-cards-that-left": WrongHost("IP-NAME-1", _names_stay),
    "grants-a-name-twice": WrongHost("IP-NAME-2", _names_for_all),
    "does-not-follow-a-card": WrongHost("IP-NAME-3", _names_of_the_first_host),
    "resets-nothing": WrongHost("IP-TCP-4", _no_resets),
    "resets-nothing-of-a-card-that-moved": WrongHost("IP-TCP-7", _no_resets),
    "tells-nothing": WrongHost("IP-ROUTE-3", _tells_nothing),
    "keeps-routes": WrongHost("IP-ROUTE-2", _routes_stay),
    "sends-its-own-prefix-out": WrongHost("IP-ROUTE-9", _own_prefix_goes_out),
    "takes-any-source": WrongHost("IP-ROUTE-10", _any_source),
    "has-no-latency": WrongHost("IP-ROUTE-8", _no_latency),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = WRONG[name]
    wrong.patch(monkeypatch)
    for point in points(wrong.requirement):
        outcome = run(point)
        assert outcome.verdict.verdict in (Verdict.PASS, Verdict.FAIL), outcome.text() + outcome.trace
        if outcome.verdict.verdict is Verdict.FAIL:
            monkeypatch.undo()
            sound = run(point)
            assert sound.verdict.verdict is Verdict.PASS, sound.text()
            return
    pytest.fail(f"a host that {name} passes every point of the scenario for {wrong.requirement}")
