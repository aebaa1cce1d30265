"""``cardbench card --serve rfc2217`` and ``--serve tty``: the first card at character level, as a serial port."""

import os
import stat
from pathlib import Path
from typing import Final

import click

from bench.commands.card_ways import WayOptions, chain_text, never
from bench.readers.serial_errors import SerialPortError
from bench.rig.errors import RigError
from bench.rig.orders import ServeOrder
from bench.rig.pcscd import PrivatePcscd
from bench.rig.served_chain import ServedChain, serve_chain
from bench.serve.rfc2217_loop import Rfc2217Loop
from bench.serve.tty import PtyLoop, TtyLoop
from bench.serve.uart import Pacing, ServedUart
from bench.serve.uart_loop import UartLoop

DEFAULT_PORT: Final = 2217
PTY: Final = "pty"


def serve_rfc2217(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve over TCP until interrupted. Raises RigError where the port is taken."""
    del daemon
    chain = serve_chain(order)
    port = options.port or DEFAULT_PORT
    try:
        loop = Rfc2217Loop(_uart(chain, Pacing.LINE if order.paced else Pacing.AT_ONCE), options.host, port)
    except OSError as error:
        raise RigError(f"{options.host}:{port}: {error.strerror}: name another --port") from None
    _run(loop, order, chain)


def serve_tty(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve on a pty, or on the tty at ``options.device``, until interrupted. Raises RigError where the device cannot be used, or breaks."""
    del daemon
    chain = serve_chain(order)
    device = options.device or PTY
    try:
        if device != PTY and _is_device(device):
            loop: UartLoop = TtyLoop(_uart(chain, Pacing.WIRED), device, options.rst)
        else:
            pacing = Pacing.LINE if order.paced else Pacing.AT_ONCE
            loop = PtyLoop(_uart(chain, pacing), None if device == PTY else Path(device))
    except SerialPortError as error:
        raise RigError(str(error)) from None
    except OSError as error:
        raise RigError(f"{device}: {error.strerror}: name a tty, or a path where nothing is") from None
    _run(loop, order, chain)


def _uart(chain: ServedChain, pacing: Pacing) -> ServedUart:
    return ServedUart(chain.end, chain.engine, chain.given.clock_hz, pacing)


def _is_device(path: str) -> bool:
    """Whether there is a device at ``path`` (a dangling link, left by a pty that is gone, is none)."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def _run(loop: UartLoop, order: ServeOrder, chain: ServedChain) -> None:
    try:
        click.echo(
            f"serving {chain_text(order)} at {loop.address}, ATR {chain.atr.hex(' ').upper()} (Ctrl-C ends)",
            color=False,
        )
        loop.run(never)
    finally:
        loop.close()
    raise RigError(f"{loop.address} broke: plug it in again and serve anew")
