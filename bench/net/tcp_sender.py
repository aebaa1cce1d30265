"""The sending side of a connection: segments out (RFC 9293, 3.8.6.2.1, 3.7.4), and what the peer's acknowledgements and windows change.

Units: times are ticks, lengths are bytes, sequence numbers are modulo 2**32.
"""

from typing import Final

from bench.net.segment import ACK, FIN, PSH, RST, URG, Segment, mss_option, seq_add, seq_diff
from bench.net.tcb import MASK, SYNCHRONIZED, WINDOW_MAX, Tcb
from bench.net.tcp_types import Reason, State

CHALLENGES: Final = 10
"""Challenge acknowledgements a second (RFC 5961, 7)."""


class Sender(Tcb):
    """What goes out, and when."""

    __slots__ = ()

    def abort(self, now: int, reason: Reason = Reason.ABORTED) -> None:
        """Reset the connection: what was not delivered is lost."""
        if self.state in SYNCHRONIZED:
            self._emit(RST | ACK, self.snd_nxt, b"", now)
        self._over(reason)

    # -- segments out -------------------------------------------------------------------------------------------------------

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
        at = self.snd_nxt - self.snd_una & MASK
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
        self.snd_nxt = end = begin + length & MASK
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
        if count <= CHALLENGES:
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
            self.rcv_adv = ack + window & MASK
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
        if room > WINDOW_MAX:
            room = WINDOW_MAX
        if self.state is State.SYN_SENT:
            return room
        told = self.rcv_adv - self.rcv_nxt & MASK
        gain = room - told
        return room if gain >= capacity // 2 or gain >= self.own_mss else told

    # -- acknowledgements ---------------------------------------------------------------------------------------------------

    def _new_ack(self, ack: int, gained: int, now: int) -> None:
        flight = self.snd_max - self.snd_una & MASK
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
