"""``cardbench rig``: write a rig file from what is attached, or bring one up to date."""

import difflib
import sys
from pathlib import Path

import click

from bench.rig.inventory import Found, Interface, take_inventory
from bench.rig.scan import Merged, merge, new_file

DEFAULT = Path("rigs/lab.yaml")


@click.group("rig")
def rig_command() -> None:
    """Rig files: which readers a station has, and which cards are behind them."""


@rig_command.command("scan")
@click.option(
    "--out",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    metavar="FILE",
    help="The rig file to write, or to merge into.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change as a diff, and write nothing.")
@click.option(
    "--station", metavar="NAME", default="", help="Name of the station in a new file.  [default: this host's]"
)
@click.option(
    "--only",
    type=click.Choice([str(each) for each in Interface]),
    multiple=True,
    help="Only readers of this interface; may be given several times.  [default: all, serial ports with a by-id name only]",
)
def scan_command(path: Path, dry_run: bool, station: str, only: tuple[str, ...]) -> None:
    """Write one rig for every reader that is attached, or merge what is attached into a rig file.

    A rig and a reader are matched by the reader's serial number, its by-id path, its address, and at last by the card's
    ATR. In a file that is there already, comments, notes, order and every field stay as they are, to the byte; only a reader's
    address that has changed and a serial number that was missing are put in, and new readers come behind the last rig. A rig
    whose reader is gone is kept, and told.

    A new rig's card has the profile 'plain' (it is not known to speak the hop) and no write budget: nothing that changes a card
    runs on it until the file says so (see docs/rigs.md, guard).

    \b
    Examples:
      cardbench rig scan --dry-run
      cardbench rig scan --out rigs/lab.yaml --station lab-3
      cardbench rig scan --only usb

    Exit status: 0 done; 2 a mistake in the file, which is then left as it is; 3 nothing is attached and there is no file.
    """
    inventory = take_inventory()
    for remark in inventory.remarks:
        click.echo(f"{remark.interface}: {remark.text}", err=True)
    found = [each for each in inventory.found if _wanted(each, only)]
    old = _read(path)
    if old is None and not found:
        click.echo("nothing is attached, so there is nothing to write (cardbench readers)", err=True)
        sys.exit(3)
    merged = new_file(found, station) if old is None else merge(old, path, found)
    _tell(merged)
    if merged.text == old:
        click.echo(f"{path} is up to date")
    elif dry_run:
        click.echo(_diff(old or "", merged.text, path), nl=False)
    else:
        _write(path, merged.text)
        click.echo(f"{path} written")


def _wanted(found: Found, only: tuple[str, ...]) -> bool:
    """A port of the machine itself says nothing of what is plugged into it: it is taken only where it is asked for."""
    if only:
        return str(found.interface) in only
    return found.interface is not Interface.SERIAL or "/by-id/" in found.address


def _tell(merged: Merged) -> None:
    for name in merged.added:
        click.echo(f"new: {name}")
    for text in merged.changed:
        click.echo(f"changed: {text}")
    for text in merged.gone:
        click.echo(f"gone: {text}")
    for text in merged.remarks:
        click.echo(f"note: {text}")


def _read(path: Path) -> str | None:
    """The file's text as it is, line ends included; None where there is none."""
    from bench.files.document import read
    from bench.rig.loader import WHAT

    if not path.exists():
        return None
    read(path, WHAT)  # what cannot be read is told with its place
    return path.read_bytes().decode("utf-8")


def _write(path: Path, text: str) -> None:
    from bench.records.atomic import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}; name another with --out") from error


def _diff(old: str, new: str, path: Path) -> str:
    return "".join(
        line if line.endswith("\n") else f"{line}\n"
        for line in difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), f"{path} (after)"
        )
    )
