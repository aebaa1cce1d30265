"""`cardbench timing`: a capture explained and judged, with its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cardbench
from bench.engine import Timebase
from bench.iso7816.atr import build_atr
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.rates import Rate
from bench.iso7816.session import Side
from bench.records.vcd import vcd_lines
from bench.records.waveform import Waveform, from_bursts

CLOCK_HZ = 4_000_000
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)
CYCLE = TIMEBASE.cycles(1, CLOCK_HZ)
ETU = etu_ticks(Rate(0x11), CLOCK_HZ, TIMEBASE)
FAST = etu_ticks(Rate(0x95), CLOCK_HZ, TIMEBASE)
ATR = build_atr(ta1=0x95)


def session(*, turn: int = 16, guard: int = 12, atr_at: int = 1000, terminal: int = 12) -> Waveform:
    """ATR, PPS to TA1=95, one command; distances of the card and of the terminal in etu."""
    spoken: list[tuple[Burst, Side]] = []
    reset = 1000 * CYCLE
    spoken.append((Burst(ATR, reset + atr_at * CYCLE, 12 * ETU, ETU), Side.CARD))
    for side in (Side.TERMINAL, Side.CARD):
        spoken.append((Burst(bytes.fromhex("FF 10 95 7A"), spoken[-1][0].last + 16 * ETU, 12 * ETU, ETU), side))
    header = Burst(bytes.fromhex("00 B0 00 00 02"), spoken[-1][0].last + 12 * ETU, terminal * FAST, FAST)
    spoken.append((header, Side.TERMINAL))
    spoken.append((Burst(bytes.fromhex("B0 AA BB 90 00"), header.last + turn * FAST, guard * FAST, FAST), Side.CARD))
    return from_bursts(spoken, [reset], TIMEBASE, CLOCK_HZ)


def write(path: Path, waveform: Waveform) -> Path:
    path.write_text("".join(vcd_lines(waveform)))
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cardbench, ["timing", *map(str, arguments)])


def test_a_sound_capture(tmp_path: Path) -> None:
    result = call(write(tmp_path / "a.vcd", session()), "--clock-hz", CLOCK_HZ)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[1].split() == ["1", f"{2000 * 1000 / CLOCK_HZ:.4f}", "ATR", "card", "3B"]
    (first,) = [line for line in lines if " T=0 " in line and line.split()[4] == "B0" and "card" in line]
    assert "16.00 etu" in first
    assert "512.0 clocks" in first
    assert lines[-1] == "card: pass"


@pytest.mark.parametrize(
    ("what", "rule", "limit"),
    [({"turn": 15}, "turnaround", 16), ({"guard": 11}, "guard", 12), ({"atr_at": 399}, "atr_earliest", 400)],
)
def test_an_interval_out_is_shown_and_gives_1(tmp_path: Path, what: dict[str, int], rule: str, limit: int) -> None:
    result = call(write(tmp_path / "a.vcd", session(**what)), "--clock-hz", CLOCK_HZ, "--quiet")
    assert result.exit_code == 1
    (first, *_) = [line for line in result.output.splitlines() if line.startswith("      fail: ")]
    assert f"from the card: {rule} is" in first
    assert f"at least {limit}" in first or f"({limit} clocks)" in first
    assert "±" in first
    assert result.output.splitlines()[-1] == "card: fail"


def test_the_terminal_is_judged_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcd", session(terminal=11))
    assert call(path, "--clock-hz", CLOCK_HZ).exit_code == 0
    assert call(path, "--clock-hz", CLOCK_HZ, "--of", "terminal").exit_code == 1
    assert call(path, "--clock-hz", CLOCK_HZ, "--of", "both").exit_code == 1


def test_without_allowance_a_value_at_its_limit_is_inconclusive(tmp_path: Path) -> None:
    result = call(write(tmp_path / "a.vcd", session()), "--clock-hz", CLOCK_HZ, "--allowance", "0")
    assert result.exit_code == 3
    assert "inconclusive: character 2 from the card: atr_guard is 12 etu" in result.output


def test_a_capture_that_begins_later_needs_atr_and_rate(tmp_path: Path) -> None:
    header = Burst(bytes.fromhex("00 B0 00 00 02"), 100 * FAST, 12 * FAST, FAST)
    answer = Burst(bytes.fromhex("B0 AA BB 90 00"), header.last + 15 * FAST, 12 * FAST, FAST)
    waveform = from_bursts([(header, Side.TERMINAL), (answer, Side.CARD)], [], TIMEBASE, CLOCK_HZ)
    alone = Waveform(waveform.path, waveform.hz, waveform.sample, waveform.signals[:1])
    path = write(tmp_path / "late.vcd", alone)
    without = call(path, "--clock-hz", CLOCK_HZ)
    assert without.exit_code == 3
    assert "the ATR must be given" in without.output
    result = call(path, "--clock-hz", CLOCK_HZ, "--atr", ATR.hex(" "), "--ta1", "95")
    assert result.exit_code == 1
    assert "character 6 from the card: turnaround is 15 etu" in result.output


def test_json_has_every_interval(tmp_path: Path) -> None:
    result = call(write(tmp_path / "a.vcd", session(turn=15)), "--clock-hz", CLOCK_HZ, "--json")
    assert result.exit_code == 1
    characters = [json.loads(line) for line in result.output.splitlines()]
    assert [each["byte"] for each in characters[: len(ATR)]] == [f"{value:02X}" for value in ATR]
    out = [each for character in characters for each in character["intervals"] if each["verdict"] == "fail"]
    assert [(each["rule"], each["side"], each["bound"]) for each in out] == [("turnaround", "card", "at least")]
    assert out[0]["value_etu"] == pytest.approx(15, abs=1e-6)
    assert out[0]["limit_clocks"] == 16 * 32
    assert out[0]["uncertainty_clocks"] > 0


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ([], "give --clock-hz"),
        (["--clock-hz", "0"], "0"),
        (["--clock-hz", "4000000", "--io", "D7"], "no signal named 'D7'"),
        (["--clock-hz", "4000000", "--ta1", "9"], "digits"),
        (["--clock-hz", "4000000", "--ta1", "7F"], "reserved"),
        (["--clock-hz", "4000000", "--ta1", "1197"], "TA1 is one byte"),
        (["--clock-hz", "4000000", "--atr", "3B"], "ATR"),
        (["--clock-hz", "4000000", "--allowance", "-1"], "no number"),
        (["--clock-hz", "4000000", "--clock-ppm", "NaN"], "no number"),
        (["--clock", "rst"], "rising edges of 'rst'"),
    ],
)
def test_wrong_use_gives_2(tmp_path: Path, options: list[str], what: str) -> None:
    result = call(write(tmp_path / "a.vcd", session()), *options)
    assert result.exit_code == 2
    assert what in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_no_capture_gives_2(tmp_path: Path) -> None:
    path = tmp_path / "a.vcd"
    path.write_text("$timescale 1 ns $end\n$var wire 1 ! io $end\n$enddefinitions $end\n#5\n#4\n")
    result = call(path, "--clock-hz", CLOCK_HZ)
    assert result.exit_code == 2
    assert f"{path}:5:1: time 4 after 5" in result.output
    assert call(tmp_path / "none.vcd", "--clock-hz", CLOCK_HZ).exit_code == 2


def test_the_wrong_clock_is_no_verdict(tmp_path: Path) -> None:
    result = call(write(tmp_path / "a.vcd", session()), "--clock-hz", 2_000_000)
    assert result.exit_code == 3
    assert "error: " in result.output


def test_an_idle_line_is_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "idle.vcd"
    path.write_text("$timescale 1 ns $end\n$var wire 1 ! io $end\n$enddefinitions $end\n#0 1!\n")
    result = call(path, "--clock-hz", CLOCK_HZ)
    assert result.exit_code == 3
    assert "nothing to judge" in result.output
