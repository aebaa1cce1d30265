"""``cardbench card``: the reference card or chain as a device for other programs."""

import signal
import socket
import sys
import time
from functools import partial
from types import FrameType
from typing import NoReturn

import click
from pydantic import ValidationError

from bench.rig.errors import RigError, RigNotAble
from bench.rig.orders import InnerPolls, ServeOrder
from bench.rig.pcscd import PrivatePcscd
from bench.rig.served_chain import serve_chain
from bench.serve.vpcd import DEFAULT_PORT, VpcdLoop, connect

EXIT_WRONG_USE, EXIT_BENCH = 2, 3
RETRY_S = 0.5
"""How long to wait before vpcd is tried again."""


class _Stopped(Exception):  # noqa: N818 - no error: somebody has ended the card
    """SIGTERM or SIGINT came."""


@click.command("card")
@click.option(
    "--serve", "way", type=click.Choice(["vpcd"]), required=True, help="vpcd: into a virtual PC/SC reader, over TCP."
)
@click.option("--cards", default="1", metavar="N", show_default=True, help="How many cards in the chain.")
@click.option("--mtu", default="256", metavar="N", show_default=True, help="Longest packet of each card in bytes.")
@click.option(
    "--profile", default="reference", metavar="NAME", show_default=True, help="reference, plain, or a memory."
)
@click.option("--ta1", default="11", metavar="HEX", show_default=True, help="Rate of the chain's lines, as TA1.")
@click.option("--card-time", default="0 s", metavar="TIME", show_default=True, help="What each command takes the card.")
@click.option(
    "--polls",
    type=(float, float),
    default=(5.0, 20.0),
    metavar="FIRST LONGEST",
    show_default=True,
    help="How often each card asks the one behind it, in ms of its own time.",
)
@click.option("--paced", is_flag=True, help="Hold each answer as long as the line and the card take.")
@click.option("--host", default="127.0.0.1", metavar="H", show_default=True, help="Where vpcd listens.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="P", help=f"At which port.  [default: {DEFAULT_PORT}]")
@click.option("--pcscd", "own", is_flag=True, help="Start a private pcscd with vpcd, and serve to that.")
@click.option("--once", is_flag=True, help="End when vpcd goes, with status 3, instead of waiting for it.")
def card_command(
    way: str,
    cards: str,
    mtu: str,
    profile: str,
    ta1: str,
    card_time: str,
    polls: tuple[float, float],
    paced: bool,
    host: str,
    port: int | None,
    own: bool,
    once: bool,
) -> None:
    """Offer the reference card, or a chain of them, to other programs until interrupted.

    With --serve vpcd the first card sits in a virtual reader of pcscd (Debian: pcscd and vsmartcard-vpcd), where every PC/SC program finds
    it. vpcd asks every 400 ms whether a card is there. The cards behind the first run on virtual lines in the same process; their time is
    the wall's, except that a busy chain runs ahead by what each exchange takes on its line, unless --paced holds the answers.

    \b
    Examples:
      cardbench card --serve vpcd
      cardbench card --serve vpcd --cards 3 --mtu 64 --paced
      cardbench card --serve vpcd --pcscd           needs no pcscd set up; prints how to reach its own

    Exit status 0 when interrupted, 2 for wrong options, 3 when pcscd could not be started or (with --once) vpcd went.
    """
    del way  # there is one so far
    if own and (port is not None or host != "127.0.0.1"):
        raise click.UsageError("--pcscd chooses the port itself: leave --host and --port out")
    given = {"cards": cards, "mtu": mtu, "profile": profile, "ta1": ta1, "card_time": card_time}
    if not 0 < polls[0] <= polls[1]:
        raise click.UsageError("--polls: two times in ms, the first above 0 and not longer than the second")
    order = ServeOrder(given, InnerPolls(*polls), paced)
    _check(order)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _stop)
    daemon: PrivatePcscd | None = None
    try:
        if own:
            daemon = PrivatePcscd()
            daemon.start()
            click.echo(f"export PCSCLITE_CSOCK_NAME={daemon.socket}")
        _serve(order, host, daemon.port if daemon is not None else port or DEFAULT_PORT, once)
    except RigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BENCH)
    except _Stopped:
        return
    finally:
        if daemon is not None:
            daemon.remove()


def _check(order: ServeOrder) -> None:
    try:
        serve_chain(order)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise click.UsageError(f"{option}: {first['msg']}") from None
    except (RigNotAble, ValueError) as reason:
        raise click.UsageError(str(reason)) from None


def _serve(order: ServeOrder, host: str, port: int, once: bool) -> None:
    waiting = False
    while True:
        try:
            connection = connect(host, port)
        except OSError as error:
            if once:
                raise RigError(f"vpcd at {host}:{port}: {error}: start pcscd with vsmartcard-vpcd") from None
            if not waiting:
                click.echo(f"waiting for vpcd at {host}:{port} ({error}): start pcscd with vsmartcard-vpcd", err=True)
            waiting = True
            time.sleep(RETRY_S)
            continue
        waiting = False
        with connection:
            served = serve_chain(order).whole_apdus()
            count = "a card" if order.given["cards"] == "1" else f"a chain of {order.given['cards']} cards"
            click.echo(f"serving {count} at {host}:{port}, ATR {served.atr.hex(' ').upper()} (Ctrl-C ends)")
            VpcdLoop(partial(_made, connection), served).run(_never)
        if once:
            raise RigError(f"vpcd at {host}:{port} has closed the connection")
        click.echo("vpcd has gone", err=True)
        time.sleep(RETRY_S)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Stopped


def _made(connection: socket.socket) -> socket.socket:
    return connection


def _never() -> bool:
    return False
