"""What `regress` found, for a terminal, as Markdown for a chat or a pull request, and as JSON."""

from __future__ import annotations

import math
from typing import Final

from reports.numbers import json_text, markdown_cell, percent, value_text
from reports.regress.model import Certainty, Course, PointTurn, Regression, SeriesTurn, Turn

MOST_ROWS: Final = 20
"""Rows of a Markdown table; the JSON has all."""
_SECTIONS: Final = (
    (Turn.NEW_FAILURE, "New failures"),
    (Turn.STILL_FAILING, "Still failing"),
    (Turn.FLAKY, "Flaky"),
    (Turn.NEW_ERROR, "New faults of the bench, a reader or the network"),
    (Turn.STILL_ERROR, "The bench still fails at"),
    (Turn.INCONCLUSIVE, "Inconclusive"),
    (Turn.MISSING, "Planned and not run"),
    (Turn.NO_LONGER_JUDGED, "No longer judged"),
    (Turn.NO_LONGER_PLANNED, "No longer planned"),
    (Turn.FIXED, "Fixed"),
)
_STATUS: Final = {0: "all well", 1: "the card failed or became worse", 3: "the bench failed, or not all was judged"}


def render_json(found: Regression) -> str:
    """Every number, and the exit status."""
    from pydantic import TypeAdapter

    content = TypeAdapter(Regression).dump_python(found, mode="json")
    return json_text({"exit_status": found.exit_status, **content})


def render_text(found: Regression) -> str:
    """For a terminal: what there is to act on, a line each."""
    lines = [_headline(found), *(f"  {line}" for line in _context(found)), ""]
    for turn, title in _SECTIONS:
        points = found.turns(turn)
        if points:
            lines.append(f"{title} ({len(points)}):")
            lines += [f"  {_point_line(point)}" for point in points[:MOST_ROWS]]
            lines += _more(len(points), "  ")
    if found.series:
        lines.append(
            f"Timings against {found.baseline.label if found.baseline else 'the history'} ({len(found.series)}):"
        )
        lines += [f"  {_series_line(one)}" for one in found.series[:MOST_ROWS]]
        lines += _more(len(found.series), "  ")
    lines.append(_timing_line(found))
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines) + "\n"


def render_markdown(found: Regression) -> str:
    """For a chat or a pull request: a headline, then a table for each kind of news; what is empty is left out."""
    parts = [[f"## {_headline(found)}"], [f"- {line}" for line in _context(found)]]
    for turn, title in _SECTIONS:
        points = found.turns(turn)
        if points:
            parts.append([f"### {title} ({len(points)})"])
            rows = ["| point | since | history | requirement | why |", "|---|---|---|---|---|"]
            parts.append(rows + [_point_row(point) for point in points[:MOST_ROWS]] + _more(len(points), ""))
    for course, title in ((Course.WORSE, "Slower"), (Course.BETTER, "Faster"), (Course.CHANGED, "Changed")):
        series = [one for one in found.series if one.course is course]
        if series:
            parts.append([f"### {title} ({len(series)})"])
            rows = [
                "| series | before | now | shift | how sure | began | what changed then |",
                "|---|---|---|---|---|---|---|",
            ]
            parts.append(rows + [_series_row(one) for one in series[:MOST_ROWS]] + _more(len(series), ""))
    parts.append([_timing_line(found)])
    parts += _noise_part(found)
    if found.earlier:
        parts.append(
            [f"{len(found.earlier)} changes of the history began before the baseline (all in the JSON); the newest:"]
        )
        parts.append([f"- {_series_line(one)}" for one in found.earlier[-3:]])
    if found.environment:
        rows = [
            f"- {markdown_cell(fact.name)}: {markdown_cell(fact.before or '–')} → {markdown_cell(fact.after or '–')}"
            for fact in found.environment
        ]
        parts.append(["<details><summary>What differs from the run before</summary>", "", *rows, "", "</details>"])
    if found.notes:
        parts.append([f"- {markdown_cell(note)}" for note in found.notes])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _headline(found: Regression) -> str:
    said = [f"{len(points)} {turn}" for turn, _ in _SECTIONS if (points := found.turns(turn))]
    said += [f"{len(found.slower)} slower"] if found.slower else []
    seems = sum(one.certainty is Certainty.SEEMS and one.course is Course.WORSE for one in found.series)
    said += [f"{seems} seem slower"] if seems else []
    better = sum(one.course is Course.BETTER and one.certainty is not Certainty.ONE_NIGHT for one in found.series)
    said += [f"{better} faster"] if better else []
    return f"{found.rig or 'cardbench'}: {_STATUS[found.exit_status]} ({', '.join(said) or 'nothing changed'})"


def _context(found: Regression) -> list[str]:
    judged = (
        f"{found.judged} were judged: {found.passed} passed, {found.failed} failed; {found.errors} errors of the bench"
    )
    lines = [f"run {found.last.label}: {found.finished} of {found.planned} planned points ran, {judged}"]
    if found.previous:
        lines.append(
            f"verdicts against those before, timings against {found.baseline.label if found.baseline else 'nothing'}; {found.runs} runs in view"
        )
    return lines


def _point_line(point: PointTurn) -> str:
    since = f" since {point.since}" if point.turn in (Turn.STILL_FAILING, Turn.STILL_ERROR) else ""
    history = f" |{point.history}|" if point.history else ""
    return f"{point.scenario} [{point.point}]{since}{history} {point.reason}".rstrip()


def _point_row(point: PointTurn) -> str:
    cells = [f"`{point.scenario} [{point.point}]`", point.since, f"`{point.history}`", point.requirements, point.reason]
    return "| " + " | ".join(markdown_cell(cell) for cell in cells) + " |"


def _series_line(one: SeriesTurn) -> str:
    suspects = f"; with it changed {_names(one)}" if one.suspects else ""
    return (
        f"{one.scenario} [{one.point}] {one.name}: {value_text(one.before, one.unit)} → {value_text(one.after, one.unit)} "
        f"({percent(one.shift)}, {one.course}, {one.certainty}) since {one.began}{suspects}"
    )


def _series_row(one: SeriesTurn) -> str:
    cells = [
        f"`{one.scenario} [{one.point}] {one.name}`",
        value_text(one.before, one.unit),
        value_text(one.after, one.unit),
        percent(one.shift),
        str(one.certainty),
        one.began,
        _names(one) or "–",
    ]
    return "| " + " | ".join(markdown_cell(cell) for cell in cells) + " |"


def _names(one: SeriesTurn) -> str:
    names = [fact.name.removeprefix("environment.") for fact in one.suspects]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _timing_line(found: Regression) -> str:
    tally = found.timing
    said = [f"{tally.series} series of timings"]
    if tally.exact:
        said.append(f"{tally.exact} in virtual time, exact ({tally.below_gate} moved by less than the gate)")
    if tally.followed:
        said.append(
            f"{tally.followed} followed over the nights (at most {tally.expected_false_alarms:.2g} false alarms a night are to be expected)"
        )
    if tally.too_short:
        said.append(f"{tally.too_short} with too few nights (14 are needed)")
    return "; ".join(said) + "."


def _noise_part(found: Regression) -> list[list[str]]:
    known = [one for one in found.noise if not math.isnan(one.detectable)]
    if not known:
        return []
    order = sorted(known, key=lambda one: one.detectable)
    middle = order[len(order) // 2].detectable
    coarse = max(known, key=lambda one: one.resolution)
    least, most = (percent(one.detectable, False) for one in (order[0], order[-1]))
    half = percent(middle, False)
    lines = [
        f"Noise floor: half of the series show a shift of {half} within seven nights, the best {least}, the worst {most}."
    ]
    if coarse.resolution > 0:
        where = f"`{coarse.scenario} [{coarse.point}] {coarse.name}`"
        lines.append(f"The clock resolves {percent(coarse.resolution, False)} of the shortest for it ({where}).")
    hanging = sum(one.correlation > 0.3 for one in known)
    if hanging:
        lines.append(f"{hanging} series hang together from night to night; their changes are never called sure.")
    return [lines]


def _more(count: int, indent: str) -> list[str]:
    if count <= MOST_ROWS:
        return []
    return [f"{indent}… and {count - MOST_ROWS} more" if indent else f"| … and {count - MOST_ROWS} more | | | | |"]
