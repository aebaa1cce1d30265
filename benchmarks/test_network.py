"""How fast two nodes in memory move TCP, beside lwIP in C driven by ctypes in the same run: CPU time of one core, rounds taking turns, medians.

Issue 5 asks for at least 30 MB/s at MTU 576, and for half of what lwIP by ctypes reaches.
"""

from collections import deque
from collections.abc import Callable

import pytest

from bench.net.connection import Connection, Reason, TcpSettings
from bench.net.node import Node
from bench.net.protocols import address
from bench.net.tcp import Tcp
from benchmarks.measure import show, side_by_side
from tests.net.lwip import Lwip, LwipUser, available

HZ = 10**9
A4, B4, A6, B6 = (address(text) for text in ("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"))
TOTAL = 2_000_000
BUFFER = 16_384
ROUNDS = 9
MTUS = (128, 576, 1280)
_BLOCK = bytes(range(256)) * (BUFFER // 256)


class _Source:
    """Gives TCP as much as it takes."""

    def __init__(self, tcp: Tcp, total: int) -> None:
        self.tcp = tcp
        self.left = total

    def opened(self, connection: Connection) -> None:
        self.room(connection)

    def received(self, connection: Connection) -> None: ...

    def room(self, connection: Connection) -> None:
        while self.left and (room := connection.send_room):
            self.left -= self.tcp.send(connection, _BLOCK[: min(room, self.left)], 0)

    def closed(self, connection: Connection, reason: Reason) -> None: ...


class _Drain:
    """Takes all there is at once."""

    def __init__(self, tcp: Tcp) -> None:
        self.tcp = tcp
        self.count = 0

    def opened(self, connection: Connection) -> None: ...

    def received(self, connection: Connection) -> None:
        self.count += len(self.tcp.read(connection, BUFFER, 0))

    def room(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection, reason: Reason) -> None: ...


def _ours(mtu: int, v6: bool = False) -> Callable[[], None]:
    def run() -> None:
        queue: deque[tuple[Node, bytes]] = deque()
        put = queue.append
        one, two = Node(HZ), Node(HZ)

        def wire(to: Node) -> Callable[[bytes], bool]:
            def send(data: bytes) -> bool:
                put((to, data))
                return True

            return send

        one.add_interface("one", mtu, wire(two))
        two.add_interface("two", mtu, wire(one))
        for node, four, six in ((one, A4, A6), (two, B4, B6)):
            node.assign(0, four, 24)
            node.assign(0, six, 64)
        settings = TcpSettings.usual(HZ, send_buffer=BUFFER, receive_buffer=BUFFER)
        here, there = Tcp(one, settings), Tcp(two, settings)
        drain = _Drain(there)
        there.listen(80, lambda _connection: drain)
        here.connect(B6 if v6 else B4, 80, _Source(here, TOTAL), 0)
        now = 0
        while drain.count < TOTAL:
            while queue:
                to, data = queue.popleft()
                to.receive(0, data, now)
            dues = [due for due in (here.due, there.due) if due is not None]
            if dues:
                now = max(now, min(dues))
                here.tick(now)
                there.tick(now)

    return run


def _lwip(mtu: int, v6: bool = False) -> Callable[[], None]:
    def run() -> None:
        queue: deque[tuple[Lwip, bytes]] = deque()
        one: Lwip = Lwip(A4, A6, mtu, lambda data: queue.append((two, data)))
        two: Lwip = Lwip(B4, B6, mtu, lambda data: queue.append((one, data)))
        drain = LwipUser(keep=False)
        two.listen(80, drain, v6=v6)
        one.connect(B6 if v6 else B4, 80, LwipUser(bytes(TOTAL)))
        while drain.count < TOTAL:
            while queue:
                to, data = queue.popleft()
                to.receive(data)
            one.tick()
            two.tick()

    return run


def test_tcp_in_memory_beside_lwip() -> None:
    if available() is None:
        pytest.skip("liblwip0 is not installed (Debian: apt-get install liblwip0)")
    lines = []
    for mtu in MTUS:
        for v6 in (False, True):
            candidates = [("ours", _ours(mtu, v6)), ("lwip", _lwip(mtu, v6))]
            ours, lwip = side_by_side(candidates, ROUNDS)
            rates = [TOTAL / each.median / 1e6 for each in (ours, lwip)]
            best = TOTAL / min(ours.seconds) / 1e6
            lines.append(
                f"MTU {mtu:5} IPv{6 if v6 else 4}: {rates[0]:6.1f} MB/s (best {best:5.1f}), "
                f"lwIP by ctypes {rates[1]:6.1f} MB/s, ratio {rates[0] / rates[1]:.2f}"
            )
    show(f"TCP between two nodes in memory, {TOTAL / 1e6:.0f} MB, medians of {ROUNDS} rounds", lines)


if __name__ == "__main__":
    test_tcp_in_memory_beside_lwip()
