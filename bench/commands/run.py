"""``cardbench run``: a thin front to pytest."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

WRONG_INPUT, NOT_JUDGED = 2, 3
DEFAULT_PATH = "scenarios"


@click.command("run")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--rig", metavar="FILE", help="The rig file.  [default: rigs/default.yaml, else one software chain]")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option(
    "--seed", type=int, metavar="N", help="Seed of the run; the same seed gives the same records.  [default: 1]"
)
@click.option("--out", default="results", show_default=True, metavar="DIR", help="Where the run is recorded.")
@click.option("--full", is_flag=True, help="Run the full sweeps (full:) instead of the ordinary ones.")
@click.option("--real", is_flag=True, help="Run the points for real paths (real:) on a software rig, too.")
@click.option("--resume", is_flag=True, help="Take up the newest unfinished run below --out; finished points stay.")
@click.option(
    "-k", "expression", metavar="EXPR", help="Only points whose name matches, as in pytest: 'ta1-96 and not mtu-64'."
)
@click.option("-n", "jobs", metavar="N", help="Run on N workers (a number or auto).")
@click.option("-x", "stop", is_flag=True, help="Stop at the first point that fails.")
@click.option("--list", "only_list", is_flag=True, help="List the points, run nothing.")
@click.option(
    "--payloads",
    type=click.Choice(["first", "full", "failures", "off"]),
    default="first",
    show_default=True,
    help="Payload bytes to keep: all of each scenario's first point and the last of failures; all; the last of failures; none.",
)
@click.option(
    "--waveforms", is_flag=True, help="Keep the I/O line of every software card as VCD, below waveforms/ of the run."
)
@click.option("--no-report", is_flag=True, help="No report.html: `cardbench report` makes it when wanted.")
@click.option("--alluredir", metavar="DIR", help="Write Allure results there as well.")
@click.option("--junitxml", metavar="FILE", help="Write a JUnit file as well.")
def run_command(  # long: a line for every option, and what the help says
    paths: tuple[str, ...],
    rig: str | None,
    rig_name: str | None,
    seed: int | None,
    out: str,
    full: bool,
    real: bool,
    resume: bool,
    expression: str | None,
    jobs: str | None,
    stop: bool,
    only_list: bool,
    payloads: str,
    waveforms: bool,
    no_report: bool,
    alluredir: str | None,
    junitxml: str | None,
) -> None:
    """Run scenarios on a rig, print the verdict of each and make the report.

    PATH is a scenario file, a folder of them, or one point (FILE::NAME[POINT]); by default the folder scenarios. Every
    combination of a scenario's sweep is a point with a verdict of its own: pass, marginal, fail (the card), inconclusive,
    not applicable (the reason is given), or error (the bench, a reader or the network; never counted against the card).

    With a rig file that names a real reader, the points listed under real: run, in real time.

    The run is recorded below --out: journals while it runs (a killed run loses nothing that was finished, see --resume),
    Parquet tables, a capture for Wireshark and report.html when it ends. `pytest scenarios` does the same with pytest's
    own output, and takes --rig, --run-seed, --out, --resume and --full as well.

    \b
    Examples:
      cardbench run
      cardbench run scenarios/baud-rate/throughput.yaml -k ta1-96
      cardbench run 'scenarios/baud-rate/throughput.yaml::throughput[ta1-96-mtu-256]'
      cardbench run --rig rigs/pcsc-vpcd.yaml --out nightly
      cardbench run scenarios/power-on/atr.yaml --waveforms
      cardbench run --resume

    \b
    Exit status: 0 all well; 1 the card failed; 2 wrong use, or a mistake in a file (printed as FILE:LINE:COLUMN: what was
    found; what was expected); 3 the bench, a reader or the network failed, a point stayed inconclusive, or nothing was
    judged. Where several hold, 2 before 1 before 3.
    """
    from fixtures.options import read_rig_choice

    chosen = paths or (DEFAULT_PATH,)
    for path in chosen:
        if not Path(path.split("::")[0]).exists():
            hint = "name a scenario file or a folder of them" if paths else "go where your scenarios are, or name them"
            raise click.UsageError(f"there is no {path!r} here: {hint}")
    try:
        read_rig_choice(rig, rig_name)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    options: dict[str, str | None] = {
        "--rig": rig,
        "--rig-name": rig_name,
        "--run-seed": None if seed is None else str(seed),
        "--out": out,
        "-k": expression,
        "-n": jobs,
        "--payloads": payloads,
        "--alluredir": alluredir,
        "--junitxml": junitxml,
    }
    flags = {
        "--full": full,
        "--real": real,
        "--resume": resume,
        "-x": stop,
        "--collect-only": only_list,
        "--waveforms": waveforms,
        "--no-report": no_report,
    }
    arguments = ["--cardbench"]
    arguments += [part for name, value in options.items() if value is not None for part in (name, value)]
    arguments += [name for name, given in flags.items() if given]
    leave(status(_pytest([*arguments, *chosen])))


def leave(status: int) -> NoReturn:
    """End the process. Where a driver call never came back its thread is still in it, and an ordinary exit may wait for ever."""
    threads = sys.modules.get("bench.readers.threads")
    if threads is not None and threads.abandoned():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    sys.exit(status)


def _pytest(arguments: list[str]) -> int:
    # pytest takes a third of a second to import; the other commands do not pay it.
    import pytest

    return int(pytest.main(arguments))


def status(of_pytest: int) -> int:
    """pytest's own statuses that no verdict stands behind: 4 is wrong use, 5 that nothing was collected."""
    return {4: WRONG_INPUT, 5: NOT_JUDGED}.get(of_pytest, of_pytest)
