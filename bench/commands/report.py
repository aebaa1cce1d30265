"""`cardbench report`: what runs recorded, as a page and as CSV."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

EXIT_WRONG_INPUT = 2


@click.command("report")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write report.html and csv/ (a name ending in .html names the page itself).  [default: the first DIR]",
)
def report_command(directories: tuple[Path, ...], out: Path | None) -> None:
    """Collate what runs recorded into one HTML page, with CSV beside it.

    DIR is the directory of a run, or one that holds runs at any depth: results takes all of them. The page is a single
    file that needs no network: verdicts, what failed first, requirements, share of the limit against rate and MTU,
    latency by hops, what each channel got, how long exchanges take, and every number as a table. Every table is also
    in csv/, and the Parquet files of the runs are linked.

    What is missing or damaged in a run is said at the top of the page. The same records give the same bytes.

    \b
    Examples:
      cardbench report results/station=lab-3/date=2025-11-23/run=143000
      cardbench report results --out all-runs
      cardbench report before after --out before-and-after.html

    Exit status 0 when the page was written (whatever the verdicts in it), 2 when a DIR holds no run or nothing can be
    written.
    """
    # pandas, pyarrow and the chart library take a second to import: only this command pays it.
    from reports import ReportError, build_report, verdict_summary

    try:
        summary = verdict_summary(directories)
        files = build_report(directories, out)
    except ReportError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_WRONG_INPUT)
    click.echo(summary.render(shutil.get_terminal_size((100, 24)).columns))
    click.echo(f"\nreport: {files.html}")
    click.echo(f"tables: {len(files.csv)} CSV files in {files.html.parent / 'csv'}")
