"""``cardbench card --serve usbredir`` and ``--serve usbip``: the first card in a USB CCID reader."""

from pathlib import Path

import click

from bench.commands.card_ways import WayOptions, chain_text, never
from bench.rig.errors import RigError
from bench.rig.orders import ServeOrder
from bench.rig.pcscd import PrivatePcscd
from bench.rig.served_chain import ServedChain, serve_chain
from bench.serve.usb_reader import DEFAULT_CLOCK_HZ, ServedUsbReader
from bench.serve.usbip_loop import UsbipLoop
from bench.serve.usbredir_loop import UsbredirLoop


def serve_usbredir(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve at a socket until interrupted. Raises RigError where nothing can listen there."""
    del daemon
    if options.socket is None:
        raise click.UsageError("--serve usbredir wants --socket PATH: where QEMU is to find the reader")
    chain, served = _reader(order, options)
    try:
        loop = UsbredirLoop(Path(options.socket), served)
    except OSError as error:
        raise RigError(f"nothing can listen at {options.socket}: {error}; name a path where nothing is") from None
    loop.on_peer = lambda words: click.echo(words, err=True)
    _say(order, options, chain, loop.address)
    click.echo(f"QEMU: -device qemu-xhci -chardev socket,id=card,path={options.socket} -device usb-redir,chardev=card")
    loop.run(never)


def serve_usbip(order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None) -> None:
    """Serve at a port of this machine's kernel until interrupted. Raises RigError where there is none."""
    del daemon
    chain, served = _reader(order, options)
    try:
        loop = UsbipLoop(served)
    except OSError as error:
        raise RigError(f"no virtual USB port: {error}; as root: modprobe vhci_hcd") from None
    _say(order, options, chain, loop.address)
    loop.run(never)
    raise RigError(f"the kernel has let go of the reader{loop.why and ': ' + loop.why}")


def _reader(order: ServeOrder, options: WayOptions) -> tuple[ServedChain, ServedUsbReader]:
    chain = serve_chain(ServeOrder({"clock_hz": str(DEFAULT_CLOCK_HZ), **order.given}, order.polls, order.paced))
    clocks = (chain.given.clock_hz,)
    return chain, ServedUsbReader(chain.engine, [chain.end], form=options.level, clocks_hz=clocks, paced=order.paced)


def _say(order: ServeOrder, options: WayOptions, chain: ServedChain, where: str) -> None:
    what = f"{chain_text(order)} in a USB reader ({options.level})"
    click.echo(f"serving {what} at {where}, ATR {chain.atr.hex(' ').upper()} (Ctrl-C ends)")
