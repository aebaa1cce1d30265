"""One TCP connection: the machine of RFC 9293, 3.10. Here are the user's calls and the segments that come in; the rest is in ``Timers`` and below it.

Segments, calls and the time go in; segments go out through ``Wire``, events to the ``Owner``, and ``due`` is when ``tick`` is wanted.
Not here: window scaling, SACK and timestamps, which a line of 9600 to 625 000 baud does not fill.

Longer than other files: 3.10.7 is one walk through a segment, in the order of the clause.

Units: times are ticks, lengths are bytes, sequence numbers are modulo 2**32.
"""

from collections.abc import Callable

from bench.net.errors import PacketError
from bench.net.segment import (
    ACK,
    FIN,
    MSS_DEFAULT_V4,
    MSS_DEFAULT_V6,
    RST,
    SYN,
    URG,
    Segment,
    seq_add,
    seq_diff,
)
from bench.net.tcb import HALF, MASK, RECEIVING, SYNCHRONIZED, WINDOW_MAX
from bench.net.tcp_timers import Timers
from bench.net.tcp_types import CAN_SEND as CAN_SEND
from bench.net.tcp_types import KEEP_ALIVE_SECONDS as KEEP_ALIVE_SECONDS
from bench.net.tcp_types import Counts as Counts
from bench.net.tcp_types import Endpoints as Endpoints
from bench.net.tcp_types import Owner as Owner
from bench.net.tcp_types import Reason as Reason
from bench.net.tcp_types import State as State
from bench.net.tcp_types import TcpSettings as TcpSettings
from bench.net.tcp_types import Wire as Wire


class Connection(Timers):
    """A connection and its owner. ``open`` or ``accept`` begin it."""

    __slots__ = ("_told_closed", "on_trouble", "on_urgent", "owner")

    def __init__(self, ends: Endpoints, wire: Wire, owner: Owner, settings: TcpSettings, own_mss: int) -> None:
        super().__init__(ends, wire, settings, own_mss)
        self.owner = owner
        self.on_urgent: Callable[[Connection], None] = _nobody
        self.on_trouble: Callable[[Connection, str], None] = _unheard
        """Told what may be wrong and does not end the connection: a soft ICMP error, R1 retransmissions (MUST-47)."""
        self._told_closed = False

    # -- the user's calls ---------------------------------------------------------------------------------------------------

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

    def send(self, data: bytes, now: int, *, urgent: bool = False) -> int:
        """Give bytes to send; gives how many were taken."""
        count = self.send_room
        if count >= len(data):
            self._out += data
            count = len(data)
        else:
            self._out += data[:count]
        if urgent and count:
            self.snd_up = seq_add(self.snd_una, len(self._out))
        if self.state is not State.SYN_SENT and self.state is not State.SYN_RECEIVED:
            if self.snd_max == self.snd_una and now - self._last_sent > self.rtt.rto:
                self.congestion.restart()
            self._output(now)
        return count

    def read(self, most: int, now: int) -> bytes:
        """Take received bytes; the window opens again when that is worth a segment (MUST-39)."""
        data = self._in.take(most)
        if self.urgent_until is not None and seq_diff(self.rcv_nxt, self.urgent_until) >= len(self._in.ready):
            self.urgent_until = None
        if not self._ack_now and data and self.state in RECEIVING:
            capacity = self._in.capacity
            left = self.rcv_adv - self.rcv_nxt & MASK
            gain = min(capacity - len(self._in.ready), WINDOW_MAX) - left
            # while half of the window is left the peer goes on: the next acknowledgement tells it
            if gain >= min(capacity // 2, 2 * self.own_mss) and 2 * left < capacity:
                self._ack_now = True
                self._output(now)
        return data

    def close(self, now: int, *, deaf: bool = False) -> None:
        """Send FIN after what was given to send. ``deaf``: nor will anything be read any more."""
        self.deaf = self.deaf or deaf
        if self.state is State.SYN_SENT:
            self._over(Reason.FINISHED)
            return
        if self.deaf and self.readable and self.state in RECEIVING:
            self.abort(now)  # SHLD-3: data is lost, so the peer is to know
            return
        if self._fin_queued or self.state not in CAN_SEND:
            if self.deaf and self.state is State.FIN_WAIT_2:
                self._wait = now + self.settings.fin_wait_2
            return
        self._fin_queued = True
        if self.state is State.CLOSE_WAIT:
            self.state = State.LAST_ACK
        elif self.state is State.ESTABLISHED:
            self.state = State.FIN_WAIT_1
        self._output(now)

    def unreachable(self, hard: bool, reason: str, now: int) -> None:
        """An ICMP error about this connection: only a hard one ends it, and only before it is open (MUST-56, RFC 5461); others are told."""
        del now
        if hard and self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            self._over(Reason.UNREACHABLE)
        else:
            self.on_trouble(self, reason)

    def too_big(self, now: int) -> None:
        """The path takes less than was sent: what is under way is cut anew and sent again (RFC 1191, 6.4)."""
        limit = max(1, self.wire.segment_limit(now))
        if limit < self.mss:
            self.mss = limit
            self.congestion.mss = limit
            if self.state in SYNCHRONIZED and self.state is not State.SYN_RECEIVED:
                self.snd_nxt = self.snd_una
                self._timed = None
                self._output(now)

    def set_keep_alive(self, interval: int, now: int) -> None:
        """Ask an idle peer whether it is there, every ``interval`` ticks; 0: never (MUST-24, MUST-27)."""
        self.keep_alive = interval
        self._alive_probes = 0
        self._alive = now + interval if interval and self.state in SYNCHRONIZED else None

    def resume(self, now: int) -> None:
        """The link has room again."""
        if self._blocked:
            self._blocked = False
            self._output(now)

    # -- segments in --------------------------------------------------------------------------------------------------------

    def predicted(self, ack: int, window: int, payload: bytes, now: int) -> bool:
        """The usual case in ESTABLISHED: SEG.SEQ is RCV.NXT, flags are ACK and perhaps PSH, no options. Does exactly what ``arrived`` would.

        False, and nothing is done, where something else is going on.
        """
        gained = ack - self.snd_una & MASK
        size = len(payload)
        if (
            gained > (self.snd_max - self.snd_una & MASK)
            or not (gained or size)
            or size > (self.rcv_adv - self.rcv_nxt & MASK)
            or (self.rcv_nxt - self.snd_wl1 & MASK) > HALF  # a later segment has told its window already
            or self._persist is not None
            or self.keep_alive
            or self.deaf
            or (gained and self.congestion.recover is not None)
        ):
            return False
        if gained:
            self._new_ack(ack, gained, now)
        self.snd_wnd = window
        self.snd_wl1 = self.rcv_nxt
        self.snd_wl2 = ack
        if window > self.max_window:
            self.max_window = window
        if gained:
            self.owner.room(self)
            self._output(now)
        if size and self.state in RECEIVING:
            self._in_sequence(payload, now)
        return True

    def arrived(self, segment: Segment, now: int) -> None:
        """RFC 9293, 3.10.7.3 and 3.10.7.4."""
        if self.state is State.CLOSED:
            return
        if self.keep_alive and self.state in SYNCHRONIZED:
            self._alive = now + self.keep_alive
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
                self._over(Reason.REFUSED)
            return
        if not flags & SYN:
            return
        try:
            self._peer_syn(segment)
        except PacketError:
            self.abort(now)
            return
        self.rcv_adv = seq_add(self.rcv_nxt, min(self._in.room, WINDOW_MAX))  # as our SYN told
        if acceptable:
            self.snd_una = self.snd_nxt = self.snd_max = segment.ack
            self._ack_now = True
            self._established(segment, now)
            if self.state in SYNCHRONIZED:
                self._take_payload(segment, now)
                self._output(now)
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
                self._over(Reason.RESET)
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
        flags = segment.flags
        if self.state is State.TIME_WAIT:
            if flags & FIN:
                self._wait = now + 2 * self.settings.msl
            self._emit(ACK, self.snd_max, b"", now)
            return
        if self.state is State.SYN_RECEIVED and flags & SYN and segment.seq == self.irs:
            if flags & ACK and not self._passive and segment.ack == self.snd_max:
                self._acknowledged(segment, now)  # the other half of a simultaneous open
                self._ack_now = True
                self._output(now)
            else:  # our answer was lost
                self._send_syn(SYN | ACK, now, again=True)
            return
        if start == 0 and flags & ACK and not flags & SYN:
            if not self._acknowledged(segment, now):  # a closed window does not stop acknowledgements (MUST-66)
                return
            if flags & URG:
                self._urgent(segment)
        if self.state is State.SYN_RECEIVED:
            self._emit(ACK, self.snd_max, b"", now)
        elif self.state is not State.CLOSED:
            self._ack_now = True
            self._output(now)

    def _reset(self, start: int, window: int, now: int) -> None:
        """RFC 5961, 3.2: only the exact number resets; one within the window is asked about."""
        if start == 0:
            refused = self.state is State.SYN_RECEIVED and not self._passive
            self._over(Reason.REFUSED if refused else Reason.RESET)
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
            if self.state not in SYNCHRONIZED:
                return False
        if seq_diff(ack, self.snd_max) > 0:
            if ack != self._probed:
                self._challenge_ack(now)
                return False
            self.snd_nxt = self.snd_max = ack  # the window had opened, and took the probe's byte
        gained = seq_diff(ack, self.snd_una)
        if gained < 0:
            if gained < -max(self.max_window, WINDOW_MAX):  # RFC 5961, 5
                self._challenge_ack(now)
                return False
            self.counts.duplicates_in += 1
            return True
        if gained:
            self._new_ack(ack, gained, now)
            if self.state is State.CLOSED or self.state is State.TIME_WAIT:
                return self.state is State.TIME_WAIT
        elif self.flight and not segment.payload and segment.window == self.snd_wnd and not segment.flags & FIN:
            self._duplicate_ack(now)
        self._update_window(segment)
        if gained:
            self.owner.room(self)
        self._output(now)
        return self.state is not State.CLOSED

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
        if self.state not in RECEIVING:
            if self.state is not State.CLOSED:
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
        if fin:
            self._fin_at = seq_add(self.rcv_nxt, start + len(data))
        if start:
            if data:
                self._in.keep(self.rcv_nxt, seq, data)
            self._ack_now = True  # a gap: say so at once (RFC 5681, 4.2)
            self._output(now)
        else:
            self._in_sequence(data, now)

    def _in_sequence(self, data: bytes, now: int) -> None:
        size = len(data)
        fin = False
        if size:
            self._in.ready += data
            self.rcv_nxt = self.rcv_nxt + size & MASK
            if size > self._full:
                self._full = size
            self._unacked += size
            if self._in.gaps:
                self.rcv_nxt = seq_add(self.rcv_nxt, self._in.join(self.rcv_nxt))
                self._ack_now = True
            elif self._unacked >= 2 * self._full:
                self._ack_now = True
            elif self._ack_due is None:
                self._ack_due = now + self.settings.delayed_ack
        if self._fin_at is not None and seq_diff(self.rcv_nxt, self._fin_at) >= 0 and not self.peer_ended:
            fin = self._ack_now = self.peer_ended = True
            self.rcv_nxt = seq_add(self._fin_at, 1)
            if seq_diff(self.rcv_nxt, self.rcv_adv) > 0:  # the FIN lay right behind the window
                self.rcv_adv = self.rcv_nxt
            self._fin_received(now)
        if size or fin:
            self.owner.received(self)
        if self.state is State.TIME_WAIT:
            self._tell_closed(Reason.FINISHED)
        if self.state is not State.CLOSED:
            self._output(now)

    def _fin_received(self, now: int) -> None:
        if self.state in (State.SYN_RECEIVED, State.ESTABLISHED):
            self.state = State.CLOSE_WAIT
        elif self.state is State.FIN_WAIT_1:
            self.state = State.CLOSING  # an acknowledgement of our FIN would have come first
        elif self.state is State.FIN_WAIT_2:
            self._time_wait(now)

    # -- states -------------------------------------------------------------------------------------------------------------

    def _established(self, segment: Segment, now: int) -> None:
        default = MSS_DEFAULT_V4 if len(self.ends.local) == 4 else MSS_DEFAULT_V6
        limit = self.wire.segment_limit(now)
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
        self._last_sent = now
        self._full = max(1, min(self.mss, self.own_mss))
        self.state = State.FIN_WAIT_1 if self._fin_queued else State.ESTABLISHED
        if self.keep_alive:
            self._alive = now + self.keep_alive
        self.owner.opened(self)

    def _tell_closed(self, reason: Reason) -> None:
        if not self._told_closed:
            self._told_closed = True
            self.owner.closed(self, reason)

    def _tell_trouble(self, trouble: str) -> None:
        self.on_trouble(self, trouble)


def _acceptable(start: int, length: int, window: int) -> bool:
    """The four cases of RFC 9293, table 6; ``start`` counts from RCV.NXT."""
    if length == 0:
        return start == 0 if window == 0 else 0 <= start < window
    if window == 0:
        return False
    return 0 <= start < window or 0 <= start + length - 1 < window


def _nobody(_connection: Connection) -> None:
    pass


def _unheard(_connection: Connection, _trouble: str) -> None:
    pass
