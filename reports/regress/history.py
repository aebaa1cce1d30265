"""Which runs are compared: those of one rig, in the order they began, the last one and the baseline among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reports.errors import ReportError
from reports.load import Run, find_runs
from reports.regress.model import FactChange, Options, RunName
from reports.stats.changes import BEFORE, RECENT

WINDOW: Final = BEFORE + RECENT
"""Without a baseline named, timings are compared with what they were so many runs before the last."""
_OF_NO_MATTER: Final = ("run", "started", "ended", "resumed", "command_line", "finished", "format", "station")
_OF_THE_CARD: Final = ("atr",)
_COMMIT: Final = "environment.commit"
_MOST_TEXT: Final = 60


@dataclass(frozen=True, slots=True)
class History:
    """Runs of one rig, oldest first. The last one is judged; `baseline` is the place of the run it is compared with, None where there is none.

    `chosen` is true where the caller named the baseline.
    """

    rig: str
    runs: tuple[Run, ...]
    baseline: int | None
    chosen: bool

    @property
    def last(self) -> Run:
        return self.runs[-1]

    @property
    def previous(self) -> Run | None:
        return self.runs[-2] if len(self.runs) > 1 else None


def history(directories: Sequence[Path], options: Options) -> History:
    """Choose the runs. Raises ReportError where there is none, or one that was named is not among them."""
    everything = sorted(find_runs(directories), key=began)
    baseline = _outside(options.baseline)
    if baseline is not None and all(run.path.resolve() != baseline.path.resolve() for run in everything):
        everything = sorted([*everything, baseline], key=began)
    if options.rig is not None:
        everything = [run for run in everything if rig_of(run) == options.rig]
        if not everything:
            raise ReportError(
                f"no run of a rig named {options.rig!r} among them; leave --rig-name out, or name another"
            )
    last = everything[_place(everything, options.last, "last")] if options.last else everything[-1]
    name = rig_of(last)
    runs = [run for run in everything if _same_rig(run, last) and began(run) <= began(last)]
    if options.since:
        runs = runs[_place(runs, options.since, "since") :]
    place = _place(runs, options.baseline, "baseline") if options.baseline else max(0, len(runs) - 1 - WINDOW)
    # Named anew as one list: a run that was found by itself has a shorter label.
    runs = list(find_runs([run.path for run in runs]))
    return History(name, tuple(runs), place if place < len(runs) - 1 else None, options.baseline is not None)


def rig_of(run: Run) -> str:
    """The names of the rigs a run ran on; empty where it does not tell."""
    return run.fact("rigs.*.name")


def began(run: Run) -> tuple[str, str, str, str]:
    """When a run began, for sorting."""
    return (run.fact("started") or run.date, run.date, run.number, str(run.path))


def run_name(run: Run) -> RunName:
    """A run as it is named in what is printed."""
    return RunName(run.label, run.path, run.fact("started"))


def differences(before: Run, after: Run) -> tuple[FactChange, ...]:
    """What `run.json` says differently of two runs, the card's own first. A source tree with changes ("+") may always be another."""
    old = {fact.name: fact.value for fact in before.facts}
    new = {fact.name: fact.value for fact in after.facts}
    found = [
        FactChange(name, _short(old.get(name, "")), _short(new.get(name, "")), name.rpartition(".")[2] in _OF_THE_CARD)
        for name in dict.fromkeys([*old, *new])
        if (old.get(name) != new.get(name) or (name == _COMMIT and new[name].endswith("+")))
        and name.split(".")[0] not in _OF_NO_MATTER
        and not name.endswith(".text")
    ]
    return tuple(sorted(found, key=lambda fact: (not fact.card, fact.name)))


def _same_rig(run: Run, last: Run) -> bool:
    return rig_of(run) == rig_of(last) and run.station == last.station


def _outside(name: str | None) -> Run | None:
    """A baseline that was named as a directory of its own, wherever it is."""
    if name is None or not Path(name).is_dir():
        return None
    found = find_runs([Path(name)])
    if len(found) > 1:
        raise ReportError(f"--baseline {name}: holds {len(found)} runs; name one of them")
    return found[0]


def _place(runs: Sequence[Run], name: str | None, option: str) -> int:
    """The place of the run that is named by its directory, its label or its number."""
    assert name is not None
    path = Path(name)
    named = path.resolve() if path.is_dir() else None
    places = [
        place
        for place, run in enumerate(runs)
        if run.path.resolve() == named or name in (run.label, run.number, run.date)
    ]
    if not places:
        known = ", ".join(run.label for run in runs[-5:])
        raise ReportError(
            f"--{option} {name}: no such run of this rig and station before the last one; the newest are {known} "
            "(name a run's directory, or its station/date/number)"
        )
    return places[-1]


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"
