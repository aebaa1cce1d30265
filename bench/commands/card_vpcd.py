"""``cardbench card --serve vpcd``: the first card in a virtual PC/SC reader."""

import socket
import time
from functools import partial

import click

from bench.commands.card_ways import WayOptions, chain_text, never
from bench.rig.errors import RigError
from bench.rig.orders import ServeOrder
from bench.rig.pcscd import PrivatePcscd
from bench.rig.served_chain import serve_chain
from bench.serve.vpcd import DEFAULT_PORT, VpcdLoop, connect

RETRY_S = 0.5
"""How long to wait before vpcd is tried again."""


def serve_vpcd(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve until interrupted. Raises RigError with ``--once``, and where the daemon does not start."""
    host, port = options.host, options.port or DEFAULT_PORT
    if daemon is not None:
        daemon.start()
        click.echo(f"export PCSCLITE_CSOCK_NAME={daemon.socket}")
        port = daemon.port
    waiting = False
    while True:
        try:
            connection = connect(host, port)
        except OSError as error:
            if options.once:
                raise RigError(f"vpcd at {host}:{port}: {error}: start pcscd with vsmartcard-vpcd") from None
            if not waiting:
                click.echo(f"waiting for vpcd at {host}:{port} ({error}): start pcscd with vsmartcard-vpcd", err=True)
            waiting = True
            time.sleep(RETRY_S)
            continue
        waiting = False
        with connection:
            served = serve_chain(order).whole_apdus()
            click.echo(f"serving {chain_text(order)} at {host}:{port}, ATR {served.atr.hex(' ').upper()} (Ctrl-C ends)")
            VpcdLoop(partial(_made, connection), served).run(never)
        if options.once:
            raise RigError(f"vpcd at {host}:{port} has closed the connection")
        click.echo("vpcd has gone", err=True)
        time.sleep(RETRY_S)


def _made(connection: socket.socket) -> socket.socket:
    return connection
