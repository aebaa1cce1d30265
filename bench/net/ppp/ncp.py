"""The network control protocols' options: IPCP (RFC 1332, with the name servers of RFC 1877) and IPV6CP (RFC 5072)."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from bench.net.ppp.automaton import Judged
from bench.net.ppp.packets import Code, Option
from bench.net.protocols import V4_ANY

_NO_INTERFACE: Final = bytes(8)


class IpcpOption(IntEnum):
    """RFC 1332, 3; RFC 1877."""

    ADDRESSES = 1
    COMPRESSION = 2
    ADDRESS = 3
    DNS = 129


class IpcpNegotiator:
    """One side's address, and what it gives a peer that asks for one."""

    def __init__(
        self, own: bytes = V4_ANY, *, give: bytes = V4_ANY, dns: bytes = V4_ANY, wants_dns: bool = False
    ) -> None:
        self.own = own
        """This side's address; 0.0.0.0 asks the peer for one."""
        self.give = give
        """What the peer gets that asks; 0.0.0.0: nothing is left for it."""
        self.dns = dns
        self.wants_dns = wants_dns
        self.local = own
        self.peer = V4_ANY
        self.server = V4_ANY
        """The name server that the peer has told."""
        self._options: dict[int, bytes] = {}
        self.begin()

    def begin(self) -> None:
        self.local = self.own
        self._options = {IpcpOption.ADDRESS: self.own}
        if self.wants_dns:
            self._options[IpcpOption.DNS] = V4_ANY

    def request(self) -> tuple[Option, ...]:
        return tuple(Option(kind, value) for kind, value in self._options.items())

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        rejected = tuple(each for each in options if not self._known(each))
        if rejected:
            return Judged(Code.CONFIGURE_REJECT, rejected)
        better = []
        peer = self.peer
        for each in options:
            if each.kind == IpcpOption.DNS and each.value != self.dns:
                better.append(Option(each.kind, self.dns))
            elif each.kind == IpcpOption.ADDRESS:
                wanted = self.give if self.give != V4_ANY else each.value
                if each.value != wanted or each.value == self.local:
                    better.append(Option(each.kind, wanted))
                peer = each.value
        if better:
            kinds = {each.kind for each in better}
            if insist:
                return Judged(Code.CONFIGURE_REJECT, tuple(each for each in options if each.kind in kinds))
            return Judged(Code.CONFIGURE_NAK, tuple(better))
        self.peer = peer
        return Judged(Code.CONFIGURE_ACK, options)

    def acked(self, options: tuple[Option, ...]) -> None:
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

    def _known(self, option: Option) -> bool:
        if len(option.value) != 4:
            return False
        if option.kind == IpcpOption.ADDRESS:
            return option.value != V4_ANY or self.give != V4_ANY  # nothing to give: reject, and the peer may go without
        return option.kind == IpcpOption.DNS and self.dns != V4_ANY


class Ipv6cpNegotiator:
    """The two interface identifiers (RFC 5072, 4.1): unique on the link, never zero."""

    IDENTIFIER: Final = 1

    def __init__(self, own: bytes, *, give: bytes = _NO_INTERFACE, draw: Callable[[], bytes]) -> None:
        self.own = own
        """Eight bytes; zero asks the peer for one."""
        self.give = give
        """What a peer with zero is told; zero: something drawn."""
        self.draw = draw
        self.local = own
        self.peer = _NO_INTERFACE
        self._wanted: bytes | None = own
        self.begin()

    def begin(self) -> None:
        self.local = self.own
        self._wanted = self.own

    def request(self) -> tuple[Option, ...]:
        return () if self._wanted is None else (Option(self.IDENTIFIER, self._wanted),)

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        rejected = tuple(each for each in options if each.kind != self.IDENTIFIER or len(each.value) != 8)
        if rejected:
            return Judged(Code.CONFIGURE_REJECT, rejected)
        for each in options:
            if each.value == self._wanted and each.value == _NO_INTERFACE:
                return Judged(Code.CONFIGURE_REJECT, options)  # neither side has one: IPv6 is not for this link (4.1)
            if each.value in (_NO_INTERFACE, self._wanted) or (self.give != _NO_INTERFACE and each.value != self.give):
                if insist:
                    return Judged(Code.CONFIGURE_REJECT, options)
                told = self.give if self.give != _NO_INTERFACE else self.draw()
                return Judged(Code.CONFIGURE_NAK, (Option(self.IDENTIFIER, told),))
            self.peer = each.value
        return Judged(Code.CONFIGURE_ACK, options)

    def acked(self, options: tuple[Option, ...]) -> None:
        for each in options:
            self.local = each.value

    def nakked(self, options: tuple[Option, ...]) -> None:
        for each in options:
            if each.kind == self.IDENTIFIER and len(each.value) == 8:
                self._wanted = each.value if each.value != _NO_INTERFACE else self.draw()

    def rejected(self, options: tuple[Option, ...]) -> None:
        if any(each.kind == self.IDENTIFIER for each in options):
            self._wanted = None
