"""What every serving application does: offer the service, give each connection a thread, and offer it again after the link was lost."""

from collections.abc import Callable
from dataclasses import replace

from bench.card.communication import Accept, ChannelError, Communication, Handle, Server, System
from bench.card.tasks import Program
from bench.channels.message import Cause

RETRY_MS = 200

Conversation = Callable[[Communication, Handle], Program]


async def serve(io: Communication, system: System, server: Server, talk: Conversation) -> None:
    """Serve for ever. ``talk`` holds one conversation and closes nothing: that is done here."""
    while True:
        try:
            listener = await io.open(server)
        except ChannelError as error:
            if error.cause is Cause.PORT_NOT_AVAILABLE and server.port:
                server = replace(server, port=0)  # another card has it: let the host choose
                continue
            await system.sleep(RETRY_MS)
            continue
        try:
            while True:
                system.start(_converse(io, await io.open(Accept(listener)), talk), server.name)
        except ChannelError:
            await io.close(listener)


async def _converse(io: Communication, channel: Handle, talk: Conversation) -> None:
    try:
        await talk(io, channel)
    except ChannelError:
        pass  # the other side or the link is gone: nobody is left to tell
    finally:
        await io.close(channel)
