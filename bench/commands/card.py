"""``cardbench card``: the reference card or chain as a device for other programs."""

import signal
import sys
from types import FrameType
from typing import Final, NoReturn

import click
from pydantic import ValidationError

from bench.commands.card_eem import serve_eem
from bench.commands.card_gempc import serve_gempc
from bench.commands.card_serial import DEFAULT_PORT as RFC2217_PORT
from bench.commands.card_serial import serve_rfc2217, serve_tty
from bench.commands.card_usb import serve_usbip, serve_usbredir
from bench.commands.card_vpcd import serve_vpcd
from bench.commands.card_ways import Way, WayOptions
from bench.rig.errors import RigError, RigNotAble
from bench.rig.orders import InnerPolls, ServeOrder
from bench.rig.pcscd import PrivatePcscd
from bench.rig.served_chain import serve_chain
from bench.serve.gempc import MODELS
from bench.serve.usb_reader import FORMS
from bench.serve.vpcd import DEFAULT_PORT

EXIT_WRONG_USE, EXIT_BENCH = 2, 3

WAYS: Final[dict[str, Way]] = {
    "vpcd": serve_vpcd,
    "gempc": serve_gempc,
    "rfc2217": serve_rfc2217,
    "tty": serve_tty,
    "usbredir": serve_usbredir,
    "usbip": serve_usbip,
    "eem": serve_eem,
}
WITH_PCSCD: Final = ("vpcd", "gempc")
"""Ways that a private pcscd can be put at the other end of."""


class _Stopped(Exception):  # noqa: N818 - no error: somebody has ended the card
    """SIGTERM or SIGINT came."""


@click.command("card")
@click.option(
    "--serve",
    "way",
    type=click.Choice(list(WAYS)),
    required=True,
    help="vpcd: into a virtual PC/SC reader, over TCP. gempc: into a serial CCID reader, on a pty. "
    "rfc2217, tty: at character level, as a serial port over TCP or on a pty or tty. "
    "usbredir, usbip: into a USB CCID reader, for QEMU or for this machine's kernel. "
    "eem: as a network interface on USB (CDC-EEM), for QEMU.",
)
@click.option("--cards", default="1", metavar="N", show_default=True, help="How many cards in the chain.")
@click.option("--mtu", default="256", metavar="N", show_default=True, help="Longest packet of each card in bytes.")
@click.option(
    "--profile", default="reference", metavar="NAME", show_default=True, help="reference, plain, or a memory."
)
@click.option(
    "--stack",
    type=click.Choice(["channel", "ip", "both"]),
    default="channel",
    show_default=True,
    help="What the cards carry: channels, or IP with UDP and TCP of their own.",
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
@click.option("--host", default="127.0.0.1", metavar="H", show_default=True, help="Where vpcd listens, or to listen.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="P",
    help=f"At which port.  [default: {DEFAULT_PORT}, rfc2217: {RFC2217_PORT}]",
)
@click.option("--device", metavar="PATH", help="gempc, tty: make a link to the pty here; tty: a real one.")
@click.option(
    "--rst",
    type=click.Choice(["cts", "dsr", "dcd", "ri", "none"]),
    default="cts",
    show_default=True,
    help="tty: the incoming line of a real one that is RST.",
)
@click.option(
    "--model", type=click.Choice(list(MODELS)), default="twin", show_default=True, help="gempc: which reader it is."
)
@click.option("--socket", metavar="PATH", help="usbredir, eem: where QEMU finds the device.")
@click.option(
    "--level", type=click.Choice(list(FORMS)), default="tpdu", show_default=True, help="usbredir, usbip: what it takes."
)
@click.option("--pcscd", "own", is_flag=True, help="Start a private pcscd, and serve to that.")
@click.option("--once", is_flag=True, help="End when vpcd goes, with status 3, instead of waiting for it.")
def card_command(  # long: a line for every option, and what the help says
    way: str,
    cards: str,
    mtu: str,
    profile: str,
    stack: str,
    ta1: str,
    card_time: str,
    polls: tuple[float, float],
    paced: bool,
    host: str,
    port: int | None,
    device: str | None,
    rst: str,
    model: str,
    socket: str | None,
    level: str,
    own: bool,
    once: bool,
) -> None:
    """Offer the reference card, or a chain of them, to other programs until interrupted.

    With --serve vpcd the first card sits in a virtual reader of pcscd (Debian: pcscd and vsmartcard-vpcd), where every PC/SC program finds
    it. vpcd asks every 400 ms whether a card is there. The cards behind the first run on virtual lines in the same process; their time is
    the wall's, except that a busy chain runs ahead by what each exchange takes on its line, unless --paced holds the answers.

    With --serve gempc it sits in a CCID reader on a serial line, at TPDU level: libccid's serial driver (Debian: libccid) speaks T=0, T=1 and
    PPS with it, character by character on a virtual line.

    With --serve rfc2217 and --serve tty it is a serial port, Phoenix style: TxD and RxD are the card's I/O. Over RFC 2217 RTS is its reset, DTR its
    supply, and the rate and parity are the client's own: wrong ones give garbage. On a real tty (two crossed USB UARTs, docs/wiring.md) the
    rate is the card's.

    With --serve usbredir it sits in a USB CCID reader that a QEMU guest plugs in, with --serve usbip in one at a virtual port of this machine's
    own kernel (as root, with vhci_hcd): pcscd or any other driver finds a reader of class 0B.

    With --serve eem there is no reader: the card is a USB device of class CDC-EEM, one of two ends of a network link, as the host's own driver
    takes it. It always carries IP.

    \b
    Examples:
      cardbench card --serve vpcd
      cardbench card --serve vpcd --cards 3 --mtu 64 --paced
      cardbench card --serve vpcd --pcscd           needs no pcscd set up; prints how to reach its own
      cardbench card --serve gempc --device /tmp/reader --model simpro --ta1 97
      cardbench card --serve rfc2217 --port 4001 --cards 3 --ta1 96
      cardbench card --serve tty --device /dev/ttyUSB1 --rst cts
      cardbench card --serve usbredir --socket /tmp/reader --level apdu
      cardbench card --serve vpcd --pcscd --stack ip --cards 3
      cardbench card --serve eem --socket /tmp/card

    Exit status 0 when interrupted, 2 for wrong options, 3 when pcscd could not be started or (with --once) vpcd went.
    """
    if own and way not in WITH_PCSCD:
        raise click.UsageError(f"--pcscd goes with --serve {' or '.join(WITH_PCSCD)}")
    if own and (port is not None or host != "127.0.0.1"):
        raise click.UsageError("--pcscd chooses the port itself: leave --host and --port out")
    given = {"cards": cards, "mtu": mtu, "profile": profile, "stack": stack, "ta1": ta1, "card_time": card_time}
    if not 0 < polls[0] <= polls[1]:
        raise click.UsageError("--polls: two times in ms, the first above 0 and not longer than the second")
    order = ServeOrder(given, InnerPolls(*polls), paced)
    _check(order)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _stop)
    daemon = PrivatePcscd() if own else None
    try:
        WAYS[way](order, WayOptions(host, port, device, model, once, rst, socket, level), daemon)
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


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Stopped
