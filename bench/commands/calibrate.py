"""``cardbench calibrate``: a reader's own latency, measured and kept beside the rig file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.rig.calibration import Calibration, Series, summary

if TYPE_CHECKING:
    from bench.iso7816.apdu import CommandApdu
    from bench.rig.given import Given
    from bench.rig.model import RigModel


@click.command("calibrate")
@click.option("--rig", "rig", metavar="FILE", required=True, help="The rig file.")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option(
    "--rounds", type=click.IntRange(min=20, max=100_000), default=400, show_default=True, metavar="N", help="Rounds."
)
@click.option(
    "--protocol", type=click.Choice(["T=0", "T=1"]), help="Over which protocol.  [default: the rig's own, else T=0]"
)
@click.option(
    "--command", "command_hex", metavar="HEX", help="Another neutral command APDU, for a card that takes INS 02."
)
@click.option("--dry-run", is_flag=True, help="Measure and print, and keep nothing.")
def calibrate_command(
    rig: str, rig_name: str | None, rounds: int, protocol: str | None, command_hex: str | None, dry_run: bool
) -> None:
    """Measure what a reader and its driver take of every exchange, so that reports can tell it from the card's time.

    A card must be in the reader; any card does, and nothing of it changes: it is sent an instruction that no card has (INS 02:
    6D00 after a look at the header) and, for the way data take, a SELECT of an application that is nowhere (6A82). From each
    exchange the line's own time is taken off, where the reader tells its rate; what is left is the reader, its driver, and the
    shortest answer that this card gives. So a card's time in reports is what it took beyond its shortest answer.

    The result is the median with its exact interval (order statistics; no distribution is assumed). No value is left out;
    outliers are counted. Every time is kept in FILE's neighbour (lab.yaml: lab.calibration.json), under the reader's identity,
    protocol and date. Runs on that rig then divide each exchange into host, reader, line and card time: the line first, then
    the reader, the rest is the card's, so that no time can be negative; `cardbench report` shows it under "Where the time goes".
    Calibrate again when reader, driver, cable, machine or kernel change.

    \b
    Examples:
      cardbench calibrate --rig rigs/lab.yaml
      cardbench calibrate --rig rigs/lab.yaml --rig-name shelf-two --rounds 2000
      cardbench calibrate --rig rigs/pcsc-vpcd.yaml --dry-run

    Exit status: 0 done; 2 wrong use or a mistake in a file; 3 the reader failed, no card is in it, or the card takes the command.
    """
    from bench.observe import NullSink
    from bench.rig.build import build_rig
    from bench.rig.calibrating import Measuring
    from bench.rig.calibration import calibration_path, write_calibration
    from bench.rig.errors import RigError, RigNotAble
    from bench.rig.real import latency_key

    model, given, apdu = _chosen(rig, rig_name, protocol, command_hex)
    try:
        built = build_rig(model, given, NullSink(), 0, model.real)
        try:
            result = Measuring(built, model, apdu).run(latency_key(model), rounds)
        finally:
            built.close()
    except (RigError, RigNotAble) as error:
        click.echo(str(error), err=True)
        sys.exit(3)
    _tell(result)
    if not dry_run:
        path = calibration_path(Path(rig))
        write_calibration(path, result)
        click.echo(f"kept in {path}")


def _chosen(
    rig: str, rig_name: str | None, protocol: str | None, command_hex: str | None
) -> "tuple[RigModel, Given, CommandApdu | None]":
    from bench.iso7816.apdu import parse_command
    from bench.iso7816.errors import ApduError
    from bench.rig.given import Given
    from bench.rig.loader import load_rig_file

    file = load_rig_file(Path(rig))
    model = next((each for each in file.rigs if rig_name in (None, each.name)), None)
    if model is None:
        raise click.UsageError(
            f"{rig} has no rig named {rig_name!r}; it has {', '.join(each.name for each in file.rigs)}"
        )
    given = model.conditions(Given() if protocol is None else Given.model_validate({"protocol": protocol}))
    try:
        command = None if command_hex is None else parse_command(bytes.fromhex(command_hex))
    except (ValueError, ApduError) as error:
        raise click.UsageError(f"--command {command_hex!r} is no command APDU in hexadecimal: {error}") from error
    return model, given, command


def _tell(result: Calibration) -> None:
    rate = f"TA1={result.ta1}" if result.ta1 != "00" else "rate not told"
    click.echo(f"{result.reader} ({result.key}), T={result.protocol}, {rate}, {result.driver or 'no driver named'}")
    for series in result.series:
        click.echo(_line(series))
    if result.ta1 == "00":
        click.echo(
            "  the reader does not tell its rate: the line's time is in these numbers, as it will be in those of runs"
        )


def _line(series: Series) -> str:
    found = summary(series.times_ns)
    return (
        f"  {series.kind}: {series.command} -> {series.sw}: median {_us(found.median_ns)}, "
        f"{found.coverage:.1%} interval {_us(found.low_ns)} to {_us(found.high_ns)}, single exchanges within {_us(found.spread_ns)}, "
        f"{found.count} rounds, {found.outliers} outlier{'s' if found.outliers != 1 else ''}, line {_us(series.wire_ns)}, "
        f"bench {_us(series.host_ns)}"
    )


def _us(ns: int) -> str:
    return f"{ns / 1000:.1f} µs"
