"""The front of the page from the small tables: what was tested, how it ended, what failed first, which requirement stands where."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from bench.observe import Verdict
from reports.captured import Packets, packets_of
from reports.load import Fact, Records, Run
from reports.table import Cell, Field, Kind, Table, cell_of, number_text, table_of
from reports.verdicts import RANK, NaturalKey, Tally, natural

MOST_FAILURES: Final = 25
"""Groups of failures the front page spells out; the verdict table has them all."""
_SPELT_OUT: Final = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)

_HEAD: Final = (
    ("station", "station"),
    ("date", ""),
    ("run", "run"),
    ("rig", "rigs.*.name"),
    ("reader", "rigs.*.reader"),
    ("driver", "rigs.*.driver"),
    ("firmware", "rigs.*.firmware"),
    ("ATR of the cards", "rigs.*.atr"),
    ("card clock (Hz)", "rigs.*.clock_hz"),
    ("seed", "seed"),
    ("cardbench", "environment.cardbench"),
    ("commit", "environment.commit"),
    ("Python", "environment.python"),
    ("kernel", "environment.kernel"),
    ("processor", "environment.cpu"),
    ("started", "started"),
    ("ended", "ended"),
    ("command", "command_line"),
)
"""What the front page says of a run, and which entry of `run.json` has it."""


@dataclass(frozen=True, slots=True)
class RunFront:
    """One run as the front page shows it: its facts in reading order, and its own tally."""

    run: Run
    head: tuple[Fact, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class Failure:
    """Points of one scenario that ended the same way at the same step. The first of them stands for all."""

    verdict: Verdict
    run: str
    scenario: str
    title: str
    requirements: tuple[str, ...]
    step: str
    point: str
    reason: str
    seed: str
    evidence: tuple[str, ...]
    other_points: tuple[str, ...]
    packets: Packets | None = None
    """What the capture has of the first point's step."""
    capture: str = ""
    """The capture's path relative to the report."""

    @property
    def css(self) -> str:
        """The verdict as part of a class name."""
        return self.verdict.value.replace(" ", "-")


def fronts(records: Records) -> tuple[RunFront, ...]:
    """What was tested, run by run."""
    return tuple(RunFront(run, _head(run), tally(records, run.label)) for run in records.runs)


def tally(records: Records, run: str | None = None) -> Tally:
    """Points by verdict, of one run or of all."""
    frame = records.verdicts
    if run is not None:
        frame = frame[frame["run"] == run]
    return Tally.of(Verdict(word) for word in frame["verdict"])


def failures(records: Records) -> tuple[Failure, ...]:
    """What went wrong: the card's failures first, then the bench's errors, then what stayed open; in the order of scenarios and points."""
    frame = records.verdicts
    bad = frame[frame["verdict"].isin([str(verdict) for verdict in _SPELT_OUT])]
    bad = bad.assign(step=pd.to_numeric(bad["step"], errors="coerce").fillna(0).astype("int64"))
    groups = [
        _failure(points, records) for _, points in bad.groupby(["run", "scenario", "verdict", "step"], sort=False)
    ]
    return tuple(
        sorted(groups, key=lambda one: (RANK[one.verdict], natural(one.scenario), natural(one.point), one.run))
    )


def linked(failures: Iterable[Failure], place: Path) -> tuple[Failure, ...]:
    """The failures with links to their captures from a page in the folder ``place``."""
    return tuple(
        replace(each, capture=each.packets.link(place)) if each.packets is not None else each for each in failures
    )


def verdict_table(records: Records) -> Table:
    """Every point: the worst first."""
    frame = records.verdicts
    steps = pd.to_numeric(frame["step"], errors="coerce").astype("Int64")
    frame = frame.assign(
        duration_ms=pd.to_numeric(frame["duration_ns"], errors="coerce") / 1e6, step=steps.where(steps > 0)
    )
    places = [(RANK[Verdict(str(word))], *place) for word, place in zip(frame["verdict"], _natural(frame), strict=True)]
    order = sorted(range(len(frame)), key=places.__getitem__)
    fields = [
        Field("verdict", "verdict", Kind.VERDICT),
        *_run_field(records),
        Field("scenario", "scenario", Kind.CODE),
        Field("point", "point", Kind.CODE),
        Field("title", "title"),
        Field("reason", "reason"),
        Field("step", "step", Kind.NUMBER),
        Field("requirements", "requirements", Kind.CODE),
        Field("duration_ms", "its own time (ms)", Kind.NUMBER),
        Field("seed", "seed", Kind.CODE),
    ]
    return table_of(
        frame.iloc[order].astype({"seed": str}), "verdict-table", "Verdict of every point", fields, "verdicts.csv"
    )


def scenario_table(records: Records) -> Table:
    """A row a scenario: how its points ended. In the order of the scenarios' names."""
    rows = []
    for scenario, points in records.verdicts.groupby("scenario", sort=False):
        count = Tally.of(Verdict(word) for word in points["verdict"])
        rows.append((str(scenario), str(points["title"].iloc[0]), count))
    rows.sort(key=lambda row: natural(row[0]))
    cells: list[tuple[Cell, ...]] = [(_word(count.worst), name, title, *_counts(count)) for name, title, count in rows]
    fields = (
        Field("worst", "worst", Kind.VERDICT),
        Field("scenario", "scenario", Kind.CODE),
        Field("title", "title"),
        *_COUNT_FIELDS,
    )
    return Table("scenario-table", "Verdicts by scenario", fields, tuple(cells), "scenarios.csv")


def requirement_table(records: Records) -> Table:
    """A row a requirement: the scenarios that speak to it, and the worst verdict of their points (*not applicable* only where nothing else is)."""
    frame = records.verdicts.assign(requirement=records.verdicts["requirements"].str.split()).explode("requirement")
    frame = frame[frame["requirement"].notna()]
    rows = []
    for requirement, points in frame.groupby("requirement", sort=False):
        count = Tally.of(Verdict(word) for word in points["verdict"])
        scenarios = sorted({str(name) for name in points["scenario"]}, key=natural)
        rows.append((str(requirement), scenarios, count))
    rows.sort(key=lambda row: (RANK[row[2].worst or Verdict.NOT_APPLICABLE], natural(row[0])))
    cells: list[tuple[Cell, ...]] = [
        (_word(count.worst), name, ", ".join(scenarios), *_counts(count)) for name, scenarios, count in rows
    ]
    fields = (
        Field("verdict", "verdict", Kind.VERDICT),
        Field("requirement", "requirement", Kind.CODE),
        Field("scenarios", "scenarios", Kind.CODE),
        *_COUNT_FIELDS,
    )
    return Table("requirement-table", "Verdict of every requirement", fields, tuple(cells), "requirements.csv")


def measurement_table(records: Records) -> Table:
    """Every measured value with its limits."""
    fields = [
        Field("verdict", "verdict", Kind.VERDICT),
        *_run_field(records),
        Field("scenario", "scenario", Kind.CODE),
        Field("point", "point", Kind.CODE),
        Field("name", "measured", Kind.CODE),
        Field("detail", "of"),
        Field("value", "value", Kind.NUMBER),
        Field("unit", "unit"),
        Field("at_least", "at least", Kind.NUMBER),
        Field("at_most", "at most", Kind.NUMBER),
        Field("marginal", "marginal from", Kind.NUMBER),
        Field("resolution", "± resolution", Kind.NUMBER),
        Field("requirement", "requirement", Kind.CODE),
        Field("reason", "reason"),
    ]
    frame = records.measurements
    places = _natural(frame)
    order = sorted(range(len(frame)), key=places.__getitem__)
    return table_of(frame.iloc[order], "measurement-table", "Every measured value", fields, "measurements.csv")


def other_measurements(records: Records, drawn: pd.Series[bool]) -> Table:
    """The measurements that no picture shows, a row per scenario, name and unit."""
    frame = records.measurements[~drawn.to_numpy(dtype=bool)]
    rows: list[tuple[Cell, ...]] = []
    for (scenario, name, unit), values in frame.groupby(["scenario", "name", "unit"], sort=False):
        numbers = pd.to_numeric(values["value"], errors="coerce").dropna()
        count = Tally.of(Verdict(word) for word in values["verdict"])
        quantiles = (
            [cell_of(float(number)) for number in numbers.quantile([0.0, 0.5, 1.0])] if len(numbers) else [None] * 3
        )
        rows.append((_word(count.worst), str(scenario), str(name), str(unit), len(values), *quantiles))
    rows.sort(key=lambda row: (natural(str(row[1])), natural(str(row[2])), natural(str(row[3]))))
    fields = (
        Field("worst", "worst", Kind.VERDICT),
        Field("scenario", "scenario", Kind.CODE),
        Field("name", "measured", Kind.CODE),
        Field("unit", "unit"),
        Field("count", "values", Kind.NUMBER),
        Field("lowest", "lowest", Kind.NUMBER),
        Field("median", "median", Kind.NUMBER),
        Field("highest", "highest", Kind.NUMBER),
    )
    return Table(
        "other-measurement-table", "Measurements that no picture shows", fields, tuple(rows), "other-measurements.csv"
    )


_COUNT_FIELDS: Final = tuple(Field(verdict.value, verdict.value, Kind.NUMBER) for verdict in Verdict)


def _natural(frame: pd.DataFrame) -> list[tuple[NaturalKey, NaturalKey, str]]:
    """What rows are ordered by: scenario, point, run."""
    rows = zip(frame["scenario"], frame["point"], frame["run"], strict=True)
    return [(natural(str(scenario)), natural(str(point)), str(run)) for scenario, point, run in rows]


def _counts(count: Tally) -> tuple[int, ...]:
    return tuple(count.count(verdict) for verdict in Verdict)


def _word(verdict: Verdict | None) -> str:
    return verdict.value if verdict else ""


def _run_field(records: Records) -> list[Field]:
    return [Field("run", "run", Kind.CODE)] if len(records.runs) > 1 else []


def _head(run: Run) -> tuple[Fact, ...]:
    known = {"station": run.station, "date": run.date, "run": run.number}
    said = [Fact(label, known.get(label) or run.fact(name)) for label, name in _HEAD]
    return tuple(fact for fact in said if fact.value not in ("", "0", "null"))


def _failure(points: pd.DataFrame, records: Records) -> Failure:
    order = sorted(range(len(points)), key=lambda place: natural(str(points["point"].iloc[place])))
    points = points.iloc[order]
    first = points.iloc[0]
    run, scenario, point, step = str(first["run"]), str(first["scenario"]), str(first["point"]), int(first["step"])
    return Failure(
        verdict=Verdict(str(first["verdict"])),
        run=run if len(records.runs) > 1 else "",
        scenario=scenario,
        title=str(first["title"]),
        requirements=tuple(str(first["requirements"]).split()),
        step=_step(records, run, scenario, point, step),
        point=point,
        reason=str(first["reason"]),
        seed=str(cell_of(first["seed"]) if first["seed"] is not None else ""),
        evidence=_evidence(records, run, scenario, point),
        other_points=tuple(str(other) for other in points["point"].iloc[1:]),
        packets=packets_of(next(each for each in records.runs if each.label == run), scenario, point, step),
    )


def _step(records: Records, run: str, scenario: str, point: str, step: int) -> str:
    if step < 1:
        return ""
    steps = records.steps
    mine = steps[
        (steps["run"] == run) & (steps["scenario"] == scenario) & (steps["point"] == point) & (steps["index"] == step)
    ]
    return f"step {step} ({mine['verb'].iloc[0]})" if len(mine) else f"step {step}"


def _evidence(records: Records, run: str, scenario: str, point: str) -> tuple[str, ...]:
    """The measured values of the point that did not pass, each with the limit it missed."""
    frame = records.measurements
    mine = frame[(frame["run"] == run) & (frame["scenario"] == scenario) & (frame["point"] == point)]
    mine = mine[mine["verdict"].isin([str(verdict) for verdict in _SPELT_OUT])]
    return tuple(_measured(row) for row in mine.head(5).to_dict("records"))


def _measured(row: Mapping[Hashable, object]) -> str:
    """One measurement as a sentence, such as `goodput (channel 3) 88.1 percent_of_limit, at least 90`."""
    detail = f" ({row['detail']})" if row["detail"] else ""
    said = [f"{row['name']}{detail} {_number(row['value'])} {row['unit']}"]
    for limit, words in (("at_least", "at least"), ("at_most", "at most")):
        number = _number(row[limit])
        if number != "–":
            said.append(f"{words} {number}")
    return ", ".join(said)


def _number(value: object) -> str:
    cell = cell_of(value)
    return number_text(cell) if isinstance(cell, int | float) else "–"
