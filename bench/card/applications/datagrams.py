"""Services over UDP, for the IP stack: echo and discard as over TCP, and a source that sends as many datagrams as it is asked for.

A datagram `COUNT SIZE` to the source is answered with COUNT datagrams of SIZE bytes, as fast as they go; each begins with its number in four bytes,
so that loss and order can be seen.
"""

from typing import Final

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System
from bench.pattern import pattern

ECHO_PORT: Final = 7
DISCARD_PORT: Final = 9
SOURCE_PORT: Final = 19
NUMBER: Final = 4
"""Bytes of a datagram's number."""


async def udp_echo(io: Communication, system: System) -> None:
    """Echo (RFC 862), a datagram for a datagram."""
    await serve(io, system, Server(ECHO_PORT, "udp-echo", udp=True), _echo)


async def udp_discard(io: Communication, system: System) -> None:
    """Discard (RFC 863)."""
    await serve(io, system, Server(DISCARD_PORT, "udp-discard", udp=True), _swallow)


async def udp_source(io: Communication, system: System) -> None:
    """Answers `COUNT SIZE` with so many datagrams of that size."""
    await serve(io, system, Server(SOURCE_PORT, "udp-source", udp=True), _give)


async def _echo(io: Communication, channel: Handle) -> None:
    while (message := await io.receive(channel)) is not None:
        await io.send(channel, message)


async def _swallow(io: Communication, channel: Handle) -> None:
    while await io.receive(channel) is not None:
        pass


async def _give(io: Communication, channel: Handle) -> None:
    while (order := await io.receive(channel)) is not None:
        words = order.split()
        if len(words) != 2 or not all(word.isdigit() and len(word) < 8 for word in words):
            continue
        count, size = int(words[0]), min(max(int(words[1]), NUMBER), channel.payload)
        body = pattern(0, size - NUMBER)
        for number in range(count):
            await io.send(channel, number.to_bytes(NUMBER, "big") + body)
