"""The IP side of a software rig: the cards' addresses and names, the host's router, and the network beyond its uplink.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from bench.card.ip_profile import Addressing, IpProfile, PppProfile
from bench.engine import Engine
from bench.hop.link import PollPlan
from bench.host.ip_peers import IpPeer, Outside
from bench.host.ip_pool import AddressPool
from bench.host.memory import HostMemory
from bench.host.names import NameZone
from bench.host.platform import Host
from bench.host.router import PREFIX4, PREFIX6, Router, RouterSettings
from bench.host.uplink_line import LineSettings, UplinkLine
from bench.iso7816.line import etu_ticks
from bench.iso7816.rates import Rate
from bench.net.chain_control import is_label
from bench.net.path_time import delayed_ack, rto_floor, window_ticks
from bench.net.plug import WINDOW_USUAL, IpSettings
from bench.net.protocols import address
from bench.net.routes import Prefix
from bench.observe import Sink
from bench.rig.errors import RigNotAble
from bench.rig.given import Given

STATIC4: Final = Prefix.parse("10.78.32.0/20")
STATIC6: Final = Prefix.parse("fd78:17::/64")
"""Where cards bring addresses of their own from."""
POOL4: Final = address("10.78.48.1")
POOL6: Final = address("fd78:18::1")
POOL_SIZE: Final = 64
BOTH: Final = (4, 6)
"""The versions of IP."""


@dataclass(slots=True)
class IpNetwork:
    """What steps use."""

    router: Router
    line: UplinkLine
    outside: Outside
    zone: NameZone
    versions: tuple[int, ...] = BOTH
    """The versions of IP that the cards are held to: both, or what they are declared to speak."""

    @property
    def peer(self) -> IpPeer:
        """The computer outside."""
        return self.outside.peer


def static_address(number: int, size: int) -> bytes:
    """The address of its own that the card at place ``number`` brings."""
    prefix = STATIC4 if size == 4 else STATIC6
    return (int.from_bytes(prefix.address, "big") + number).to_bytes(size, "big")


def ip_profile(given: Given, number: int) -> IpProfile:
    """What the card at place ``number`` of a chain is given. Raises RigNotAble for a name that cannot be one."""
    names = (given.names or "").split()
    name = names[number - 1] if number <= len(names) else f"card-{number}"
    if not is_label(name):
        raise RigNotAble(f"{name!r} cannot be a name: lower-case letters, digits and inner hyphens, at most 63")
    return IpProfile(
        settings=IpSettings(secret=b"card %d" % number),
        addressing=Addressing(given.addressing or "numbered"),
        static=(static_address(number, 4), static_address(number, 16)),
        name=name,
        ppp=PppProfile(mru=given.mru or 1500, takes=given.takes or 1500) if given.addressing == "ppp" else None,
    )


def line_settings(given: Given, engine: Engine) -> LineSettings:
    """The uplink as given."""
    timebase = engine.timebase
    return LineSettings(
        latency=given.uplink_latency.ticks(timebase) if given.uplink_latency is not None else 0,
        jitter=given.uplink_jitter.ticks(timebase) if given.uplink_jitter is not None else 0,
        bandwidth=given.uplink_bandwidth or 0,
        loss=given.uplink_loss or 0.0,
        duplication=given.uplink_duplication or 0.0,
        mtu=given.uplink_mtu or 1500,
    )


def uplink_round_trip(settings: LineSettings, mtu: int, hz: int) -> int:
    """What the uplink adds to the first acknowledgement: two frames there, one back."""
    frames = 3 * mtu * 8 * hz // settings.bandwidth if settings.bandwidth else 0
    return 2 * (settings.latency + settings.jitter) + frames


def of_versions(versions: Collection[int], four: Prefix, six: Prefix) -> tuple[Prefix, ...]:
    """The prefixes of these versions of IP."""
    return tuple(prefix for version, prefix in ((4, four), (6, six)) if version in versions)


def router_settings(given: Given, memory: HostMemory | None = None, versions: Collection[int] = BOTH) -> RouterSettings:
    """What the host of a rig brings to the network in these versions of IP, and what it remembers of an earlier life."""
    size = given.pool or POOL_SIZE
    leases = memory.leases if memory is not None else ()
    firsts = [first for version, first in ((4, POOL4), (6, POOL6)) if version in versions]
    pools = tuple(AddressPool(first, size, leases) for first in firsts) if given.addressing == "pool" else ()
    prefixes = of_versions(versions, PREFIX4, PREFIX6)
    return RouterSettings(prefixes=prefixes, static=of_versions(versions, STATIC4, STATIC6), pools=pools)


def ip_network(
    engine: Engine,
    host: Host,
    given: Given,
    sink: Sink,
    seed: int,
    poll: PollPlan,
    versions: tuple[int, ...] = BOTH,
) -> IpNetwork:
    """The router of ``host``, which speaks these versions of IP to the cards, and a network with one peer."""
    zone = NameZone()
    router = host.route(router_settings(given, versions=versions), zone)
    line = UplinkLine(engine, line_settings(given, engine), seed, sink)
    router.connect(line)
    hz = engine.timebase.hz
    etu = etu_ticks(Rate(given.ta1), given.clock_hz, engine.timebase)
    beyond = uplink_round_trip(line.settings, given.mtu, hz)
    # A card takes its time over each command: two frames and an acknowledgement, and a poll
    commands = 4 * given.card_time.ticks(engine.timebase) * max(1, -(-given.mtu // 254)) * given.cards
    first = rto_floor(hz, given.cards, given.mtu, etu, poll.longest, beyond + commands)
    window = window_ticks(WINDOW_USUAL, etu)
    waits = delayed_ack(hz, given.mtu, etu)
    outside = Outside(engine, line, first=first, floor=first + window, delayed_ack=waits)
    return IpNetwork(router, line, outside, zone, versions)
