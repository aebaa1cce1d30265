"""`cardbench atr`, `cardbench rates` and `cardbench apdu`: explain bytes and rates.

Thin commands over `bench.iso7816.explain_*`. Exit status 0 all well, 1 the bytes break a rule, 2 the argument is no
bytes or no rate.
"""

from __future__ import annotations

import json
import sys
from typing import NoReturn

import click

from bench.iso7816.apdu import explain_sw
from bench.iso7816.errors import ApduError, RateError
from bench.iso7816.explain import DEFAULT_CLOCK_HZ, HexError, parse_hex, to_json
from bench.iso7816.explain_apdu import ApduExplanation, explain_apdu
from bench.iso7816.explain_atr import AtrExplanation, explain_atr
from bench.iso7816.explain_rates import RatesExplanation, explain_rates

EXIT_BROKEN = 1
EXIT_WRONG_USE = 2

_CLOCK_HELP = "Card clock in hertz."


def _show(explanation: AtrExplanation | RatesExplanation | ApduExplanation, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_json(explanation), indent=2, ensure_ascii=False))
    else:
        click.echo(explanation.text())


def _leave(message: str, status: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def _bytes(words: tuple[str, ...]) -> bytes:
    try:
        return parse_hex(" ".join(words))
    except HexError as error:
        _leave(str(error), EXIT_WRONG_USE)


@click.command("atr")
@click.argument("hex_bytes", metavar="HEX...", nargs=-1, required=True)
@click.option("--clock-hz", type=int, default=DEFAULT_CLOCK_HZ, show_default=True, help=_CLOCK_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def atr_command(hex_bytes: tuple[str, ...], clock_hz: int, as_json: bool) -> None:
    """Explain an answer to reset byte by byte.

    Shows each byte's meaning and clause, the rates and waiting times that follow from it, and every rule of ISO/IEC
    7816-3 and 7816-4 that it breaks. Exit status 1 when it breaks one.

    \b
    Example: cardbench atr 3B F2 18 00 02 C1 0A 31 FE 58 C8 08 74
    """
    data = _bytes(hex_bytes)
    try:
        explanation = explain_atr(data, clock_hz)
    except RateError as error:
        _leave(str(error), EXIT_WRONG_USE)
    _show(explanation, as_json)
    if not explanation.sound:
        sys.exit(EXIT_BROKEN)


@click.command("rates")
@click.option("--clock-hz", type=int, default=DEFAULT_CLOCK_HZ, show_default=True, help=_CLOCK_HELP)
@click.option("--ta1", "ta1_text", metavar="HEX", help="Only what a card with this TA1 may be swept over, such as 96.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def rates_command(clock_hz: int, ta1_text: str | None, as_json: bool) -> None:
    """Show transmission rates, times and limits at a card clock.

    Without --ta1: every rate of ISO/IEC 7816-3 whose highest clock allows this one. With --ta1: the range of that
    card, and its guard and waiting times.

    \b
    Example: cardbench rates --clock-hz 3571200 --ta1 96
    """
    ta1: int | None = None
    if ta1_text is not None:
        data = _bytes((ta1_text,))
        if len(data) != 1:
            _leave(f"--ta1 {ta1_text}: TA1 is one byte, two hexadecimal digits such as 96", EXIT_WRONG_USE)
        ta1 = data[0]
    try:
        explanation = explain_rates(clock_hz, ta1)
    except RateError as error:
        _leave(str(error), EXIT_WRONG_USE)
    _show(explanation, as_json)


@click.command("apdu")
@click.argument("hex_bytes", metavar="HEX...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def apdu_command(hex_bytes: tuple[str, ...], as_json: bool) -> None:
    """Explain a command APDU: its fields, its case, and its TPDUs over T=0. Two bytes are taken for a status word.

    Exit status 1 when its lengths do not fit together.

    \b
    Examples:
      cardbench apdu 00 A4 04 00 02 3F 00 00
      cardbench apdu 6A82
    """
    data = _bytes(hex_bytes)
    if len(data) == 2 and not as_json:
        click.echo(f"{data.hex().upper()}: {explain_sw(int.from_bytes(data, 'big'))}")
        return
    try:
        explanation = explain_apdu(data)
    except ApduError as error:
        _leave(str(error), EXIT_BROKEN)
    _show(explanation, as_json)
