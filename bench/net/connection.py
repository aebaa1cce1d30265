"""One TCP connection: the machine of RFC 9293, 3.10, with its timers, windows and buffers.

Segments, calls and the time go in; segments go out through ``Wire``, events to the ``Owner``, and ``due`` is when ``tick`` is wanted.
Its law: SND.UNA <= SND.NXT <= SND.MAX; ``_out`` holds the bytes from SND.UNA on, the FIN follows the last of them.
Not here: window scaling, SACK and timestamps, which a line of 9600 to 625 000 baud does not fill.

Units: times are ticks, lengths are bytes, sequence numbers are modulo 2**32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from bench.net.congestion import Congestion
from bench.net.errors import PacketError
from bench.net.receive_buffer import ReceiveBuffer
from bench.net.rto import RtoEstimator
from bench.net.segment import ACK, FIN, PSH, RST, SYN, URG, Segment, mss_option, read_mss, seq_add, seq_diff


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
_RECEIVING: Final = frozenset({State.SYN_RECEIVED, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
_WINDOW_MAX: Final = 65_535
_CHALLENGES: Final = 10
"""Challenge acknowledgements a second (RFC 5961, 7)."""


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
    initial_segments: int = 2
    nagle: bool = True
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
    """What carries a connection's segments."""

    def emit(self, segment: Segment, connection: "Connection", now: int) -> bool:
        """Send a segment; False where nothing could be taken now: ``Connection.resume`` when it can."""

    def segment_limit(self, connection: "Connection", now: int) -> int:
        """The longest payload that a segment may carry on the path now."""


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


class Connection:
    """A TCB. ``open`` or ``accept`` begin it."""

    def __init__(self, ends: Endpoints, wire: Wire, owner: Owner, settings: TcpSettings, own_mss: int) -> None:
        self.ends = ends
        self.wire = wire
        self.owner = owner
        self.settings = settings
        self.own_mss = own_mss
        """What the MSS option tells the peer."""
        self.state = State.CLOSED
        self.counts = Counts()
        self.peer_ended = False
        """The peer has sent FIN, and everything before it was received."""
        self.urgent_until: int | None = None
        """Sequence number after the last urgent byte that the peer has announced and that was not read yet."""
        self.deaf = False
        """Nobody will read any more: data that comes is answered with a reset (RFC 9293, 3.6.1)."""
        self.on_urgent: Callable[[Connection], None] = _nobody
        self.iss = self.irs = 0
        self.snd_una = self.snd_nxt = self.snd_max = 0
        self.snd_wnd = self.snd_wl1 = self.snd_wl2 = 0
        self.snd_up: int | None = None
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """The right edge of the window as last told."""
        self.mss = 536
        self.peer_mss: int | None = None
        self.max_window = 0
        """The largest window the peer ever offered (sender's silly window avoidance)."""
        self.rtt = RtoEstimator(settings.granularity, settings.rto_floor, settings.rto_ceiling, settings.rto_initial)
        self.congestion = Congestion(self.mss, settings.initial_segments)
        self._in = ReceiveBuffer(settings.receive_buffer)
        self._out = bytearray()
        self._passive = False
        self._fin_queued = False
        self._told_closed = False
        self._ack_now = False
        self._unacked = 0
        self._blocked = False
        self._timed: tuple[int, int] | None = None
        self._since: int | None = None
        """When the oldest unacknowledged byte first went out without an answer since."""
        self._rexmit: int | None = None
        self._persist: int | None = None
        self._ack_due: int | None = None
        self._wait: int | None = None
        self._alive: int | None = None
        self._alive_probes = 0
        self._shifts = 0
        self._challenge = (0, 0)

    # -- the user's calls ----------------------------------------------------------------------------------------------

    def open(self, iss: int, now: int) -> None:
        """Active open: SYN goes out."""
        self._begin(iss)
        self.state = State.SYN_SENT
        self._send_syn(SYN, now)

    def accept(self, iss: int, syn: Segment, now: int) -> None:
        """Passive open: the answer to a SYN that a listener got. Raises PacketError for options that cannot be."""
        self._passive = True
        self._begin(iss)
        self._peer_syn(syn)
        self.state = State.SYN_RECEIVED
        self._send_syn(SYN | ACK, now)

    @property
    def send_room(self) -> int:
        """Bytes ``send`` would take now."""
        if self.state not in CAN_SEND or self._fin_queued:
            return 0
        return self.settings.send_buffer - len(self._out)

    @property
    def readable(self) -> int:
        """Bytes ``read`` would give now."""
        return len(self._in.ready)

    @property
    def flight(self) -> int:
        """Sequence space under way."""
        return seq_diff(self.snd_max, self.snd_una)

    @property
    def unsent(self) -> int:
        """Bytes that wait for window or line."""
        return max(0, len(self._out) - max(0, seq_diff(self.snd_nxt, self.snd_una)))

    def send(self, data: bytes, now: int, *, urgent: bool = False) -> int:
        """Give bytes to send; gives how many were taken."""
        count = min(len(data), self.send_room)
        self._out += data[:count]
        if urgent and count:
            self.snd_up = seq_add(self.snd_una, len(self._out))
        if self.state not in (State.SYN_SENT, State.SYN_RECEIVED):
            self._output(now)
        return count

    def read(self, most: int, now: int) -> bytes:
        """Take received bytes; the window opens again when that is worth a segment (MUST-39)."""
        data = self._in.take(most)
        if self.urgent_until is not None and seq_diff(self.rcv_nxt, self.urgent_until) >= len(self._in.ready):
            self.urgent_until = None
        if data and self.state in _RECEIVING and self._window_gain() >= min(self._in.capacity // 2, 2 * self.own_mss):
            self._ack_now = True
            self._output(now)
        return data

    def close(self, now: int, *, deaf: bool = False) -> None:
        """Send FIN after what was given to send. ``deaf``: nor will anything be read any more."""
        self.deaf = self.deaf or deaf
        if self.state is State.SYN_SENT:
            self._over(Reason.FINISHED, now)
            return
        if self.deaf and self.readable and self.state in _RECEIVING:
            self.abort(now)  # SHLD-3: data is lost, so the peer is to know
            return
        if self._fin_queued or self.state not in CAN_SEND:
            if self.deaf and self.state is State.FIN_WAIT_2:
                self._wait = now + self.settings.fin_wait_2
            return
        self._fin_queued = True
        self.state = State.LAST_ACK if self.state is State.CLOSE_WAIT else self._after_close()
        self._output(now)

    def abort(self, now: int, reason: Reason = Reason.ABORTED) -> None:
        """Reset the connection: what was not delivered is lost."""
        if self.state in _SYNCHRONIZED:
            self._emit(RST | ACK, self.snd_max, b"", now)
        self._over(reason, now)

    def unreachable(self, hard: bool, syn_only: bool, now: int) -> None:
        """An ICMP error about this connection: soft ones are borne (MUST-56); a hard one ends what is not open yet (SHLD-26, RFC 5461)."""
        if hard and (not syn_only or self.state in (State.SYN_SENT, State.SYN_RECEIVED)):
            self._over(Reason.UNREACHABLE, now)

    def too_big(self, now: int) -> None:
        """The path takes less than was sent: what is under way is cut anew and sent again (RFC 1191, 6.4)."""
        limit = self.wire.segment_limit(self, now)
        if limit < self.mss:
            self.mss = limit
            self.congestion.mss = limit
            self.snd_nxt = self.snd_una
            self._timed = None
            self._output(now)

    def resume(self, now: int) -> None:
        """The link has room again."""
        if self._blocked:
            self._blocked = False
            self._output(now)

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """When ``tick`` is wanted next; None: never."""
        due: int | None = None
        for each in (self._rexmit, self._persist, self._ack_due, self._wait, self._alive):
            if each is not None and (due is None or each < due):
                due = each
        return due

    def tick(self, now: int) -> None:
        """What is due by now."""
        if self._wait is not None and self._wait <= now:
            self._wait = None
            if self.state is State.FIN_WAIT_2:
                self.abort(now)
            else:
                self._over(Reason.FINISHED, now)
            return
        if self._ack_due is not None and self._ack_due <= now:
            self._ack_now = True
            self._output(now)
        if self._rexmit is not None and self._rexmit <= now:
            self._timeout(now)
        if self._persist is not None and self._persist <= now:
            self._probe(now)
        if self._alive is not None and self._alive <= now:
            self._keep_alive(now)

    def _timeout(self, now: int) -> None:
        patience = self.settings.r2_syn if self.state in (State.SYN_SENT, State.SYN_RECEIVED) else self.settings.r2
        if self._since is not None and now - self._since >= patience:
            self.abort(now, Reason.TIMED_OUT)
            return
        self.counts.timeouts += 1
        self.congestion.timed_out(self.flight, self._shifts == 0)
        self._shifts += 1
        self.rtt.back_off()
        self._timed = None
        self._rexmit = now + self.rtt.rto
        if self.state is State.SYN_SENT:
            self._send_syn(SYN, now)
            return
        if self.state is State.SYN_RECEIVED and self.snd_una == self.iss:
            self._send_syn(SYN | ACK, now)
            return
        self.snd_nxt = self.snd_una
        self._output(now)

    def _probe(self, now: int) -> None:
        """The window has been too small for what waits: try with one byte, or with what fits (3.8.6.1, 3.8.6.2.1)."""
        self.counts.probes += 1
        self._shifts += 1
        self.rtt.back_off()
        self._persist = now + self.rtt.rto
        at = seq_diff(self.snd_nxt, self.snd_una)
        length = max(1, min(self.snd_wnd, self.mss))
        data = bytes(self._out[at : at + length])
        if not data:
            self._emit(ACK, seq_add(self.snd_una, -1), b"", now)
            return
        if self._emit(ACK | PSH, self.snd_nxt, data, now) and self.snd_wnd:
            self._sent(len(data), now)

    def _keep_alive(self, now: int) -> None:
        """SHLD-12: a segment with an old number and no data, which any peer answers."""
        if self._alive_probes >= self.settings.keep_alive_probes:
            self.abort(now, Reason.TIMED_OUT)
            return
        self._alive_probes += 1
        self._alive = now + max(self.settings.keep_alive // 10, self.rtt.rto)
        self._emit(ACK, seq_add(self.snd_nxt, -1), b"", now)

    # -- segments in ---------------------------------------------------------------------------------------------------

    def arrived(self, segment: Segment, now: int) -> None:
        """RFC 9293, 3.10.7.3 and 3.10.7.4."""
        if self.state is State.CLOSED:
            return
        if self.settings.keep_alive and self.state is State.ESTABLISHED:
            self._alive = now + self.settings.keep_alive
            self._alive_probes = 0
        if self.state is State.SYN_SENT:
            self._in_syn_sent(segment, now)
        else:
            self._in_order(segment, now)

    def _in_syn_sent(self, segment: Segment, now: int) -> None:
        flags = segment.flags
        acceptable = bool(flags & ACK) and segment.ack == seq_add(self.iss, 1)
        if flags & ACK and not acceptable:
            if not flags & RST:
                self._emit(RST, segment.ack, b"", now)
            return
        if flags & RST:
            if acceptable:
                self._over(Reason.REFUSED, now)
            return
        if not flags & SYN:
            return
        try:
            self._peer_syn(segment)
        except PacketError:
            self.abort(now)
            return
        if acceptable:
            self.snd_una = self.snd_nxt = self.snd_max = segment.ack
            self._established(segment, now)
            self._ack_now = True
            self._take_payload(segment, now)
        else:  # both have opened at once (MUST-10)
            self.state = State.SYN_RECEIVED
            self._send_syn(SYN | ACK, now)

    def _in_order(self, segment: Segment, now: int) -> None:
        window = max(0, seq_diff(self.rcv_adv, self.rcv_nxt))
        start = seq_diff(segment.seq, self.rcv_nxt)
        flags = segment.flags
        if flags & RST:
            self._reset(start, window, now)
            return
        if not _acceptable(start, segment.length, window):
            self._unacceptable(segment, start, now)
            return
        if flags & SYN:
            if self.state is State.SYN_RECEIVED and self._passive:
                if segment.seq == self.irs:  # our answer was lost
                    self._send_syn(SYN | ACK, now)
                else:
                    self._over(Reason.RESET, now)
            elif self.state is State.SYN_RECEIVED and flags & ACK and segment.ack == self.snd_nxt:
                self._acknowledged(segment, now)  # the other half of a simultaneous open
            else:
                self._challenge_ack(now)
            return
        if not flags & ACK:
            return
        if not self._acknowledged(segment, now):
            return
        if flags & URG:
            self._urgent(segment)
        self._take_payload(segment, now)

    def _unacceptable(self, segment: Segment, start: int, now: int) -> None:
        self.counts.duplicates_in += 1
        if self.state is State.TIME_WAIT:
            if segment.flags & FIN:
                self._wait = now + 2 * self.settings.msl
            self._emit(ACK, self.snd_max, b"", now)
            return
        if self.state is State.SYN_RECEIVED and segment.flags & SYN and segment.seq == self.irs:
            self._send_syn(SYN | ACK, now)
            return
        if start == 0 and segment.flags & ACK and not segment.flags & SYN:
            self._acknowledged(segment, now)  # a closed window does not stop acknowledgements (MUST-66)
            if segment.flags & URG:
                self._urgent(segment)
        if self.state is not State.CLOSED:
            self._ack_now = True
            self._output(now)

    def _reset(self, start: int, window: int, now: int) -> None:
        """RFC 5961, 3.2: only the exact number resets; one within the window is asked about."""
        if start == 0:
            refused = self.state is State.SYN_RECEIVED and not self._passive
            self._over(Reason.REFUSED if refused else Reason.RESET, now)
        elif 0 < start < window:
            self._challenge_ack(now)

    def _acknowledged(self, segment: Segment, now: int) -> bool:
        """The ACK field (3.10.7.4, fifth). False where the segment goes no further."""
        ack = segment.ack
        if self.state is State.SYN_RECEIVED:
            if ack != seq_add(self.iss, 1):
                self._emit(RST, ack, b"", now)
                return False
            self.snd_una = ack
            self._established(segment, now)
        if seq_diff(ack, self.snd_max) > 0:
            self._challenge_ack(now)
            return False
        gained = seq_diff(ack, self.snd_una)
        if gained < 0:
            if gained < -_WINDOW_MAX:  # RFC 5961, 5
                self._challenge_ack(now)
                return False
            self.counts.duplicates_in += 1
            return True
        if gained:
            self._new_ack(ack, gained, now)
            if self.state in (State.CLOSED, State.TIME_WAIT):
                return self.state is State.TIME_WAIT
        elif self.flight and not segment.payload and segment.window == self.snd_wnd and not segment.flags & FIN:
            self._duplicate_ack(now)
        self._update_window(segment, now)
        if gained:
            self.owner.room(self)
        self._output(now)
        return self.state is not State.CLOSED

    def _new_ack(self, ack: int, gained: int, now: int) -> None:
        flight = self.flight
        fin_acked = self._fin_queued and gained > len(self._out)
        del self._out[: min(gained, len(self._out))]
        self.snd_una = ack
        if seq_diff(self.snd_nxt, ack) < 0:
            self.snd_nxt = ack
        if self.snd_up is not None and seq_diff(ack, self.snd_up) >= 0:
            self.snd_up = None
        if self._timed is not None and seq_diff(ack, self._timed[0]) > 0:
            self.rtt.sample(now - self._timed[1])
            self._timed = None
        partial = self.congestion.acknowledged(gained, ack, flight - gained)
        self._shifts = 0
        under_way = self.flight > 0
        self._rexmit = now + self.rtt.rto if under_way else None
        self._since = now if under_way else None
        if partial and under_way:
            self._send_again(now)
        if fin_acked:
            self._fin_acknowledged(now)

    def _fin_acknowledged(self, now: int) -> None:
        if self.state is State.FIN_WAIT_1:
            self.state = State.FIN_WAIT_2
            if self.deaf:
                self._wait = now + self.settings.fin_wait_2
        elif self.state is State.CLOSING:
            self._time_wait(now)
        elif self.state is State.LAST_ACK:
            self._over(Reason.FINISHED, now)

    def _duplicate_ack(self, now: int) -> None:
        if self.congestion.duplicate(self.flight, self.snd_max):
            self.counts.fast_retransmissions += 1
            self._timed = None
            self._send_again(now)

    def _update_window(self, segment: Segment, now: int) -> None:
        newer = seq_diff(segment.seq, self.snd_wl1)
        if newer < 0 or (newer == 0 and seq_diff(segment.ack, self.snd_wl2) < 0):
            return
        opened = segment.window > self.snd_wnd
        self.snd_wnd = segment.window
        self.snd_wl1, self.snd_wl2 = segment.seq, segment.ack
        self.max_window = max(self.max_window, segment.window)
        if self._persist is not None and opened:
            self._persist = None
            self._shifts = 0
        if self._persist is not None:
            self._since = now  # whoever answers probes is there: a closed window is no reason to give up (MUST-37)

    def _urgent(self, segment: Segment) -> None:
        pointer = seq_add(segment.seq, segment.urgent)
        later = self.urgent_until is None or seq_diff(pointer, self.urgent_until) > 0
        if later and seq_diff(pointer, self.rcv_nxt) > 0:
            self.urgent_until = pointer
            self.on_urgent(self)

    def _take_payload(self, segment: Segment, now: int) -> None:
        """Payload and FIN (3.10.7.4, seventh and eighth), cut to the window."""
        data, fin = segment.payload, bool(segment.flags & FIN)
        seq = seq_add(segment.seq, 1) if segment.flags & SYN else segment.seq
        if not data and not fin:
            return
        if self.state not in _RECEIVING:
            if self.state in (State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
                self._ack_now = True
                self._output(now)
            return
        if self.deaf and data and self.state is not State.SYN_RECEIVED:
            self.abort(now)
            return
        start = seq_diff(seq, self.rcv_nxt)
        if start < 0:
            data, start = data[-start:], 0
        window = max(0, seq_diff(self.rcv_adv, self.rcv_nxt))
        if start + len(data) > window:
            data, fin = data[: max(0, window - start)], False
        if start:
            if data:
                self._in.keep(self.rcv_nxt, seq, data)
            self._ack_now = True  # a gap: say so at once (SHLD, RFC 5681, 4.2)
            self._output(now)
            return
        self._in_sequence(data, fin, now)

    def _in_sequence(self, data: bytes, fin: bool, now: int) -> None:
        filled = 0
        if data:
            self._in.ready += data
            self.rcv_nxt = seq_add(self.rcv_nxt, len(data))
            filled = self._in.join(self.rcv_nxt)
            self.rcv_nxt = seq_add(self.rcv_nxt, filled)
            self._unacked += len(data) + filled
        if filled or fin or self._in.beyond or self._unacked >= 2 * self.mss:
            self._ack_now = True
        elif data and self._ack_due is None:
            self._ack_due = now + self.settings.delayed_ack
        if fin and not filled:
            self.rcv_nxt = seq_add(self.rcv_nxt, 1)
            self.peer_ended = True
            self._fin_received(now)
        if data or fin:
            self.owner.received(self)
        if self.state is not State.CLOSED:
            self._output(now)

    def _fin_received(self, now: int) -> None:
        if self.state in (State.SYN_RECEIVED, State.ESTABLISHED):
            self.state = State.CLOSE_WAIT
        elif self.state is State.FIN_WAIT_1:
            self.state = State.CLOSING  # an acknowledgement of our FIN would have come first
        elif self.state is State.FIN_WAIT_2:
            self._time_wait(now)

    # -- segments out --------------------------------------------------------------------------------------------------

    def _output(self, now: int) -> None:
        """Send what window, congestion and Nagle allow; an acknowledgement that is due goes with it or alone."""
        if self._blocked or self.state in (State.CLOSED, State.SYN_SENT):
            return
        if self.state is State.SYN_RECEIVED and self.snd_una == self.iss:
            return
        while self._send_next(now):
            pass
        if (
            self._ack_now and not self._blocked
        ):  # after a timeout SND.NXT may be behind what the peer expects: SND.MAX never is
            self._emit(ACK, self.snd_max, b"", now)

    def _send_next(self, now: int) -> bool:
        """One segment with data or FIN, if one may go. False where none did."""
        at = seq_diff(self.snd_nxt, self.snd_una)
        waiting = len(self._out) - at
        if waiting < 0 or (waiting == 0 and not self._fin_queued):
            return False
        allowed = min(self.snd_wnd, self.congestion.cwnd) - at
        length = min(waiting, max(0, allowed), self.mss)
        fin = self._fin_queued and length == waiting and seq_diff(self.snd_nxt, self.snd_una) + length == len(self._out)
        if not self._worth_sending(length, waiting, fin, at):
            if waiting and self._rexmit is None and self._persist is None:
                self._persist = now + self.rtt.rto
            return False
        self._persist = None
        flags = ACK | (PSH if length and length == waiting else 0) | (FIN if fin else 0)
        if not self._emit(flags, self.snd_nxt, bytes(self._out[at : at + length]), now):
            return False
        self._sent(length + fin, now)
        return not fin

    def _worth_sending(self, length: int, waiting: int, fin: bool, at: int) -> bool:
        """Nagle and the sender's silly window avoidance (MUST-38; 3.8.6.2.1, 3.7.4)."""
        if not length:
            return fin and not waiting
        if length == self.mss or seq_diff(self.snd_nxt, self.snd_max) < 0:
            return True
        if length == waiting and (at == 0 or not self.settings.nagle or self._fin_queued):
            return True
        return length >= self.max_window // 2 > 0

    def _send_again(self, now: int) -> None:
        """The first unacknowledged segment alone."""
        length = min(len(self._out), self.mss)
        fin = self._fin_queued and length == len(self._out)
        self.counts.retransmissions += 1
        flags = ACK | (FIN if fin else 0) | (PSH if length else 0)
        self._emit(flags, self.snd_una, bytes(self._out[:length]), now)

    def _sent(self, length: int, now: int) -> None:
        begin = self.snd_nxt
        self.snd_nxt = seq_add(begin, length)
        if seq_diff(self.snd_nxt, self.snd_max) > 0:
            if seq_diff(begin, self.snd_max) < 0:
                self.counts.retransmissions += 1
            elif self._timed is None:
                self._timed = (begin, now)
            self.snd_max = self.snd_nxt
        else:
            self.counts.retransmissions += 1
        if self._rexmit is None:
            self._rexmit = now + self.rtt.rto
        if self._since is None:
            self._since = now

    def _send_syn(self, flags: int, now: int) -> None:
        """SYN, or SYN and ACK; the only segment with an MSS option (MUST-65)."""
        again = self.snd_max != self.iss
        self.snd_nxt = self.snd_max = seq_add(self.iss, 1)
        if again:
            self.counts.retransmissions += 1
            self._timed = None
        else:
            self._timed = (self.iss, now)
        if self._since is None:
            self._since = now
        if self._rexmit is None or self._rexmit <= now:
            self._rexmit = now + self.rtt.rto
        self._emit(flags, self.iss, b"", now, mss_option(self.own_mss))

    def _challenge_ack(self, now: int) -> None:
        second, count = self._challenge
        this = now // (self.settings.granularity * 1000)
        count = count + 1 if second == this else 1
        self._challenge = (this, count)
        if count <= _CHALLENGES:
            self.counts.challenges += 1
            self._emit(ACK, self.snd_max, b"", now)

    def _emit(self, flags: int, seq: int, payload: bytes, now: int, options: bytes = b"") -> bool:
        ends = self.ends
        window = self._window() if self.state is not State.SYN_SENT else min(self._in.room, _WINDOW_MAX)
        ack = self.rcv_nxt if flags & ACK else 0
        urgent = 0
        if self.snd_up is not None and flags & ACK and 0 < (ahead := seq_diff(self.snd_up, seq)) <= 0xFFFF:
            flags |= URG
            urgent = ahead
        segment = Segment(ends.local_port, ends.remote_port, seq, ack, flags, window, payload, urgent, options)
        if not self.wire.emit(segment, self, now):
            self._blocked = True
            return False
        if flags & ACK:
            self._ack_now = False
            self._ack_due = None
            self._unacked = 0
            self.rcv_adv = seq_add(self.rcv_nxt, window)
        return True

    def _window(self) -> int:
        """What to offer: the right edge never moves back, and forward only by a worthwhile step (3.8.6.2.2)."""
        told = max(0, seq_diff(self.rcv_adv, self.rcv_nxt))
        if self._window_gain() >= min(self._in.capacity // 2, self.own_mss):
            told = self._in.room
        return min(told, _WINDOW_MAX)

    def _window_gain(self) -> int:
        return min(self._in.room, _WINDOW_MAX) - max(0, seq_diff(self.rcv_adv, self.rcv_nxt))

    # -- states --------------------------------------------------------------------------------------------------------

    def _begin(self, iss: int) -> None:
        self.iss = self.snd_una = self.snd_nxt = self.snd_max = iss

    def _peer_syn(self, segment: Segment) -> None:
        """What a peer's SYN says (MUST-5, 14 to 16)."""
        self.peer_mss = read_mss(segment.options)
        self.irs = segment.seq
        self.rcv_nxt = self.rcv_adv = seq_add(segment.seq, 1)
        self.snd_wnd = self.max_window = segment.window
        self.snd_wl1 = segment.seq

    def _established(self, segment: Segment, now: int) -> None:
        default = 536 if len(self.ends.local) == 4 else 1220
        limit = self.wire.segment_limit(self, now)
        self.mss = max(1, min(self.peer_mss if self.peer_mss else default, limit))
        self.congestion.begin(self.mss)
        if self._shifts:
            self.congestion.cwnd = self.mss  # the SYN was lost: begin with one segment (RFC 5681, 3.1)
        if self._timed is not None:
            self.rtt.sample(now - self._timed[1])
        self._timed = None
        self._rexmit = self._since = None
        self._shifts = 0
        if not self.rtt.sampled:
            self.rtt.rto = max(self.rtt.floor, 3 * self.settings.rto_initial)  # RFC 6298, 5.7
        self.snd_wnd = segment.window
        self.snd_wl1, self.snd_wl2 = segment.seq, segment.ack
        self.max_window = max(self.max_window, segment.window)
        if seq_diff(self.snd_nxt, self.snd_una) < 0:
            self.snd_nxt = self.snd_una
        self.state = State.FIN_WAIT_1 if self._fin_queued else State.ESTABLISHED
        if self.settings.keep_alive:
            self._alive = now + self.settings.keep_alive
        self.owner.opened(self)

    def _after_close(self) -> State:
        return State.SYN_RECEIVED if self.state is State.SYN_RECEIVED else State.FIN_WAIT_1

    def _time_wait(self, now: int) -> None:
        self.state = State.TIME_WAIT
        self._rexmit = self._persist = self._alive = None
        self._wait = now + 2 * self.settings.msl
        self._tell_closed(Reason.FINISHED)

    def _over(self, reason: Reason, now: int) -> None:
        del now
        self.state = State.CLOSED
        self._rexmit = self._persist = self._ack_due = self._wait = self._alive = None
        self._out.clear()
        self._tell_closed(reason)

    def _tell_closed(self, reason: Reason) -> None:
        if not self._told_closed:
            self._told_closed = True
            self.owner.closed(self, reason)


_SYNCHRONIZED: Final = frozenset(State) - {State.CLOSED, State.SYN_SENT, State.TIME_WAIT}


def _acceptable(start: int, length: int, window: int) -> bool:
    """The four cases of RFC 9293, table 6; ``start`` counts from RCV.NXT."""
    if length == 0:
        return start == 0 if window == 0 else 0 <= start < window
    if window == 0:
        return False
    return 0 <= start < window or 0 <= start + length - 1 < window


def _nobody(_connection: Connection) -> None:
    pass
