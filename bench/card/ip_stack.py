"""The IP stack of a card: host and router in one, addressed along its chain (docs/protocol.md, section 5).

Everything the card does not know to be beyond IO#2 goes to IO#1, and nothing goes back where it came from: on a line that is the whole of routing.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from typing import Final

from bench.card.ip_profile import Addressing, IpProfile
from bench.engine import Engine
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.queue import URGENT
from bench.hop.segment import Kind
from bench.net.chain_control import (
    ADDRESS,
    NAME,
    PREFIX,
    AddressPacket,
    ChainControlError,
    Deed,
    NamePacket,
    PrefixPacket,
    Refusal,
    address_of,
    beyond,
    decode_chain_control,
)
from bench.net.plug import IpPlug
from bench.net.routes import Prefix, Route

SIZES: Final = {4: 4, 6: 16}
"""Length of an address by version."""
HOLD_S: Final = 5
"""How long the ways to the addresses of a prefix that was replaced are kept."""
_DEFAULTS: Final = (Prefix(bytes(4), 0), Prefix(bytes(16), 0))


class CardIp(IpPlug):
    """Layer 3 and 4 of a card. ``numbered`` and ``down`` follow its IO#1."""

    def __init__(self, engine: Engine, junction: Junction, profile: IpProfile, etu: Callable[[], int]) -> None:
        self.profile = profile
        self.etu = etu
        """Ticks of an etu on IO#1; 0 where the transport shows none."""
        self.on_addresses: Callable[[], None] = _nothing
        """The card's addresses have changed."""
        self.refusals: list[AddressPacket | NamePacket] = []
        """What the host refused since the last reset."""
        self.name = ""
        """The name that was granted."""
        self.prefixes: dict[int, Prefix] = {}
        """Of the chain, by length of an address."""
        self._granted: dict[int, bytes] = {}
        self._far: dict[bytes, int] = {}
        self._number: int | None = None
        self._poll_ms = 1
        super().__init__(engine, junction, profile.settings, forces=True)
        for kind in (PREFIX, ADDRESS, NAME):
            junction.chain.others[kind] = self._control

    def reset(self) -> None:
        """Power is off, or the card was reset: nothing is remembered."""
        self.restart()
        self.prefixes.clear()
        self._granted.clear()
        self._far.clear()
        self.refusals.clear()
        self.name = ""
        self._number = None

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """The card's own, of both versions."""
        return tuple(self.own_addresses())

    def claim(self, address: bytes) -> None:
        """Ask the host for an address; for any, where it is the unspecified one. The answer changes ``addresses`` or ``refusals``."""
        if self._number is not None:
            self._pass_inward(AddressPacket(self._number, Deed.CLAIM, Refusal.NONE, address).encode())

    # -- coming and going ----------------------------------------------------------------------------------------------

    def numbered(self, poll_ms: int) -> None:
        """The terminal side greeted: number and MTU hold, claims are made (again). ``poll_ms``: the longest poll period, in milliseconds."""
        chain = self.junction.chain
        if chain.number is None:
            return
        self._poll_ms = poll_ms
        self._number = chain.number
        inward = self.raise_port(Port.INWARD, chain.mtu)
        if inward is None:
            return
        for default in _DEFAULTS:
            self.node.routes.add(Route(default, inward.number))
        self._measure_path()
        for size in self.prefixes:
            self._readdress(size)
        self._claim()
        self.taken(None)  # who was refused when the link went may try again

    def forgotten(self) -> None:
        number = self.junction.chain.number
        if number == self._number:
            return  # another MTU alone
        for address in self.addresses:
            self.abandon(address)
        self._far.clear()
        self.lower_port(Port.OUTWARD)
        self._granted.clear()
        self.prefixes.clear()  # they come again behind the greeting
        self.name = ""
        self._number = number
        if number is None:
            self.lower_port(Port.INWARD)
        self.on_addresses()

    def node_up(self, facts: NodeFacts) -> None:
        number = self._number
        if number is None:
            return
        self._measure_path()
        if facts.node != number + 1:
            return
        outward = self.raise_port(Port.OUTWARD, facts.mtu)
        if outward is None:
            return
        for prefix in self.prefixes.values():
            self._route_beyond(prefix)
            self._pass_outward(PrefixPacket(prefix).encode())
        self.taken(None)

    def node_down(self, node: int, reason: str) -> None:
        del reason
        for address, far in list(self._far.items()):
            if far >= node:
                self._forget_far(address)
        if self._number is not None and node == self._number + 1:
            self.lower_port(Port.OUTWARD)

    def _measure_path(self) -> None:
        """The longest path within the chain, as far as the card knows; every hop counts as its own."""
        chain = self.junction.chain
        number = chain.number or 1
        hops = max(number, max(chain.beyond, default=number) - number)
        hz = self.engine.timebase.hz
        inward = chain.inward
        assert inward is not None
        self.patience(hops, chain.mtu, self.etu(), self._poll_ms * hz // 1000)

    # -- control packets -----------------------------------------------------------------------------------------------

    def _control(self, packet: bytes, from_inward: bool) -> None:
        chain = self.junction.chain
        number = self._number
        try:
            control = decode_chain_control(packet)
        except ChainControlError:
            chain.malformed += 1
            return
        if number is None or not self.is_up(Port.INWARD):
            return
        if isinstance(control, PrefixPacket):
            if from_inward:
                self._prefixed(control.prefix)
            else:
                chain.malformed += 1
        elif not from_inward:
            if control.node > number:
                self._pass_inward(packet)
            else:
                chain.malformed += 1
        elif control.node > number:
            if not isinstance(control, AddressPacket) or self._note_far(control):
                self._pass_outward(packet)
        elif control.node == number:
            self._answered(control)
        else:
            chain.malformed += 1

    def _prefixed(self, prefix: Prefix) -> None:
        """The chain's prefix, from inward: taken, and handed on."""
        size = len(prefix.address)
        old = self.prefixes.pop(size, None)
        if prefix.length:
            self.prefixes[size] = prefix
        if old is not None and old != prefix:
            hold = HOLD_S * self.engine.timebase.hz
            self.engine.after(hold, lambda: self._unroute_beyond(old))  # till then resets from there may pass
        self._readdress(size)
        if self.is_up(Port.OUTWARD):
            if prefix.length:
                self._route_beyond(prefix)
            self._pass_outward(PrefixPacket(prefix).encode())

    def _answered(self, control: AddressPacket | NamePacket) -> None:
        """The host's word on a claim of this card, or its own wish."""
        if control.deed is Deed.REFUSE:
            self.refusals.append(control)
        if isinstance(control, NamePacket):
            self.name = control.name if control.deed is Deed.GRANT else ""
            return
        size = len(control.address)
        if control.deed is Deed.GRANT:
            self._granted[size] = control.address
        elif self._granted.get(size) == control.address:
            del self._granted[size]
        self._readdress(size)

    def _note_far(self, control: AddressPacket) -> bool:
        """Remember the way to an address that is granted beyond. False where it is not to be passed on."""
        if control.deed is not Deed.GRANT:
            if self._far.get(control.address) == control.node:
                self._forget_far(control.address)
            return True
        outward = self.interfaces.get(Port.OUTWARD)
        if outward is None or not outward.up:
            return False
        if len(self._far) >= self.profile.far_routes and control.address not in self._far:
            refused = AddressPacket(control.node, Deed.REFUSE, Refusal.NO_MEMORY, control.address).encode()
            self._pass_inward(refused)
            return False
        self._far[control.address] = control.node
        self.node.routes.add(Route(Prefix.of(control.address, len(control.address) * 8), outward.number))
        return True

    def _claim(self) -> None:
        profile, number = self.profile, self._number
        assert number is not None
        if profile.addressing is Addressing.STATIC:
            wanted = profile.static
        elif profile.addressing is Addressing.POOL:
            wanted = tuple(bytes(SIZES[version]) for version in profile.versions)
        else:
            wanted = ()
        for address in wanted:
            self.claim(address)
        if profile.name:
            self._pass_inward(NamePacket(number, Deed.CLAIM, Refusal.NONE, profile.name).encode())

    def _pass_inward(self, packet: bytes) -> None:
        link = self.junction.link(Port.INWARD)
        if link is not None:
            link.submit(Kind.CONTROL, packet, URGENT)

    def _pass_outward(self, packet: bytes) -> None:
        link = self.junction.link(Port.OUTWARD)
        if link is not None and self.is_up(Port.OUTWARD):
            link.submit(Kind.CONTROL, packet, URGENT)

    # -- addresses and routes ------------------------------------------------------------------------------------------

    def _readdress(self, size: int) -> None:
        """Have the one address of a version that is due now, and no other."""
        inward = self.interfaces.get(Port.INWARD)
        if inward is None or self._number is None:
            return
        wanted = self._granted.get(size)
        version = 4 if size == 4 else 6
        prefix = self.prefixes.get(size)
        if self.profile.addressing is Addressing.NUMBERED and version in self.profile.versions and prefix is not None:
            wanted = wanted or address_of(prefix, self._number)
        have = [each for each in self.addresses if len(each) == size]
        for address in have:
            if address != wanted:
                self.abandon(address)
        if wanted is not None and wanted not in have:
            self.node.assign(inward.number, wanted)
        if have != [wanted]:
            self.on_addresses()

    def _route_beyond(self, prefix: Prefix) -> None:
        outward = self.interfaces.get(Port.OUTWARD)
        if outward is not None and outward.up and self._number is not None:
            for each in beyond(prefix, self._number):
                self.node.routes.add(Route(each, outward.number))

    def _unroute_beyond(self, prefix: Prefix) -> None:
        if self.prefixes.get(len(prefix.address)) == prefix:
            return
        outward = self.interfaces.get(Port.OUTWARD)
        if outward is not None and self._number is not None:
            for each in beyond(prefix, self._number):
                self.node.routes.remove(each, outward.number)

    def _forget_far(self, address: bytes) -> None:
        del self._far[address]
        outward = self.interfaces.get(Port.OUTWARD)
        if outward is not None:
            self.node.routes.remove(Prefix.of(address, len(address) * 8), outward.number)


def _nothing() -> None:
    pass
