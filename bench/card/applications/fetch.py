"""A client that fetches a page through the host and serves it on: `GET /http://NAME[:PORT]/PATH` at port 8008.

The card is client and server at once, and holds one message of the page at a time: a page of any size passes through a card of any memory.
"""

import ipaddress
import re
from typing import Final

from bench.card.applications.http import Answer, Connection, HttpError, Request
from bench.card.applications.serving import serve
from bench.card.communication import ChannelError, Client, Communication, Handle, Server, System
from bench.card.tasks import Program
from bench.channels.message import Address, AddressKind, Cause

PORT: Final = 8008
_TARGET: Final = re.compile(
    r"/http://(?P<host>[A-Za-z0-9.-]{1,64}|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?P<path>/[!-~]*)?"
)


async def fetch(io: Communication, system: System) -> None:
    """Serves what it fetches at port 8008."""

    def talk(io: Communication, channel: Handle) -> Program:
        return _converse(io, Connection(io, channel, system))

    await serve(io, system, Server(PORT, "fetch"), talk)


async def _converse(io: Communication, connection: Connection) -> None:
    try:
        request = await connection.request()
        if request is None:
            return
        client, order = _order(request)
        try:
            far = await io.open(client)
        except ChannelError as error:
            raise HttpError(403 if error.cause is Cause.SECURITY else 502, str(error)) from None
    except HttpError as error:
        await connection.answer(Answer(error.status, f"{error}\n".encode(), "text/plain; charset=utf-8"), keep=False)
        return
    try:
        await Connection(io, far).send(order)
        while (message := await io.receive(far)) is not None:
            await connection.send(message)
    finally:
        await io.close(far)


def _order(request: Request) -> tuple[Client, bytes]:
    """Whom to ask, and what to say: HTTP/1.0, so that the end of the connection is the end of the page."""
    if request.method != "GET":
        raise HttpError(405, "only GET is handed on")
    meant = _TARGET.fullmatch(request.target)
    if meant is None:
        raise HttpError(400, "ask for /http://NAME[:PORT]/PATH")
    host, path = meant["host"], meant["path"] or "/"
    port = int(meant["port"] or 80)
    if not 0 < port < 65_536:
        raise HttpError(400, f"no port {port}")
    head = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: cardbench\r\nConnection: close\r\n\r\n"
    return Client(port, _address(host)), head.encode("ascii")


def _address(host: str) -> Address:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if host.startswith("["):
            raise HttpError(400, f"{host} is no address") from None
        return Address.name(host)
    return Address(AddressKind.IPV4 if address.version == 4 else AddressKind.IPV6, address.packed)
