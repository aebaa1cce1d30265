"""`cardbench timing`: a logic analyser's capture, character by character, with every interval judged.

Exit status 0 all within limits, 1 an interval of the judged side is out, 2 the file or an option cannot be used, 3 nothing could be judged, or not to
the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import click

from bench.files.mistakes import FileError
from bench.iso7816.atr import parse_atr
from bench.iso7816.captured import CaptureJudge, Heard
from bench.iso7816.errors import Iso7816Error
from bench.iso7816.explain import HexError, parse_hex
from bench.iso7816.rates import RATE_DEFAULT, Rate
from bench.iso7816.session import Follower, SessionError, Side
from bench.iso7816.timing_rules import Interval, TimingConditions, Uncertainty
from bench.observe import Verdict
from bench.records.waveform import Calibration, read_waveform

EXIT_OUT = 1
EXIT_WRONG_USE = 2
EXIT_NOT_JUDGED = 3
SIDES = {"card": Side.CARD, "terminal": Side.TERMINAL, "both": None}
"""What `--of` may say."""


def _exact(_context: click.Context, parameter: click.Parameter, value: str) -> Fraction:
    """A decimal number, 0 or more, kept exact."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise click.BadParameter(f"{value!r} is no number such as 50 or 0.2", param=parameter)
    return Fraction(number)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says besides the file."""

    clock_hz: int | None
    clock: str | None
    atr: str | None
    ta1: str | None
    protocol: int | None
    io: str | None
    rst: str | None
    direction: str | None
    incoming: str
    sample_hz: int | None
    analyser_ppm: Fraction
    clock_ppm: Fraction
    allowance: Fraction


def judge_of(path: Path, options: Options) -> CaptureJudge:
    """A judge ready to hear the capture. Raises FileError, Iso7816Error (HexError) and click's UsageError."""
    waveform = read_waveform(path, options.sample_hz)
    if options.clock is not None:
        clock_hz, ppm = waveform.clock(options.clock)
    elif options.clock_hz is not None:
        clock_hz, ppm = options.clock_hz, options.clock_ppm
    else:
        raise click.UsageError("give --clock-hz, or --clock with the signal that is the card clock")
    calibration = Calibration(options.sample_hz, options.analyser_ppm, ppm)
    uncertainty = calibration.uncertainty(waveform)
    conditions = TimingConditions(clock_hz, waveform.hz, uncertainty, options.allowance)
    atr = None if options.atr is None else parse_atr(parse_hex(options.atr))
    rate = Rate(RATE_DEFAULT) if options.ta1 is None else Rate(_one_byte(options.ta1))
    follower = Follower(atr, rate, options.protocol, incoming=parse_hex(options.incoming) if options.incoming else b"")
    return CaptureJudge(waveform.lines(options.io, options.rst, options.direction), conditions, follower)


def _one_byte(text: str) -> int:
    data = parse_hex(text)
    if len(data) != 1:
        raise HexError(f"--ta1 {text}: TA1 is one byte, two hexadecimal digits such as 96")
    return data[0]


# --- text ----------------------------------------------------------------------------------------------------------------


def lines_of(judge: CaptureJudge) -> Iterator[str]:
    """A line for each character, and one for each interval that is out or doubtful."""
    hz = judge.conditions.hz
    yield "  no.      time/ms  phase  sent by   byte  from the one before"
    before: Heard | None = None
    for heard in judge.heard():
        character = heard.character
        gap = ""
        if before is not None and before.character.start <= character.start:
            ticks = character.start - before.character.start
            etu = float(ticks / judge.conditions.etu(character.rate))
            gap = f"{etu:10.2f} etu {float(ticks / judge.conditions.cycle):12.1f} clocks"
        marks = "" if heard.parity_ok else "  parity wrong"
        marks += f"  repeated {heard.repetitions} times" if heard.repetitions else ""
        line = f"{character.number:5} {character.start * 1000 / hz:12.4f}  {character.phase:<5}  "
        line += f"{character.side or 'unknown':<8}  {character.value:02X}    {gap}{marks}"
        yield line.rstrip()
        yield from (f"      {each.verdict}: {each}" for each in heard.intervals if each.verdict is not Verdict.PASS)
        before = heard


def summary_of(judge: CaptureJudge) -> Iterator[str]:
    """The tightest interval of each rule."""
    report = judge.report
    uncertainty = judge.conditions.uncertainty
    yield ""
    yield f"{report.characters} characters, {report.intervals} intervals judged, {_uncertain(judge, uncertainty)}"
    for summary in sorted(
        report.summaries.values(), key=lambda each: (each.rule.clause, each.rule.label, str(each.side))
    ):
        tightest = summary.tightest
        counts = f"{summary.count} judged"
        counts += f", {summary.failed} OUT" if summary.failed else ""
        counts += f", {summary.doubtful} inconclusive" if summary.doubtful else ""
        yield (
            f"  {summary.rule.label:<22} {summary.side or 'unknown':<8}  tightest {tightest.value_etu:.4f} etu "
            f"({tightest.value_cycles:.2f} clocks) at character {tightest.number}, {summary.rule.bound} "
            f"{tightest.limit_etu:.4f}: {counts}"
        )


def _uncertain(judge: CaptureJudge, uncertainty: Uncertainty) -> str:
    microseconds = float(uncertainty.ticks * 1_000_000 / judge.conditions.hz)
    return f"each uncertain by {microseconds:.4g} µs and {float(uncertainty.ppm):g} ppm of itself"


# --- JSON ----------------------------------------------------------------------------------------------------------------


def _interval_values(interval: Interval) -> dict[str, object]:
    return {
        "character": interval.number,
        "rule": interval.rule.label,
        "clause": interval.rule.clause,
        "side": interval.side,
        "bound": interval.rule.bound,
        "value_etu": interval.value_etu,
        "limit_etu": interval.limit_etu,
        "uncertainty_etu": interval.uncertainty_etu,
        "value_clocks": interval.value_cycles,
        "limit_clocks": interval.limit_cycles,
        "uncertainty_clocks": interval.uncertainty_cycles,
        "verdict": interval.verdict,
    }


def json_lines(judge: CaptureJudge) -> Iterator[str]:
    """One object a character, one a line, so that long captures need no memory."""
    for heard in judge.heard():
        character = heard.character
        yield json.dumps(
            {
                "character": character.number,
                "time_s": character.start / judge.conditions.hz,
                "phase": character.phase,
                "side": character.side,
                "byte": f"{character.value:02X}",
                "ta1": f"{character.rate.ta1:02X}",
                "parity_ok": heard.parity_ok,
                "repetitions": heard.repetitions,
                "intervals": [_interval_values(each) for each in heard.intervals],
            }
        )


# --- the command -----------------------------------------------------------------------------------------------------------


def _leave(message: str, status: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


@click.command("timing")
@click.argument("capture", type=click.Path(path_type=Path))
@click.option("--clock-hz", type=click.IntRange(min=1), help="Card clock in hertz.")
@click.option("--clock", metavar="SIGNAL", help="The signal that is the card clock; it is measured there.")
@click.option("--atr", metavar="HEX", help="The answer to reset, where the capture begins after it.")
@click.option(
    "--ta1", metavar="HEX", help="The rate at the capture's beginning, where that is after PPS.  [default: 11]"
)
@click.option("--protocol", type=click.IntRange(0, 1), help="The protocol then.  [default: the ATR's first]")
@click.option("--io", metavar="SIGNAL", help="The signal that is I/O.  [default: io, or the only one]")
@click.option("--rst", metavar="SIGNAL", help="The signal that is RST.  [default: rst]")
@click.option("--direction", metavar="SIGNAL", help="The signal that is H while the card sends.  [default: card_sends]")
@click.option("--incoming", metavar="HEX", default="", help="Instructions of the card's own whose T=0 data go to it.")
@click.option("--sample-hz", type=click.IntRange(min=1), help="Sampling rate, where the file does not say.")
@click.option("--analyser-ppm", callback=_exact, default="50", show_default=True, help="Error of the analyser's clock.")
@click.option("--clock-ppm", callback=_exact, default="50", show_default=True, help="Error of the stated card clock.")
@click.option(
    "--allowance",
    callback=_exact,
    default="0.2",
    show_default=True,
    help="Etu beyond a limit that still pass: edges may lie 0.2 off.",
)
@click.option(
    "--of",
    type=click.Choice(list(SIDES)),
    default="card",
    show_default=True,
    help="Whose intervals decide the exit status.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a character, for programs.")
@click.option("--quiet", is_flag=True, help="Print only what is out or doubtful, and the summary.")
def timing_command(capture: Path, of: str, as_json: bool, quiet: bool, **options: object) -> None:
    """Judge the character timing of a logic analyser's capture (VCD, or CSV as sigrok writes it).

    Shows each character with its sender, the distance from the one before in etu and clocks, and every interval that breaks ISO/IEC 7816-3, with its
    limit and uncertainty; then the tightest interval of each rule. The capture should begin before RST rises; where it does not, give --atr,
    and --ta1 if a PPS went before.

    Exit status 1 when an interval is out, 3 when none could be judged.

    \b
    Example: cardbench timing card.vcd --clock-hz 3571200 --io D0 --rst D1
    """
    try:
        judge = judge_of(capture, Options(**options))  # type: ignore[arg-type]  # click has converted each as it was declared
    except (Iso7816Error, FileError) as error:
        _leave(str(error), EXIT_WRONG_USE)
    broken = ""
    try:
        for line in json_lines(judge) if as_json else lines_of(judge):
            if as_json or not quiet or line.startswith("      "):
                click.echo(line)
    except SessionError as error:
        broken = str(error)
    if not as_json:
        for line in summary_of(judge):
            click.echo(line)
    side = SIDES[of]
    verdict = judge.report.verdict(side)
    if not as_json:
        click.echo(f"{side or 'all'}: {verdict if judge.report.intervals else 'nothing to judge'}")
    if broken:
        click.echo(f"error: {capture}: {broken}", err=True)
    if verdict is Verdict.FAIL:
        sys.exit(EXIT_OUT)
    if broken or not judge.report.intervals or verdict is Verdict.INCONCLUSIVE:
        sys.exit(EXIT_NOT_JUDGED)
