"""What a TCP connection is configured with, counts, and speaks to: states, settings, its wire and its owner (RFC 9293, 3.3.2, 3.9.1).

Units: times are ticks, lengths are bytes.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from bench.net.segment import Segment

if TYPE_CHECKING:
    from bench.net.connection import Connection


class State(Enum):
    """RFC 9293, 3.3.2; LISTEN belongs to ``Tcp``, which makes connections."""

    CLOSED = auto()
    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    ESTABLISHED = auto()
    FIN_WAIT_1 = auto()
    FIN_WAIT_2 = auto()
    CLOSE_WAIT = auto()
    CLOSING = auto()
    LAST_ACK = auto()
    TIME_WAIT = auto()

    __hash__ = object.__hash__  # members are single; an Enum's own hash is a call of Python


class Reason(Enum):
    """Why a connection is over."""

    FINISHED = "finished"
    ABORTED = "aborted"
    RESET = "connection reset by the peer"
    REFUSED = "connection refused"
    TIMED_OUT = "no answer within the time"
    UNREACHABLE = "destination unreachable"


CAN_SEND: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT})
"""States in which more may be given to send."""
KEEP_ALIVE_SECONDS: Final = 7200
"""The idle time that is usual where keep-alives are asked for (MUST-28)."""


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """What a connection is allowed and how patient it is. Times in ticks."""

    send_buffer: int
    receive_buffer: int
    rto_initial: int
    rto_floor: int
    rto_ceiling: int
    granularity: int
    delayed_ack: int
    """Below half a second (MUST-40)."""
    r2: int
    """How long data is sent again before the connection is given up (at least 100 s, SHLD-11)."""
    r2_syn: int
    """The same for a SYN: at least three minutes (MUST-23)."""
    msl: int
    """The maximum segment lifetime: TIME-WAIT lasts two (MUST-13)."""
    fin_wait_2: int
    """How long the peer's FIN is waited for once nobody listens any more."""
    r1: int = 3
    """Retransmissions of one segment after which the owner and layer 3 are told that something may be wrong (SHLD-9, SHLD-10, MUST-20)."""
    initial_segments: int = 2
    nagle: bool = True
    hop_limit: int = 64
    """Of every packet (MUST-49)."""
    traffic_class: int = 0
    """The IPv4 TOS or IPv6 traffic class byte of every packet: the Diffserv field and two ECN bits (MUST-48)."""
    keep_alive: int = 0
    """Idle time after which a keep-alive probe goes out; 0: never (the default, MUST-25)."""
    keep_alive_probes: int = 8

    @classmethod
    def usual(cls, hz: int, *, send_buffer: int = 8192, receive_buffer: int = 8192) -> "TcpSettings":
        """The RFC's values."""
        return cls(
            send_buffer=send_buffer,
            receive_buffer=receive_buffer,
            rto_initial=hz,
            rto_floor=hz,
            rto_ceiling=60 * hz,
            granularity=hz // 1000,
            delayed_ack=hz // 5,
            r2=100 * hz,
            r2_syn=180 * hz,
            msl=120 * hz,
            fin_wait_2=60 * hz,
        )


class Wire(Protocol):
    """What carries one connection's segments."""

    def emit(self, segment: Segment, now: int) -> bool:
        """Send any segment; False where nothing could be taken now: ``Connection.resume`` when it can."""

    def carry(self, flags: int, seq: int, ack: int, window: int, payload: bytes | bytearray, now: int) -> bool:
        """The same for the usual kind, without options and urgent data."""

    def segment_limit(self, now: int) -> int:
        """The longest payload that a segment may carry on the path now."""

    def doubt(self) -> None:
        """The peer has not answered R1 retransmissions: layer 3 may look for another way (MUST-20)."""


class Owner(Protocol):
    """Whoever uses a connection. Called within ``arrived`` and ``tick``; may call back."""

    def opened(self, connection: "Connection") -> None: ...

    def received(self, connection: "Connection") -> None:
        """Something can be read, or the peer has ended (``peer_ended``)."""

    def room(self, connection: "Connection") -> None:
        """More can be sent."""

    def closed(self, connection: "Connection", reason: Reason) -> None:
        """It is over for the user; the connection itself may stay in TIME-WAIT."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The four numbers that name a connection."""

    local: bytes
    local_port: int
    remote: bytes
    remote_port: int


@dataclass(slots=True)
class Counts:
    """What happened on a connection."""

    retransmissions: int = 0
    timeouts: int = 0
    fast_retransmissions: int = 0
    duplicates_in: int = 0
    challenges: int = 0
    probes: int = 0
