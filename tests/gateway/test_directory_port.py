"""The directory on its fixed port (docs/protocol.md, section 4), and the APDU port (docs/gateway.md): always there, always true."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.gateway.support import PATIENCE_S, Gate, gateway, read_all, read_exactly, wait


@pytest.fixture(scope="module")
def gate() -> Gate:  # type: ignore[misc]
    with gateway(cards=2) as made:
        wait(lambda: len(made.services) == 2 * 8 + 1)
        yield made


def ask(gate: Gate, question: bytes) -> str:
    with socket.create_connection((gate.address, 7816), PATIENCE_S) as made:
        made.sendall(question)
        return read_all(made).decode()


def rows(gate: Gate) -> list[dict[str, object]]:
    for _ in range(5):
        with contextlib.suppress(ValueError):  # half a second passed before we said "json"
            found = json.loads(ask(gate, b"json\n"))
            assert isinstance(found, list)
            return found
    raise AssertionError("no JSON")


def test_lines_for_people_and_json_for_programs_say_the_same(gate: Gate) -> None:
    lines = [line.split(" ") for line in ask(gate, b"\r\n").split("\r\n")[:-1]]
    assert [[str(value) for value in row.values()] for row in rows(gate)] == lines
    assert ["echo", "7", "tcp", "1", "listening"] in lines


def test_who_says_nothing_gets_the_lines_and_who_is_slow_the_json(gate: Gate) -> None:
    with socket.create_connection((gate.address, 7816), PATIENCE_S) as made:
        began = time.monotonic()
        assert read_all(made).startswith(b"echo 7 tcp 1 listening\r\n")
        assert 0.4 < time.monotonic() - began < PATIENCE_S / 2
    answers = []
    while not answers or (
        not answers[-1].startswith(b"[") and len(answers) < 10
    ):  # a loaded machine may be slower than slow
        with socket.create_connection((gate.address, 7816), PATIENCE_S) as made:
            for byte in b"json\n":
                made.sendall(bytes((byte,)))
                time.sleep(0.02)
            answers.append(read_all(made))
    json.loads(answers[-1])


def test_a_crowd_of_silent_visitors_keeps_nobody_from_the_directory(gate: Gate) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection((gate.address, 7816), PATIENCE_S))
        before = gate.processor_s()
        assert rows(gate)
        assert gate.processor_s() - before < 1
        time.sleep(1)  # now they have their answers, and do not close
        for _ in range(5):
            assert rows(gate)
    gate.idle()


def test_what_is_listed_listens_and_nothing_else_does(gate: Gate) -> None:
    listed = {int(str(row["port"])) for row in rows(gate)}
    for port in listed:
        socket.create_connection((gate.address, port), PATIENCE_S).close()
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        address, port = words[1].split(":")
        if words[3] == "0A" and bytes.fromhex(address)[::-1] == socket.inet_aton(gate.address):
            listening.add(int(port, 16))
    assert listening == listed | {7816}
    gate.idle()


def test_it_is_kept_true_as_cards_come_and_go() -> None:
    with gateway(cards=3) as gate:
        assert {row["card"] for row in rows(gate)} == {1, 2, 3}
        gate.remove(2)
        wait(lambda: {row["card"] for row in rows(gate)} == {1})
        gate.remove(1)
        wait(lambda: rows(gate) == [])
        gate.insert(1)
        wait(lambda: {row["card"] for row in rows(gate)} == {1})
        gate.insert(2)
        wait(lambda: len({row["card"] for row in rows(gate)}) == 3 and len(rows(gate)) == 3 * 8 + 1)


# -- the APDU port ---------------------------------------------------------------------------------------------------------------

SELECT_MF = bytes.fromhex("00A4000C023F00")


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def read_frame(made: socket.socket) -> bytes:
    return read_exactly(made, int.from_bytes(read_exactly(made, 4), "big"))


def apdu_socket(gate: Gate) -> socket.socket:
    return socket.create_connection((gate.address, 7817), 10)


def test_apdus_in_frames(gate: Gate) -> None:
    with apdu_socket(gate) as made:
        made.sendall(frame(b""))
        assert read_frame(made)[0] == 0x3B
        made.sendall(frame(SELECT_MF))
        assert read_frame(made) == b"\x90\x00"
        data = bytes(range(256)) * 16
        echo = b"\xa0\xec\x00\x00\x00" + len(data).to_bytes(2, "big") + data + b"\x00\x00"
        made.sendall(frame(echo))
        assert read_frame(made) == data + b"\x90\x00"
        made.sendall(frame(b"\x00"))
        assert read_frame(made) == b"\x67\x00"


def test_apdus_in_lines(gate: Gate) -> None:
    with apdu_socket(gate) as made:
        made.sendall(b"atr\n00 a4 00 0c 02 3f 00\r\n\nrubbish\n00\n00A4000C023F00")
        made.shutdown(socket.SHUT_WR)
        answers = read_all(made).decode().splitlines()
        assert answers[0].startswith("3B")
        assert [answers[1], answers[-1]] == ["9000", "9000"]
        assert [each.startswith("error: ") for each in answers] == [False, False, True, True, False]


def test_a_line_of_a_mebibyte_is_refused_and_the_next_visitor_served(gate: Gate) -> None:
    with apdu_socket(gate) as made:

        def pour() -> None:
            with contextlib.suppress(OSError):
                made.sendall(b"0" * (1 << 20))

        thread = threading.Thread(target=pour)
        thread.start()
        with contextlib.suppress(ConnectionResetError):
            assert read_all(made).startswith(b"error: a line of more than")
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    with apdu_socket(gate) as made:
        made.sendall(frame(SELECT_MF))
        assert read_frame(made) == b"\x90\x00"


def test_one_visitor_at_a_time_others_wait_their_turn(gate: Gate) -> None:
    with apdu_socket(gate) as first, apdu_socket(gate) as second:
        first.sendall(frame(SELECT_MF))
        assert read_frame(first) == b"\x90\x00"
        second.sendall(frame(SELECT_MF) * 3)
        second.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.sendall(frame(SELECT_MF))
        assert read_frame(first) == b"\x90\x00"
        first.close()
        second.settimeout(PATIENCE_S)
        assert [read_frame(second) for _ in range(3)] == [b"\x90\x00"] * 3


def test_a_visitor_that_drips_has_the_apdu_port_no_longer_than_a_silent_one(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.host.apdu_port.IDLE_NS", 2 * 10**9)
    with apdu_socket(gate) as dripper, apdu_socket(gate) as second:
        second.settimeout(0.2)
        dripper.sendall(frame(SELECT_MF))
        assert read_frame(dripper) == b"\x90\x00"
        second.sendall(frame(SELECT_MF))
        dripper.sendall((1000).to_bytes(4, "big"))  # an APDU that comes byte by byte
        began = time.monotonic()
        answered = b""
        while not answered and time.monotonic() - began < PATIENCE_S:
            with contextlib.suppress(OSError):
                dripper.sendall(b"\x01")
            with contextlib.suppress(TimeoutError):
                answered = second.recv(1)
        took = time.monotonic() - began
        assert answered
        assert took > 1
        assert read_exactly(second, 5) == b"\x00\x00\x02\x90\x00"


def test_visitors_that_fill_the_apdu_port_keep_nobody_from_the_directory(gate: Gate) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(apdu_socket(gate)) for _ in range(32)]
        wait(lambda: gate.metric("connections") >= 32)
        stack.enter_context(apdu_socket(gate)).sendall(frame(SELECT_MF))
        with pytest.raises(ConnectionResetError):
            silent[0].recv(1)  # the oldest of them made room
        assert rows(gate)
        gate.echo()
    gate.idle()


def test_a_visitor_that_leaves_mid_frame_leaves_nothing(gate: Gate) -> None:
    whole = frame(SELECT_MF)
    for cut in range(1, len(whole)):
        with apdu_socket(gate) as made:
            made.sendall(whole[:cut])
    with apdu_socket(gate) as made:
        made.sendall(whole)
        assert read_frame(made) == b"\x90\x00"


def test_apdus_are_answered_while_sockets_are_busy(gate: Gate) -> None:
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(gate.dial("chargen")) for _ in range(8)]
        stop = threading.Event()

        def drain() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    for made in busy:
                        made.recv(65_536)

        thread = threading.Thread(target=drain)
        thread.start()
        data = bytes(range(200)) * 5
        echo = b"\xa0\xec\x00\x00\x00" + len(data).to_bytes(2, "big") + data + b"\x00\x00"
        with apdu_socket(gate) as made:
            for _ in range(20):
                made.sendall(frame(echo))
                assert read_frame(made) == data + b"\x90\x00"
        stop.set()
        thread.join(PATIENCE_S)
    gate.idle()


def test_it_is_open_while_the_card_is_powered() -> None:
    with gateway() as gate:
        with apdu_socket(gate) as made:
            made.sendall(frame(SELECT_MF))
            assert read_frame(made) == b"\x90\x00"
            gate.remove(1)
            with pytest.raises(ConnectionResetError):
                made.recv(1)
        wait(lambda: gate.services == [])
        with pytest.raises(ConnectionRefusedError):
            apdu_socket(gate)
        gate.insert(1)
        wait(lambda: "apdu" in {each.name for each in gate.services})
        with apdu_socket(gate) as made:
            made.sendall(b"atr\n")
            assert made.recv(2) == b"3B"


def test_a_plain_card_without_the_hop_has_its_apdus_served() -> None:
    with contextlib.ExitStack() as stack:
        from bench.commands.gateway import serve_rig
        from bench.host.log import Log
        from bench.host.policy import Policy
        from bench.rig.given import Given
        from tests.gateway.support import MODEL, own_address

        address = own_address()
        running = serve_rig(
            MODEL, Given.model_validate({"profile": "plain"}), Policy.model_validate({"listen": [address]}), Log(None)
        )
        stack.callback(running.stop, drain=False)
        wait(running.service.ready)
        made = stack.enter_context(socket.create_connection((address, 7817), PATIENCE_S))
        made.sendall(frame(SELECT_MF))
        assert read_frame(made) == b"\x90\x00"
        assert [each.name for each in running.service.services()] == ["apdu"]
