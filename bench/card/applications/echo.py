"""Echo (RFC 862): gives back what it gets, message by message."""

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System

PORT = 7


async def echo(io: Communication, system: System) -> None:
    """Serves echo at its port."""
    await serve(io, system, Server(PORT, "echo"), _talk)


async def _talk(io: Communication, channel: Handle) -> None:
    while (message := await io.receive(channel)) is not None:
        await io.send(channel, message)
