"""A thinker: a message holding a decimal number of milliseconds is answered after computing for so long. Nobody else has to wait for it."""

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System
from bench.card.tasks import Program

PORT = 1002
LONGEST_MS = 60_000


async def thinker(io: Communication, system: System) -> None:
    """Serves the thinker at its port."""

    def talk(io: Communication, channel: Handle) -> Program:
        return _think(io, system, channel)

    await serve(io, system, Server(PORT, "thinker"), talk)


async def _think(io: Communication, system: System, channel: Handle) -> None:
    while (message := await io.receive(channel)) is not None:
        text = message.strip()
        if not text.isdigit() or int(text) > LONGEST_MS:
            await io.send(channel, b"milliseconds, at most %d\r\n" % LONGEST_MS)
            continue
        await system.compute(int(text))
        await io.send(channel, b"done\r\n")
