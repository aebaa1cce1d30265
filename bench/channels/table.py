"""All channel ends of one node: numbers, and which end a message is for (docs/protocol.md, section 3).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from typing import TypeVar

from bench.channels.channel import Channel, ChannelOwner, State
from bench.channels.message import (
    HEADER_LENGTH,
    TYPE_BITS,
    VERSION_BITS,
    Address,
    Cause,
    Ended,
    Message,
    MessageError,
    MessageType,
    Open,
    Opened,
    Transport,
    decode_message,
)

T = TypeVar("T")

Emit = Callable[[bytes, bool], bool]
Accept = Callable[[Channel, Open], None]


class NoChannelError(Exception):
    """All channel numbers of this node are in use."""


class ChannelTable:
    """The ends of one node. ``on_open`` decides about every OPEN that comes: it calls ``accept`` or ``refuse``, now or later."""

    def __init__(self, limit: int, emit: Emit, room: Callable[[bytes, int], int]) -> None:
        self.limit = limit
        self.number = 0
        self.mtu = 0
        self.on_open: Accept = _refuse
        self.malformed = 0
        self.violations = 0
        """Messages a peer should not have sent: DATA without credit, too much credit, more weight than was granted."""
        self._emit = emit
        self._room = room
        self._ends: dict[int, Channel] = {}
        self._flows: dict[bytes, Channel] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every end there is."""
        return tuple(self._ends.values())

    # -- the table as its channels see it --------------------------------------------------------------------------

    def emit(self, packet: bytes, *, force: bool) -> bool:
        return self._emit(packet, force)

    def room(self, flow: bytes, length: int) -> int:
        return self._room(flow, length)

    def freed(self, channel: Channel) -> None:
        """See ``Wire``."""
        self._ends.pop(channel.number, None)
        self._flows.pop(channel._flow, None)

    # -- what the node's users do ----------------------------------------------------------------------------------

    def open(
        self,
        owner: ChannelOwner,
        peer: int,
        transport: Transport,
        port: int,
        address: Address,
        window: int,
        weight: int = 1,
    ) -> Channel:
        """Open a channel to node ``peer`` and ask for ``weight``. Raises NoChannelError."""
        channel = Channel(self, self._free_number(), peer, transport, port, address, window)
        channel.weight = weight
        channel.owner = owner
        self._ends[channel.number] = channel
        channel.connect(Open(channel.number, transport, port, self.mtu, address))
        return channel

    def lose(self, gone: Callable[[int], bool], cause: Cause) -> None:
        """Drop every channel to a node for which ``gone`` holds."""
        for channel in self.channels:
            if gone(channel.peer):
                channel.lost(cause)

    def taken(self, flow: object) -> None:
        """The link has room for this flow again."""
        if isinstance(flow, bytes):
            channel = self._flows.get(flow)
            if channel is not None:
                channel.pump()

    # -- what comes in ---------------------------------------------------------------------------------------------

    def receive(self, packet: bytes) -> None:
        """A message for this node. What makes no sense is counted and dropped."""
        try:
            message = decode_message(packet)
        except MessageError:
            self.malformed += 1
            return
        kind = message.type
        if kind is MessageType.OPEN:
            self._opening(message)
            return
        if kind is MessageType.UNREACHABLE:
            self._unreachable(message)
            return
        channel = self._ends.get(message.channel)
        if channel is None or channel.peer != message.source:
            if kind not in (MessageType.CLOSE, MessageType.REFUSED):
                self._stray(packet, message.source)
            return
        if kind is MessageType.OPENED:
            self._opened(channel, message)
        elif isinstance(message.body, Ended):
            channel.other_closed(message.body.cause)
        else:
            self._on_open_channel(channel, message)

    def _on_open_channel(self, channel: Channel, message: Message) -> None:
        if channel.state not in (State.OPEN, State.CLOSING) or not channel.peer_number:
            self.violations += 1
            return
        if message.weight > channel.weight or (message.credit and not channel.granted(message.credit)):
            self._fault(channel)
            return
        if message.type is MessageType.DATA:
            assert isinstance(message.body, bytes)
            if not channel.delivered(message.body):
                self._fault(channel)
        elif message.type is MessageType.SHUT:
            channel.other_shut()

    def _fault(self, channel: Channel) -> None:
        self.violations += 1
        owner = channel.owner
        if channel.state is State.OPEN:
            channel.close(Cause.SERVICE_ERROR)
            if owner is not None:
                owner.closed(channel, Cause.SERVICE_ERROR)

    def _opening(self, message: Message) -> None:
        body = message.body
        assert isinstance(body, Open)
        if not body.own:
            self.malformed += 1
            return
        if any(known.peer == message.source and known.peer_number == body.own for known in self._ends.values()):
            self.violations += 1  # the sender uses one number twice
            return
        try:
            number = self._free_number()
        except NoChannelError:
            refusal = bytes(
                (VERSION_BITS | MessageType.REFUSED, message.source, self.number, body.own, 0, Cause.NO_CHANNEL)
            )
            self._emit(refusal, True)
            return
        channel = Channel(self, number, message.source, body.transport, body.port, body.address, 0)
        channel.state = State.ACCEPTING
        channel.weight = message.weight
        channel.joined(body.own, message.credit, max(0, min(self.mtu, body.mtu) - HEADER_LENGTH))
        self._ends[number] = channel
        self._flows[channel._flow] = channel
        self.on_open(channel, body)

    def _opened(self, channel: Channel, message: Message) -> None:
        body = message.body
        more = message.weight > channel.weight
        if not isinstance(body, Opened) or not body.own or channel.peer_number or more:
            self.violations += 1
            return
        channel.port = body.port
        channel.weight = message.weight
        channel.joined(body.own, message.credit, max(0, min(self.mtu, body.mtu) - HEADER_LENGTH))
        self._flows[channel._flow] = channel
        channel.opened()

    def _stray(self, packet: bytes, source: int) -> None:
        """A message for no open channel: its sender is told."""
        self.violations += 1
        self._emit(bytes((VERSION_BITS | MessageType.UNREACHABLE, source, self.number, 0, 0)) + packet[:12], True)

    def _unreachable(self, message: Message) -> None:
        original = message.body
        if not isinstance(original, bytes) or len(original) < HEADER_LENGTH or original[2] != self.number:
            self.malformed += 1
            return
        peer, number = original[1], original[3]
        opening = original[0] & TYPE_BITS == MessageType.OPEN and len(original) > HEADER_LENGTH
        for channel in self.channels:
            if channel.peer == peer and (channel.number == original[5] if opening else channel.peer_number == number):
                channel.lost(Cause.NOT_REACHABLE)

    def _free_number(self) -> int:
        for _ in range(self.limit):
            number = self._next
            self._next = number % self.limit + 1
            if number not in self._ends:
                return number
        raise NoChannelError(f"all {self.limit} channels of node {self.number} are in use")


def _refuse(channel: Channel, _open: Open) -> None:
    channel.refuse(Cause.SERVICE_UNKNOWN)
