"""``cardbench card --serve eem``: the card as a network interface on USB, for the host's own cdc_eem driver."""

from dataclasses import replace
from pathlib import Path

import click

from bench.commands.card_ways import WayOptions, never
from bench.net.protocols import text
from bench.rig.errors import RigError
from bench.rig.orders import ServeOrder
from bench.rig.pcscd import PrivatePcscd
from bench.rig.served_chain import serve_chain
from bench.serve.usb_eem import ADDRESSES, GATEWAYS, ServedEem
from bench.serve.usbredir_loop import UsbredirPort


def serve_eem(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve at a socket until interrupted. Raises RigError where nothing can listen there."""
    del daemon
    if options.socket is None:
        raise click.UsageError("--serve eem wants --socket PATH: where QEMU is to find the device")
    if order.given["cards"] != "1":
        raise click.UsageError("--serve eem offers one card: what is behind it has no chain to be numbered from")
    if order.paced:
        raise click.UsageError("--paced: on USB there is no line of ISO/IEC 7816-3 whose time could be kept")
    given = {**order.given, "stack": "ip"}
    chain = serve_chain(replace(order, given=given))
    chain.chain.places[0].reader.remove()  # the card sits in no reader: USB alone reaches it
    served = ServedEem(chain.engine, chain.card)
    try:
        loop = UsbredirPort(Path(options.socket), served)
    except OSError as error:
        raise RigError(f"nothing can listen at {options.socket}: {error}; name a path where nothing is") from None
    loop.on_peer = lambda words: click.echo(words, err=True)
    own = " and ".join(text(each.address) for each in ADDRESSES)
    click.echo(f"serving a card as a CDC-EEM device at {loop.address}: it is {own} (Ctrl-C ends)")
    click.echo(f"QEMU: -device qemu-xhci -chardev socket,id=card,path={options.socket} -device usb-redir,chardev=card")
    host = " and ".join(f"{text(each)}/{card.length}" for each, card in zip(GATEWAYS, ADDRESSES, strict=True))
    click.echo(f"there, the interface of cdc_eem gets {host}")
    try:
        loop.run(never)
    finally:
        loop.close()
