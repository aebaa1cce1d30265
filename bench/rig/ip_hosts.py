"""Hosts of a software rig that come and go: one that starts anew, with or without its memory, and another one that a card is moved to.

Everything here is to be called as an event of the engine. Units: times are ticks of the engine's timebase.
"""

from dataclasses import dataclass
from typing import Final

from bench.host.memory import HostMemory
from bench.host.names import NameZone
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.host.router import Router, RouterSettings
from bench.host.uplink_line import LineSettings, UplinkLine
from bench.net.protocols import address
from bench.net.routes import Prefix
from bench.rig.build import Rig
from bench.rig.errors import RigNotAble
from bench.rig.ip_network import IpNetwork, line_settings, of_versions, router_settings
from bench.rig.software import wishes_of
from bench.rig.software_hands import SoftwareHands

OTHER_PREFIXES: Final = (Prefix.parse("10.90.0.0/24"), Prefix.parse("fd90::/64"))
OTHER_UPLINK: Final = (address("192.0.2.253"), address("2001:db8::fd"))


@dataclass(frozen=True, slots=True)
class OtherHost:
    """A second host on the same network, with a chain, prefixes and an uplink of its own, and the zone of names in common."""

    host: Host
    router: Router
    line: UplinkLine


def restart_host(rig: Rig, memory: HostMemory, seed: int) -> None:
    """The host powers its cards down and is another program from now on, which knows ``memory`` and nothing else. It is not started yet.

    Raises RigNotAble where the cards are not the bench's own.
    """
    old, net = rig.host, rig.network
    if rig.chain is None:
        raise RigNotAble("the host of a real rig is not started anew: its reader may not let go of the cards")
    old.stop()
    uplink = InProcessUplink()
    host = Host(rig.engine, old.link.port, uplink, HostSettings(rig.given.mtu, old.link.poll), rig.tap)
    rig.host, rig.uplink = host, uplink
    if net is None:
        return
    zone = NameZone(remembered=memory.names)
    router = host.route(router_settings(rig.given, memory, net.versions), zone)
    line = UplinkLine(rig.engine, line_settings(rig.given, rig.engine), seed, rig.tap)
    router.connect(line)
    net.outside.reconnect(line)
    rig.network = IpNetwork(router, line, net.outside, zone, net.versions)


def other_host(rig: Rig, seed: int) -> OtherHost:
    """The host behind the other reader of a software rig: it is started, and looks for a card. Raises RigNotAble where there is no such reader."""
    net, hands = rig.network, rig.hands
    if net is None or not isinstance(hands, SoftwareHands):
        raise RigNotAble("only a software rig with the IP stack has a second host")
    reader = hands.other
    reader.wishes = wishes_of(rig.given)
    if rig.chain is not None:
        reader.lot = rig.chain.places[0].reader.lot  # idle polls cost nothing there, too
    settings = HostSettings(rig.given.mtu, rig.host.link.poll)
    host = Host(rig.engine, reader, InProcessUplink(), settings, rig.tap)
    prefixes = of_versions(net.versions, *OTHER_PREFIXES)
    router = host.route(RouterSettings(prefixes=prefixes, uplink=OTHER_UPLINK), net.zone)
    line = UplinkLine(rig.engine, LineSettings(mtu=net.line.mtu), seed, rig.tap)
    router.connect(line)
    net.outside.join(line, *OTHER_PREFIXES, *(Prefix.of(each, len(each) * 8) for each in OTHER_UPLINK))
    host.start()
    return OtherHost(host, router, line)
