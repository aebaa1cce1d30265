"""``cardbench card --serve gempc``: the first card in a GemPC reader at the end of a serial line (a pty), for libccid's serial driver."""

from pathlib import Path

import click

from bench.commands.card_ways import WayOptions, chain_text
from bench.rig.errors import RigError
from bench.rig.orders import ServeOrder
from bench.rig.pcscd import Driver, PrivatePcscd
from bench.rig.served_chain import serve_chain
from bench.serve.gempc import DEFAULT_CLOCK_HZ, MODELS, ServedGempc
from bench.serve.gempc_loop import GempcLoop, Pty


def serve_gempc(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve until interrupted. Raises RigError where the port cannot be made, or breaks."""
    model = MODELS[options.model]
    chain = serve_chain(ServeOrder({"clock_hz": str(DEFAULT_CLOCK_HZ), **order.given}, order.polls, order.paced))
    try:
        port = Pty(Path(options.device) if options.device else None)
    except OSError as error:
        raise RigError(f"no port at {options.device or 'a pty'}: {error}; name a path where nothing is") from None
    try:
        served = ServedGempc(chain.engine, [chain.end], model, chain.given.clock_hz, paced=order.paced)
        entry = f"{port.address}:{model.value.name}"
        what = f"{chain_text(order)} in a {model.value.name}"
        click.echo(f"serving {what} at {port.address}, ATR {chain.atr.hex(' ').upper()} (Ctrl-C ends)")
        if daemon is None:
            click.echo(f'reader.conf: DEVICENAME {entry}, LIBPATH .../serial/libccidtwin.so, FRIENDLYNAME "cardbench"')
        loop = GempcLoop(port, served)
        if daemon is not None:
            daemon.begin(Driver.serial(port.address, model.value.name))
            click.echo(f"export PCSCLITE_CSOCK_NAME={daemon.socket}")
        loop.run(lambda: daemon is not None and not daemon.running)
        raise RigError(daemon.ended() if daemon is not None else f"the port {port.address} broke")
    finally:
        port.close()
