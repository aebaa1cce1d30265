"""The process behind tests/guest/served.py. Usage: [SOCKET]; without a socket it serves at a port of this machine's own kernel.

Orders come as lines of standard input, each is answered with a line: ``serve LEVEL [NAME=VALUE...]`` (a fresh chain in a fresh reader; the answer is
that to reset), ``pull``, ``insert``, ``plug``, ``unplug``, ``stop``. It ends with its input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.rig.orders import InnerPolls, ServeOrder
from bench.rig.served_chain import serve_chain
from bench.serve.usb_reader import DEFAULT_CLOCK_HZ, ServedUsbReader
from bench.serve.usbip_loop import UsbipLoop
from bench.serve.usbredir_loop import UsbredirLoop

Loop = UsbredirLoop | UsbipLoop


class Process:
    """One reader at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.ended = False
        self.loop: Loop | None = None
        self._heard = bytearray()

    def run(self) -> None:
        while not self.ended:
            loop = self.loop
            if loop is None:
                self.take()
                continue
            loop.watch(0, self.take)
            loop.run(lambda loop=loop: self.ended or self.loop is not loop)

    def take(self) -> None:
        data = os.read(0, 65_536)
        self.ended = not data
        self._heard += data
        while (end := self._heard.find(b"\n")) >= 0:
            words = self._heard[:end].decode().split()
            del self._heard[: end + 1]
            print(self.order(*words), flush=True)

    def order(self, word: str, *rest: str) -> str:
        match word:
            case "serve":
                return self.serve(*rest)
            case "stop":
                self.close()
            case _:
                assert self.loop is not None, "nothing is served"
                {
                    "pull": self.loop.pull,
                    "insert": self.loop.insert,
                    "plug": self.loop.plug,
                    "unplug": self.loop.unplug,
                }[word]()
        return "done"

    def serve(self, level: str, *given: str) -> str:
        self.close()
        values = {"cards": "1", "clock_hz": str(DEFAULT_CLOCK_HZ), **dict(each.split("=", 1) for each in given)}
        slots = int(values.pop("slots", "1"))
        chain = serve_chain(ServeOrder(values, InnerPolls()))
        cards = [chain.end, *[None] * (slots - 1)]
        reader = ServedUsbReader(chain.engine, cards, form=level, clocks_hz=(chain.given.clock_hz,))
        self.loop = UsbredirLoop(Path(self.path), reader) if self.path else UsbipLoop(reader)
        return chain.atr.hex()

    def close(self) -> None:
        loop, self.loop = self.loop, None
        if loop is not None:
            loop.close()


if __name__ == "__main__":
    Process(*sys.argv[1:] or [""]).run()
