"""The capture of a run, read by Wireshark's own dissectors through tshark."""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import cast

import pytest

from bench.engine import VirtualEngine
from bench.hop.link import PollPlan
from bench.iso7816.port import PowerUp, WarmResets
from bench.observe import Direction, Exchange, ListSink, Observation, Verdict
from bench.records.journal import CaptureMode, Journal
from bench.records.pcapng import PduDirection, upper_pdu
from bench.records.run import RunDirectory
from bench.rig.given import Given
from bench.rig.software import SoftwareChain
from tests.records.samples import MS, TIMEBASE, exchange, numbered_point, packet, step, verdict

pytestmark = [
    pytest.mark.witness,
    pytest.mark.skipif(
        shutil.which("tshark") is None,
        reason="tshark is missing: apt-get install --no-install-recommends tshark",
    ),
]

SELECT = bytes.fromhex("00A4040007A0000000041010")
ENVELOPE = bytes.fromhex("80C2000008") + bytes(range(8))
GET_RESPONSE = bytes.fromhex("80C0000004")
ATR = bytes.fromhex("3B959680014142434445C3")
"""TA1, T=0 and T=1, five historical bytes, TCK."""
EXTENDED = bytes.fromhex("00D6000000012C") + bytes(300)
LOOKS_LIKE_AN_ATR = bytes.fromhex("3BFF11223344") + b"\x90\x00"


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(int.from_bytes(data[k : k + 2], "big") for k in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4_udp(payload: bytes) -> bytes:
    source, destination = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    udp = struct.pack(">HHHH", 4660, 9999, 8 + len(payload), 0) + payload
    pseudo = source + destination + struct.pack(">BBH", 0, 17, len(udp))
    udp = udp[:6] + struct.pack(">H", checksum(pseudo + udp)) + udp[8:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + source + destination
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp


def ipv6_echo(payload: bytes) -> bytes:
    source, destination = bytes.fromhex("fd" + 14 * "00" + "01"), bytes.fromhex("fd" + 14 * "00" + "02")
    icmp = struct.pack(">BBHHH", 128, 0, 0, 1, 1) + payload
    pseudo = source + destination + struct.pack(">II", len(icmp), 58)
    icmp = icmp[:2] + struct.pack(">H", checksum(pseudo + icmp)) + icmp[4:]
    return struct.pack(">IHBB", 0x60000000, len(icmp), 58, 64) + source + destination + icmp


Frame = dict[str, list[str]]


def tshark(capture: Path, *more: str) -> list[Frame]:
    """What tshark says of each packet, the fields asked for by name."""
    fields = [
        "frame.number", "frame.time_epoch", "frame.interface_name", "frame.protocols", "frame.comment", "frame.len",
        "frame.packet_flags_direction", "iso7816.apdu.ins", "iso7816.apdu.cla", "iso7816.apdu.sw1", "iso7816.apdu.body",
        "iso7816.apdu.lc", "iso7816.resp_to", "iso7816.atr.init_char", "ip.src", "udp.dstport", "udp.checksum.status",
        "ip.checksum.status", "icmpv6.type", "icmpv6.checksum.status", "data.data", "_ws.malformed", "_ws.expert.severity",
    ]  # fmt: skip
    command = [
        "tshark",
        "-r",
        str(capture),
        "-T",
        "json",
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
    ]
    for field in fields:
        command += ["-e", field]
    ran = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "damaged" not in ran.stderr
    assert "cut short" not in ran.stderr
    return [cast(Frame, packet["_source"]["layers"]) for packet in json.loads(ran.stdout)]


def captured(tmp_path: Path, points: dict[str, list[Observation]]) -> Path:
    run = RunDirectory.create(tmp_path, "bench")
    with Journal.open(run.journal_path("main")) as journal:
        for name, observations in points.items():
            recorder = journal.point("subject/file", name, TIMEBASE, CaptureMode.FULL)
            for observation in observations:
                recorder.emit(observation)
            recorder.finish(verdict(duration_ms=1000))
    run.close()
    return run.capture_path


def iso(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if "iso7816" in frame["frame.protocols"][0]]


def test_apdus_ip_and_steps_in_one_time_line(tmp_path: Path) -> None:
    reading: list[Observation] = [
        exchange(0, b"", ATR),
        step(4, 1, "transmit", True),
        exchange(5, SELECT, b"\x61\x04"),
        step(9, 1, "transmit", False),
        step(10, 2, "transfer", True),
        exchange(10, ENVELOPE, b"\x61\x04"),
        exchange(14, GET_RESPONSE, b"\1\2\3\4\x90\0", hop=2),
        packet(18, "ipv4", ipv4_udp(b"twelve bytes")),
        packet(19, "ipv6", ipv6_echo(b"abcd"), Direction.IN, hop=2),
        packet(20, "channel", b"\x01\x02\x03"),
        packet(21, "control", b"\x05"),
        step(22, 2, "transfer", False),
    ]
    frames = tshark(captured(tmp_path, {"first": reading, "second": [exchange(1, SELECT, b"\x6a\x82", level="apdu")]}))

    assert len(frames) == 1 + 2 + 2 + 2 + 4 + 2
    assert all("_ws.malformed" not in frame for frame in frames)
    assert [frame["frame.time_epoch"][0] for frame in frames] == [
        f"{ns / 1e9:.9f}" for ns in (3e6, 5e6, 8e6, 10e6, 13e6, 14e6, 17e6, 18e6, 19e6, 20e6, 21e6, 1001e6, 1004e6)
    ]
    comments = [frame["frame.comment"][0] for frame in frames]
    assert comments[0] == "subject/file::first"
    assert comments[1:3] == ["subject/file::first step 1 transmit"] * 2
    assert comments[3:7] == ["subject/file::first step 2 transfer"] * 4
    assert comments[7] == "subject/file::first step 2 transfer, out of node 0"
    assert comments[8] == "subject/file::first step 2 transfer, into node 0"
    assert comments[-1] == "subject/file::second"
    assert [frame["frame.interface_name"][0] for frame in frames] == [
        *["hop 1 apdu"] * 5, *["hop 2 apdu"] * 2, "hop 1 ipv4", "hop 2 ipv6", "hop 1 channel", "hop 1 control",
        *["hop 1 apdu"] * 2,
    ]  # fmt: skip

    apdus = iso(frames)
    assert [frames.index(frame) for frame in apdus] == [0, 1, 2, 3, 4, 5, 6, 11, 12]
    assert apdus[0]["iso7816.atr.init_char"] == ["0x3b"]
    assert (apdus[1]["iso7816.apdu.ins"], apdus[1]["iso7816.apdu.body"]) == (["0xa4"], [SELECT[5:].hex()])
    assert (apdus[2]["iso7816.apdu.sw1"], apdus[2]["iso7816.resp_to"]) == (["0x61"], ["2"])
    assert apdus[3]["iso7816.apdu.cla"] == ["0x80"]
    assert apdus[6]["iso7816.apdu.body"] == ["01020304"]
    assert (frames[7]["ip.src"], frames[7]["udp.dstport"]) == (["10.0.0.1"], ["9999"])
    assert frames[7]["ip.checksum.status"] == frames[7]["udp.checksum.status"] == ["1"]
    assert (frames[8]["icmpv6.type"], frames[8]["icmpv6.checksum.status"]) == (["128"], ["1"])
    assert frames[9]["data.data"] == ["010203"]


def test_what_wireshark_would_misread_is_shown_as_data(tmp_path: Path) -> None:
    """Its dissector takes any answer that begins 3B or 3F for an ATR, and knows no extended lengths."""
    exchanges: list[Observation] = [
        exchange(0, GET_RESPONSE[:4] + b"\x06", LOOKS_LIKE_AN_ATR),
        exchange(5, EXTENDED, b"\x90\0", level="apdu"),
        exchange(10, b"\x00\xa4\x04", b"\x6f"),
        exchange(15, b"\x00\xd6\0\0\x09\x01", b"\x67\0"),
        exchange(18, b"", ATR[:6]),
        exchange(18, b"", ATR + b"\0\0"),
        exchange(25, b"\x00\x40\x00", b"\x00\x40\x82\xc2", level="block"),
    ]
    frames = tshark(captured(tmp_path, {"single": exchanges}))
    assert all("_ws.malformed" not in frame for frame in frames)
    shown = [frame.get("data.data") for frame in frames]
    assert [bytes.fromhex(data[0]) for data in shown if data] == [
        LOOKS_LIKE_AN_ATR, EXTENDED, b"\x00\xa4\x04", b"\x6f", b"\x00\xd6\0\0\x09\x01", ATR[:6], ATR + b"\0\0",
        b"\x00\x40\x00", b"\x00\x40\x82\xc2",
    ]  # fmt: skip
    assert frames[-1]["frame.interface_name"] == ["hop 1 block"]


def test_every_response_byte_string_is_read_without_complaint(tmp_path: Path) -> None:
    """Every first byte, several lengths."""
    exchanges: list[Observation] = [
        exchange(4 * (first + 256 * k), b"\x00\xb0\0\0" + bytes((length,)), bytes((first,)) * length + b"\x90\0")
        for k, length in enumerate((1, 2, 40, 255))
        for first in range(256)
    ]
    exchanges += [exchange(4096 + 4 * cla, bytes((cla, 0xC2, 0, 0, 2, 1, 2)), b"\x90\0") for cla in range(256)]
    frames = tshark(captured(tmp_path, {"single": exchanges}))
    assert len(frames) == 2 * len(exchanges)
    assert all("_ws.malformed" not in frame for frame in frames)
    # All but the four lengths of the two first bytes that begin an ATR.
    assert len(iso(frames)) == len(frames) - 4 * 2


def test_a_filter_on_scenario_or_step_finds_its_packets(tmp_path: Path) -> None:
    points: dict[str, list[Observation]] = {
        f"mtu-{mtu}": [step(0, 1, "power_on", True), exchange(1, SELECT, b"\x90\0"), step(5, 1, "power_on", False)]
        for mtu in (64, 128)
    }
    capture = captured(tmp_path, points)
    assert len(tshark(capture, "-Y", 'frame.comment contains "subject/file::"')) == 4
    assert len(tshark(capture, "-Y", 'frame.comment contains "::mtu-64 step 1 power_on"')) == 2
    assert tshark(capture, "-Y", 'frame.comment contains "step 2"') == []


def test_polls_that_stand_for_many_and_errors_say_so(tmp_path: Path) -> None:
    polls = exchange(0, b"\x80\xc0\0\0\0", b"\x6a\x88")
    polls.count = 250
    mute: Exchange = exchange(1000, SELECT, b"")
    mute.error = "card mute"
    unseen = exchange(1500, b"", b"")
    frames = tshark(captured(tmp_path, {"single": [polls, mute, unseen]}))
    assert [frame["frame.comment"][0] for frame in frames] == [
        "subject/file::single, 250 times",
        "subject/file::single, 250 times",
        "subject/file::single, card mute",
    ]


def test_cold_and_warm_answers_to_reset_are_decoded_as_the_terminal_got_them(tmp_path: Path) -> None:
    sink, engine = ListSink(), VirtualEngine(TIMEBASE)
    chain = SoftwareChain(engine, Given.model_validate({"cards": "1"}), PollPlan(MS, MS), True, sink)
    ups: list[PowerUp] = []
    port = chain.places[0].port
    assert isinstance(port, WarmResets)
    port.power_up(ups.append)
    assert engine.wait(lambda: len(ups) == 1, 10 * TIMEBASE.hz)
    port.warm_reset(ups.append)
    assert engine.wait(lambda: len(ups) == 2, 10 * TIMEBASE.hz)
    assert [up.error for up in ups] == ["", ""]

    frames = tshark(captured(tmp_path, {"single": list(sink.observations)}), "-Y", "iso7816.atr")
    assert all("_ws.malformed" not in frame for frame in frames)
    mine = [frame for frame in frames if frame["frame.interface_name"] == ["hop 1 atr"]]
    assert [frame["frame.len"] for frame in mine] == [
        [str(len(upper_pdu("iso7816", PduDirection.RECEIVED, up.atr)))] for up in ups
    ]
    assert [frame["iso7816.atr.init_char"] for frame in mine] == [[f"0x{up.atr[0]:02x}"] for up in ups]
    assert [frame["frame.packet_flags_direction"] for frame in mine] == [["0x00000001"]] * 2
    assert all(frame["frame.comment"] == ["subject/file::single, answer to reset"] for frame in mine)
    assert float(mine[0]["frame.time_epoch"][0]) < float(mine[1]["frame.time_epoch"][0])


def test_a_whole_run_is_read_in_order(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    points = [numbered_point(k) for k in range(6)]
    with Journal.open(run.journal_path("main")) as journal:
        for point in points:
            point.run(journal, CaptureMode.FULL if point.verdict.verdict is Verdict.PASS else CaptureMode.FAILURES)
    closed = run.close()
    frames = tshark(run.capture_path)
    assert len(frames) == closed.packets == sum(3 * (20 + 3 * k) for k in range(6))
    times = [frame["frame.time_epoch"][0] for frame in frames]
    assert sorted(times, key=float) == times
    # Points follow each other in the order of the tables, each after the whole of the one before.
    order = sorted(points, key=lambda point: point.key)
    begins = 0
    for point in order:
        comment = "::".join(point.key)
        mine = [float(f["frame.time_epoch"][0]) for f in frames if f["frame.comment"][0].startswith(comment + " ")]
        assert min(mine) == pytest.approx((begins + 3 * MS) / TIMEBASE.hz, abs=1e-9)
        begins += point.verdict.duration_ticks
