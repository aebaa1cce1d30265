"""One end of a channel: its states, its credit, its bounded buffers (docs/protocol.md, section 3).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from enum import Enum, auto
from typing import Protocol

from bench.channels.message import (
    HEADER_LENGTH,
    MAX_CREDIT,
    VERSION_BITS,
    Address,
    Cause,
    MessageType,
    Open,
    Transport,
    weight_bits,
)


class State(Enum):
    """Where an end stands. CLOSING: this side has sent CLOSE (or has it queued behind data) and awaits the other's."""

    OPENING = auto()
    ACCEPTING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class ChannelOwner(Protocol):
    """Whoever uses a channel: an application's call, or the gateway. None of these may block."""

    def opened(self, channel: "Channel") -> None: ...

    def received(self, channel: "Channel") -> None:
        """A message waits in ``channel.inbox``."""

    def room(self, channel: "Channel") -> None:
        """``channel.send`` would take a message again."""

    def shut(self, channel: "Channel") -> None:
        """The other side will send no more; everything it sent is in ``inbox``."""

    def closed(self, channel: "Channel", cause: Cause) -> None:
        """Refused, closed or lost."""


class Wire(Protocol):
    """How a channel end reaches the node's emission."""

    number: int

    def emit(self, packet: bytes, *, force: bool) -> bool: ...

    def room(self, flow: bytes, length: int) -> int:
        """How many more packets of such a length may be emitted."""

    def freed(self, channel: "Channel") -> None:
        """The channel is over: its number may be used again."""


class Channel:
    """One end. ``send``, ``take``, ``finish`` and ``close`` are what its owner does; the rest is done by the table it belongs to."""

    OUTBOX = 4
    """Messages held for the other side before ``send`` refuses."""

    def __init__(
        self, wire: Wire, number: int, peer: int, transport: Transport, port: int, address: Address, window: int
    ) -> None:
        self.wire = wire
        self.number = number
        self.peer = peer
        self.peer_number = 0
        self.transport = transport
        self.port = port
        self.address = address
        self.window = window
        """Messages the other side may have under way to us."""
        self.state = State.OPENING
        self.owner: ChannelOwner | None = None
        self.inbox: deque[bytes] = deque()
        self.outbox: deque[bytes] = deque()
        self.payload = 0
        """Longest DATA body both sides can take; known once open."""
        self.credit = 0
        """DATA we may still send."""
        self.shut_received = False
        self.cause = Cause.NONE
        self._allowed = window
        self._taken = 0
        self._flow = b""
        self._finishing = False
        self._shut_sent = False
        self._close_queued = False
        self._close_sent = False
        self._close_received = False
        self._starved = False
        self._weight = 1
        self._version = VERSION_BITS
        """The first byte of its messages without their type."""

    @property
    def weight(self) -> int:
        """Shares of a line, one of ``WEIGHTS``: what is asked for, and from the answer on what was granted."""
        return self._weight

    @weight.setter
    def weight(self, weight: int) -> None:
        self._version = VERSION_BITS | weight_bits(weight)
        self._weight = weight

    # -- what the owner does -----------------------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """Queue one message (at most ``payload`` bytes). False: the outbox is full, ``owner.room`` tells when to ask again."""
        if self.state is not State.OPEN or self._finishing or self.transport.is_server:
            raise RuntimeError(f"send on channel {self.number} in state {self.state.name}")
        if len(data) > self.payload:
            raise ValueError(
                f"a message of {len(data)} bytes on channel {self.number}: its MTU leaves room for {self.payload}"
            )
        if len(self.outbox) >= self.OUTBOX:
            self._starved = True
            return False
        self.outbox.append(data)
        self.pump()
        return True

    def take(self) -> bytes:
        """The next message received. Taking is what earns the other side credit."""
        data = self.inbox.popleft()
        self._taken += 1
        if 2 * self._taken >= self.window and self.state is State.OPEN and not self.shut_received:
            self.pump()  # a message that leaves anyway carries the credit
            if 2 * self._taken >= self.window:
                self._emit(MessageType.CREDIT)
        return data

    def remind(self) -> None:
        """Call ``owner.room`` when something more has left the outbox."""
        self._starved = True

    def finish(self) -> None:
        """No more will be sent: SHUT follows what is queued."""
        if self.state is State.OPEN and not self._finishing:
            self._finishing = True
            self.pump()

    def close(self, cause: Cause = Cause.NONE) -> None:
        """Close both ways; with cause 0 what is queued goes first, else it is dropped."""
        if self.state is State.OPENING:
            self.state = State.CLOSING
            self.cause = cause
            self._close_queued = True  # sent when OPENED tells the other side's number
        elif self.state is State.ACCEPTING:
            self.refuse(cause)
        elif self.state is State.OPEN:
            self.state = State.CLOSING
            self.cause = cause
            self._close_queued = True
            self.inbox.clear()
            if cause is not Cause.NONE:
                self.outbox.clear()
            self.pump()

    def accept(self, owner: ChannelOwner, port: int, mtu: int, window: int) -> None:
        """Answer the OPEN this end was made for, with our MTU and the window we give; the weight that was asked for, unless it was set lower."""
        self.owner = owner
        self.window = self._allowed = window
        self.state = State.OPEN
        self.port = port
        body = bytes((self.number,)) + port.to_bytes(2, "big") + mtu.to_bytes(2, "big")
        credit = 0 if self.transport.is_server else self.window
        self.wire.emit(
            bytes((self._version | MessageType.OPENED, self.peer, self.wire.number, self.peer_number, credit)) + body,
            force=True,
        )

    def refuse(self, cause: Cause) -> None:
        """Refuse the OPEN this end was made for."""
        packet = bytes((VERSION_BITS | MessageType.REFUSED, self.peer, self.wire.number, self.peer_number, 0, cause))
        self.wire.emit(packet, force=True)
        self._free()

    # -- what the table does -----------------------------------------------------------------------------------------

    def connect(self, open_body: Open) -> None:
        """Send the OPEN."""
        credit = 0 if self.transport.is_server else self.window
        packet = bytes((self._version | MessageType.OPEN, self.peer, self.wire.number, 0, credit)) + open_body.encode()
        self.wire.emit(packet, force=True)

    def joined(self, peer_number: int, credit: int, payload: int) -> None:
        """The other side's number and first credit are known."""
        self.peer_number = peer_number
        self.credit = credit
        self.payload = payload
        self._flow = bytes((self.peer, self.wire.number, peer_number))

    def opened(self) -> None:
        """OPENED came."""
        if self.state is State.CLOSING:
            self.pump()
            return
        self.state = State.OPEN
        if self.owner is not None:
            self.owner.opened(self)

    def granted(self, credit: int) -> bool:
        """Credit came. False where it passes 255 in all: a fault of the peer."""
        self.credit += credit
        if self.credit > MAX_CREDIT:
            return False
        if credit and self.outbox:
            self.pump()
        return True

    def delivered(self, data: bytes) -> bool:
        """DATA came. False where it came without credit: a fault of the peer."""
        if self._allowed <= 0 or self.shut_received or self.transport.is_server:
            return False
        self._allowed -= 1
        if self.state is State.CLOSING:
            return True
        self.inbox.append(data)
        if self.owner is not None:
            self.owner.received(self)
        return True

    def other_shut(self) -> None:
        """SHUT came."""
        if self.shut_received:
            return
        self.shut_received = True
        if self.owner is not None and self.state is State.OPEN:
            self.owner.shut(self)

    def other_closed(self, cause: Cause) -> None:
        """CLOSE or REFUSED came."""
        self._close_received = True
        if self.state in (State.OPENING, State.CLOSED) or not self.peer_number:
            self.lost(cause)  # refused: there is no other end that a CLOSE could go to
            return
        if not self._close_sent:
            self._close_sent = True
            self.outbox.clear()
            self._emit(MessageType.CLOSE, bytes((Cause.NONE,)))
        self.lost(cause)

    def lost(self, cause: Cause) -> None:
        """Gone without another word (closed, refused, or the other node is not there any more)."""
        told = self.state in (State.CLOSING, State.CLOSED)
        self._free()
        if not told:
            self.cause = cause
            if self.owner is not None:
                self.owner.closed(self, cause)

    def pump(self) -> None:
        """Send what may be sent: DATA while there is credit and room on the link, then SHUT, then CLOSE."""
        outbox = self.outbox
        flow = self._flow
        if not flow:
            return
        wire = self.wire
        while outbox and self.credit > 0 and wire.room(flow, HEADER_LENGTH + len(outbox[0])) > 0:
            self.credit -= 1
            self._emit(MessageType.DATA, outbox.popleft())
        if not outbox:
            if self._finishing and not self._shut_sent:
                self._shut_sent = True
                self._emit(MessageType.SHUT)
            if self._close_queued and not self._close_sent:
                self._close_sent = True
                self._emit(MessageType.CLOSE, bytes((self.cause,)))
                if self._close_received:
                    self._free()
        if self._starved and len(outbox) < self.OUTBOX and self.state is State.OPEN:
            self._starved = False
            if self.owner is not None:
                self.owner.room(self)

    def _emit(self, kind: MessageType, body: bytes = b"") -> None:
        returned = min(self._taken, MAX_CREDIT) if self.state is State.OPEN else 0
        self._taken -= returned
        self._allowed += returned
        self.wire.emit(
            bytes((self._version | kind, self.peer, self.wire.number, self.peer_number, returned)) + body, force=True
        )

    def _free(self) -> None:
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.outbox.clear()
            self.wire.freed(self)


assert HEADER_LENGTH == 5  # the packets built above by hand have this header
