"""Discard (RFC 863), and a character generator after RFC 864 but with a pattern that shows loss and order: one direction each, as fast as it goes."""

from typing import Final

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System
from bench.pattern import pattern

DISCARD_PORT: Final = 9
CHARGEN_PORT: Final = 19


async def discard(io: Communication, system: System) -> None:
    """Takes everything and says nothing."""
    await serve(io, system, Server(DISCARD_PORT, "discard"), _swallow)


async def chargen(io: Communication, system: System) -> None:
    """Sends the pattern for as long as somebody takes it."""
    await serve(io, system, Server(CHARGEN_PORT, "chargen"), _generate)


async def _swallow(io: Communication, channel: Handle) -> None:
    while await io.receive(channel) is not None:
        pass


async def _generate(io: Communication, channel: Handle) -> None:
    offset = 0
    while True:
        await io.send(channel, pattern(offset, channel.payload))
        offset += channel.payload
