"""How fast the virtual wire is: simulated time over CPU time for the hop's longest exchanges, on the bare line and through the whole stack.

Over T=0 those are segments of 255 bytes, over T=1 of 248, which fill a block.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from time import process_time

from bench.card.applications import STANDARD
from bench.card.card import Card
from bench.card.contacts import Contacts
from bench.card.profile import CardProfile
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.iso7816.atr import T1Parameters, build_atr
from bench.iso7816.line import etu_ticks
from bench.iso7816.port import Answer, TerminalPort
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import Later, Reply
from bench.iso7816.t1_card import ApduLater, ApduReply
from bench.observe import NullSink, Sink
from bench.readers.software import SoftwareReader
from bench.readers.wrappers import Recorded
from bench.records.journal import CaptureMode, Journal
from benchmarks.measure import show

CLOCK_HZ = 3_571_200
RATES = ((0x11, 9_600), (0x18, 115_200))
ROUNDS = 5
EXCHANGE_ETU = 12 * 255 + 112
SEGMENT = {0: 255, 1: 248}
"""By protocol."""


class _Swallow:
    """A card that takes data and says 9000, over T=0."""

    def takes_data(self, header: bytes) -> bool:
        return header[1] == 0xC2

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        del header, data, later
        return Reply(b"", 0x9000)


class _Node:
    """The same over T=1."""

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        del apdu, later
        return ApduReply(b"\x90\x00")


def _line(protocol: int, ta1: int, exchanges: int, sink: Sink) -> float:
    """Back-to-back ENVELOPEs of 255 bytes on the bare line; gives simulated seconds per CPU second."""
    engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
    reader = SoftwareReader(engine, CLOCK_HZ, ta1)
    t1 = T1Parameters(ifsc=254, bwi_cwi=0x45) if protocol else None
    atr = build_atr(protocols=(protocol,), ta1=ta1, t1=t1)
    reader.insert(Contacts(engine, atr, 1000, _Swallow(), lambda _on: None, nodes={0: _Node()}))
    port: TerminalPort = Recorded(reader, 1, sink)
    ups: list[object] = []
    port.power_up(ups.append)
    engine.wait(lambda: bool(ups), engine.timebase.hz)
    left = exchanges
    size = SEGMENT[protocol]
    command = bytes((0x80, 0xC2, 0x80, 0, size)) + bytes(size)

    def answered(_answer: Answer) -> None:
        nonlocal left
        left -= 1
        if left:
            port.submit(command, answered)

    simulated, cpu = engine.now, process_time()
    port.submit(command, answered)
    engine.wait(lambda: not left, 10_000 * engine.timebase.hz)
    return (engine.now - simulated) / engine.timebase.hz / (process_time() - cpu)


def _stack(protocol: int, ta1: int, exchanges: int, sink: Sink) -> float:
    """One channel of full messages from outside to an application: wire, hop, channels and gateway; the same ratio."""
    engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
    period = engine.timebase.nanoseconds(10**6)
    poll = PollPlan(period, period)
    reader = SoftwareReader(engine, CLOCK_HZ, ta1)
    card = Card(
        engine,
        CardProfile(b"x", ta1=ta1, mtu=SEGMENT[protocol] - 1, applications=STANDARD, protocols=(protocol,)),
        poll,
        sink,
    )
    reader.insert(card.contacts)
    uplink = InProcessUplink()
    host = Host(engine, Recorded(reader, 1, sink), uplink, HostSettings(SEGMENT[protocol] - 1, poll), sink)
    host.start()
    engine.wait(lambda: len(host.gateway.services()) == len(STANDARD), 60 * engine.timebase.hz)
    socket = uplink.dial(9)
    socket.source = bytes
    span = exchanges * EXCHANGE_ETU * etu_ticks(Rate(ta1), CLOCK_HZ, engine.timebase)
    simulated, cpu = engine.now, process_time()
    engine.run(engine.now + span)
    return (engine.now - simulated) / engine.timebase.hz / (process_time() - cpu)


def _measure(
    run: Callable[[int, int, int, Sink], float], protocol: int, ta1: int, exchanges: int, directory: Path | None
) -> float:
    """The median of some rounds; with a directory, journalled there with all payloads."""
    ratios = []
    for turn in range(ROUNDS):
        if directory is None:
            ratios.append(run(protocol, ta1, exchanges, NullSink()))
            continue
        with Journal.open(directory / f"{run.__name__}-{protocol}-{ta1}-{turn}.journal") as journal:
            point = journal.point("x", "y", Timebase.for_clocks(CLOCK_HZ), CaptureMode.FULL)
            ratios.append(run(protocol, ta1, exchanges, point))
    return sorted(ratios)[ROUNDS // 2]


def test_simulated_time_over_cpu_time(tmp_path: Path) -> None:
    lines = []
    for what, run in (("the bare line", _line), ("the whole stack", _stack)):
        for (ta1, baud), protocol in product(RATES, SEGMENT):
            measure = partial(_measure, run, protocol, ta1, 3000)
            lines.append(
                f"{what:16} T={protocol} at {baud:7} baud: {measure(tmp_path):8.0f} × with records, {measure(None):8.0f} × without"
            )
    show("The hop's longest exchanges, simulated over CPU time (medians of 5 rounds)", lines)
