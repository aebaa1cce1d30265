"""``cardbench compare``: cards or readers side by side."""

import sys
from pathlib import Path

import click

from bench.commands.outputs import json_option, write, wrong_input


@click.command("compare")
@click.argument("sides", metavar="A B...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--all-pairs", is_flag=True, help="Compare every two sides, not only each with A.")
@click.option(
    "--margin",
    type=click.FloatRange(0.0, 100.0),
    default=2.0,
    show_default=True,
    metavar="PERCENT",
    help="Two medians are equal where the whole interval of their ratio lies within this.",
)
@click.option(
    "--within-runs",
    is_flag=True,
    help="With one run a side on a real clock: judge its exchanges, as if runs of one card did not differ.",
)
@click.option("--all", "everything", is_flag=True, help="Print every series, not only those that differ or seem to.")
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Write the tables there as Markdown.")
@json_option
@click.option(
    "--picture", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw the ratios with their intervals there."
)
def compare_command(  # long: a line for every option, and what the help says
    sides: tuple[Path, ...],
    all_pairs: bool,
    margin: float,
    within_runs: bool,
    everything: bool,
    markdown: Path | None,
    json_file: Path | None,
    picture: Path | None,
) -> None:
    """Set the timings and verdicts of cards or readers side by side.

    A, B, ... are folders, each with the run or the runs of one card or reader, over the same scenarios. Each instruction of each point, and
    each measurement, is one comparison: medians with their exact 95 % intervals, the ratio to A with its interval, the effect size, and a
    p-value by ranks. What differs is told from what only seems to by Holm's procedure over all comparisons: of a hundred pairs of equal cards
    fewer than five are accused of anything.

    With several runs a side (fourteen or so, best taken in turns: A B A B ...) a run is one value, so that what runs do by themselves is not taken
    for a difference of cards. With one run a side its exchanges are compared, pair by pair where both sent the same messages; on a real clock what
    they show then only seems so, unless --within-runs says otherwise. In virtual time one run is enough. See docs/compare.md.

    \b
    Examples:
      cardbench compare results/acme results/beta
      cardbench compare runs/reader-1 runs/reader-2 runs/reader-3 --all-pairs --markdown table.md
      cardbench compare before after --picture ratios.svg --json numbers.json

    \b
    Exit status: 0 compared, whatever differs; 2 a folder holds no run, the sides have nothing in common, or a file cannot be
    written; 3 there was nothing that could be tested.
    """
    # pandas, pyarrow and scipy take seconds to import: only this command pays them.
    from reports import ReportError
    from reports.compare import Options, compare
    from reports.compare.render import render_json, render_markdown, render_text

    try:
        found = compare(sides, Options(margin / 100, all_pairs, within_runs))
    except ReportError as error:
        wrong_input(error)
    click.echo(render_text(found, everything), nl=False)
    write(markdown, lambda: render_markdown(found))
    write(json_file, lambda: render_json(found))
    if picture is not None:
        from reports.compare.picture import draw

        write(picture, lambda: draw(found))
    sys.exit(0 if found.family else 3)
