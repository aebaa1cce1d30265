"""Cards whose IP stack is wrong: addresses, routes, and what becomes of packets that they pass on (docs/protocol.md, section 5).

The stack itself is the reference one. Flaws of layer 3 alter packets where they leave the node, or take in what they must not; those of the chain's
control packets are in the place of the method that does it right.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from bench.card.defects.parts import ip_defect, ip_stack, stack_part
from bench.card.ip_profile import IpProfile
from bench.card.ip_stack import CardIp
from bench.engine import Engine
from bench.hop.control import ControlType, NodeFacts
from bench.hop.junction import Junction, Port
from bench.net.chain_control import ADDRESS, NAME, PREFIX, AddressPacket, Deed, NamePacket, beyond
from bench.net.flow_key import destination_of, source_of
from bench.net.node import Interface, Node
from bench.net.protocols import Proto
from bench.net.routes import Prefix, Route

_ICMP_CODE: Final = 1
_ICMP_SUM: Final = 2
_UNREACHABLE: Final = {4: (3,), 6: (1, 4)}
_EXCEEDED: Final = {4: (11,), 6: (3,)}
NEAR: Final = 3
"""Prefixes of the way outward that a nearsighted card knows."""
_PROHIBITED: Final = {4: 13, 6: 1}


# -- packets -----------------------------------------------------------------------------------------------------------


def _version(packet: bytes) -> int:
    return packet[0] >> 4


def _patched(packet: bytes, at: int, value: int, sum_at: int | None) -> bytes:
    """Another byte at ``at``, and the checksum at ``sum_at`` made right for it (RFC 1624, equation 3)."""
    changed = bytearray(packet)
    changed[at] = value & 0xFF
    if sum_at is not None:
        even = at & ~1
        old, new = int.from_bytes(packet[even : even + 2], "big"), int.from_bytes(changed[even : even + 2], "big")
        total = (~int.from_bytes(packet[sum_at : sum_at + 2], "big") & 0xFFFF) + (~old & 0xFFFF) + new
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        changed[sum_at : sum_at + 2] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


def _with_hop_limit(packet: bytes, change: int) -> bytes:
    if _version(packet) == 4:
        return _patched(packet, 8, packet[8] + change, 10)
    return _patched(packet, 7, packet[7] + change, None)


def _icmp_at(packet: bytes) -> int:
    """Where ICMP begins; 0 where the packet is none, or a later fragment."""
    if _version(packet) == 4:
        first = not int.from_bytes(packet[6:8], "big") & 0x1FFF
        return (packet[0] & 15) * 4 if packet[9] == Proto.ICMP and first else 0
    return 40 if packet[6] == Proto.ICMPV6 else 0


class _Alters(Node):
    """Alters what leaves the node, or loses it. Subclasses say how."""

    def passed(self, packet: bytes) -> bytes | None:
        """What goes out instead of a packet that came from elsewhere."""
        return packet

    def own_icmp(self, packet: bytes, at: int) -> bytes | None:
        """What goes out instead of an ICMP message of the node's own, which begins at ``at``."""
        del at
        return packet

    def add_interface(self, name: str, mtu: int, send: Callable[[bytes], bool]) -> Interface:
        def altered(packet: bytes) -> bool:
            at = _icmp_at(packet)
            changed: bytes | None = packet
            if source_of(packet) not in self.own:
                changed = self.passed(packet)
            elif at:
                changed = self.own_icmp(packet, at)
            return True if changed is None else send(changed)

        return super().add_interface(name, mtu, altered)


class _HopLimitKept(_Alters):
    def passed(self, packet: bytes) -> bytes | None:
        return _with_hop_limit(packet, 1)


class _HopLimitByTwo(_Alters):
    def passed(self, packet: bytes) -> bytes | None:
        limit = packet[8] if _version(packet) == 4 else packet[7]
        return _with_hop_limit(packet, -1) if limit > 1 else None


class _ChecksumOffByOne(_Alters):
    def passed(self, packet: bytes) -> bytes | None:
        if _version(packet) != 4:
            return packet
        wrong = (int.from_bytes(packet[10:12], "big") + 1) & 0xFFFF
        return packet[:10] + wrong.to_bytes(2, "big") + packet[12:]


class _Marks(_Alters):
    def passed(self, packet: bytes) -> bytes | None:
        if _version(packet) == 4:
            return _patched(packet, 1, packet[1] ^ 0x04, 10)
        return _patched(packet, 1, packet[1] ^ 0x40, None)


class _NoFragments(_Alters):
    def passed(self, packet: bytes) -> bytes | None:
        if _version(packet) == 4:
            return None if int.from_bytes(packet[6:8], "big") & 0x3FFF else packet
        return None if packet[6] == Proto.FRAGMENT else packet


class _Silent(_Alters):
    kinds: ClassVar[Mapping[int, tuple[int, ...]]] = _UNREACHABLE

    def own_icmp(self, packet: bytes, at: int) -> bytes | None:
        return None if packet[at] in self.kinds[_version(packet)] else packet


class _SilentAtTheLimit(_Silent):
    kinds: ClassVar[Mapping[int, tuple[int, ...]]] = _EXCEEDED


class _WrongCode(_Alters):
    def own_icmp(self, packet: bytes, at: int) -> bytes | None:
        version = _version(packet)
        if packet[at] != _UNREACHABLE[version][0]:
            return packet
        return _patched(packet, at + _ICMP_CODE, _PROHIBITED[version], at + _ICMP_SUM)


class _AnySource(Node):
    def sound_source(self, number: int, source: bytes, destination: bytes) -> bool:
        del number, source, destination
        return True


class _SendsBack(Node):
    def receive(self, number: int, data: bytes, now: int) -> None:
        destination = destination_of(data)
        out = None if destination in self.own else self.way(destination)
        limit = data[8] if _version(data) == 4 else data[7]
        if out is not None and out.number == number and limit > 1:
            out.send(_with_hop_limit(data, -1))
        else:
            super().receive(number, data, now)


# -- the chain ---------------------------------------------------------------------------------------------------------


class _NextAddress(CardIp):
    def _readdress(self, size: int) -> None:
        number = self._number
        if number is not None:
            self._number = number + 1
        super()._readdress(size)
        self._number = number


class _KeepsOld(CardIp):
    def abandon(self, address: bytes) -> None:
        """The address stays."""


class _SilentOnChange(CardIp):
    def abandon(self, address: bytes) -> None:
        if address in self.node.own:
            self.node.unassign(address)


class _UsesRefused(CardIp):
    def _answered(self, control: AddressPacket | NamePacket) -> None:
        super()._answered(control)
        if isinstance(control, AddressPacket) and control.deed is Deed.REFUSE and any(control.address):
            self._granted[len(control.address)] = control.address
            self._readdress(len(control.address))


class _KeepsPrefix(CardIp):
    def _pass_outward(self, packet: bytes) -> None:
        if packet[0] != PREFIX:
            super()._pass_outward(packet)


class _OnePrefix(CardIp):
    def _prefixed(self, prefix: Prefix) -> None:
        old = self.prefixes.get(len(prefix.address))
        if old is None or old == prefix:
            super()._prefixed(prefix)
        else:
            self.prefixes[len(prefix.address)] = prefix
            self._readdress(len(prefix.address))


class _OncePrefix(CardIp):
    def __init__(self, engine: Engine, junction: Junction, profile: IpProfile, etu: Callable[[], int]) -> None:
        self._handed: set[bytes] = set()
        super().__init__(engine, junction, profile, etu)

    def _pass_outward(self, packet: bytes) -> None:
        if packet[0] == PREFIX:
            if packet in self._handed:
                return
            self._handed.add(packet)
        super()._pass_outward(packet)


class _Startled(CardIp):
    def node_up(self, facts: NodeFacts) -> None:
        for each in self.addresses:
            self.abandon(each)
            self._readdress(len(each))
        super().node_up(facts)


class _Nearsighted(CardIp):
    def _route_beyond(self, prefix: Prefix) -> None:
        outward = self.interfaces.get(Port.OUTWARD)
        if outward is not None and self._number is not None:
            for each in beyond(prefix, self._number)[:NEAR]:
                self.node.routes.add(Route(each, outward.number))


class _ForgetsFar(CardIp):
    def _note_far(self, control: AddressPacket) -> bool:
        del control
        return True


class _AllInward(CardIp):
    def _route_beyond(self, prefix: Prefix) -> None:
        """Nothing is known to be beyond."""


class _KeepsRoutes(CardIp):
    def lower_port(self, port: Port) -> None:
        if port is not Port.OUTWARD:
            super().lower_port(port)


class _KeepsDown(CardIp):
    def __init__(self, engine: Engine, junction: Junction, profile: IpProfile, etu: Callable[[], int]) -> None:
        super().__init__(engine, junction, profile, etu)
        junction.chain.others[ControlType.NODE_DOWN] = _lost


class _Nameless(CardIp):
    def _pass_inward(self, packet: bytes) -> None:
        if packet[0] != NAME or packet[1] != self._number:
            super()._pass_inward(packet)


class _LosesClaims(CardIp):
    def _pass_inward(self, packet: bytes) -> None:
        if packet[0] != ADDRESS or packet[1] == self._number:
            super()._pass_inward(packet)


def _lost(_packet: bytes, _from_inward: bool) -> None:
    """A control packet that nobody hears of."""


# -- the table ---------------------------------------------------------------------------------------------------------


DEFECTS: Final = (
    ip_defect("address-of-the-next", "takes the address of the card behind it", "IP-ADDR-1", ip_stack(_NextAddress)),
    ip_defect("prefix-kept", "does not hand the chain's prefix on", "IP-ADDR-2", ip_stack(_KeepsPrefix)),
    ip_defect("old-address-kept", "keeps its old address beside the new one", "IP-ADDR-3", ip_stack(_KeepsOld)),
    ip_defect("claims-lost", "does not pass on what cards behind it claim", "IP-ADDR-4", ip_stack(_LosesClaims)),
    ip_defect("refused-address-used", "uses an address that it was refused", "IP-ADDR-6", ip_stack(_UsesRefused)),
    ip_defect(
        "address-left-silently",
        "does not reset its connections when it is given another address",
        "IP-ADDR-7",
        ip_stack(_SilentOnChange),
    ),
    ip_defect(
        "startled",
        "resets its connections whenever a card behind it comes",
        "IP-ADDR-10",
        ip_stack(_Startled),
    ),
    ip_defect(
        "prefix-once", "hands a prefix on once in its life, whatever resets come", "IP-ADDR-13", ip_stack(_OncePrefix)
    ),
    ip_defect("new-prefix-kept", "does not hand on a prefix that replaces another", "IP-ADDR-12", ip_stack(_OnePrefix)),
    ip_defect(
        "granted-routes-forgotten",
        "does not remember the way to addresses that are granted beyond it",
        "IP-ADDR-15",
        ip_stack(_ForgetsFar),
    ),
    ip_defect("name-not-claimed", "claims no name", "IP-NAME-1", ip_stack(_Nameless)),
    ip_defect("fragments-dropped", "passes no fragments on", "IP-ROUTE-1", stack_part(node_class=_NoFragments)),
    ip_defect("node-down-lost", "does not report cards that went", "IP-ROUTE-2", ip_stack(_KeepsDown)),
    ip_defect(
        "hop-limit-kept",
        "passes packets on with the hop limit they had",
        "IP-ROUTE-4",
        stack_part(node_class=_HopLimitKept),
    ),
    ip_defect(
        "silent-at-the-hop-limit",
        "tells nobody that the hop limit was used up",
        "IP-ROUTE-4",
        stack_part(node_class=_SilentAtTheLimit),
    ),
    ip_defect("hop-limit-by-two", "takes two off the hop limit", "IP-ROUTE-4", stack_part(node_class=_HopLimitByTwo)),
    ip_defect("nearsighted", "knows the way to the next few cards alone", "IP-ROUTE-5", ip_stack(_Nearsighted)),
    ip_defect("all-inward", "sends what is for cards beyond it towards the host", "IP-ROUTE-7", ip_stack(_AllInward)),
    ip_defect("sends-back", "sends packets back where they came from", "IP-ROUTE-9", stack_part(node_class=_SendsBack)),
    ip_defect(
        "any-source", "passes on whatever source a packet bears", "IP-ROUTE-10", stack_part(node_class=_AnySource)
    ),
    ip_defect(
        "unreachable-dropped",
        "drops what it has no port for without a word",
        "IP-ROUTE-11",
        stack_part(node_class=_Silent),
    ),
    ip_defect(
        "wrong-code",
        "says that what it has no port for is prohibited",
        "IP-ROUTE-11",
        stack_part(node_class=_WrongCode),
    ),
    ip_defect(
        "checksum-off-by-one",
        "passes packets on with a header checksum one too high",
        "IP-ROUTE-12",
        stack_part(node_class=_ChecksumOffByOne),
    ),
    ip_defect(
        "marks-what-it-passes-on", "alters a bit of the type of service", "IP-ROUTE-12", stack_part(node_class=_Marks)
    ),
    ip_defect("dead-routes-kept", "keeps the routes over a hop that died", "IP-ROUTE-13", ip_stack(_KeepsRoutes)),
)
