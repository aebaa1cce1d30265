"""A counter that talks first: greets each visitor with how many came before, then counts the messages it gets."""

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System
from bench.card.tasks import Program

PORT = 1001


async def counter(io: Communication, system: System) -> None:
    """Serves the counter at its port."""
    visitors = 0

    def talk(io: Communication, channel: Handle) -> Program:
        nonlocal visitors
        visitors += 1
        return _count(io, channel, visitors)

    await serve(io, system, Server(PORT, "counter"), talk)


async def _count(io: Communication, channel: Handle, visitor: int) -> None:
    await io.send(channel, b"visitor %d\r\n" % visitor)
    messages = 0
    while await io.receive(channel) is not None:
        messages += 1
        await io.send(channel, b"message %d\r\n" % messages)
