"""A relay: a card as a client, of another card or of anybody outside. What follows the first message goes there and back.

The first message names a card and one of its services by name or port (`3 echo`), or a transport, an address or a name, and a port to which the
host shall connect (`tcp 192.0.2.7 80`, `udp 2001:db8::7 53`, `tcp example.org 80`).
"""

import ipaddress

from bench.card.applications.serving import serve
from bench.card.communication import ChannelError, Client, Communication, Handle, Server, System
from bench.card.tasks import Program
from bench.channels.message import Address, AddressKind

PORT = 1003


async def relay(io: Communication, system: System) -> None:
    """Serves as a relay; the first message says to whom."""

    def talk(io: Communication, channel: Handle) -> Program:
        return _relay(io, system, channel)

    await serve(io, system, Server(PORT, "relay"), talk)


async def _relay(io: Communication, system: System, channel: Handle) -> None:
    order = await io.receive(channel)
    client = _ordered((order or b"").split())
    if client is None:
        await io.send(channel, b"which card, which service?\r\n")
        return
    try:
        far = await io.open(client)
    except ChannelError as error:
        await io.send(channel, f"refused {error.cause:02x}\r\n".encode())
        return
    await io.send(channel, b"connected\r\n")
    system.start(_carry_back(io, far, channel), "relay back")
    try:
        await _carry(io, channel, far)
    finally:
        await io.close(far)


def _ordered(words: list[bytes]) -> Client | None:
    """Whom the first message names; None where it names nobody."""
    if len(words) == 2 and words[0].isdigit() and 1 <= int(words[0]) <= 254:
        return _client(int(words[0]), words[1])
    printable = all(0x21 <= byte <= 0x7E for word in words for byte in word)
    if len(words) != 3 or words[0] not in (b"tcp", b"udp") or not printable:
        return None
    if words[2].isdigit() and 0 < int(words[2]) <= 65_535:
        return Client(int(words[2]), _outside(words[1]), udp=words[0] == b"udp")
    return None


def _outside(host: bytes) -> Address:
    try:
        address = ipaddress.ip_address(host.decode("ascii"))
    except ValueError:
        return Address(AddressKind.NAME, host)
    return Address(AddressKind.IPV4 if address.version == 4 else AddressKind.IPV6, address.packed)


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
