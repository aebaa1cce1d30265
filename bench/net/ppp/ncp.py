"""The network control protocols' options: IPCP (RFC 1332, with the name servers of RFC 1877) and IPV6CP (RFC 5072)."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from bench.net.ppp.automaton import Judged
from bench.net.ppp.packets import Code, Option
from bench.net.protocols import V4_ANY

NO_INTERFACE: Final = bytes(8)


class IpcpOption(IntEnum):
    """RFC 1332, 3; RFC 1877."""

    ADDRESSES = 1
    COMPRESSION = 2
    ADDRESS = 3
    DNS = 129


class IpcpNegotiator:
    """One side's address, and what it gives a peer that asks for one."""

    def __init__(
        self,
        own: bytes = V4_ANY,
        *,
        give: bytes = V4_ANY,
        dns: bytes = V4_ANY,
        wants_dns: bool = False,
        permits: Callable[[bytes], bool] | None = None,
        remembered: bytes = V4_ANY,
    ) -> None:
        self.own = own
        """This side's address; 0.0.0.0 asks the peer for one."""
        self.give = give
        """What the peer gets that asks; 0.0.0.0: nothing is left for it."""
        self.dns = dns
        self.wants_dns = wants_dns
        self.permits = permits
        """Addresses a peer may bring itself; None: where there is one to give, that one alone, and any other where there is none."""
        self.remembered = remembered
        """What a side that asks would like to have again."""
        self.local = own
        self.peer = V4_ANY
        self.server = V4_ANY
        """The name server that the peer has told."""
        self.refused = 0
        """Requests for an address when there was none to give."""
        self._options: dict[int, bytes] = {}
        self.begin()

    def begin(self) -> None:
        self.local = self.own
        self.peer = V4_ANY
        self.server = V4_ANY
        self._options = {IpcpOption.ADDRESS: self.own if self.own != V4_ANY else self.remembered}
        if self.wants_dns:
            self._options[IpcpOption.DNS] = V4_ANY

    def request(self) -> tuple[Option, ...]:
        return tuple(Option(kind, value) for kind, value in self._options.items())

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        rejected = tuple(each for each in options if not self._known(each))
        if rejected:
            return Judged(Code.CONFIGURE_REJECT, rejected)
        better = []
        peer = V4_ANY
        for each in options:
            if each.kind == IpcpOption.DNS and each.value != self.dns:
                better.append(Option(each.kind, self.dns))
            elif each.kind == IpcpOption.ADDRESS:
                if not self._may_have(each.value):
                    better.append(Option(each.kind, self.give))
                peer = each.value
        if better:
            kinds = {each.kind for each in better}
            if insist:
                return Judged(Code.CONFIGURE_REJECT, tuple(each for each in options if each.kind in kinds))
            return Judged(Code.CONFIGURE_NAK, tuple(better))
        self.peer = peer
        return Judged(Code.CONFIGURE_ACK, options)

    def acked(self, options: tuple[Option, ...]) -> None:
        self.local = V4_ANY
        for each in options:
            if each.kind == IpcpOption.ADDRESS:
                self.local = each.value
            elif each.kind == IpcpOption.DNS:
                self.server = each.value

    def nakked(self, options: tuple[Option, ...]) -> None:
        for each in options:
            if len(each.value) != 4:
                continue
            if (each.kind == IpcpOption.ADDRESS and self.own == V4_ANY) or (
                each.kind == IpcpOption.DNS and self.wants_dns
            ):
                self._options[each.kind] = each.value

    def rejected(self, options: tuple[Option, ...]) -> None:
        for each in options:
            self._options.pop(each.kind, None)

    @property
    def agreed(self) -> bool:
        """Whether this side has an address."""
        return self.local != V4_ANY

    def _may_have(self, address: bytes) -> bool:
        """Whether the peer may have an address."""
        if address in (V4_ANY, self.local):
            return False
        if address == self.give:
            return True
        return self.permits(address) if self.permits is not None else self.give == V4_ANY

    def _known(self, option: Option) -> bool:
        if len(option.value) != 4:
            return False
        if option.kind == IpcpOption.ADDRESS:
            if self.give == V4_ANY and not self._may_have(option.value):
                self.refused += 1
                return False  # nothing to offer instead: reject, and the peer has none
            return True
        return option.kind == IpcpOption.DNS and self.dns != V4_ANY


class Ipv6cpNegotiator:
    """The two interface identifiers (RFC 5072, 4.1): unique on the link, never zero."""

    IDENTIFIER: Final = 1

    def __init__(self, own: bytes, *, give: bytes = NO_INTERFACE, draw: Callable[[], bytes]) -> None:
        self.own = own
        """Eight bytes; zero asks the peer for one."""
        self.give = give
        """What a peer with zero is told; zero: something drawn."""
        self.draw = draw
        self.local = own
        self.peer = NO_INTERFACE
        self._wanted: bytes | None = own
        self.begin()

    def begin(self) -> None:
        self.local = self.own
        self.peer = NO_INTERFACE
        self._wanted = self.own

    def request(self) -> tuple[Option, ...]:
        return () if self._wanted is None else (Option(self.IDENTIFIER, self._wanted),)

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        rejected = tuple(each for each in options if each.kind != self.IDENTIFIER or len(each.value) != 8)
        if rejected:
            return Judged(Code.CONFIGURE_REJECT, rejected)
        for each in options:
            if each.value == self._wanted and each.value == NO_INTERFACE:
                return Judged(Code.CONFIGURE_REJECT, options)  # neither side has one: IPv6 is not for this link (4.1)
            if each.value in (NO_INTERFACE, self._wanted) or (self.give != NO_INTERFACE and each.value != self.give):
                if insist:
                    return Judged(Code.CONFIGURE_REJECT, options)
                told = self.give if self.give != NO_INTERFACE else self._other()
                return Judged(Code.CONFIGURE_NAK, (Option(self.IDENTIFIER, told),))
            self.peer = each.value
        return Judged(Code.CONFIGURE_ACK, options)

    def acked(self, options: tuple[Option, ...]) -> None:
        self.local = options[0].value if options else NO_INTERFACE

    def nakked(self, options: tuple[Option, ...]) -> None:
        for each in options:
            if each.kind == self.IDENTIFIER and len(each.value) == 8:
                self._wanted = each.value if each.value != NO_INTERFACE else self._other()

    def rejected(self, options: tuple[Option, ...]) -> None:
        if any(each.kind == self.IDENTIFIER for each in options):
            self._wanted = None

    @property
    def agreed(self) -> bool:
        """Whether this side has an identifier."""
        return self.local != NO_INTERFACE

    def _other(self) -> bytes:
        """One that this side does not have, and that claims to be no one's hardware address (RFC 4291, 2.5.1: the u bit is 0)."""
        while True:
            drawn = self.draw()
            drawn = bytes((drawn[0] & 0xFD,)) + drawn[1:]
            if drawn not in (NO_INTERFACE, self._wanted):
                return drawn
