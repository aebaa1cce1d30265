"""``cardbench declare``: a card's first declaration, from the card itself."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.rig.given import Given
    from bench.rig.model import RigModel


@click.command("declare")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--rig", "rig", metavar="FILE", help="The rig file.  [default: rigs/default.yaml, else the software card]"
)
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option(
    "--given",
    "conditions",
    multiple=True,
    metavar="NAME=VALUE",
    help="A condition, as in a scenario's given: the bench's own cards are made so.  (repeatable)",
)
@click.option("--check", is_flag=True, help="Read FILE, say what is wrong with it and what applies, and power nothing.")
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
def declare_command(
    file: Path | None, rig: str | None, rig_name: str | None, conditions: tuple[str, ...], check: bool, force: bool
) -> None:
    """Write a first declaration of the card in a rig's reader into FILE, or print it.

    The card is powered, greeted (HELLO) and pinged; nothing of it changes. What its answer to reset and its answers say is filled in,
    each line with where it comes from; what only its maker knows is marked FILL IN. Name the file in the rig file
    (cards: [{declares: FILE}]): scenarios and requirements are then judged by what it says. docs/declarations.md tells the format.

    \b
    Examples:
      cardbench declare                                        the reference card's, printed
      cardbench declare declarations/acme-7.yaml --rig rigs/lab.yaml
      cardbench declare --given stack=both --given profile=2001-gemplus
      cardbench declare --check declarations/acme-7.yaml

    Exit status: 0 done; 2 wrong use, a mistake in a file, or FILE is there already; 3 the reader failed or no card answers.
    """
    if check:
        if file is None:
            raise click.UsageError("--check needs the FILE to check")
        _checked(file)
        return
    if file is not None and file.exists() and not force:
        raise click.UsageError(f"{file} is there already: --force writes over it, another name keeps both")
    model, given = _chosen(rig, rig_name, conditions)
    text = _seen(model, given)
    if file is None:
        click.echo(text, nl=False)
        return
    from bench.records.atomic import write_atomically

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"written to {file}: look through it, fill in what is marked, then `cardbench declare --check {file}`")


def _seen(model: "RigModel", given: "Given") -> str:
    from bench.observe import NullSink
    from bench.rig.build import build_rig
    from bench.rig.declaring import first_declaration, look
    from bench.rig.errors import RigError, RigNotAble

    try:
        built = build_rig(model, given, NullSink(), 0, model.real)
        try:
            return first_declaration(look(built, model.name))
        finally:
            built.close()
    except (RigError, RigNotAble) as error:
        click.echo(str(error), err=True)
        sys.exit(3)


def _chosen(rig: str | None, rig_name: str | None, conditions: tuple[str, ...]) -> "tuple[RigModel, Given]":
    from pydantic import ValidationError

    from bench.files.models import first_wrong
    from bench.hop.control import MAX_MTU
    from bench.rig.given import Given
    from bench.rig.loader import default_rig_file, load_rig_file

    file = load_rig_file(Path(rig)) if rig is not None else default_rig_file(Path.cwd())[0]
    model = next((each for each in file.rigs if rig_name in (None, each.name)), None)
    if model is None:
        raise click.UsageError(f"no rig named {rig_name!r}; there is {', '.join(each.name for each in file.rigs)}")
    values: dict[str, str] = {"mtu": str(MAX_MTU)}
    if model.real and model.serve is None:
        values |= {"stack": "both", "cards": str(len(model.cards))}  # whatever it carries is asked for
    for each in conditions:
        name, sign, value = each.partition("=")
        if not sign:
            raise click.UsageError(f"--given {each!r}: expected NAME=VALUE, such as stack=both")
        values[name.strip()] = value.strip()
    try:
        given = Given.model_validate(values)
    except ValidationError as error:
        raise click.UsageError(f"--given {first_wrong(error)}") from error
    return model.declared(()), model.conditions(given)


def _checked(file: Path) -> None:
    from bench.requirements.applicability import applicable
    from bench.requirements.catalogue import Dut, catalogue
    from bench.requirements.declarations import load_declaration

    declaration = load_declaration(file)
    judged = [each for each in catalogue().values() if each.dut in (Dut.CARD, Dut.CHAIN)]
    applying = [each for each in judged if not applicable(each, declaration)]
    told = f"{len(applying)} of {len(judged)} requirements on card and chain apply"
    click.echo(f"{file}: sound; {told}, deviations declared: {len(declaration.deviations)}")
