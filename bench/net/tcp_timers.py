"""The timers of a connection: retransmission, window probes, delayed acknowledgements, keep-alives, TIME-WAIT (RFC 9293, 3.8 and 3.10.8).

Units: times are ticks, lengths are bytes, sequence numbers are modulo 2**32.
"""

from bench.net.segment import ACK, PSH, SYN, seq_add, seq_diff
from bench.net.tcp_sender import Sender
from bench.net.tcp_types import Reason, State


class Timers(Sender):
    """What the time brings."""

    __slots__ = ()

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
            self._tell_trouble(f"no answer to {self._shifts} retransmissions")
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
