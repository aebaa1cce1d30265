"""The gateway beside a bare relay in Python, in the same run: throughput, and what a connection costs. And the share of the line it leaves."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from bench.observe import NullSink, PointVerdict
from bench.rig.loader import load_rig_file
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from benchmarks.measure import show
from tests.gateway.support import Gate, gateway

ROOT = Path(__file__).resolve().parents[1]
BULK = 1 << 20
SHARE = """title: Share of the limit
requirements: [HOP-RATE-3]
given: {ta1: "18"}
sweep: {mtu: [64, 256], channels: [1, 16], direction: [down, up, echo]}
steps:
  - power_on: {}
  - assign_addresses: {}
  - open_by_direction: {count: "{channels}", direction: "{direction}"}
  - transfer: {messages: 100, direction: "{direction}"}
"""
CONNECTIONS = 100
ROUNDS = 3


@contextmanager
def relay() -> Iterator[int]:
    """An echo behind a relay, a thread a direction: what a program does that knows nothing of cards."""
    echo, front = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def answer() -> None:
        with suppress(OSError):
            while True:
                made, _ = echo.accept()
                _start(lambda made=made: carry(made, made))

    def accept() -> None:
        with suppress(OSError):
            while True:
                made, _ = front.accept()
                far = socket.create_connection(echo.getsockname())
                _start(lambda made=made, far=far: carry(made, far))
                _start(lambda made=made, far=far: carry(far, made))

    _start(answer)
    _start(accept)
    try:
        yield int(front.getsockname()[1])
    finally:
        for each in (front, echo):
            each.shutdown(socket.SHUT_RDWR)
            each.close()


def _start(action: Callable[[], None]) -> None:
    threading.Thread(target=action, daemon=True).start()


def _bulk(address: str, port: int) -> float:
    """Bytes a second each way through an echo."""
    began = time.perf_counter()
    with socket.create_connection((address, port), 60) as made:
        data = bytes(BULK)
        writer = threading.Thread(target=lambda: (made.sendall(data), made.shutdown(socket.SHUT_WR)))
        writer.start()
        got = 0
        while part := made.recv(65_536):
            got += len(part)
        writer.join()
    assert got == BULK
    return BULK / (time.perf_counter() - began)


def _connections(address: str, port: int) -> float:
    """Seconds of a connection that says one word and hears it."""
    began = time.perf_counter()
    for _ in range(CONNECTIONS):
        with socket.create_connection((address, port), 10) as made:
            made.sendall(b"word")
            assert made.recv(4)
    return (time.perf_counter() - began) / CONNECTIONS


def _side_by_side(gate: Gate, port: int, measure: Callable[[str, int], float]) -> tuple[float, float]:
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(measure(gate.address, gate.port("echo")))
        bare.append(measure("127.0.0.1", port))
    return median(ours), median(bare)


def test_gateway_beside_a_bare_relay() -> None:
    with gateway(mtu="1270", ta1="97", profile="large") as gate, relay() as port:
        ours, bare = _side_by_side(gate, port, _bulk)
        cost, least = _side_by_side(gate, port, _connections)
    show(
        f"The gateway with a software card, unpaced, beside a bare relay (medians of {ROUNDS} rounds)",
        [
            f"throughput      {ours / 1024:9.0f} KiB/s each way, relay {bare / 1024:9.0f} KiB/s: {100 * ours / bare:.2f} %",
            f"a connection    {1e3 * cost:9.2f} ms, relay {1e3 * least:9.2f} ms: {cost / least:.1f} times",
        ],
    )


def test_share_of_the_limit_at_115200_baud(tmp_path: Path) -> None:
    scenario = tmp_path / "gateway" / "share.yaml"
    scenario.parent.mkdir()
    scenario.write_text(SHARE)
    rig = load_rig_file(ROOT / "rigs" / "default.yaml").rigs[0]
    lines, shares = [], []
    for point in load_scenario(scenario).points[Selection.ORDINARY]:
        outcome = run_point(point, rig, 1, lambda _timebase: _Nobody())
        (goodput,) = [each.value for each in outcome.measurements if each.name == "goodput"]
        lines.append(f"{point.id:42} {goodput:6.2f} %")
        shares.append(goodput)
    show("Share of the limit at 115 200 baud, in the line's own time", lines)
    assert min(shares) >= 95


class _Nobody(NullSink):
    def finish(self, verdict: PointVerdict, /) -> None:
        """``run_point`` gives it back as well."""
