"""Discard (RFC 863), and a character generator after RFC 864 but with a pattern that shows loss and order: one direction each, as fast as it goes."""

from typing import Final

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System

DISCARD_PORT: Final = 9
CHARGEN_PORT: Final = 19
PERIOD: Final = 251
"""The pattern counts 0 to 250 over and over: a prime, so that no message length hides a lost or doubled message."""
_PATTERN: Final = bytes(range(PERIOD)) * 8


def pattern(offset: int, length: int) -> bytes:
    """``length`` bytes of the pattern from ``offset`` on."""
    start = offset % PERIOD
    if start + length <= len(_PATTERN):
        return _PATTERN[start : start + length]
    return (_PATTERN * (length // len(_PATTERN) + 2))[start : start + length]


async def discard(io: Communication, system: System) -> None:
    await serve(io, system, Server(DISCARD_PORT, "discard"), _swallow)


async def chargen(io: Communication, system: System) -> None:
    await serve(io, system, Server(CHARGEN_PORT, "chargen"), _generate)


async def _swallow(io: Communication, channel: Handle) -> None:
    while await io.receive(channel) is not None:
        pass


async def _generate(io: Communication, channel: Handle) -> None:
    offset = 0
    while True:
        await io.send(channel, pattern(offset, channel.payload))
        offset += channel.payload
