"""Hostile packets: valid traffic, changed in every way one can think of, into a router with listeners and open connections.

No exception, bounded memory, nothing sent that the RFCs forbid (``packet_oracle`` knows nothing of our code).
"""

import random
import resource
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.net import ipv6
from bench.net.connection import Connection, Endpoints, State, TcpSettings
from bench.net.fragments import fragment4, fragment6
from bench.net.icmp import Icmp
from bench.net.ipv4 import Ipv4, Ipv4Option, build_options
from bench.net.ipv6 import Ipv6, Ipv6Option
from bench.net.node import Node
from bench.net.protocols import Proto, address
from bench.net.reassembly import ReassemblyBounds
from bench.net.routes import Prefix, Route
from bench.net.segment import ACK, FIN, PSH, RST, SYN, URG, Segment, build_segment, mss_option, seq_add
from bench.net.tcp import Tcp
from bench.net.udp import UdpDatagram, build_udp
from bench.net.udp_ports import UdpPorts
from tests.net.packet_oracle import Oracle, ones
from tests.net.tcp_pair import HZ, User

OURS4, OURS6 = address("10.0.0.1"), address("fd00::1")
NEAR4, NEAR6 = address("10.0.0.2"), address("fd00::2")
FAR4, FAR6 = address("10.1.0.9"), address("fd01::9")
MTUS = {0: 1280, 1: 576}
STRANGE = [
    address(text)
    for text in (
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "10.0.0.1",
        "10.1.0.9",
    )
] + [address(text) for text in ("::", "::1", "ff02::1", "ff02::2", "fe80::9", "2001:db8::1", "fd00::1", "fd01::9")]
FLAGS = (SYN, ACK, FIN | ACK, RST, RST | ACK, SYN | ACK, PSH | ACK, URG | ACK, 0, 0x3F, SYN | FIN)


class Target:
    """A router between a near and a far link, with TCP and a UDP port that echoes; and whoever attacks it from the near side."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0
        self.sent: list[tuple[int, bytes]] = []
        self.node = Node(HZ, forwarding=True, bounds=ReassemblyBounds(datagrams=4, total=8192))
        self.node.add_interface("near", MTUS[0], self._sender(0))
        self.node.add_interface("far", MTUS[1], self._sender(1))
        self.node.assign(0, OURS4, 24)
        self.node.assign(0, OURS6, 64)
        for network in ("10.1.0.0/16", "fd01::/64"):
            self.node.routes.add(Route(Prefix.parse(network), 1))
        settings = replace(TcpSettings.usual(HZ, send_buffer=2048, receive_buffer=2048), keep_alive=300 * HZ)
        self.tcp = Tcp(self.node, settings, secret=b"t", limit=20)
        self.tcp.listen(80, self._serve)
        self.tcp.listen(81, self._serve, backlog=2)
        self.udp = UdpPorts(self.node)
        self.echo = self.udp.bind(7)
        self.node.path_mtu_time = 20 * HZ  # so that forged small ones do not rule the whole test
        self.oracle = Oracle(set(self.node.own), MTUS)
        self.last = b""

    def _sender(self, number: int) -> Callable[[bytes], bool]:
        def send(data: bytes) -> bool:
            self.sent.append((number, data))
            return self.chance.random() > 0.01  # at times the link is busy

        return send

    def _serve(self, _connection: Connection) -> User:
        user = User(self.tcp, self)
        user.todo += bytes(self.chance.randrange(3000))
        user.finish = self.chance.random() < 0.2
        return user

    def feed(self, number: int, data: bytes) -> None:
        self.sent.clear()
        self.node.receive(number, data, self.now)
        self.oracle.judge(data, number, self.sent)
        if self.chance.random() < 0.05:
            self.pass_time(self.chance.choice((0.001, 0.3, 2, 70)))

    def pass_time(self, seconds: float) -> None:
        end = self.now + round(seconds * HZ)
        for each in (self.tcp, self.node):
            for _ in range(200):
                due = each.due if isinstance(each, Tcp) else each.deadline
                if due is None or due > end:
                    break
                self.now = max(self.now, due)
                each.tick(self.now)
            else:
                raise AssertionError("time stands still")
        self.now = end
        self.tcp.resume(self.now)

    def check_bounds(self) -> None:
        """Nothing grows."""
        assert len(self.node.reassembler) <= 4
        assert len(self.echo) <= self.echo.bounds.datagrams
        self.echo.take()
        assert self.node.reassembler.held <= 8192 + 1280
        assert len(self.node._path_mtus) <= 64
        assert len(self.node.routes._cache) <= 256
        assert len(self.node._loop) == 0
        assert len(self.tcp.connections) <= 20
        assert len(self.tcp._flows) == len(self.tcp.connections)
        assert len(self.node.flows) <= 20
        assert len(self.tcp._blocked) <= 20
        assert all(len(each.half_open) <= each.backlog for each in self.tcp.listeners)
        for connection in self.tcp.connections.values():
            assert connection.readable + connection._in.beyond <= 2048
            assert len(connection._out) <= 2048

    # -- valid traffic -------------------------------------------------------------------------------------------------

    def valid(self) -> bytes:
        """Some packet that a peer might send."""
        chance = self.chance
        makers = (
            self._segment,
            self._segment,
            self._segment,
            self._syn,
            self._icmp,
            self._udp,
            self._fragments,
            self._error,
            self._headers,
        )
        return chance.choice(makers)(chance.random() < 0.5)

    def _ip(self, v6: bool, protocol: int, body: bytes, to_far: bool = False) -> bytes:
        chance = self.chance
        ttl = chance.choice((64, 64, 64, 255, 1, 0))
        if v6:
            return Ipv6(NEAR6, FAR6 if to_far else OURS6, protocol, body, ttl).encode()
        options = chance.choice((b"", b"", build_options((Ipv4Option(7, b"\x04" + bytes(8)),)), b"\x94\x04\x00\x00"))
        return Ipv4(
            NEAR4, FAR4 if to_far else OURS4, protocol, body, ttl, chance.randrange(4), options=options
        ).encode()

    def _segment(self, v6: bool) -> bytes:
        """The next segment on an open connection, or the end of a handshake."""
        chance = self.chance
        there, here = (NEAR6, OURS6) if v6 else (NEAR4, OURS4)
        known = [each for each in self.tcp.connections.values() if each.ends.local == here]
        if not known:
            return self._syn(v6)
        tcb = chance.choice(known)
        ends = tcb.ends
        payload = chance.randbytes(chance.choice((0, 0, 1, 100, 536)))
        flags = chance.choice(
            (ACK, ACK, ACK | PSH, ACK | PSH, ACK | FIN, ACK | URG, *(FLAGS if chance.random() < 0.2 else ()))
        )
        seq = tcb.rcv_nxt if chance.random() < 0.8 else seq_add(tcb.rcv_nxt, chance.randrange(-3000, 3000))
        ack = tcb.snd_max if chance.random() < 0.8 else seq_add(tcb.snd_una, chance.randrange(-3000, 3000))
        window = chance.choice((0, 1, 500, 8192, 65_535))
        urgent = chance.randrange(65_536)
        segment = Segment(ends.remote_port, ends.local_port, seq, ack, flags, window, payload, urgent)
        return self._ip(v6, Proto.TCP, build_segment(there, here, segment))

    def _syn(self, v6: bool) -> bytes:
        chance = self.chance
        there, here = (NEAR6, OURS6) if v6 else (NEAR4, OURS4)
        options = chance.choice(
            (b"", mss_option(chance.choice((0, 1, 100, 536, 65_535))), b"\x02\x03\x00\x00", b"\x08\x0a" + bytes(10))
        )
        flags = SYN if chance.random() < 0.8 else chance.choice(FLAGS)
        segment = Segment(
            chance.randrange(1000, 1020),
            chance.choice((80, 81, 82)),
            chance.getrandbits(32),
            5,
            flags,
            4096,
            b"",
            0,
            options,
        )
        return self._ip(v6, Proto.TCP, build_segment(there, here, segment))

    def _udp(self, v6: bool) -> bytes:
        chance = self.chance
        there, here = (NEAR6, OURS6) if v6 else (NEAR4, OURS4)
        datagram = UdpDatagram(
            chance.randrange(1, 65_536), chance.choice((7, 9)), chance.randbytes(chance.randrange(900))
        )
        return self._ip(v6, Proto.UDP, build_udp(there, here, datagram), to_far=chance.random() < 0.3)

    def _icmp(self, v6: bool) -> bytes:
        chance = self.chance
        message = Icmp(128 if v6 else 8, 0, chance.getrandbits(32), chance.randbytes(chance.randrange(600)))
        if v6:
            return self._ip(True, Proto.ICMPV6, message.encode6(NEAR6, OURS6))
        return self._ip(False, Proto.ICMP, message.encode4())

    def _error(self, v6: bool) -> bytes:
        """An ICMP error about something we sent, or might have."""
        chance = self.chance
        kind, code = chance.choice((1, 2, 3, 4, 5, 11, 12, 0, 137)), chance.randrange(6)
        quoted = self.last[: chance.randrange(20, 80)] or chance.randbytes(40)
        message = Icmp(kind, code, chance.choice((0, 68, 500, 1 << 31, 40)), quoted)
        if v6:
            return self._ip(True, Proto.ICMPV6, message.encode6(NEAR6, OURS6))
        return self._ip(False, Proto.ICMP, message.encode4())

    def _fragments(self, v6: bool) -> bytes:
        """One fragment of some datagram; all have one of a few identifications, so that they meet."""
        chance = self.chance
        body = bytes(chance.randrange(100, 1500))
        to = FAR6 if chance.random() < 0.2 else OURS6
        if v6:
            whole6 = Ipv6(NEAR6, to, chance.choice((17, 58, 6, 60)), body)
            return chance.choice(list(fragment6(whole6, 296, chance.randrange(3)))).encode()
        whole = Ipv4(NEAR4, OURS4, chance.choice((17, 1, 6, 99)), body, identification=chance.randrange(3))
        return chance.choice(list(fragment4(whole, 296))).encode()

    def _headers(self, _v6: bool) -> bytes:
        """IPv6 extension headers in any order, with options of all four kinds."""
        chance = self.chance
        kind: int = Proto.ICMPV6
        body = Icmp(128, 0, 1, b"x").encode6(NEAR6, OURS6)
        for _ in range(chance.randrange(4)):
            header = chance.choice((0, 60, 43, 44, 59, 51))
            options = tuple(
                Ipv6Option(chance.choice((5, 0x1E, 0x5E, 0x9E, 0xDE)), bytes(chance.randrange(9)))
                for _ in range(chance.randrange(3))
            )
            if header in (0, 60):
                body = ipv6.build_options(kind, options) + body
            elif header == 44:
                body = ipv6.FragmentHeader(kind, chance.choice((0, 0, 8)), chance.random() < 0.3, 5).encode() + body
            else:
                body = bytes((kind, 0, chance.randrange(4), chance.randrange(2), 0, 0, 0, 0)) + body
            kind = header
        return Ipv6(NEAR6, chance.choice((OURS6, OURS6, FAR6, address("ff02::1"))), kind, body).encode()


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """A packet changed in one to three ways; half of the time its checksums are made right again, so that the change gets further in."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change(changed, other, chance)
    if chance.random() < 0.6:
        _mend(changed)
    return bytes(changed)


def _change(data: bytearray, other: bytes, chance: random.Random) -> None:
    way = chance.randrange(8)
    if way == 0 and data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif way == 1 and data:
        data[chance.randrange(min(60, len(data)))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    elif way == 2:
        del data[chance.randrange(len(data) + 1) :]
    elif way == 3:
        data += chance.randbytes(chance.randrange(1, 40))
    elif way == 4:
        data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other) + 1) :]
    elif way == 5 and len(data) >= 40:
        strange = chance.choice([each for each in STRANGE if len(each) == (16 if data[0] >> 4 == 6 else 4)])
        at = (8, 24)[chance.randrange(2)] if len(strange) == 16 else (12, 16)[chance.randrange(2)]
        data[at : at + len(strange)] = strange
    elif way == 6 and len(data) >= 10:
        if data[0] >> 4 == 4:
            data[6:8] = struct.pack("!H", chance.choice((0, 0x2000, 0x4000, 0x2001, 1, 0x1FFF, 0x3FFF)))
        else:
            data[4:6] = struct.pack("!H", chance.choice((0, 1, 8, len(data) - 40 & 0xFFFF, 0xFFFF)))
    elif way == 7 and len(data) >= 10:
        data[9 if data[0] >> 4 == 4 else 6] = chance.choice((0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 253, 255))


def _mend(data: bytearray) -> None:
    """Make length and checksums fit what is there."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        size = max(20, min((data[0] & 15) * 4, len(data)))
        data[0] = 0x40 | size >> 2
        data[2:4] = struct.pack("!H", len(data) & 0xFFFF)
        data[10:12] = bytes(2)
        data[10:12] = struct.pack("!H", ones(bytes(data[: size & ~3])) ^ 0xFFFF)
        protocol, start, ends = data[9], size & ~3, bytes(data[12:20])
    elif len(data) >= 40 and data[0] >> 4 == 6:
        data[4:6] = struct.pack("!H", len(data) - 40)
        protocol, start, ends = data[6], 40, bytes(data[8:40])
    else:
        return
    place = {6: 16, 17: 6, 58: 2, 1: 2}.get(protocol)
    if place is None or len(data) < start + place + 2:
        return
    data[start + place : start + place + 2] = bytes(2)
    if protocol == 17:
        data[start + 4 : start + 6] = struct.pack("!H", len(data) - start & 0xFFFF)
    body = bytes(data[start:])
    pseudo = b"" if protocol == 1 else ends + struct.pack("!IHBB", len(body), 0, 0, protocol)
    data[start + place : start + place + 2] = struct.pack("!H", ones(pseudo + body) ^ 0xFFFF)


def attack(seed: int, count: int) -> Target:
    """So many packets into a fresh target."""
    target = Target(seed)
    chance = target.chance
    for number in range(count):
        data = target.valid()
        if chance.random() < 0.7:
            data = mutated(data, target.valid(), chance)
        target.feed(1 if chance.random() < 0.1 else 0, data)
        for _, each in target.sent:
            target.last = each
        if number % 200 == 0:
            target.check_bounds()
            for connection in list(target.tcp.connections.values()):
                if connection.state is State.TIME_WAIT or chance.random() < 0.2:  # room for new ones
                    target.tcp.abort(connection, target.now)
    target.check_bounds()
    return target


@pytest.mark.parametrize("seed", range(4))
def test_5_000_hostile_packets_of_20_000(seed: int) -> None:
    target = attack(seed, 5_000)
    assert target.oracle.judged > 1_000  # the node did talk
    assert Endpoints(OURS4, 80, NEAR4, 1) not in target.tcp.connections
    before = target.node.events.copy()
    target.feed(0, Ipv4(NEAR4, OURS4, Proto.ICMP, Icmp(8, 0, 7, b"still there?").encode4()).encode())
    assert target.sent
    assert b"still there?" in target.sent[-1][1]
    assert sum(target.node.events.values()) > sum(before.values())


@pytest.mark.soak
def test_1_000_000_hostile_packets() -> None:
    attack(1000, 20_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(49):
        attack(1001 + seed, 20_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000, f"{grown} KiB more than after the first 20 000"
