"""One TCP connection: the machine of RFC 9293, 3.10, with its timers, windows and buffers.

Segments, calls and the time go in; segments go out through ``Wire``, events to the ``Owner``, and ``due`` is when ``tick`` is wanted.
Its law: SND.UNA <= SND.NXT <= SND.MAX; ``_out`` holds the bytes from SND.UNA on, the FIN follows the last of them.
Longer than other files, since the machine is one. Not here: window scaling, SACK and timestamps, which a line of 9600 to 625 000 baud does not fill.

Units: times are ticks, lengths are bytes, sequence numbers are modulo 2**32.
"""

from collections.abc import Callable
from typing import Final

from bench.net.congestion import Congestion
from bench.net.errors import PacketError
from bench.net.receive_buffer import ReceiveBuffer
from bench.net.rto import RtoEstimator
from bench.net.segment import (
    ACK,
    FIN,
    MSS_DEFAULT_V4,
    MSS_DEFAULT_V6,
    PSH,
    RST,
    SYN,
    URG,
    Segment,
    mss_option,
    read_mss,
    seq_add,
    seq_diff,
)
from bench.net.tcp_types import CAN_SEND as CAN_SEND
from bench.net.tcp_types import KEEP_ALIVE_SECONDS as KEEP_ALIVE_SECONDS
from bench.net.tcp_types import Counts as Counts
from bench.net.tcp_types import Endpoints as Endpoints
from bench.net.tcp_types import Owner as Owner
from bench.net.tcp_types import Reason as Reason
from bench.net.tcp_types import State as State
from bench.net.tcp_types import TcpSettings as TcpSettings
from bench.net.tcp_types import Wire as Wire

_RECEIVING: Final = frozenset({State.SYN_RECEIVED, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
_SYNCHRONIZED: Final = frozenset(State) - {State.CLOSED, State.SYN_SENT, State.TIME_WAIT}
_WINDOW_MAX: Final = 65_535
_CHALLENGES: Final = 10
"""Challenge acknowledgements a second (RFC 5961, 7)."""
_MASK: Final = 0xFFFF_FFFF
_HALF: Final = 0x7FFF_FFFF


class Connection:
    """A TCB. ``open`` or ``accept`` begin it."""

    __slots__ = (
        "_ack_due",
        "_ack_now",
        "_alive",
        "_alive_probes",
        "_blocked",
        "_challenge",
        "_fin_at",
        "_fin_queued",
        "_full",
        "_in",
        "_last_sent",
        "_out",
        "_passive",
        "_persist",
        "_probed",
        "_rexmit",
        "_shifts",
        "_since",
        "_timed",
        "_told_closed",
        "_unacked",
        "_wait",
        "congestion",
        "counts",
        "deaf",
        "ends",
        "irs",
        "iss",
        "keep_alive",
        "max_window",
        "mss",
        "on_trouble",
        "on_urgent",
        "own_mss",
        "owner",
        "peer_ended",
        "peer_mss",
        "rcv_adv",
        "rcv_nxt",
        "rtt",
        "settings",
        "snd_max",
        "snd_nxt",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "state",
        "urgent_until",
        "wire",
    )

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
        self.keep_alive = settings.keep_alive
        """Idle time after which the peer is asked whether it is there; 0: never. ``set_keep_alive`` changes it."""
        self.on_urgent: Callable[[Connection], None] = _nobody
        self.on_trouble: Callable[[Connection, str], None] = _unheard
        """Told what may be wrong and does not end the connection: a soft ICMP error, R1 retransmissions (MUST-47)."""
        self.iss = self.irs = 0
        self.snd_una = self.snd_nxt = self.snd_max = 0
        self.snd_wnd = self.snd_wl1 = self.snd_wl2 = 0
        self.snd_up: int | None = None
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """The right edge of the window as last told."""
        self.mss = MSS_DEFAULT_V4
        self.peer_mss: int | None = None
        self.max_window = 0
        """The largest window the peer ever offered (sender's silly window avoidance)."""
        self.rtt = RtoEstimator(settings.granularity, settings.rto_floor, settings.rto_ceiling, settings.rto_initial)
        self.congestion = Congestion(self.mss, settings.initial_segments)
        self._in = ReceiveBuffer(settings.receive_buffer)
        self._out = bytearray()
        self._passive = False
        self._fin_queued = False
        self._fin_at: int | None = None
        """The sequence number of the peer's FIN, once one came."""
        self._told_closed = False
        self._ack_now = False
        self._unacked = 0
        self._full = 1
        """The longest payload the peer has sent: two of these are acknowledged at once (SHLD-19)."""
        self._blocked = False
        self._timed: tuple[int, int] | None = None
        self._last_sent = 0
        self._since: int | None = None
        """When the oldest unanswered byte, or probe, first went out without an answer since."""
        self._rexmit: int | None = None
        self._persist: int | None = None
        self._probed: int | None = None
        """SND.MAX of a window probe: what a probe carries does not count as sent, yet may be acknowledged."""
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
        return self.snd_max - self.snd_una & _MASK

    @property
    def unsent(self) -> int:
        """Bytes that wait for window or line."""
        return max(0, len(self._out) - max(0, seq_diff(self.snd_nxt, self.snd_una)))

    @property
    def lingers(self) -> bool:
        """In TIME-WAIT, with nothing left to say: all that is kept is its name and numbers."""
        return self.state is State.TIME_WAIT and not self._ack_now

    @property
    def urgent_left(self) -> int:
        """Bytes yet to read up to the end of the urgent data, those that have not come included (MUST-33)."""
        if self.urgent_until is None:
            return 0
        return max(0, seq_diff(self.urgent_until, self.rcv_nxt) + len(self._in.ready))

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
        if not self._ack_now and data and self.state in _RECEIVING:
            capacity = self._in.capacity
            left = self.rcv_adv - self.rcv_nxt & _MASK
            gain = min(capacity - len(self._in.ready), _WINDOW_MAX) - left
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
        if self.deaf and self.readable and self.state in _RECEIVING:
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

    def abort(self, now: int, reason: Reason = Reason.ABORTED) -> None:
        """Reset the connection: what was not delivered is lost."""
        if self.state in _SYNCHRONIZED:
            self._emit(RST | ACK, self.snd_nxt, b"", now)
        self._over(reason)

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
            if self.state in _SYNCHRONIZED and self.state is not State.SYN_RECEIVED:
                self.snd_nxt = self.snd_una
                self._timed = None
                self._output(now)

    def set_keep_alive(self, interval: int, now: int) -> None:
        """Ask an idle peer whether it is there, every ``interval`` ticks; 0: never (MUST-24, MUST-27)."""
        self.keep_alive = interval
        self._alive_probes = 0
        self._alive = now + interval if interval and self.state in _SYNCHRONIZED else None

    def resume(self, now: int) -> None:
        """The link has room again."""
        if self._blocked:
            self._blocked = False
            self._output(now)

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """When ``tick`` is wanted next; None: never."""
        due = self._rexmit
        if self._ack_due is not None and (due is None or self._ack_due < due):
            due = self._ack_due
        if self._persist is not None and (due is None or self._persist < due):
            due = self._persist
        if self._wait is not None and (due is None or self._wait < due):
            due = self._wait
        if self._alive is not None and (due is None or self._alive < due):
            due = self._alive
        return due

    def tick(self, now: int) -> None:
        """What is due by now."""
        if self._wait is not None and self._wait <= now:
            self._wait = None
            if self.state is State.FIN_WAIT_2:
                self.abort(now)
            else:
                self._over(Reason.FINISHED)
            return
        if self._ack_due is not None and self._ack_due <= now:
            self._ack_due = None
            self._ack_now = True
            self._output(now)
        if self._rexmit is not None and self._rexmit <= now:
            self._timeout(now)
        if self._persist is not None and self._persist <= now:
            self._probe(now)
        if self._alive is not None and self._alive <= now:
            self._ask_alive(now)

    def _given_up(self, now: int) -> bool:
        """R1 and R2 (MUST-20): nothing has been answered for too long, or for long enough to say so."""
        patience = self.settings.r2_syn if self.state in (State.SYN_SENT, State.SYN_RECEIVED) else self.settings.r2
        if self._since is not None and now - self._since >= patience:
            self.abort(now, Reason.TIMED_OUT)
            return True
        if self._shifts == self.settings.r1:
            self.wire.doubt()
            self.on_trouble(self, f"no answer to {self._shifts} retransmissions")
        return self.state is State.CLOSED

    def _timeout(self, now: int) -> None:
        if self._given_up(now):
            return
        self.counts.timeouts += 1
        self.congestion.timed_out(self.flight, self._shifts == 0, self.snd_max)
        self._shifts += 1
        self.rtt.back_off()
        self._timed = None
        self._rexmit = now + self.rtt.rto
        if self.state is State.SYN_SENT:
            self._send_syn(SYN, now, again=True)
            return
        if self.state is State.SYN_RECEIVED and self.snd_una == self.iss:
            self._send_syn(SYN | ACK, now, again=True)
            return
        self.snd_nxt = self.snd_una
        if self.snd_wnd == 0 and self._out:  # the window shrank over what is under way: ask for it (MUST-34, MUST-35)
            self._rexmit = None
            self._probe(now)
        else:
            self._output(now)

    def _probe(self, now: int) -> None:
        """The window has been too small for what waits: try with one byte, or with what fits (3.8.6.1, 3.8.6.2.1)."""
        if self._given_up(now):
            return
        if self._since is None:
            self._since = now
        self.counts.probes += 1
        self._shifts += 1
        self._persist = now + min(self.rtt.rto << min(self._shifts, 16), self.settings.rto_ceiling)  # SHLD-30
        at = seq_diff(self.snd_nxt, self.snd_una)
        fits = min(self.snd_wnd - at, self.mss)
        data = self._out[at : at + max(1, fits)]
        if not data:
            self._persist = self._since = None
            return
        if self._emit(ACK | PSH, self.snd_nxt, data, now):
            if fits > 0:
                self._persist = None
                self._sent(len(data), now)
            else:
                self._probed = seq_add(self.snd_nxt, 1)

    def _ask_alive(self, now: int) -> None:
        """SHLD-12: a segment with an old number and no data, which any peer answers. Not while something is under way (MUST-26)."""
        if self._alive_probes >= self.settings.keep_alive_probes:
            self.abort(now, Reason.TIMED_OUT)
            return
        if self.flight or self._persist is not None:
            self._alive = now + self.keep_alive
            return
        self._alive_probes += 1
        self._alive = now + max(self.keep_alive // 10, self.rtt.rto)
        self._emit(ACK, seq_add(self.snd_una, -1), b"", now)

    # -- segments in ---------------------------------------------------------------------------------------------------

    def predicted(self, ack: int, window: int, payload: bytes, now: int) -> bool:
        """The usual case in ESTABLISHED: SEG.SEQ is RCV.NXT, flags are ACK and perhaps PSH, no options. Does exactly what ``arrived`` would.

        False, and nothing is done, where something else is going on.
        """
        gained = ack - self.snd_una & _MASK
        size = len(payload)
        if (
            gained > (self.snd_max - self.snd_una & _MASK)
            or not (gained or size)
            or size > (self.rcv_adv - self.rcv_nxt & _MASK)
            or (self.rcv_nxt - self.snd_wl1 & _MASK) > _HALF  # a later segment has told its window already
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
        if size and self.state in _RECEIVING:
            self._in_sequence(payload, now)
        return True

    def arrived(self, segment: Segment, now: int) -> None:
        """RFC 9293, 3.10.7.3 and 3.10.7.4."""
        if self.state is State.CLOSED:
            return
        if self.keep_alive and self.state in _SYNCHRONIZED:
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
        self.rcv_adv = seq_add(self.rcv_nxt, min(self._in.room, _WINDOW_MAX))  # as our SYN told
        if acceptable:
            self.snd_una = self.snd_nxt = self.snd_max = segment.ack
            self._ack_now = True
            self._established(segment, now)
            if self.state in _SYNCHRONIZED:
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
            if self.state not in _SYNCHRONIZED:
                return False
        if seq_diff(ack, self.snd_max) > 0:
            if ack != self._probed:
                self._challenge_ack(now)
                return False
            self.snd_nxt = self.snd_max = ack  # the window had opened, and took the probe's byte
        gained = seq_diff(ack, self.snd_una)
        if gained < 0:
            if gained < -max(self.max_window, _WINDOW_MAX):  # RFC 5961, 5
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

    def _new_ack(self, ack: int, gained: int, now: int) -> None:
        flight = self.snd_max - self.snd_una & _MASK
        fin_acked = self._fin_queued and gained > len(self._out)
        del self._out[:gained]
        self.snd_una = ack
        if seq_diff(self.snd_nxt, ack) < 0:
            self.snd_nxt = ack
        if self.snd_up is not None and seq_diff(ack, self.snd_up) >= 0:
            self.snd_up = None
        if self._timed is not None and seq_diff(ack, self._timed[0]) > 0:
            self.rtt.sample(now - self._timed[1])
            self._timed = None
        under_way = flight > gained
        partial = self.congestion.acknowledged(gained, ack, flight - gained)
        self._shifts = 0
        self._rexmit = now + self.rtt.rto if under_way else None
        self._since = now if under_way else None
        if partial and under_way:
            self._send_again(now)
        if fin_acked:
            self._fin_acknowledged(now)

    def _fin_acknowledged(self, now: int) -> None:
        self._fin_queued = False  # it is done with, and never goes out again
        if self.state is State.FIN_WAIT_1:
            self.state = State.FIN_WAIT_2
            if self.deaf:
                self._wait = now + self.settings.fin_wait_2
        elif self.state is State.CLOSING:
            self._time_wait(now)
            self._tell_closed(Reason.FINISHED)
        elif self.state is State.LAST_ACK:
            self._over(Reason.FINISHED)

    def _duplicate_ack(self, now: int) -> None:
        if self.congestion.duplicate(self.flight, self.snd_max):
            self.counts.fast_retransmissions += 1
            self._timed = None
            self._send_again(now)

    def _update_window(self, segment: Segment) -> None:
        newer = seq_diff(segment.seq, self.snd_wl1)
        if newer < 0 or (newer == 0 and seq_diff(segment.ack, self.snd_wl2) < 0):
            return
        opened = segment.window > self.snd_wnd
        self.snd_wnd = segment.window
        self.snd_wl1, self.snd_wl2 = segment.seq, segment.ack
        self.max_window = max(self.max_window, segment.window)
        if self._persist is not None:
            self._since = None  # whoever answers probes is there: a closed window is no reason to give up (MUST-37)
            if opened:
                self._persist = None
                self._shifts = 0

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
            self.rcv_nxt = self.rcv_nxt + size & _MASK
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

    # -- segments out --------------------------------------------------------------------------------------------------

    def _output(self, now: int) -> None:
        """Send what window, congestion and Nagle allow; an acknowledgement that is due goes with it or alone."""
        if self._blocked or self.state is State.CLOSED or self.state is State.SYN_SENT:
            return
        if self.state is State.SYN_RECEIVED and self.snd_una == self.iss:
            return
        if self._out or self._fin_queued:
            while self._send_next(now):
                pass
        if self._ack_now and not self._blocked:
            # after a timeout SND.NXT may be behind what the peer expects: SND.MAX never is
            self._emit(ACK, self.snd_max, b"", now)

    def _send_next(self, now: int) -> bool:
        """One segment with data or FIN, if one may go. False where none did."""
        at = self.snd_nxt - self.snd_una & _MASK
        waiting = len(self._out) - at
        if waiting < 0 or (waiting == 0 and not self._fin_queued):
            return False
        cwnd = self.congestion.cwnd
        length = (self.snd_wnd if self.snd_wnd < cwnd else cwnd) - at
        if length > self.mss:
            length = self.mss
        if length > waiting:
            length = waiting
        elif length < 0:
            length = 0
        fin = self._fin_queued and length == waiting
        if length != self.mss and not self._worth_sending(length, waiting, fin, at):
            if waiting and self._rexmit is None and self._persist is None:
                self._persist = now + self.rtt.rto  # SHLD-29
            return False
        self._persist = None
        flags = ACK
        if fin:
            flags |= FIN
        if length and length == waiting:
            flags |= PSH
        if not self._emit(flags, self.snd_nxt, self._out[at : at + length], now):
            return False
        self._sent(length + fin, now)
        return not fin

    def _worth_sending(self, length: int, waiting: int, fin: bool, at: int) -> bool:
        """Nagle and the sender's silly window avoidance (MUST-38; 3.8.6.2.1, 3.7.4) for what is no full segment."""
        if not length:
            return fin and not waiting
        if seq_diff(self.snd_nxt, self.snd_max) < 0:
            return True
        if length == waiting and (at == 0 or not self.settings.nagle or self._fin_queued):
            return True
        return length >= self.max_window // 2 > 0

    def _send_again(self, now: int) -> None:
        """The first unacknowledged segment alone."""
        length = min(len(self._out), self.mss, max(1, self.snd_wnd))
        fin = self._fin_queued and length == len(self._out)
        self.counts.retransmissions += 1
        flags = ACK | (FIN if fin else 0) | (PSH if length else 0)
        self._emit(flags, self.snd_una, self._out[:length], now)

    def _sent(self, length: int, now: int) -> None:
        begin = self.snd_nxt
        self.snd_nxt = end = begin + length & _MASK
        self._last_sent = now
        if begin == self.snd_max:
            if self._timed is None:
                self._timed = (begin, now)
            self.snd_max = end
        else:
            self.counts.retransmissions += 1
            if seq_diff(end, self.snd_max) > 0:
                self.snd_max = end
        if self._rexmit is None:
            self._rexmit = now + self.rtt.rto
        if self._since is None:
            self._since = now

    def _send_syn(self, flags: int, now: int, *, again: bool = False) -> None:
        """SYN, or SYN and ACK; the only segment with an MSS option (MUST-65)."""
        self._timed = None if again or self.snd_max != self.iss else (self.iss, now)
        self.snd_nxt = self.snd_max = seq_add(self.iss, 1)
        if again:
            self.counts.retransmissions += 1
        if self._since is None:
            self._since = now
        if self._rexmit is None or self._rexmit <= now:
            self._rexmit = now + self.rtt.rto
        self._emit(flags, self.iss, b"", now, mss_option(self.own_mss))

    def _challenge_ack(self, now: int) -> None:
        second, count = self._challenge
        this = now // max(1, self.settings.granularity * 1000)
        count = count + 1 if second == this else 1
        self._challenge = (this, count)
        if count <= _CHALLENGES:
            self.counts.challenges += 1
            self._emit(ACK, self.snd_max, b"", now)

    def _emit(self, flags: int, seq: int, payload: bytes | bytearray, now: int, options: bytes = b"") -> bool:
        window = self._window()
        ack = self.rcv_nxt if flags & ACK else 0
        if options or self.snd_up is not None:
            sent = self.wire.emit(self._special(flags, seq, ack, window, bytes(payload), options), now)
        else:
            sent = self.wire.carry(flags, seq, ack, window, payload, now)
        if not sent:
            self._blocked = True
            return False
        if flags & ACK:
            self._ack_now = False
            self._ack_due = None
            self._unacked = 0
            self.rcv_adv = ack + window & _MASK
        return True

    def _special(self, flags: int, seq: int, ack: int, window: int, payload: bytes, options: bytes) -> Segment:
        """A segment with options, or one before the end of urgent data (MUST-31: however long that is)."""
        urgent = 0
        if self.snd_up is not None and flags & ACK and (ahead := seq_diff(self.snd_up, seq)) > 0:
            flags |= URG
            urgent = min(ahead, 0xFFFF)
        return Segment(self.ends.local_port, self.ends.remote_port, seq, ack, flags, window, payload, urgent, options)

    def _window(self) -> int:
        """What to offer: the right edge never moves back, and forward only by a worthwhile step (3.8.6.2.2)."""
        capacity = self._in.capacity
        room = capacity - len(self._in.ready)
        if room > _WINDOW_MAX:
            room = _WINDOW_MAX
        if self.state is State.SYN_SENT:
            return room
        told = self.rcv_adv - self.rcv_nxt & _MASK
        gain = room - told
        return room if gain >= capacity // 2 or gain >= self.own_mss else told

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

    def _time_wait(self, now: int) -> None:
        self.state = State.TIME_WAIT
        self._rexmit = self._persist = self._alive = None
        self._wait = now + 2 * self.settings.msl

    def _over(self, reason: Reason) -> None:
        self.state = State.CLOSED
        self._rexmit = self._persist = self._ack_due = self._wait = self._alive = None
        self._out.clear()
        self._tell_closed(reason)

    def _tell_closed(self, reason: Reason) -> None:
        if not self._told_closed:
            self._told_closed = True
            self.owner.closed(self, reason)


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
