"""A relay: the first message names a card and a service by name or port (`3 echo`); what follows goes there and back: a card as another's client."""

from bench.card.applications.serving import serve
from bench.card.communication import ChannelError, Client, Communication, Handle, Server, System
from bench.card.tasks import Program
from bench.channels.message import Address, AddressKind

PORT = 1003


async def relay(io: Communication, system: System) -> None:
    def talk(io: Communication, channel: Handle) -> Program:
        return _relay(io, system, channel)

    await serve(io, system, Server(PORT, "relay"), talk)


async def _relay(io: Communication, system: System, channel: Handle) -> None:
    order = await io.receive(channel)
    words = (order or b"").split()
    if len(words) != 2 or not words[0].isdigit() or not 1 <= int(words[0]) <= 254:
        await io.send(channel, b"which card, which service?\r\n")
        return
    try:
        far = await io.open(_client(int(words[0]), words[1]))
    except ChannelError as error:
        await io.send(channel, f"refused {error.cause:02x}\r\n".encode())
        return
    await io.send(channel, b"connected\r\n")
    system.start(_carry_back(io, far, channel), "relay back")
    try:
        await _carry(io, channel, far)
    finally:
        await io.close(far)


def _client(node: int, service: bytes) -> Client:
    if service.isdigit():
        return Client(min(int(service), 65_535), Address.none(), node=node)
    return Client(0, Address(AddressKind.NAME, service), node=node)


async def _carry_back(io: Communication, far: Handle, channel: Handle) -> None:
    await _carry(io, far, channel)
    await io.close(channel)  # the far side has ended: so does this conversation


async def _carry(io: Communication, source: Handle, sink: Handle) -> None:
    try:
        while (message := await io.receive(source)) is not None:
            for at in range(0, len(message), sink.payload):
                await io.send(sink, message[at : at + sink.payload])
    except ChannelError:
        return
