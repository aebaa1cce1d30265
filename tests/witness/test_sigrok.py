"""The line as sigrok sees it: its UART decoder reads our edges, and we read what its exporters write."""

import shutil
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from bench.engine import Timebase
from bench.iso7816.atr_values import Convention
from bench.iso7816.captured import CaptureJudge
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.rates import Rate
from bench.iso7816.session import Follower, Side
from bench.iso7816.timing_rules import TimingConditions
from bench.observe import NullSink, Verdict
from bench.readers.listening import LineRecorder
from bench.records.vcd import vcd_lines
from bench.records.waveform import Calibration, Waveform, from_bursts, read_waveform
from bench.rig.build import build_rig
from bench.rig.given import Given
from bench.rig.model import RigModel

pytestmark = [
    pytest.mark.witness,
    pytest.mark.skipif(
        shutil.which("sigrok-cli") is None,
        reason="sigrok-cli is missing: apt-get install --no-install-recommends sigrok-cli",
    ),
]

CLOCK_HZ = 3_571_200
SAMPLE_HZ = 24_000_000
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)
READ = ["-I", f"csv:samplerate={SAMPLE_HZ}:header=no"]


def sigrok(*arguments: object) -> str:
    done = subprocess.run(
        ["sigrok-cli", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def samples(waveform: Waveform, path: Path, *names: str) -> Path:
    """What an analyser at SAMPLE_HZ takes of signals, a row a sample, for sigrok to read."""
    waves = [waveform.signal(name).wave for name in names]
    moments = [[-(-time * SAMPLE_HZ // waveform.hz) for time in wave.times] for wave in waves]
    changes = sorted({0, *(moment for each in moments for moment in each)})
    changes.append(changes[-1] + 1000)
    with path.open("w") as file:
        for begin, end in pairwise(changes):
            levels = (wave.level(begin * waveform.hz // SAMPLE_HZ) for wave in waves)
            file.write((",".join(map(str, levels)) + "\n") * (end - begin))
    return path


@pytest.mark.parametrize("ta1", [0x11, 0x18, 0x14, 0x96])
@pytest.mark.parametrize("convention", Convention)
def test_its_uart_decoder_reads_every_byte(tmp_path: Path, ta1: int, convention: Convention) -> None:
    """8 data bits, even parity; the inverse convention is most significant bit first, inverted, and so the parity odd."""
    rate = Rate(ta1)
    etu = etu_ticks(rate, CLOCK_HZ, TIMEBASE)
    data = bytes(range(256))
    waveform = from_bursts([(Burst(data, 20 * etu, 12 * etu, etu), Side.CARD)], [], TIMEBASE, CLOCK_HZ, convention)
    rows = samples(waveform, tmp_path / "rows.csv", "io")
    direct = convention is Convention.DIRECT
    options = [
        "rx=0",
        f"baudrate={round(rate.baud(CLOCK_HZ))}",
        f"parity={'even' if direct else 'odd'}",
        f"bit_order={'lsb-first' if direct else 'msb-first'}",
        "format=hex",
    ]
    text = sigrok("-i", rows, *READ, "-P", "uart:" + ":".join(options), "-A", "uart=rx-data:rx-parity-err")
    found = bytes(int(line.split()[-1], 16) for line in text.splitlines() if line.startswith("uart"))
    assert found == (data if direct else bytes(value ^ 0xFF for value in data))


@pytest.mark.parametrize(
    ("writes", "suffix"),
    [("vcd", "vcd"), ("csv", "csv"), ("csv:dedup=true:time=true:label=channel", "csv"), ("csv:label=off", "csv")],
)
def test_what_it_exports_is_read_and_judged(tmp_path: Path, writes: str, suffix: str) -> None:
    """A running rig's line at TA1 = 97 and 24 MHz, through sigrok into a file, judged sound."""
    given = Given(ta1=0x97)
    model = RigModel.model_validate({"name": "soft", "reader": {"kind": "software"}})
    rig = build_rig(model, given, NullSink(), 1, real=False)
    assert rig.chain is not None
    recorder = LineRecorder(rig.chain.places[0].reader)
    rig.engine.call(rig.host.start)
    assert rig.engine.wait(lambda: len(recorder.spoken) > 20, TIMEBASE.hz)
    rows = samples(
        from_bursts(recorder.spoken, recorder.resets, TIMEBASE, CLOCK_HZ), tmp_path / "rows.csv", "io", "rst"
    )
    exported = tmp_path / f"exported.{suffix}"
    sigrok("-i", rows, *READ, "-o", tmp_path / "session.sr")
    sigrok("-i", tmp_path / "session.sr", "-O", writes, "-o", exported)
    capture = read_waveform(exported)
    assert Fraction(capture.hz) / capture.sample == SAMPLE_HZ
    uncertainty = Calibration().uncertainty(capture)
    conditions = TimingConditions(CLOCK_HZ, capture.hz, uncertainty, Fraction(1, 5))
    judge = CaptureJudge(capture.lines("0", "1"), conditions, Follower())
    heard = bytes(each.character.value for each in judge.heard())
    sent = b"".join(burst.data for burst, _ in sorted(recorder.spoken, key=lambda each: each[0].start))
    assert heard == sent
    assert judge.report.verdict() is Verdict.PASS


def test_it_reads_the_vcd_we_write(tmp_path: Path) -> None:
    etu = etu_ticks(Rate(0x18), CLOCK_HZ, TIMEBASE)
    data = b"The line, as an analyser of somebody else's sees it"
    waveform = from_bursts([(Burst(data, 20 * etu, 12 * etu, etu), Side.CARD)], [], TIMEBASE, CLOCK_HZ)
    path = tmp_path / "ours.vcd"
    path.write_text("".join(vcd_lines(waveform, 10**7)))
    text = sigrok(
        "-i", path, "-I", "vcd", "-P", "uart:rx=io:baudrate=115200:parity=even:format=hex", "-A", "uart=rx-data"
    )
    assert bytes(int(line.split()[-1], 16) for line in text.splitlines() if line.startswith("uart")) == data


def test_it_opens_the_waveforms_that_a_run_keeps_on_request(tmp_path: Path) -> None:
    """As they are, without options; its decoder reads the answer to reset and the first command."""
    repository = Path(__file__).resolve().parents[2]
    scenario = repository / "scenarios" / "link" / "hop-no-header.yaml"
    command = [sys.executable, "-m", "bench.cli", "run", str(scenario), "--waveforms", "--no-report", "--out", tmp_path]
    ran = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    written = sorted(tmp_path.glob("station=*/date=*/run=*/waveforms/link/hop-no-header/*-hop-1.vcd"))
    assert len(written) == 2
    for file in written:
        options = "uart:rx=io:baudrate=9600:parity=even:format=hex"
        text = sigrok("-i", file, "-I", "vcd", "-P", options, "-A", "uart=rx-data:rx-parity-err")
        found = bytes(int(line.split()[-1], 16) for line in text.splitlines() if line.startswith("uart"))
        answer, command_at = found[:1], found.find(bytes.fromhex("80C2800000"))
        assert answer == b"\x3b"
        assert command_at > 1
