"""``cardbench validate``: the bench held against cards, hosts and readers that are wrong on purpose."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from bench.rig.model import RigModel
    from bench.scenario.point import Point
    from bench.scenario.validation import Accusation, Detection, Subject
    from reports.detection import DetectionRow

Work = TypeVar("Work")
Found = TypeVar("Found")

EXIT_MISSED, EXIT_WRONG_INPUT, EXIT_NOTHING_JUDGED = 1, 2, 3
WIDTH = 34


@dataclass(frozen=True, slots=True)
class _Task:
    """Where the scenarios are and what they run on: the same for every subject and worker."""

    folder: Path
    rig: RigModel
    seed: int


@click.command("validate")
@click.argument("folder", default="scenarios", metavar="[FOLDER]", type=click.Path(path_type=Path))
@click.option("--defect", "names", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--rig", metavar="FILE", help="The rig file.  [default: rigs/default.yaml, else one software chain]")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of what is wrong.")
@click.option(
    "--seeds",
    type=click.IntRange(0, 1_000_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Seeds that what is sound runs with, from --seed on, at every point that was tried.",
)
@click.option(
    "-n", "jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="JOBS", help="Processes."
)
@click.option(
    "--out",
    default="results",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where validation.json, .csv and .html go.",
)
@click.option("--list", "only_list", is_flag=True, help="List what is wrong on purpose, run nothing.")
def validate_command(  # long: a line for every option, and what the help says
    folder: Path,
    names: tuple[str, ...],
    rig: str | None,
    rig_name: str | None,
    seed: int,
    seeds: int,
    jobs: int,
    out: Path,
    only_list: bool,
) -> None:
    """Hold the bench against cards, hosts and readers that are wrong on purpose.

    Each runs the points of the requirement that must catch it, until one fails. Then everything runs sound at every point that was tried:
    nothing may be accused there. FOLDER holds the scenarios.

    What comes out is the detection matrix: defect, requirement, the point that caught it, its step and reason; and the bound that the sound
    runs give on false alarms. A report made of results in --out shows it. See docs/validate.md.

    On a rig whose cards are the bench's own (served), wrong cards and hosts go through the real reader; wrong readers do not apply.

    \b
    Examples:
      cardbench validate -n 2
      cardbench validate --defect hop-toggle-stuck --defect directory-stale
      cardbench validate --rig rigs/pcsc-vpcd.yaml --out through-pcscd
      cardbench validate --seeds 1000 -n 2

    \b
    Exit status: 0 all caught, nothing sound accused; 1 something not caught, or something sound accused; 2 wrong use, or a mistake in a
    file; 3 nothing could be judged.
    """
    from bench.scenario.validation import SUBJECTS

    unknown = [name for name in names if name not in SUBJECTS]
    if unknown:
        raise click.UsageError(f"no defect named {unknown[0]!r}: cardbench validate --list names them")
    subjects = [SUBJECTS[name] for name in dict.fromkeys(names)] or list(SUBJECTS.values())
    if only_list:
        for each in subjects:
            click.echo(f"{each.name:{WIDTH}} {each.requirement:14} a {each.kind} that {each.text}")
        return
    task = _Task(folder, _rig(rig, rig_name), seed)
    if not folder.is_dir():
        raise click.UsageError(f"there is no folder {str(folder)!r} here: go where your scenarios are, or name it")
    if task.rig.real and task.rig.serve is None:
        raise click.UsageError(
            f"the cards of rig {task.rig.name} are not the bench's own: nobody makes them wrong on purpose"
        )
    sys.exit(_validate(task, subjects, seeds, 1 if task.rig.real else jobs, out))


def _rig(rig: str | None, name: str | None) -> RigModel:
    from fixtures.options import read_rig_choice

    try:
        return read_rig_choice(rig, name).model
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None


def _validate(task: _Task, subjects: Sequence[Subject], seeds: int, jobs: int, out: Path) -> int:
    from reports.detection import CAUGHT, SoundRow, Validation, write_validation

    rows: list[DetectionRow] = []
    tried: dict[str, Point] = {}
    try:
        for detection in _each(_detect, [(task, each.name) for each in subjects], jobs):
            rows.append(_row(detection))
            _tell(rows[-1], len(rows), len(subjects))
            tried.update({point.name: point for point in detection.tried})
        accused = _accused(task, list(tried.values()), seeds, jobs)
    finally:
        if task.rig.real:
            from bench.rig.served_reader import close_served_reader

            close_served_reader()
    sound = tuple(SoundRow(each.point, each.seed, str(each.verdict), each.reason) for each in accused)
    validation = Validation(version("cardbench"), task.rig.name, task.seed, seeds, len(tried), tuple(rows), sound)
    try:
        files = write_validation(validation, out)
    except OSError as error:
        click.echo(f"error: {out}: {error.strerror}; name another place with --out", err=True)
        return EXIT_WRONG_INPUT
    click.echo("\n" + click.style(validation.summary(), fg="green" if validation.sound else "red"))
    click.echo(f"matrix: {files[-1]}")
    if not validation.sound:
        return EXIT_MISSED
    return 0 if any(row.result == CAUGHT for row in rows) else EXIT_NOTHING_JUDGED


def _accused(task: _Task, points: Sequence[Point], seeds: int, jobs: int) -> list[Accusation]:
    """What is sound, at all points with every seed; told as it is found."""
    found: list[Accusation] = []
    work = [(task, point, task.seed + more) for more in range(seeds) for point in points]
    for count, accusation in enumerate(_each(_accuse, work, jobs), 1):
        if accusation is not None:
            found.append(accusation)
            told = f"sound, and accused: {accusation.point}, seed {accusation.seed}: {accusation.verdict}: {accusation.reason}"
            click.echo(click.style(told, fg="red"))
        if not count % max(1, len(points)):
            click.echo(f"sound: {count // len(points)} of {seeds} seeds at {len(points)} points, {len(found)} accused")
    return found


def _each(one: Callable[[Work], Found], work: Sequence[Work], jobs: int) -> Iterator[Found]:
    """What ``one`` gives of each, in order; in other processes where there are several jobs."""
    if jobs == 1:
        yield from map(one, work)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, work, chunksize=1 + len(work) // (16 * jobs))


def _detect(work: tuple[_Task, str]) -> Detection:
    from bench.scenario.validation import SUBJECTS, detect

    task, name = work
    subject = SUBJECTS[name]
    return detect(subject, _points(task.folder, task.rig.real)[subject.requirement], task.rig, task.seed)


def _accuse(work: tuple[_Task, Point, int]) -> Accusation | None:
    from bench.scenario.validation import accuse

    task, point, seed = work
    return accuse(point, task.rig, seed)


@cache
def _points(folder: Path, real: bool) -> dict[str, tuple[Point, ...]]:
    """The points by requirement, read once a process."""
    from bench.scenario.points import Selection
    from bench.scenario.validation import SUBJECTS, requirement_points

    wanted = {each.requirement for each in SUBJECTS.values()}
    return requirement_points(wanted, folder, Selection.REAL if real else Selection.ORDINARY)


def _row(detection: Detection) -> DetectionRow:
    from reports.detection import CAUGHT, MISSED, UNSEEN, DetectionRow

    subject, point, outcome = detection.subject, detection.point, detection.outcome
    verdict = outcome.verdict if outcome is not None else None
    step = f"{verdict.step} {point.steps[verdict.step - 1].step.verb}" if point and verdict and verdict.step else ""
    result = CAUGHT if point is not None else MISSED if detection.judged else UNSEEN
    return DetectionRow(
        defect=subject.name,
        kind=str(subject.kind),
        text=subject.text,
        requirement=subject.requirement,
        result=result,
        point=point.name if point is not None else "",
        verdict=str(verdict.verdict) if verdict is not None else "",
        step=step,
        reason=verdict.reason if verdict is not None else "",
        tried=len(detection.tried),
        unjudged=detection.unjudged,
    )


def _tell(row: DetectionRow, count: int, of: int) -> None:
    from reports.detection import CAUGHT, MISSED

    where = (
        f"{row.point}: {row.reason}" if row.result == CAUGHT else "; ".join(row.unjudged[:1]) or f"{row.tried} points"
    )
    line = f"{count:4}/{of} {row.defect:{WIDTH}} {row.requirement:14} {row.result}: {where}"
    click.echo(click.style(line, fg="red") if row.result == MISSED else line)
