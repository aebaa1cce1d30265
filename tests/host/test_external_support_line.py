"""The external support on a real line, as ``cardbench ppp`` runs it: a socket here, with our own PPP end at the other side of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.commands.ppp import GIVEN, RunningSupport
from bench.engine import MonotonicEngine, Timebase
from bench.host.ip_pool import AddressPool
from bench.host.ppp import FIRST4, PppEnd, PppOffer
from bench.net.ppp.automaton import Patience
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.packets import PppProtocol
from bench.rig.given import Given
from bench.rig.model import RigModel


@dataclass(slots=True)
class Program:
    """What pppd would be."""

    engine: MonotonicEngine
    end: PppEnd
    socket: socket.socket

    def wait(self, done: Callable[[], bool], seconds: float = 10) -> bool:
        return self.engine.wait(done, int(seconds * self.engine.timebase.hz))

    def ping(self, length: int) -> bool:
        came: list[bytes] = []

        def send() -> None:
            node = self.end.node
            node.on_echo_reply = lambda _source, message, _now: came.append(message.payload)
            node.ping(self.end.face.peers[PppProtocol.IPCP], 1, 1, bytes(length), self.engine.now)

        self.engine.call(send)
        return self.wait(lambda: came == [bytes(length)])


@pytest.fixture
def program() -> Iterator[Callable[[socket.socket], Program]]:
    made: list[Program] = []

    def make(line: socket.socket) -> Program:
        line.setblocking(False)
        engine = MonotonicEngine(Timebase.for_clocks(3_571_200)).start()
        engine.loop_bound = True
        offer = PppOffer(Patience(engine.timebase.hz), LcpWishes(accm=0), pool=AddressPool(FIRST4, 1))
        end = PppEnd(engine, offer, lambda data: line.sendall(data), hdlc=True, seed=1)
        engine.call(end.open)
        read = lambda: engine.enter(lambda: end.receive(line.recv(4096)))  # noqa: E731
        engine.loop.call_soon_threadsafe(engine.loop.add_reader, line.fileno(), read)
        made.append(Program(engine, end, line))
        return made[-1]

    yield make
    for each in made:
        each.engine.call(lambda each=each: each.engine.loop.remove_reader(each.socket.fileno()))  # type: ignore[misc]
        each.engine.stop()
        each.socket.close()


def test_a_card_is_reached_and_the_end_of_the_line_is_told(program: Callable[[socket.socket], Program]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    model = RigModel.model_validate({"name": "software", "reader": {"kind": "software"}})
    running = RunningSupport(model, Given.model_validate(GIVEN), ours.fileno(), ours.fileno(), 8192, paced=False)
    ends: list[str] = []
    running.line.on_end = ends.append
    try:
        running.start()
        peer = program(theirs)
        assert peer.wait(lambda: peer.end.link.is_up(PppProtocol.IPCP))
        assert peer.ping(56)
        assert peer.ping(3000)
        told = json.loads(running.told())
        assert told["to_line"]["longest"] >= 1500
        assert told["to_card"]["dropped"] == told["fcs_errors"] == 0
        theirs.shutdown(socket.SHUT_WR)
        limit = time.monotonic() + 5
        while not ends and time.monotonic() < limit:
            time.sleep(0.01)
        assert ends == ["the line was closed"]
    finally:
        running.stop()
        running.stop()  # a second call is no mistake
        ours.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 4  # the program's loop, until its fixture ends


def test_the_command_serves_its_standard_input_and_says_at_the_end_what_it_held() -> None:
    words = [sys.executable, "-m", "bench.cli", "ppp", "-"]
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        subprocess.Popen(
            words, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        theirs.close()
        ours.settimeout(30)
        heard = b""
        while heard.count(b"\x7e") < 2:  # the card's Configure-Request
            heard += ours.recv(4096)
        assert heard[:5] == bytes.fromhex("7eff7d23c0")
        ours.close()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(said)["octets_out"] >= len(heard)


def test_a_line_that_is_not_there() -> None:
    result = CliRunner().invoke(cardbench, ["ppp", "/no/such/line"])
    assert result.exit_code == 3
    assert result.output == "error: /no/such/line: No such file or directory\n"
