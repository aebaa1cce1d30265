"""A card as a CDC-EEM device at a socket, in a process of its own, with what the test wants of it. Usage: SOCKET [calculated] [high]

Orders come as lines of standard input, each is answered with a line: ``echo HEX`` (ask the host for an echo; the answer is what came back), ``told``
(what was counted, as JSON). It ends with its input.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from bench.card.applications import DATAGRAMS, STANDARD
from bench.card.applications.serving import serve
from bench.card.card import Card
from bench.card.communication import Communication, Handle, Server, System
from bench.card.ip_profile import IpProfile
from bench.card.profile import CardProfile
from bench.ccid.usb_cdc_eem import IDENTITY
from bench.ccid.usb_descriptors import Speed
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.net.plug import IpSettings
from bench.observe import NullSink
from bench.pattern import pattern
from bench.serve.usb_eem import ServedEem
from bench.serve.usbredir_loop import UsbredirPort

DIGEST, SOURCE = 4001, 4002
BULK = 10 << 20


async def digest(io: Communication, system: System) -> None:
    """Answers with the SHA-256 of everything that came, once the other side has ended."""

    async def talk(io: Communication, channel: Handle) -> None:
        found = hashlib.sha256()
        while (message := await io.receive(channel)) is not None:
            found.update(message)
        await io.send(channel, found.hexdigest().encode())

    await serve(io, system, Server(DIGEST, "digest"), talk)


async def source(io: Communication, system: System) -> None:
    """Sends ten mebibytes of the pattern, and ends."""

    async def talk(io: Communication, channel: Handle) -> None:
        offset = 0
        while offset < BULK:
            piece = pattern(offset, min(channel.payload, BULK - offset))
            await io.send(channel, piece)
            offset += len(piece)

    await serve(io, system, Server(SOURCE, "source"), talk)


def eem_card(*, calculated: bool, high: bool) -> ServedEem:
    """The card, without power until a host configures it."""
    engine = VirtualEngine(Timebase.for_clocks(4_000_000))
    settings = IpSettings(send_buffer=65_535, receive_buffer=65_535, flow_packets=64)
    profile = CardProfile(
        identity=b"EEM0001",
        channel_stack=False,
        ip=IpProfile(settings=settings),
        applications=STANDARD,
        ip_applications=(*DATAGRAMS, ("digest", digest), ("source", source)),
    )
    card = Card(engine, profile, PollPlan(engine.timebase.hz // 100, engine.timebase.hz // 10), NullSink())
    identity = replace(IDENTITY, speed=Speed.HIGH) if high else IDENTITY
    return ServedEem(engine, card, calculated=calculated, identity=identity)


class Process:
    """One device, until the input ends."""

    def __init__(self, path: str, *more: str) -> None:
        self.served = eem_card(calculated="calculated" in more, high="high" in more)
        self.port = UsbredirPort(Path(path), self.served)
        self.ended = False
        self._heard = bytearray()
        self.served.function.on_echo_response = lambda data: print(data.hex(), flush=True)

    def run(self) -> None:
        self.port.watch(0, self._take)
        print("ready", flush=True)
        self.port.run(lambda: self.ended)

    def _take(self) -> None:
        data = os.read(0, 65_536)
        self.ended = not data
        self._heard += data
        while (end := self._heard.find(b"\n")) >= 0:
            word, *rest = self._heard[:end].decode().split()
            del self._heard[: end + 1]
            if word == "echo":
                self.served.function.echo(bytes.fromhex(rest[0]))  # answered when the host answers
            else:
                print(json.dumps(self._told()), flush=True)

    def _told(self) -> dict[str, object]:
        function, link, card = self.served.function, self.served.link.link, self.served.link.card
        return {
            "echoes": function.echoes,
            "ignored": function.ignored,
            "faults": dataclasses.asdict(function.decoder.faults),
            "malformed": link.malformed if link is not None else -1,
            "events": {str(name): count for name, count in card.ip.node.events.items()} if card.ip else {},
            "crashes": card.crashes,
        }


if __name__ == "__main__":
    Process(*sys.argv[1:]).run()
