"""What others see of a gateway: metrics, health, the log; and its clockwork: token buckets, the slaved engine."""

import contextlib
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from bench.engine import Timebase, VirtualEngine
from bench.host.buckets import TokenBucket
from bench.host.drive import SlavedDrive
from bench.host.log import Log
from bench.host.metrics import MAX_SERIES, REFUSED, Metrics
from tests.gateway.support import PATIENCE_S, Gate, gateway, read_all, wait

SECOND = 10**9


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with gateway(cards=2, admin=0) as made:
        yield made


def fetch(gate: Gate, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{gate.running.service.admin_port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_readiness(gate: Gate) -> None:
    assert fetch(gate, "/healthz") == (200, "ok\n")
    wait(lambda: fetch(gate, "/readyz") == (200, "ready\n"))
    gate.remove(1)
    wait(lambda: fetch(gate, "/readyz")[0] == 503)
    assert fetch(gate, "/readyz")[1].startswith("no card: ")
    assert fetch(gate, "/healthz")[0] == 200
    gate.insert(1)
    wait(lambda: fetch(gate, "/readyz")[0] == 200)
    assert fetch(gate, "/elsewhere")[0] == 404
    assert fetch(gate, "/metrics", "POST")[0] == 405
    assert fetch(gate, "/healthz", "HEAD") == (200, "")


def test_metrics_are_prometheus_text_and_true(gate: Gate) -> None:
    before = gate.metric('bytes_total{card="2",direction="to_outside"}')
    gate.echo(b"0123456789", 2)
    gate.idle()
    status, text = fetch(gate, "/metrics")
    assert status == 200
    known: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split(" ")
        if line.startswith("# TYPE "):
            known[words[2]] = words[3]
        elif not line.startswith("#"):
            name = words[0].partition("{")[0]
            assert known[name] in ("counter", "gauge")
            assert (known[name] == "counter") == name.endswith("_total")
            float(words[-1])
    assert gate.metric('bytes_total{card="2",direction="to_outside"}') == before + 10
    assert gate.metric("cards") == 2
    assert gate.metric("connections") == 0
    assert gate.metric("resident_bytes") > 1 << 20


@pytest.mark.parametrize(
    "request_", [b"", b"x" * 20_000, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.0\r\n"]
)
def test_the_admin_port_answers_rubbish_and_goes_on(gate: Gate, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gate.running.service.admin_port), 10) as made:
        made.sendall(request_)
        made.shutdown(socket.SHUT_WR)
        try:
            assert read_all(made).startswith(b"HTTP/1.0 400 ")
        except ConnectionResetError:
            assert len(request_) > 8192, "only what was not read to its end is answered by a reset"
    assert fetch(gate, "/healthz")[0] == 200


def test_label_values_are_escaped_and_bounded() -> None:
    metrics = Metrics()
    metrics.add(REFUSED, 'a"b\\c\nd', "x")
    assert 'card="a\\"b\\\\c\\nd"' in metrics.text()
    for number in range(MAX_SERIES + 100):
        metrics.add(REFUSED, number, "y")
    assert len(metrics._series) <= MAX_SERIES + 1
    assert metrics.value(REFUSED) == MAX_SERIES + 101


# -- the log -------------------------------------------------------------------------------------------------------------------


def lines(file: int) -> list[dict[str, object]]:
    os.set_blocking(file, False)
    try:
        return [json.loads(line) for line in os.read(file, 1 << 20).splitlines()]
    except BlockingIOError:
        return []


def test_lines_are_json_with_time_level_and_event() -> None:
    reading, writing = os.pipe()
    log = Log(writing, "info")
    log.debug("unseen")
    log.info("seen", card=1, what="x" * 1000)
    (line,) = lines(reading)
    assert (line["level"], line["event"], line["card"], len(str(line["what"]))) == ("info", "seen", 1, 256)
    assert str(line["time"]).endswith("Z")
    os.close(reading)
    log.info("nobody reads")
    assert log.dropped == 1
    os.close(writing)


def test_an_event_that_comes_too_often_is_left_out_and_counted() -> None:
    now = [0]
    reading, writing = os.pipe()
    log = Log(writing, clock=lambda: now[0])
    for _ in range(600):
        log.info("again")
    assert len(lines(reading)) == 500
    now[0] = SECOND
    log.info("again")
    assert lines(reading)[0]["suppressed"] == 100
    for each in (reading, writing):
        os.close(each)


def test_a_full_pipe_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    log = Log(writing, clock=time.monotonic_ns)
    for number in range(600):
        log.info(f"event {number}", text="x" * 200)
    assert log.dropped > 0
    for each in (reading, writing):
        os.close(each)


# -- clockwork -------------------------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_rate_in_the_long_run_and_its_burst_at_once() -> None:
    bucket = TokenBucket(10, 5, 0)
    assert [bucket.take(1, 0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.seconds_until_one(0) == pytest.approx(0.1)
    assert bucket.take(1, SECOND // 10)
    assert not bucket.take(1, SECOND // 10)
    assert bucket.available(100 * SECOND) == 5
    assert bucket.take(25, 100 * SECOND)
    assert not bucket.take(1, 102 * SECOND)
    assert bucket.take(1, 103 * SECOND)
    assert TokenBucket(0, 1, 0).take(1 << 40, 0)


def engine() -> VirtualEngine:
    return VirtualEngine(Timebase.for_clocks(3_571_200))


def test_an_idle_engine_follows_the_wall_and_a_busy_one_runs_ahead() -> None:
    ours = engine()
    hz = ours.timebase.hz
    drive = SlavedDrive(ours, hz // 2).start()
    began = time.monotonic()
    ran: list[int] = []

    def tick() -> None:
        ran.append(ours.now)
        if len(ran) <= 100:
            drive.moved()
            ours.after(hz // 4, tick)

    drive.post(lambda: ours.after(hz // 4, tick))
    wait(lambda: len(ran) > 100)
    assert time.monotonic() - began < 20, "25 s of the engine's time take what they cost"
    time.sleep(0.1)
    first, at = drive.call(lambda: ours.now), time.monotonic()
    time.sleep(0.3)
    second, then = drive.call(lambda: ours.now), time.monotonic()
    assert second >= first
    assert (second - first) / hz < then - at + 1.1, "what was gained last is at most what may still come"
    drive.stop()


def test_a_paced_engine_keeps_to_the_wall() -> None:
    ours = engine()
    hz = ours.timebase.hz
    drive = SlavedDrive(ours, hz // 2, paced=True).start()
    reached: list[float] = []
    began = time.monotonic()
    drive.post(lambda: ours.after(hz // 5, lambda: reached.append(time.monotonic() - began)))
    wait(lambda: bool(reached))
    assert 0.19 < reached[0] < PATIENCE_S / 2
    drive.stop()


def test_an_error_in_an_event_is_kept_and_stops_nothing() -> None:
    ours = engine()
    drive = SlavedDrive(ours, ours.timebase.hz // 100).start()

    def fail() -> None:
        raise ValueError("kept")

    drive.post(fail)
    drive.post(lambda: ours.after(1, fail))
    ran: list[int] = []
    drive.post(lambda: ours.after(2, lambda: ran.append(1)))
    wait(lambda: bool(ran))
    failure = drive.failure()
    assert isinstance(failure, ValueError)
    assert drive.failure() is None
    drive.stop()


def test_a_paced_card_takes_what_its_line_takes() -> None:
    with gateway(paced=True, ta1="18") as gate:
        with gate.dial("echo") as made:
            data = bytes(range(200)) * 10
            began = time.monotonic()
            made.sendall(data)
            made.shutdown(socket.SHUT_WR)
            assert read_all(made) == data
            took = time.monotonic() - began
        line = 2 * len(data) * 12 / 115_200
        assert took > line, "2000 bytes there and back at 115 200 baud"
        assert took < PATIENCE_S


def test_a_crowd_of_silent_visitors_keeps_nobody_from_the_admin_port() -> None:
    with gateway(admin=0) as gate, contextlib.ExitStack() as stack:
        port = gate.running.service.admin_port
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
        began = time.monotonic()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as made:
                made.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert read_all(made).endswith(b"ok\n")
        assert time.monotonic() - began < PATIENCE_S / 2
