"""What the ends of TCP and UDP in the gateway have in common: whose an end is, what went through it, and how it is over."""

from collections.abc import Callable

from bench.channels.message import Address, Cause
from bench.host.ground import Account, Ground
from bench.host.policy import IpAddress
from bench.host.uplink import Visitor


class End:
    """One peer of a card. ``peer`` is it where it has come by itself."""

    def __init__(self, ground: Ground, account: Account, peer: IpAddress | None, remote: Address, name: str) -> None:
        self.ground = ground
        self.account = account
        self.remote = remote
        self.name = name
        """The peer, for the log."""
        self.weight = 1
        self.visitor: Visitor | None = None
        self.cancel: Callable[[], None] = nobody
        """Ends the attempt to connect, while there is one."""
        self.received = 0
        self.sent = 0
        self.last = ground.clock()
        """When a byte went either way last, in nanoseconds of the ground's clock."""
        self._peer = peer
        self._began = self.last
        self._over = False

    def _lost(self, cause: Cause) -> None:
        """The peer is not there any more: its visitor is told."""
        visitor, self.visitor = self.visitor, None
        self._end(cause)
        if visitor is not None:
            visitor.gone(cause)

    def _end(self, cause: Cause) -> None:
        """It is over; what it holds is let go of."""
        raise NotImplementedError

    def _account(self, cause: Cause) -> None:
        """What it held of the card's account is free again, and what it was is told."""
        self.ground.release(self.account, self._peer)
        self.ground.closed(self.account.card, cause, self.name, self.received, self.sent, self._began)


def nobody() -> None:
    """Where there is nothing to end."""
