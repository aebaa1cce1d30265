"""What commands that judge runs share: the file of every number, and how a mistake of the user's ends them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

EXIT_WRONG_INPUT = 2

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """``--json FILE``, handed on as ``json_file``."""
    option = click.option(
        "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write every number there."
    )
    return option(command)


def wrong_input(why: object) -> NoReturn:
    """Say what is wrong and end with status 2."""
    click.echo(f"error: {why}", err=True)
    sys.exit(EXIT_WRONG_INPUT)


def write(file: Path | None, text: Callable[[], str]) -> None:
    """Write the text, where a file was asked for; one that cannot be written ends the command."""
    if file is None:
        return
    try:
        file.write_text(text(), encoding="utf-8")
    except OSError as error:
        wrong_input(f"{file}: {error.strerror}; name another file")
