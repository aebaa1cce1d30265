"""Connections of programs outside, or of cards, to the services of cards, whichever stack the point is given."""

from bench.host.peers import PeerSocket
from bench.scenario.context import StepContext
from bench.scenario.steps.support import dial, service, wait


def dial_service(context: StepContext, name: str, card: int, via: int = 0, weight: int = 1) -> PeerSocket:
    """Connect to a service of ``card``; with ``via``, as an application of card ``via`` does it (through that card's relay).

    ``weight`` is what the host asks for on the channel. On the IP stack the connection goes to the card itself.
    """
    if context.point.given.stack == "ip":
        from bench.scenario.steps.ip_sockets import dial_over_ip

        return (
            dial_over_ip(context, name, card)
            if not via
            else _through_relay(context, dial_over_ip(context, "relay", via), name, card, via)
        )
    if not via:
        listed = service(context, name, card)
        return dial(context, listed.port, udp=listed.udp, weight=weight)
    service(context, name, card)  # it must be offered before another card asks for it
    relay = service(context, "relay", via)
    return _through_relay(context, dial(context, relay.port, weight=weight), name, card, via)


def _through_relay(context: StepContext, socket: PeerSocket, name: str, card: int, via: int) -> PeerSocket:
    context.engine.call(lambda: socket.write(f"{card} {name}\n".encode()))
    expected = b"connected\r\n"
    wait(context, lambda: len(socket.received) >= len(expected) or socket.ended)
    if bytes(socket.received) != expected:
        context.fail(f"card {via} could not open a channel to {name} of card {card}: {bytes(socket.received)!r}")
    socket.received.clear()
    return socket
