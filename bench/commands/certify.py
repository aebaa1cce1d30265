"""``cardbench certify``: where a card stands on every requirement, as a test report with its evidence; and whether that is still as it was."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pytest

    from reports.certificate.build import Certified
    from reports.certificate.order import Order

CHANGED, WRONG_INPUT, NOT_JUDGED = 1, 2, 3
MOST_TOLD = 20
SCENARIOS = Path("scenarios")
PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class _Files:
    """What a report is made of beside the run."""

    order: Path | None
    declaration: Path | None
    rig: Path | None
    scenarios: tuple[Path, ...]
    validation: Path | None


@click.command("certify")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=PATH)
@click.option("--out", type=PATH, metavar="DIR", help="Where the report and its evidence go: a new or empty folder.")
@click.option("--from", "run", type=PATH, metavar="RUN", help="Certify from this run's records instead of a new run.")
@click.option("--check", type=PATH, metavar="DIR", help="Instead: tell which files of a report differ from its lists.")
@click.option("--expect", metavar="SHA256", help="With --check: the hash of SHA256SUMS as the report prints it.")
@click.option("--rig", metavar="FILE", help="The rig file.  [default: as `cardbench run`]")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option("--declaration", type=PATH, metavar="FILE", help="The card's declaration.  [default: the rig file's]")
@click.option("--order", "order_file", type=PATH, metavar="FILE", help="What people state, in YAML (docs/certify.md).")
@click.option(
    "--validation", type=PATH, metavar="FILE", help="The detection matrix: validation.json of cardbench validate."
)
@click.option("--report", metavar="TEXT", help="The report's number.  [default: made from the evidence]")
@click.option("--order-number", metavar="TEXT", help="The order's number.")
@click.option("--laboratory", metavar="NAME", help="Who tests.")
@click.option("--customer", metavar="NAME", help="Who asked for it.")
@click.option("--sample", metavar="TEXT", help="Serial number or mark of the sample.")
@click.option("--operator", metavar="NAME", help="Who made the tests.")
@click.option("--authorised-by", metavar="NAME", help="Who authorises the report.")
@click.option("--issued", metavar="DATE", help="Date of issue: 2026-11-23, or today.")
@click.option("--full", is_flag=True, help="Run the full sweeps (full:) instead of the ordinary ones.")
@click.option("--real", is_flag=True, help="Run the points for real paths (real:) on a software rig, too.")
@click.option("--resume", is_flag=True, help="Take up the unfinished run below --out; finished points stay.")
@click.option("--seed", type=int, metavar="N", help="Seed of the run.  [default: 1]")
@click.option("-n", "jobs", metavar="N", help="Run on N workers (a number or auto).")
@click.option("-k", "expression", metavar="EXPR", help="Only points whose name matches, as in pytest.")
@click.option("--no-report", is_flag=True, help="No report.html of the run among the evidence.")
def certify_command(  # long: a line for every option, and what the help says
    paths: tuple[Path, ...],
    out: Path | None,
    run: Path | None,
    check: Path | None,
    expect: str | None,
    rig: str | None,
    rig_name: str | None,
    declaration: Path | None,
    order_file: Path | None,
    validation: Path | None,
    report: str | None,
    order_number: str | None,
    laboratory: str | None,
    customer: str | None,
    sample: str | None,
    operator: str | None,
    authorised_by: str | None,
    issued: str | None,
    full: bool,
    real: bool,
    resume: bool,
    seed: int | None,
    jobs: str | None,
    expression: str | None,
    no_report: bool,
) -> None:
    """Run what applies to a card, and report where every requirement stands: HTML, PDF, CSV, JSON, with the evidence hashed beside them.

    PATH is a scenario file or a folder of them; by default the folder scenarios. With a declaration, scenarios of which no requirement applies
    are not run. Of each requirement the report says pass, marginal, fail, inconclusive, error, not applicable (why) or not covered (why), over
    all points of all its scenarios; the worst counts. Card and chain are the item under test; terminal, reader and host are listed apart.

    What people must state (customer, sample, operator ...) comes from --order or options. What nobody states is shown as "not stated".

    \b
    Examples:
      cardbench certify --out report
      cardbench certify --rig lab.yaml --declaration acme-7.yaml --order order.yaml --out report
      cardbench certify --from results/station=lab-3/date=2026-11-23/run=101500 --out report
      cardbench certify --check report --expect 5f70bf18...

    \b
    Exit status: 0 the item conforms (--check: nothing changed); 1 it fails a mandatory requirement (--check: something changed); 2 wrong use, or
    a mistake in a file; 3 a mandatory requirement stayed inconclusive or in error, fewer points than planned, or nothing was judged.
    """
    if check is not None:
        if out or run or paths:
            raise click.UsageError("--check looks at a report that is there; leave PATH, --out and --from out")
        _check(check, expect or "")
    if expect:
        raise click.UsageError("--expect goes with --check")
    if out is None:
        raise click.UsageError("name with --out DIR where the report goes")
    if run is not None and (full or real or resume or seed is not None or jobs or expression):
        raise click.UsageError("--from certifies a run as it is: leave out what tells how to run")
    stated = {
        "report": report,
        "order": order_number,
        "laboratory": laboratory,
        "customer": customer,
        "sample": sample,
        "operator": operator,
        "authorised_by": authorised_by,
        "issued": date.today().isoformat() if issued == "today" else issued,
    }
    order = _order(order_file, stated)
    _readable(run, declaration, validation)
    scenarios = _scenarios(paths)
    _fresh(out, resume)
    declared = declaration or _declared(rig, rig_name)
    if run is None:
        options = {
            "--rig": rig,
            "--rig-name": rig_name,
            "--run-seed": None if seed is None else str(seed),
            "--out": str(out / "evidence" / "run"),
            "-n": jobs,
            "-k": expression,
        }
        flags = {"--full": full, "--real": real, "--resume": resume, "--no-report": no_report}
        run = _run(_applying(scenarios, declared), options, flags)
    known = tuple(path for path in dict.fromkeys((*scenarios, SCENARIOS)) if path.exists())
    files = _Files(order_file, declared, None if rig is None else Path(rig), known, validation)
    _certify(out, run, order, files)


def _certify(out: Path, run: Path, order: Order, files: _Files) -> None:
    from bench.commands.run import leave
    from reports import ReportError
    from reports.certificate.build import Request, certify

    request = Request(run, out, order, files.order, files.declaration, files.rig, files.scenarios, files.validation)
    try:
        certified = certify(request)
    except ReportError as error:
        click.echo(f"error: {error}", err=True)
        leave(WRONG_INPUT)
    _tell(certified)
    leave(certified.exit_status)


def _tell(certified: Certified) -> None:
    counts = ", ".join(f"{count} {standing}" for standing, count in certified.counts if count)
    click.echo(f"\nrequirements of card and chain: {counts or 'none'}")
    for name, verdict, reason in certified.open[:MOST_TOLD]:
        click.echo(_printable(f"  {verdict}: {name}: {reason}"))
    if len(certified.open) > MOST_TOLD:
        click.echo(f"  and {len(certified.open) - MOST_TOLD} more: see the report")
    for sentence in certified.statement:
        click.echo(sentence)
    click.echo(f"\nreport {certified.id}: {certified.directory / 'test-report.pdf'} (SHA-256 {certified.pdf_hash})")
    click.echo(f"evidence: {certified.directory / 'SHA256SUMS'} (SHA-256 {certified.list_hash})")


def _printable(text: str) -> str:
    """Reasons may hold what a card said; no control character of it reaches the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _check(directory: Path, expect: str) -> None:
    from reports import ReportError
    from reports.certificate.evidence import SUMS, check, file_hash

    try:
        found = check(directory, expect)
    except (ReportError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(WRONG_INPUT)
    for difference in found:
        click.echo(_printable(str(difference)))
    if found:
        click.echo(f"{len(found)} difference{'' if len(found) == 1 else 's'}")
        sys.exit(CHANGED)
    click.echo(f"all files are as listed; SHA-256 of {SUMS}: {file_hash(directory / SUMS)}")
    sys.exit(0)


def _order(file: Path | None, stated: Mapping[str, str | None]) -> Order:
    from pydantic import ValidationError

    from bench.files.models import first_wrong
    from reports.certificate.order import Order, load_order, with_options

    for name, text in stated.items():
        if text is not None and not text.isprintable():  # bytes that are no UTF-8 come as surrogates
            raise click.UsageError(f"--{name.replace('_', '-')}: {text!r} holds what cannot be printed")
    try:
        return with_options(Order() if file is None else load_order(file), stated)
    except ValidationError as error:
        raise click.UsageError(first_wrong(error)) from error


def _readable(*files: Path | None) -> None:
    """What is missing is told before anything runs."""
    for path in files:
        if path is not None and not path.exists():
            raise click.UsageError(f"there is no {str(path)!r} here")


def _scenarios(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in paths or (SCENARIOS,):
        if not path.exists():
            hint = "name a scenario file or a folder of them" if paths else "go where your scenarios are, or name them"
            raise click.UsageError(f"there is no {str(path)!r} here: {hint}")
    return paths or (SCENARIOS,)


def _fresh(out: Path, resume: bool) -> None:
    """Evidence of two tests must not mix."""
    if (out.exists() and not out.is_dir()) or (out.is_dir() and any(out.iterdir()) and not resume):
        raise click.UsageError(f"{out} is not an empty folder: a report has a folder of its own, name a new one")
    if resume and (out / "SHA256SUMS").exists():
        raise click.UsageError(f"{out} holds a finished report; --resume takes up one whose run was broken off")


def _declared(rig: str | None, rig_name: str | None) -> Path | None:
    """The declaration of the first card of the rig that has one."""
    from bench.rig.loader import DEFAULT_RIG_FILE, declaration_paths
    from fixtures.options import read_rig_choice

    try:
        model = read_rig_choice(rig, rig_name).model
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    return next(iter(declaration_paths(Path(rig or DEFAULT_RIG_FILE), model)), None)


def _applying(paths: tuple[Path, ...], declaration: Path | None) -> list[str]:
    """The scenario files of which some requirement applies to the declared card; all of them where none is declared."""
    if declaration is None:
        return [str(path) for path in paths]
    from bench.requirements.applicability import applicable
    from bench.requirements.catalogue import catalogue
    from bench.requirements.declarations import load_declaration
    from reports.certificate.method import scenario_texts

    declared, known = load_declaration(declaration), catalogue()
    chosen = [
        str(text.path)
        for text in scenario_texts(paths)
        if any(name not in known or not applicable(known[name], declared) for name in text.requirements)
    ]
    if not chosen:
        raise click.UsageError(
            f"nothing of {', '.join(map(str, paths))} applies to the card that {declaration} declares"
        )
    return chosen


@dataclass(slots=True)
class _Keeping:
    """A pytest plugin that tells where the run was recorded."""

    directories: list[Path] = field(default_factory=list)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        from fixtures.plugin import Keys

        keeper = config.stash.get(Keys.keeper, None)
        if keeper is not None and keeper.directory is not None and keeper.closed is not None:
            self.directories.append(keeper.directory.path)


def _run(paths: list[str], options: Mapping[str, str | None], flags: Mapping[str, bool]) -> Path:
    """Run as `cardbench run` does; gives the run's directory. Where there is none, the process ends with what went wrong."""
    import pytest

    from bench.commands.run import leave, status

    arguments = ["--cardbench"]
    arguments += [part for name, value in options.items() if value is not None for part in (name, value)]
    arguments += [name for name, given in flags.items() if given]
    keeping = _Keeping()
    ended = status(int(pytest.main([*arguments, *paths], plugins=[keeping])))
    if not keeping.directories or ended == WRONG_INPUT:
        leave(ended or NOT_JUDGED)
    return keeping.directories[-1]
