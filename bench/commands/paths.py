"""``cardbench paths``: the same points on several paths, side by side."""

import sys
from pathlib import Path

import click

EXIT_FAILED, EXIT_WRONG_INPUT = 1, 2


@click.command("paths")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the page there instead of printing it."
)
def paths_command(directories: tuple[Path, ...], out: Path | None) -> None:
    """Set the verdicts that several rigs gave to the same points side by side, as a Markdown page.

    DIR is the directory of a run, or one that holds runs at any depth; of each rig the newest run counts. One of them must be the
    software rig's, over the same points: cardbench run scenarios --real. Each verdict that is not applicable or inconclusive has its
    reason below the table. What differs from the software rig without such a reason is listed first.

    \b
    Examples:
      cardbench paths results
      cardbench paths results --out docs/paths.md

    Exit status 0 where every path agrees with the software rig, 1 where one differs, 2 when a DIR holds no such runs.
    """
    from reports import ReportError
    from reports.paths import path_table, render_markdown

    try:
        table = path_table(directories)
    except ReportError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_WRONG_INPUT)
    page = (
        "# The same scenarios on every path\n\nMade by `make paths` (`cardbench paths DIR...`) from what runs recorded.\n\n"
        + render_markdown(table)
    )
    if out is None:
        click.echo(page, nl=False)
    else:
        try:
            out.write_text(page, encoding="utf-8")
        except OSError as error:
            click.echo(f"error: {out}: {error.strerror}", err=True)
            sys.exit(EXIT_WRONG_INPUT)
    sys.exit(EXIT_FAILED if table.differences else 0)
