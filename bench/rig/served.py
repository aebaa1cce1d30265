"""The process that serves the reference chain to somebody outside: ``python -m bench.rig.served WAY WHERE``.

It takes its orders as lines (``bench.rig.orders``) on its standard input and ends when they do; or from whoever is at the other end of
``--orders SOCKET``, such as a bench in a virtual machine.
"""

import argparse
import os
import signal
import socket
import sys

from bench.rig.errors import RigError, RigNotAble
from bench.rig.orders import AT, DONE, READY, REFUSED, SEEN, TOLD, Do, Order, ServeOrder, encode_told
from bench.rig.served_chain import ServedChain, serve_chain
from bench.rig.served_ways import OFFERS, AnyOffer

EXIT_GONE = 3
"""Whoever is served could not be reached, or has gone."""


class Lines:
    """A byte stream as lines, and lines back."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.ended = False
        self._sink = sink
        self._buffer = bytearray()

    def read(self) -> list[str]:
        """The lines that are whole after one more read, which waits where nothing is there."""
        data = os.read(self.source, 65_536)
        self.ended = not data
        self._buffer += data
        lines = []
        while (end := self._buffer.find(b"\n")) >= 0:
            lines.append(self._buffer[:end].decode(errors="replace"))
            del self._buffer[: end + 1]
        return lines

    def say(self, *words: str) -> None:
        """Answer; whoever is gone is the end."""
        try:
            os.write(self._sink, " ".join(filter(None, words)).encode() + b"\n")
        except OSError:
            self.ended = True


class Process:
    """One offer, orders from one place."""

    def __init__(self, orders: Lines, offer: AnyOffer) -> None:
        self.orders = orders
        self._offer = offer
        self._served: ServedChain | None = None
        self._seen = False

    def begin(self) -> None:
        """Serve one reference card until somebody orders another: a reader must be there before who gives the orders can find it."""
        self._serve(serve_chain(ServeOrder({}), self._offer.clocks))

    def run(self) -> int:
        """Serve until the orders end or nobody is left to serve; gives the exit status. Raises OSError where nobody can be reached."""
        while self._served is None and not self.orders.ended:
            self._take()
        if self._served is None:
            return 0
        self._offer.run(lambda: self.orders.ended)
        if self._offer.ended:
            print(self._offer.ended, file=sys.stderr)
            return EXIT_GONE
        return 0

    def _take(self) -> None:
        for line in self.orders.read():
            try:
                self.orders.say(*self._done(Order.decode(line)))
            except (ValueError, RigNotAble, RigError) as reason:
                self.orders.say(REFUSED, " ".join(str(reason).split()))

    def _done(self, order: Order) -> tuple[str, ...]:
        if order.do is Do.SERVE:
            return self._serve(serve_chain(order.serve, self._offer.clocks))
        offer, served = self._offer, self._served
        if served is None:
            raise ValueError(f"{order.do} before anything was served")
        if order.do is Do.TELL:
            return TOLD, encode_told(served.told())
        if not 1 <= order.card <= len(served.chain.places):
            raise ValueError(f"the chain has {len(served.chain.places)} cards, not {order.card}")
        if order.card > 1:  # on a line of the chain itself
            (served.chain.remove if order.do is Do.PULL else served.chain.insert)(order.card)
        elif order.do is Do.PULL:
            offer.pull()
        else:
            offer.insert()
        return (DONE,)

    def _serve(self, served: ServedChain) -> tuple[str, ...]:
        offer = self._offer
        offer.put(served)
        if self._served is None:
            offer.on_asked = self._asked
            offer.watch(self.orders.source, self._take)
            self.orders.say(AT, offer.address)
        self._served = served
        return READY, served.atr.hex()

    def _asked(self) -> None:
        if not self._seen:
            self._seen = True
            self.orders.say(SEEN)


def main() -> int:
    """The process. Exit status 0 at the end of orders, 3 where nobody is left to serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.rig.served", description="Serve a chain for a rig.")
    parser.add_argument("way", choices=sorted(OFFERS))
    parser.add_argument("where", help="what the way needs to know: a port, a socket, a path")
    parser.add_argument(
        "--level", choices=("character", "tpdu", "short-apdu", "apdu"), default="tpdu", help="of a reader's firmware"
    )
    parser.add_argument("--orders", metavar="SOCKET", help="take orders at this UNIX socket instead of standard input")
    arguments = parser.parse_args()
    offer = OFFERS[arguments.way](arguments.where, arguments.level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who gives the orders
    try:
        if arguments.orders is None:
            return Process(Lines(0, 1), offer).run()
        with socket.socket(socket.AF_UNIX) as orders:
            orders.connect(arguments.orders)
            process = Process(Lines(orders.fileno(), orders.fileno()), offer)
            process.begin()
            return process.run()
    except OSError as error:
        print(f"{arguments.way} at {arguments.where}: {error}", file=sys.stderr)
        return EXIT_GONE


if __name__ == "__main__":
    sys.exit(main())
