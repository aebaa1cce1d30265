"""Two channel tables with a line between them that tests can look into, hold up and lie on."""

from collections import deque

from bench.channels.channel import Channel
from bench.channels.message import Address, Cause, Message, Open, Transport, decode_message
from bench.channels.table import ChannelTable


class Owner:
    """A ChannelOwner that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.reads = True

    def opened(self, channel: Channel) -> None:
        self.events.append(f"opened {channel.port}")

    def received(self, channel: Channel) -> None:
        while self.reads and channel.inbox:
            self.events.append(channel.take().decode())

    def room(self, channel: Channel) -> None:
        del channel
        self.events.append("room")

    def shut(self, channel: Channel) -> None:
        del channel
        self.events.append("shut")

    def closed(self, channel: Channel, cause: Cause) -> None:
        del channel
        self.events.append(f"closed {cause.name}")


class Line:
    """Tables of node 0 and node 1. ``run`` carries what they emit until both are silent."""

    def __init__(self, limit: int = 8, mtu: int = 64, window: int = 4) -> None:
        self.window = window
        self.sent: list[Message] = []
        """Every message, in order."""
        self.queue: deque[bytes] = deque()
        self.tables = [ChannelTable(limit, self._emit, self._room) for _ in range(2)]
        for number, table in enumerate(self.tables):
            table.number = number
            table.mtu = mtu
            table.on_open = self._asked
        self.owners: list[Owner] = []
        """Of the channels the other side asked for."""
        self.accepted: list[Channel] = []
        self.refuse: Cause | None = None

    def _emit(self, packet: bytes, _force: bool) -> bool:
        self.sent.append(decode_message(packet))
        self.queue.append(packet)
        return True

    def _room(self, _flow: bytes, _length: int) -> int:
        return 4

    def _asked(self, channel: Channel, request: Open) -> None:
        if self.refuse is not None:
            channel.refuse(self.refuse)
            return
        owner = Owner()
        self.owners.append(owner)
        self.accepted.append(channel)
        channel.accept(owner, request.port or 49_152, self.tables[channel.wire.number].mtu, self.window)

    def run(self) -> None:
        while self.queue:
            packet = self.queue.popleft()
            self.tables[packet[1]].receive(packet)

    def tell(self, packet: bytes) -> None:
        """A message that no table has sent."""
        self.tables[packet[1]].receive(packet)
        self.run()

    def open(self, transport: Transport = Transport.TCP_CLIENT_REMOTE) -> tuple[Channel, Owner]:
        """Open from node 1 to node 0."""
        owner = Owner()
        channel = self.tables[1].open(owner, 0, transport, 80, Address.none(), self.window)
        return channel, owner

    def joined(self) -> tuple[Channel, Owner, Channel, Owner]:
        """A channel that is open at both ends: node 1's end and owner, node 0's."""
        channel, owner = self.open()
        self.run()
        assert owner.events == ["opened 80"]
        owner.events.clear()
        return channel, owner, self.accepted[-1], self.owners[-1]
