"""How a card finds the address of a name: it asks the host, which is the first address of the chain's prefix (RFC 1123, 6.1.3; RFC 1035, 7.2).

Units: times are ticks of the engine's timebase.
"""

import ipaddress
from typing import Final

from bench.card.communication import ChannelError
from bench.card.ip_stack import CardIp
from bench.card.tasks import Promise
from bench.channels.message import HOST, Cause
from bench.net.chain_control import address_of
from bench.net.dns import PORT, DnsError, query, read_answer
from bench.net.udp_ports import UdpError

TRIES: Final = 3
WAIT_S: Final = 5
"""At least so long for each try (RFC 1123, 6.1.3.3); longer where the path is slower."""


async def resolve(ip: CardIp, name: str) -> bytes:
    """The address of ``name`` in a version the card has itself, IPv4 first. Raises ChannelError."""
    for version, size in ((4, 4), (6, 16)):
        prefix = ip.prefixes.get(size)
        if prefix is None or not any(len(each) == size for each in ip.addresses):
            continue
        found = await _ask(ip, address_of(prefix, HOST), name, version)
        if found is not None:
            return found
    raise ChannelError(Cause.NOT_REACHABLE, f"the name {name!r} is not known")


async def _ask(ip: CardIp, server: bytes, name: str, version: int) -> bytes | None:
    try:
        port = ip.udp.bind(remote=(server, PORT))
    except UdpError as error:
        raise ChannelError(Cause.NO_CHANNEL, str(error)) from None
    wait = max(WAIT_S * ip.node.hz, ip.tcp.settings.rto_floor)
    try:
        for attempt in range(TRIES):
            identifier = (port.port * 31 + attempt * 7919) & 0xFFFF
            came: Promise[None] = Promise()
            port.on_datagram = lambda came=came: came.keep(None)  # type: ignore[misc]
            try:
                asked = query(identifier, name, version)
            except DnsError as error:
                raise ChannelError(Cause.NOT_REACHABLE, str(error)) from None
            ip.udp.send(port, server, PORT, asked, ip.engine.now)
            timer = ip.engine.after(wait, lambda came=came: came.keep(None))  # type: ignore[misc]
            await came
            timer.cancel()
            datagram = port.take()
            if datagram is None:
                continue
            try:
                found = read_answer(datagram.payload, identifier, name)
            except DnsError:
                continue
            return None if found is None else ipaddress.ip_address(found[0]).packed
    finally:
        ip.udp.close(port)
    raise ChannelError(Cause.NOT_REACHABLE, f"the name {name!r}: the host does not answer")
