"""Character timing: recording a line, and judging what was recorded or captured."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.files.mistakes import FileError
from bench.iso7816.atr import parse_atr
from bench.iso7816.captured import CaptureJudge
from bench.iso7816.errors import Iso7816Error
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.rates import RATE_DEFAULT, Rate
from bench.iso7816.session import Follower, SessionError, Side
from bench.iso7816.timing import RuleSummary, TimingJudge, TimingReport
from bench.iso7816.timing_rules import Bound, Interval, TimingConditions, TimingRule
from bench.observe import Measurement, Verdict
from bench.readers.listening import LineRecorder
from bench.records.waveform import Calibration, read_waveform
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.units import Count, HexBytes, Line, Number, Ta1

RECORDING: Final = "line recording"
"""The note that ``record_line`` leaves."""

REQUIREMENT: Final = {
    Side.CARD: {
        TimingRule.ATR_EARLIEST: "ATR-TIME-1",
        TimingRule.ATR_LATEST: "ATR-TIME-1",
        TimingRule.ATR_GUARD: "CHAR-GT-1",
        TimingRule.ATR_WAITING: "ATR-TIME-2",
        TimingRule.PPS_GUARD: "PPS-4",
        TimingRule.PPS_WAITING: "PPS-4",
        TimingRule.GUARD: "CHAR-GT-1",
        TimingRule.TURNAROUND: "T0-GT-1",
        TimingRule.WWT: "T0-WT-1",
        TimingRule.BGT: "T1-GT-1",
        TimingRule.CWT: "T1-WT-1",
        TimingRule.BWT: "T1-WT-2",
        TimingRule.EDGE: "CHAR-EDGE-1",
        TimingRule.SIGNAL_EARLIEST: "CHAR-ERR-1",
        TimingRule.SIGNAL_LATEST: "CHAR-ERR-1",
        TimingRule.SIGNAL_SHORTEST: "CHAR-ERR-1",
        TimingRule.SIGNAL_LONGEST: "CHAR-ERR-1",
        TimingRule.REPETITION: "CHAR-ERR-2",
    },
    Side.TERMINAL: {
        TimingRule.PPS_GUARD: "IFD-GT-1",
        TimingRule.PPS_WAITING: "IFD-WT-1",
        TimingRule.GUARD: "IFD-GT-1",
        TimingRule.TURNAROUND: "IFD-GT-2",
        TimingRule.BGT: "IFD-GT-2",
        TimingRule.CWT: "IFD-WT-1",
        TimingRule.EDGE: "IFD-EDGE-1",
    },
}
"""Which requirement a rule speaks to, by who answers for it."""
NO_EDGES = "this reader tells when characters were read, not when they were on the line (check_timing judges a capture of it, too)"


class RecordLine(Step):
    """Records every character on a hop's line from now on, for ``check_timing``. Put it before ``power_on``.

    Not applicable where the reader does not show characters.

    Example:
        - record_line: {}
        - power_on: {}
        - check_timing: {}
    """

    verb: ClassVar[str] = "record_line"

    hop: Annotated[Count, Field(description="which hop")] = 1

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        level = context.rig.host.link.port.level
        if chain is None or level is not ExchangeLevel.CHARACTER:
            raise NotApplicable(
                NO_EDGES
                if level is ExchangeLevel.CHARACTER
                else f"the reader shows exchanges at the level of {level}, not of characters"
            )
        if self.hop > len(chain.places):
            raise BenchFault(f"there is no hop {self.hop}: the chain has {len(chain.places)}")
        reader = chain.places[self.hop - 1].reader
        context.notes[RECORDING] = context.engine.call(lambda: LineRecorder(reader))


class CheckTiming(Step):
    """Judges every interval between characters against ISO/IEC 7816-3: guard times, turn-arounds, waiting times, the windows of the answer to reset,
    and the edges within characters. One interval out of its limit fails the point, and is shown with its character's number, value, limit and
    uncertainty.

    Without ``capture`` it judges what ``record_line`` recorded. With it, a logic analyser's file (VCD, or CSV as sigrok writes it), on any rig: the
    signals ``io``, ``rst`` and ``card_sends`` (H while the card sends) are looked for by name; with one signal alone, that is I/O. What the
    analyser resolves, and the errors of both clocks, make each interval uncertain: a value that may lie on either side of its limit is
    inconclusive.

    The intervals that the other side answers for are not counted against the card; on a rig of the bench's own they are an error of the bench.

    Example:
        - check_timing: {}
          measure:
            work_waiting: {at_most: 9600, unit: etu}
    """

    verb: ClassVar[str] = "check_timing"
    measures: ClassVar = {rule.label: Measure("etu", f"the tightest interval {rule.text}") for rule in TimingRule}

    of: Annotated[Literal["card", "terminal", "both"], Field(description="who is judged")] = "card"
    capture: Annotated[Line | None, Field(description="a capture to judge instead, a file beside the scenario")] = None
    clock_hz: Annotated[Count | None, Field(description="capture: the card clock, where it is not `given`")] = None
    clock: Annotated[Line | None, Field(description="capture: the signal that is the card clock, measured there")] = (
        None
    )
    atr: Annotated[
        HexBytes | None, Field(description="capture: the answer to reset, where the capture begins after it")
    ] = None
    ta1: Annotated[Ta1 | None, Field(description="capture: the rate at its beginning, where that is after PPS")] = None
    io: Annotated[Line | None, Field(description="capture: the signal that is I/O")] = None
    rst: Annotated[Line | None, Field(description="capture: the signal that is RST")] = None
    direction: Annotated[Line | None, Field(description="capture: the signal that is H while the card sends")] = None
    incoming: Annotated[
        HexBytes, Field(description="capture: instructions of the card's own whose data go to the card")
    ] = b""
    sample_hz: Annotated[Count | None, Field(description="capture: sampling rate, where the file does not say")] = None
    analyser_ppm: Annotated[Number, Field(description="capture: error of the analyser's clock", ge=0)] = 50.0
    clock_ppm: Annotated[Number, Field(description="capture: error of the stated card clock", ge=0)] = 50.0
    allowance: Annotated[
        Number, Field(description="capture: etu beyond a limit that still pass (edges may lie 0.2 etu off)", ge=0)
    ] = 0.2

    def run(self, context: StepContext) -> None:
        report = self._recorded(context) if self.capture is None else self._captured(context)
        if not report.intervals:
            raise BenchFault("no interval was judged: the line carried no character")
        for side in (Side.CARD, Side.TERMINAL):
            if self.of in (side, "both"):
                self._measured(context, report, side)
            elif self.capture is None and report.out and report.out[0].side is side:
                # What breaks after the other side broke something (two that send at once) is no fault of its own.
                raise BenchFault(f"the bench's own {side}: {report.out[0]}")

    # -- what is judged ------------------------------------------------------------------------------------------------

    def _recorded(self, context: StepContext) -> TimingReport:
        recorder = context.note(RECORDING, LineRecorder)
        conditions = TimingConditions(context.point.given.clock_hz, context.engine.timebase.hz)
        judge = TimingJudge(conditions, Follower())
        context.engine.call(lambda: recorder.judged(judge))
        return judge.report

    def _captured(self, context: StepContext) -> TimingReport:
        path = Path(context.point.path).parent / str(self.capture)
        try:
            waveform = read_waveform(path, self.sample_hz)
            clock_hz, extra = self.clock_hz or context.point.given.clock_hz, Fraction(str(self.clock_ppm))
            if self.clock is not None:
                clock_hz, extra = waveform.clock(self.clock)
            calibration = Calibration(self.sample_hz, Fraction(str(self.analyser_ppm)), extra)
            conditions = TimingConditions(
                clock_hz, waveform.hz, calibration.uncertainty(waveform), Fraction(str(self.allowance))
            )
            atr = None if self.atr is None else parse_atr(self.atr)
            follower = Follower(atr, Rate(self.ta1 or RATE_DEFAULT), incoming=self.incoming)
            judge = CaptureJudge(waveform.lines(self.io, self.rst, self.direction), conditions, follower)
        except (FileError, Iso7816Error) as error:
            raise BenchFault(str(error)) from error
        try:
            for _ in judge.heard():
                pass
        except SessionError as error:
            if judge.report.verdict(Side.CARD) is not Verdict.FAIL:
                raise BenchFault(f"{path}: {error}") from error
        return judge.report

    # -- what comes out ------------------------------------------------------------------------------------------------

    def _measured(self, context: StepContext, report: TimingReport, side: Side) -> None:
        for summary in _in_order(report, side):
            measurement = _measurement(report, summary, side)
            context.measurements.append(measurement)
            context.emit(measurement)
            label = summary.rule.label
            if label in self.measure:
                tightest = summary.tightest
                context.measured(
                    label, tightest.value_etu, detail=measurement.detail, resolution=tightest.uncertainty_etu
                )


def _in_order(report: TimingReport, side: Side) -> list[RuleSummary]:
    """One summary a rule, what went wrong first before all others: the rest often follows from it."""
    found = {summary.rule: summary for summary in report.of(side) if summary.side is None}
    found |= {summary.rule: summary for summary in report.of(side) if summary.side is side}
    rules = list(TimingRule)

    def place(summary: RuleSummary) -> tuple[bool, int, int]:
        wrong = _wrong(report, summary)
        return not summary.failed, wrong.number if wrong else report.characters + 1, rules.index(summary.rule)

    return sorted(found.values(), key=place)


def _wrong(report: TimingReport, summary: RuleSummary) -> Interval | None:
    """The first interval of a summary that is out, or doubtful where none is."""
    kept = report.out if summary.failed else report.doubtful
    return next((each for each in kept if each.rule is summary.rule and each.side is summary.side), None)


def _measurement(report: TimingReport, summary: RuleSummary, side: Side) -> Measurement:
    """The tightest interval of a rule; where one fails or is doubtful, that one's words are the reason."""
    rule, tightest = summary.rule, summary.tightest
    verdict = Verdict.PASS
    reason = ""
    if summary.failed or summary.doubtful:
        known = summary.side is not None
        verdict = Verdict.FAIL if summary.failed and known else Verdict.INCONCLUSIVE
        reason = str(_wrong(report, summary) or tightest)
        more = (summary.failed or summary.doubtful) - 1
        reason += f"; and {more} more" if more else ""
    allowed = float(tightest.allowance / tightest.etu)
    least = rule.bound is Bound.AT_LEAST
    return Measurement(
        name=rule.label,
        value=tightest.value_etu,
        unit="etu",
        at_least=tightest.limit_etu - allowed if least else None,
        at_most=None if least else tightest.limit_etu + allowed,
        marginal=None,
        resolution=tightest.uncertainty_etu,
        verdict=verdict,
        requirement=REQUIREMENT[side].get(rule, ""),
        detail=f"{side}, {summary.count} intervals, character {tightest.number}",
        reason=reason,
    )
