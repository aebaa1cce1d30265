"""Cards whose TCP is wrong: windows, resets, lengths, patience, room (RFC 9293). The stack itself is the reference one, but for one method each."""

from dataclasses import replace
from typing import Final

from bench.card.defects.parts import Part, ip_defect, stack_part
from bench.net.connection import Connection
from bench.net.node import Node
from bench.net.segment import Segment, seq_diff
from bench.net.tcp import Tcp
from bench.net.tcp_types import Endpoints, Reason

IMPATIENT_S: Final = 8
TOO_LONG: Final = 1460


class _BelievesResets(Connection):
    __slots__ = ()

    def _reset(self, start: int, window: int, now: int) -> None:
        super()._reset(0 if 0 <= start < window else start, window, now)


class _NeverProbes(Connection):
    __slots__ = ()

    def _probe(self, now: int) -> None:
        del now
        self._persist = None


class _FillsSillyWindows(Connection):
    __slots__ = ()

    def _worth_sending(self, length: int, waiting: int, fin: bool, at: int) -> bool:
        return length > 0 or super()._worth_sending(length, waiting, fin, at)


class _DoublesOverlaps(Connection):
    __slots__ = ()

    def _take_payload(self, segment: Segment, now: int) -> None:
        """What was had before is taken once more, where something new comes with it."""
        old = -seq_diff(segment.seq, self.rcv_nxt)
        if 0 < old < len(segment.payload):
            segment = replace(segment, seq=self.rcv_nxt)
        super()._take_payload(segment, now)


class _IgnoresMss(Connection):
    __slots__ = ()

    def _peer_syn(self, segment: Segment) -> None:
        super()._peer_syn(segment)
        self.peer_mss = TOO_LONG


class _EndsBoth(Connection):
    __slots__ = ()

    def _fin_received(self, now: int) -> None:
        super()._fin_received(now)
        self.abort(now)


class _NoPathMtu(Node):
    def path_mtu(self, destination: bytes, now: int) -> int:
        """What the hop takes, whatever was told."""
        del now
        way = self.way(destination)
        return way.mtu if way is not None else super().path_mtu(destination, 0)


class _StaysFull(Tcp):
    """Once its queue was full, a port takes nobody."""

    full = False

    def _listened(self, ends: Endpoints, segment: Segment, now: int) -> bool:
        self.full = self.full or any(len(each.half_open) >= each.backlog for each in self.listeners)
        return self.full or super()._listened(ends, segment, now)


class _KeepsTimeWait(Tcp):
    def _has_room(self) -> bool:
        return len(self.connections) < self.limit


class _GivesUp(Connection):
    __slots__ = ()

    def _given_up(self, now: int) -> bool:
        if self._since is not None and now - self._since >= IMPATIENT_S * self.settings.granularity * 1000:
            self.abort(now, Reason.TIMED_OUT)
            return True
        return super()._given_up(now)


def _tcp(tcp: type[Tcp]) -> Part:
    return stack_part(tcp_class=tcp)


def _connection(connection: type[Connection]) -> Part:
    return _tcp(type(f"TcpWith{connection.__name__}", (Tcp,), {"connection_class": connection}))


DEFECTS: Final = (
    ip_defect("queue-stays-full", "takes no connection once its queue was full", "IP-TCP-8", _tcp(_StaysFull)),
    ip_defect("resets-believed", "believes any reset within its window", "IP-TCP-9", _connection(_BelievesResets)),
    ip_defect("window-not-probed", "waits for a closed window without a word", "IP-TCP-10", _connection(_NeverProbes)),
    ip_defect("silly-windows-filled", "fills the smallest window", "IP-TCP-11", _connection(_FillsSillyWindows)),
    ip_defect("overlaps-doubled", "takes what overlaps twice", "IP-TCP-12", _connection(_DoublesOverlaps)),
    ip_defect("mss-ignored", "sends segments of any length", "IP-TCP-13", _connection(_IgnoresMss)),
    ip_defect("gives-up-early", "gives a silent peer up after seconds", "IP-TCP-14", _connection(_GivesUp)),
    ip_defect(
        "time-wait-kept", "takes no connection while others wait out their end", "IP-TCP-15", _tcp(_KeepsTimeWait)
    ),
    ip_defect("ends-both", "ends both directions where the peer ends one", "IP-TCP-16", _connection(_EndsBoth)),
    ip_defect("too-big-ignored", "learns nothing of what a path takes", "IP-MTU-1", stack_part(node_class=_NoPathMtu)),
)
"""Every card whose TCP is wrong."""
