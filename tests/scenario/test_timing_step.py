"""`record_line` and `check_timing`: the running software rig at every rate, cards wrong by one etu, captures, readers without characters."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from bench.card.defects import DEFECTS, timing
from bench.iso7816.captured import CaptureJudge, Lines
from bench.iso7816.edges import Edge, Wave, on_cycles
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.rates import Rate, all_rates
from bench.iso7816.session import Follower, Side
from bench.iso7816.timing_rules import TimingConditions, TimingRule
from bench.observe import Measurement, NullSink, Sink, Verdict
from bench.readers.listening import LineRecorder
from bench.records.vcd import vcd_lines
from bench.records.waveform import Calibration, Signal, Waveform, from_bursts, read_waveform
from bench.requirements.catalogue import catalogue
from bench.rig.build import Rig, build_rig
from bench.rig.given import Given
from bench.rig.model import RigModel
from bench.scenario.loader import parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point
from bench.scenario.steps.timing import REQUIREMENT

from .fakes import SOFTWARE, Kept

POINT = """\
title: timing
requirements: [CHAR-GT-1]
given: {{profile: {profile}, ta1: "{ta1}"{more}}}
steps:
  - record_line: {{}}
  - power_on: {{}}
{steps}
  - check_timing: {{}}
"""
ECHO = "  - transmit: {echo: 20 B}"


def run(text: str, folder: Path = Path("scenarios/link")) -> Outcome:
    (point,) = parse_scenario(text, folder / "timing.yaml").points[Selection.ORDINARY]
    return run_point(point, SOFTWARE, 1, Kept)


def run_card(
    defect: str = "", *, profile: str = "plain", ta1: str = "96", more: str = "", steps: str = ECHO
) -> Outcome:
    more += f", defect: {defect}" if defect else ""
    return run(POINT.format(profile=profile, ta1=ta1, more=more, steps=steps))


def named(outcome: Outcome, name: str) -> Measurement:
    (found,) = [each for each in outcome.measurements if each.name == name]
    return found


# --- cards wrong on purpose ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [each.name for each in timing.DEFECTS])
@pytest.mark.parametrize("ta1", ["11", "97", "17"])
def test_each_mistimed_card_is_caught_and_each_sound_one_is_not(name: str, ta1: str) -> None:
    defect = DEFECTS[name]
    # A card that answers too late is mute to the terminal: the host's own polls show that, an APDU of ours would end the point before.
    late = name == "waiting-1-etu-late"
    block = defect.text.startswith("T=1: ")
    outcome = run_card(
        name,
        ta1=ta1,
        profile="reference" if late else "plain",
        steps="  - wait: 3 s" if late else ECHO,
        more=", protocol: T=1" if block else "",
    )
    if not defect.requirement:
        assert outcome.verdict.verdict is Verdict.PASS, outcome.text()
        return
    assert outcome.verdict.verdict is Verdict.FAIL, outcome.text()
    failed = [each for each in outcome.measurements if each.verdict is Verdict.FAIL]
    assert defect.requirement in {each.requirement for each in failed}
    for each in failed:
        assert each.reason.startswith("character ")
        assert "is required" in each.reason
        assert "clocks" in each.reason


def test_a_late_answer_is_told_with_character_value_and_limit() -> None:
    """The terminal gives up when the waiting time is over, and is silent a little longer before it speaks again: the late answer is seen."""
    outcome = run_card("waiting-1-etu-late", ta1="11", profile="reference", steps="  - wait: 3 s")
    assert named(outcome, "work_waiting").verdict is Verdict.FAIL
    assert "character 25 from the card: work_waiting is 9601" in outcome.verdict.reason
    assert "at most 9600 etu (3571200 clocks) is required (ISO/IEC 7816-3, 10.2)" in outcome.verdict.reason


def test_every_defect_names_a_requirement_that_exists() -> None:
    assert {defect.requirement for defect in DEFECTS.values() if defect.requirement} <= catalogue().keys()


def test_every_rule_names_a_requirement_that_exists() -> None:
    assert {name for rules in REQUIREMENT.values() for name in rules.values()} <= catalogue().keys()
    assert set(REQUIREMENT[Side.CARD]) == set(TimingRule)


def test_an_unknown_defect_is_an_error_that_names_the_known_ones() -> None:
    outcome = run_card("guard-10-etu")
    assert outcome.verdict.verdict is Verdict.ERROR
    assert "guard-11-etu" in outcome.verdict.reason


# --- the sound card -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Recording:
    """What the line of a running rig carried."""

    rig: Rig
    recorder: LineRecorder
    waveform: Waveform


def record(ta1: int, clock_hz: int = 3_571_200) -> Recording:
    """A power-up with PPS and the first exchanges of the hop, on a sound card."""
    given = Given(ta1=ta1, clock_hz=clock_hz)
    rig = build_rig(SOFTWARE, given, NullSink(), 1, real=False)
    assert rig.chain is not None
    recorder = LineRecorder(rig.chain.places[0].reader)
    rig.engine.call(rig.host.start)
    assert rig.engine.wait(lambda: len(recorder.spoken) >= 20, rig.engine.timebase.nanoseconds(10**9))
    recorder.stop()
    waveform = from_bursts(recorder.spoken, recorder.resets, rig.engine.timebase, clock_hz)
    return Recording(rig, recorder, waveform)


def resampled(waveform: Waveform, hz: int) -> Waveform:
    """What an analyser with this sampling rate sees: every edge at the next sample."""
    signals = tuple(
        Signal(each.name, each.initial, tuple(-(-time * hz // waveform.hz) for time in each.times))
        for each in waveform.signals
    )
    return Waveform(waveform.path, hz, Fraction(1), signals)


def judged(
    waveform: Waveform, clock_hz: int, allowance: Fraction = Fraction(0), *, direction: bool = True
) -> CaptureJudge:
    lines = waveform.lines()
    if not direction:
        lines = Lines(lines.io, lines.rst)
    uncertainty = Calibration().uncertainty(waveform) if waveform.sample else None
    conditions = TimingConditions(
        clock_hz, waveform.hz, *([uncertainty] if uncertainty else []), allowance_etu=allowance
    )
    return CaptureJudge(lines, conditions, Follower())


@pytest.mark.parametrize("rate", [rate for rate in all_rates() if rate.fmax_hz >= 3_571_200], ids=str)
def test_a_sound_card_is_sound_at_every_rate(rate: Rate) -> None:
    """From the bursts to edges and back: exact, with an uncertainty of 0, at every rate of the tables."""
    recording = record(rate.ta1)
    judge = judged(recording.waveform, 3_571_200)
    heard = list(judge.heard())
    assert bytes(each.character.value for each in heard) == b"".join(
        burst.data for burst, _ in sorted(recording.recorder.spoken, key=lambda each: each[0].start)
    )
    assert judge.judge.follower.rate.etu_cycles == rate.etu_cycles
    assert judge.report.verdict() is Verdict.PASS, judge.report.out[:3]
    rules = {rule for rule, _ in judge.report.summaries}
    wanted = {
        TimingRule.ATR_EARLIEST,
        TimingRule.ATR_WAITING,
        TimingRule.GUARD,
        TimingRule.TURNAROUND,
        TimingRule.WWT,
        TimingRule.EDGE,
    }
    assert wanted <= rules
    assert (TimingRule.PPS_GUARD in rules) == (rate.etu_cycles != 372)
    assert judge.report.summaries[TimingRule.EDGE, Side.CARD].tightest.value == 0


@pytest.mark.parametrize("ta1", [0x11, 0x14, 0x17, 0x97, 0x98])
@pytest.mark.parametrize("direction", [True, False])
def test_a_capture_of_it_is_sound_too(ta1: int, direction: bool) -> None:
    """At 24 MHz, with the allowance of 0.2 etu, whether or not the direction was captured; without allowance exact limits are doubtful, never out."""
    capture = resampled(record(ta1).waveform, 24_000_000)
    judge = judged(capture, 3_571_200, Fraction(1, 5), direction=direction)
    assert len(list(judge.heard())) > 30
    assert judge.report.verdict() is Verdict.PASS, (judge.report.out + judge.report.doubtful)[:3]
    strict = judged(capture, 3_571_200, direction=direction)
    for _ in strict.heard():
        pass
    assert strict.report.verdict() is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("ta1", [0x14, 0x17, 0x19, 0x98])
def test_edges_rounded_to_clock_cycles_are_within_tolerance(ta1: int) -> None:
    recording = record(ta1)
    cycle = recording.rig.engine.timebase.cycles(1, 3_571_200)
    lines = recording.waveform.lines()
    edges = [Edge(time, place & 1) for place, time in enumerate(lines.io.times)]
    rounded = Lines(Wave(on_cycles(edges, cycle)), lines.rst, lines.from_card)
    judge = CaptureJudge(
        rounded, TimingConditions(3_571_200, recording.waveform.hz, allowance_etu=Fraction(1, 5)), Follower()
    )
    assert len(list(judge.heard())) > 30
    tightest = judge.report.summaries[TimingRule.EDGE, Side.CARD].tightest
    assert 0 < tightest.value_etu <= 0.2
    assert judge.report.verdict() is Verdict.PASS


def test_a_coarse_capture_is_inconclusive_not_wrong() -> None:
    """3 MHz for an etu of 2.24 µs: a sample is 0.15 etu."""
    capture = resampled(record(0x97).waveform, 3_000_000)
    judge = judged(capture, 3_571_200, Fraction(1, 5))
    for _ in judge.heard():
        pass
    assert judge.report.verdict() is Verdict.INCONCLUSIVE


def test_several_sessions_are_told_apart_by_rst() -> None:
    given = Given(ta1=0x96)
    rig = build_rig(SOFTWARE, given, NullSink(), 1, real=False)
    assert rig.chain is not None
    recorder = LineRecorder(rig.chain.places[0].reader)
    tick = rig.engine.timebase.nanoseconds(10**6)
    for _ in range(3):
        rig.engine.call(rig.host.start)
        rig.engine.wait(lambda: False, 100 * tick)
        rig.engine.call(rig.host.stop)
        rig.engine.wait(lambda: False, 5 * tick)
    waveform = from_bursts(recorder.spoken, recorder.resets, rig.engine.timebase, 3_571_200)
    judge = judged(waveform, 3_571_200)
    for _ in judge.heard():
        pass
    assert judge.report.verdict() is Verdict.PASS
    assert judge.report.summaries[TimingRule.ATR_EARLIEST, Side.CARD].count == len(recorder.resets) == 3


# --- the step ------------------------------------------------------------------------------------------------------------


def test_a_line_can_be_recorded_once_at_a_time() -> None:
    recording = record(0x11)
    LineRecorder(recording.recorder.reader)
    with pytest.raises(RuntimeError, match="recorded already"):
        LineRecorder(recording.recorder.reader)


def test_a_recording_shows_the_nulls_of_a_slow_card() -> None:
    """T0-NULL-1: WI 1 is 100 ms; a card that takes 350 ms sends NULLs, and none of its characters is late."""
    outcome = run_card(ta1="11", more=", wi: 1, card_time: 350 ms")
    assert outcome.verdict.verdict is Verdict.PASS, outcome.text()
    waiting = named(outcome, "work_waiting")
    assert 400 < waiting.value <= 960


def test_without_recording_the_bench_is_at_fault() -> None:
    outcome = run("title: x\nrequirements: [CHAR-GT-1]\nsteps:\n  - power_on: {}\n  - check_timing: {}\n")
    assert outcome.verdict.verdict is Verdict.ERROR
    assert "line recording" in outcome.verdict.reason


def test_nothing_on_the_line_is_no_pass() -> None:
    outcome = run("title: x\nrequirements: [CHAR-GT-1]\nsteps:\n  - record_line: {}\n  - check_timing: {}\n")
    assert outcome.verdict.verdict is Verdict.ERROR
    assert "no character" in outcome.verdict.reason


def test_a_reader_without_characters_is_not_applicable_never_pass() -> None:
    def build(model: RigModel, given: Given, sink: Sink, seed: int, real: bool) -> Rig:
        rig = build_rig(model, given, sink, seed, real)
        rig.host.link.port.port.port.level = ExchangeLevel.APDU  # type: ignore[attr-defined]
        return rig

    text = POINT.format(profile="plain", ta1="11", more="", steps=ECHO)
    (point,) = parse_scenario(text, Path("scenarios/link/timing.yaml")).points[Selection.ORDINARY]
    outcome = run_point(point, SOFTWARE, 1, Kept, build)
    assert outcome.verdict.verdict is Verdict.NOT_APPLICABLE
    assert "not of characters" in outcome.verdict.reason


CAPTURED = "title: x\nrequirements: [CHAR-GT-1]\nneeds: {{}}\nsteps:\n  - check_timing: {{capture: {capture}{more}}}\n"


def capture_file(folder: Path, name: str, ta1: int = 0x96, hz: int = 24_000_000) -> Path:
    path = folder / name
    path.write_text("".join(vcd_lines(resampled(record(ta1).waveform, hz), 10**9)))
    return path


def test_a_capture_beside_the_scenario_is_judged(tmp_path: Path) -> None:
    capture_file(tmp_path, "sound.vcd")
    outcome = run(CAPTURED.format(capture="sound.vcd", more=", sample_hz: 24000000"), tmp_path)
    assert outcome.verdict.verdict is Verdict.PASS, outcome.text()
    assert named(outcome, "turnaround").resolution > 0


def test_a_capture_of_a_mistimed_card_fails(tmp_path: Path) -> None:
    recording = record(0x96)
    first = recording.recorder.spoken[0][0].etu
    for burst, side in recording.recorder.spoken:
        if side is Side.CARD and burst.etu < first:
            burst.pitch = 11 * burst.etu
    rig = recording.rig
    waveform = from_bursts(recording.recorder.spoken, recording.recorder.resets, rig.engine.timebase, 3_571_200)
    (tmp_path / "fast.vcd").write_text("".join(vcd_lines(resampled(waveform, 24_000_000), 10**9)))
    outcome = run(CAPTURED.format(capture="fast.vcd", more=", sample_hz: 24000000"), tmp_path)
    assert outcome.verdict.verdict is Verdict.FAIL
    assert named(outcome, "guard").reason.startswith("character ")


@pytest.mark.parametrize(
    ("more", "what"),
    [(", io: sda", "no signal named 'sda'"), (", ta1: '77'", "reserved"), (", clock: io", "'io' pauses")],
)
def test_a_capture_that_cannot_be_used_is_the_benchs_fault(tmp_path: Path, more: str, what: str) -> None:
    capture_file(tmp_path, "sound.vcd")
    outcome = run(CAPTURED.format(capture="sound.vcd", more=more), tmp_path)
    assert outcome.verdict.verdict is Verdict.ERROR
    assert what in outcome.verdict.reason


def test_a_capture_at_the_wrong_clock_is_no_verdict_on_the_card(tmp_path: Path) -> None:
    path = capture_file(tmp_path, "sound.vcd")
    assert read_waveform(path).signals
    outcome = run(CAPTURED.format(capture="sound.vcd", more=", clock_hz: 4000000"), tmp_path)
    assert outcome.verdict.verdict is Verdict.ERROR
