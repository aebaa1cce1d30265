"""``cardbench regress``: the last run against a baseline and the whole history."""

import sys
from pathlib import Path

import click

from bench.commands.outputs import json_option, write, wrong_input

EXIT_NOT_SOUND = 3


@click.command("regress")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    metavar="RUN",
    help="The run to compare with: its directory, or its station/date/number.  [default: when each point was last judged; timings: 35 runs before]",
)
@click.option(
    "--since", metavar="RUN", help="Look at no run before this one, such as the first after a change that was meant."
)
@click.option("--last", metavar="RUN", help="Judge this run as the last one.  [default: the newest]")
@click.option("--rig-name", metavar="NAME", help="Only runs of this rig.  [default: the newest run's]")
@click.option(
    "--gate",
    type=click.FloatRange(0.0, 100.0),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="Shifts of timings smaller than this are not told.",
)
@click.option(
    "--timings",
    type=click.Choice(["judge", "report"]),
    default="judge",
    show_default=True,
    help="Whether what became slower makes the exit status.",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a summary for a chat or a pull request there.",
)
@json_option
@click.option(
    "--calibrate",
    is_flag=True,
    help="Instead: take all runs as nights on which nothing changed, and tell how often an alarm would have been false.",
)
def regress_command(  # long: a line for every option, and what the help says
    directories: tuple[Path, ...],
    baseline: str | None,
    since: str | None,
    last: str | None,
    rig_name: str | None,
    gate: float,
    timings: str,
    markdown: Path | None,
    json_file: Path | None,
    calibrate: bool,
) -> None:
    """Hold the last run against the runs before it: what broke, what was mended, what wavers, what became slower and since when.

    DIR holds runs at any depth, such as results. The newest run is judged; those of the same rig and station before it are its history.

    Points: new failures, failures that stay, fixed ones, flaky ones (three changes between pass and fail in 28 runs, or a single one that
    stands alone), faults of the bench, what is no longer judged or planned, what was planned and did not run.

    Timings: the median of each instruction at each point, and each measurement, from night to night. On a real reader seven nights are tested
    against the 28 before them (or three, for large shifts); at least 14 nights are needed. A change is *sure* where it holds over the whole family of
    series, else it *seems*. In virtual time numbers repeat exactly, so that one night tells. Of every change the run in which it began is named, with
    what run.json says changed then: where that is the bench, the reader or the machine, the card is not blamed. See docs/regress.md.

    \b
    Examples:
      cardbench regress results
      cardbench regress results --markdown summary.md --json summary.json
      cardbench regress results --baseline lab-3/2025-11-01/010000
      cardbench regress nights-without-change --calibrate
      cardbench regress results --since results/station=lab-3/date=2025-11-20/run=010000

    \b
    Exit status: 0 all well; 1 a point fails (new or not), or a timing is surely worse; 2 no such run, or a file cannot be
    written; 3 an error of the bench, a planned point that did not run, a mandatory requirement left inconclusive, nothing
    judged, or a timing worse since the bench changed; with --calibrate, too many false alarms. 2 before 1 before 3.
    """
    # pandas, pyarrow and scipy take seconds to import: only this command pays them.
    from reports import ReportError
    from reports.regress import Options, regress
    from reports.regress.render import render_json, render_markdown, render_text

    options = Options(baseline, since, last, rig_name, gate / 100, timings == "judge")
    try:
        if calibrate:
            from reports.regress import calibration

            tried = calibration.calibrate(directories, options)
            click.echo(calibration.render(tried), nl=False)
            sys.exit(0 if tried.sound else EXIT_NOT_SOUND)
        found = regress(directories, options)
    except ReportError as error:
        wrong_input(error)
    click.echo(render_text(found), nl=False)
    write(markdown, lambda: render_markdown(found))
    write(json_file, lambda: render_json(found))
    sys.exit(found.exit_status)
