"""What `compare` found, for a terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.observe import Verdict
from reports.compare.model import Comparison, Difference, Finding, Profile, Side
from reports.numbers import json_text, markdown_cell, percent, value_text
from reports.stats.medians import Median

MOST_ROWS: Final = 40
"""Rows of a table for people; the JSON has all."""
_SURE: Final = (Finding.HIGHER, Finding.LOWER)
_SEEMS: Final = (Finding.SEEMS_HIGHER, Finding.SEEMS_LOWER)
_HEAD: Final = ("series", "first", "second", "ratio - 1", "effect", "p (family)", "finding")


def render_json(found: Comparison) -> str:
    """Every number."""
    from pydantic import TypeAdapter

    return json_text(TypeAdapter(Comparison).dump_python(found, mode="json"))


def render_text(found: Comparison, everything: bool = False) -> str:
    """For a terminal: the sides, what differs, what only seems to, and how alike the profiles are."""
    lines = [_side(side) for side in found.sides]
    lines += [f"not the same: {row.name}: {' | '.join(value or '–' for value in row.values)}" for row in found.unlike]
    lines += ["", headline(found)]
    rows = _told(found, everything)
    if rows:
        lines += ["", *_aligned([_HEAD, *(_cells(one) for one in rows)])]
        left = len(_chosen(found, everything)) - len(rows)
        lines += [f"… and {left} more (--json has all)"] if left else []
    lines += ["", *_aligned([_PROFILE_HEAD, *(_profile(one) for one in found.profiles)])]
    if found.verdicts:
        lines += [
            "",
            f"{len(found.verdicts)} {'point' if len(found.verdicts) == 1 else 'points'} got different verdicts:",
        ]
        lines += [
            f"  {row.scenario} [{row.point}]: {' | '.join(_word(verdict) for verdict in row.verdicts)}"
            for row in found.verdicts[:MOST_ROWS]
        ]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines) + "\n"


def render_markdown(found: Comparison) -> str:
    """The same as a page, with every series."""
    parts = [["# " + headline(found)], ["| side | rig | reader | ATR | runs | verdicts |", "|---|---|---|---|---|---|"]]
    parts[1] += [
        _row((side.letter, side.rig, side.reader, side.atr, _runs(side), _verdicts(side))) for side in found.sides
    ]
    if found.unlike:
        head = [
            "| not the same | " + " | ".join(side.letter for side in found.sides) + " |",
            "|---|" + "---|" * len(found.sides),
        ]
        parts.append(head + [_row((row.name, *row.values)) for row in found.unlike])
    for title, findings in (
        ("What differs", _SURE),
        ("What only seems to", _SEEMS),
        ("Equal within the margin", (Finding.EQUAL,)),
        ("Undecided, or not tested", (Finding.UNDECIDED, Finding.NOT_TESTED)),
    ):
        rows = _by_size(found.found(*findings))
        if rows:
            table = [_row(_HEAD), "|---" * len(_HEAD) + "|", *(_row(_cells(one)) for one in rows)]
            parts += [[f"## {title} ({len(rows)})"], table]
    parts.append(
        [
            "## Profiles",
            "",
            _row(_PROFILE_HEAD),
            "|---" * len(_PROFILE_HEAD) + "|",
            *(_row(_profile(one)) for one in found.profiles),
        ]
    )
    if found.verdicts:
        head = [
            "| point | " + " | ".join(side.letter for side in found.sides) + " |",
            "|---|" + "---|" * len(found.sides),
        ]
        rows_of = [
            _row((f"{row.scenario} [{row.point}]", *(_word(verdict) for verdict in row.verdicts)))
            for row in found.verdicts
        ]
        parts.append([f"## Different verdicts ({len(found.verdicts)})", "", *head, *rows_of])
    parts.append([f"- {markdown_cell(note)}" for note in found.notes])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def headline(found: Comparison) -> str:
    """What came out, in one sentence."""
    sure, seems = len(found.found(*_SURE)), len(found.found(*_SEEMS))
    equal = len(found.found(Finding.EQUAL))
    letters = " and ".join([", ".join(side.letter for side in found.sides[:-1]), found.sides[-1].letter])
    margin = f"{100 * found.margin:.3g} %"
    return (
        f"{letters}: {sure} of {found.family} comparisons differ (Holm, at most 5 % of all families accuse equal cards), {seems} only seem to, "
        f"{equal} are equal within {margin}"
    )


_PROFILE_HEAD: Final = ("profiles", "typical ratio", "left beside it", "rank correlation", "overlap", "operations")


def _profile(one: Profile) -> tuple[str, ...]:
    name = f"{one.second} to {one.first}"
    found = one.similarity
    if found is None:
        return (name, "nothing in common", "", "", "", "0")
    return (
        name,
        f"{found.factor:.4g}",
        percent(found.residual, False),
        f"{found.correlation:.3f}" if found.correlation == found.correlation else "–",
        f"{found.overlap:.3f}",
        str(found.operations),
    )


def _chosen(found: Comparison, everything: bool) -> Sequence[Difference]:
    return _by_size(found.differences if everything else found.found(*_SURE, *_SEEMS))


def _told(found: Comparison, everything: bool) -> Sequence[Difference]:
    chosen = _chosen(found, everything)
    return chosen if everything else chosen[:MOST_ROWS]


def _by_size(differences: Sequence[Difference]) -> list[Difference]:
    """Sure ones first, the largest first."""
    return sorted(
        differences,
        key=lambda one: (
            not one.finding.sure,
            not one.finding.seems,
            -abs(one.ratio - 1) if one.ratio == one.ratio else 0,
        ),
    )


def _cells(one: Difference) -> tuple[str, ...]:
    return (
        f"{one.key} {one.second}:{one.first}",
        _median(one.first_median, one.key.unit),
        _median(one.second_median, one.key.unit),
        _ratio(one),
        "–" if one.effect is None else f"{one.effect:+.2f}",
        "–" if one.p_family is None else f"{one.p_family:.2g}",
        f"{one.finding}" + (f" ({one.why})" if one.why else ""),
    )


def _ratio(one: Difference) -> str:
    if one.ratio != one.ratio:
        return "–"
    interval = "" if one.interval is None else f" [{percent(one.interval.low - 1)}, {percent(one.interval.high - 1)}]"
    return percent(one.ratio - 1) + interval


def _median(median: Median, unit: str) -> str:
    interval = median.interval
    ends = "" if interval is None else f" [{value_text(interval.low, unit)}, {value_text(interval.high, unit)}]"
    return value_text(median.value, unit) + ends


def _side(side: Side) -> str:
    what = ", ".join(text for text in (side.rig, side.reader, side.atr) if text) or "rig not known"
    return f"{side.letter}: {what}; {_runs(side)}; {_verdicts(side)}"


def _runs(side: Side) -> str:
    count = len(side.runs)
    return f"run {side.runs[0]}" if count == 1 else f"{count} runs, {side.runs[0]} to {side.runs[-1]}"


def _verdicts(side: Side) -> str:
    return (
        ", ".join(f"{side.verdicts[verdict]} {verdict}" for verdict in Verdict if verdict in side.verdicts)
        or "no verdicts"
    )


def _word(verdict: Verdict | None) -> str:
    return "not run" if verdict is None else str(verdict)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_cell(cell) for cell in cells) + " |"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
