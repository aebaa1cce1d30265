"""The transmission control block: the variables of RFC 9293, 3.3.1, the buffers, the timers' times, and what follows from these alone.

Its law: SND.UNA <= SND.NXT <= SND.MAX; ``_out`` holds the bytes from SND.UNA on, the FIN follows the last of them.

Units: times are ticks, lengths are bytes, sequence numbers are modulo 2**32.
"""

from typing import Final

from bench.net.congestion import Congestion
from bench.net.receive_buffer import ReceiveBuffer
from bench.net.rto import RtoEstimator
from bench.net.segment import MSS_DEFAULT_V4, Segment, read_mss, seq_add, seq_diff
from bench.net.tcp_types import CAN_SEND, Counts, Endpoints, Reason, State, TcpSettings, Wire

RECEIVING: Final = frozenset({State.SYN_RECEIVED, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
SYNCHRONIZED: Final = frozenset(State) - {State.CLOSED, State.SYN_SENT, State.TIME_WAIT}
WINDOW_MAX: Final = 65_535
MASK: Final = 0xFFFF_FFFF
HALF: Final = 0x7FFF_FFFF


class Tcb:
    """The state of one connection. Who inherits acts on it: ``Sender``, ``Timers``, ``Connection``, each on the one before."""

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
        "own_mss",
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

    def __init__(self, ends: Endpoints, wire: Wire, settings: TcpSettings, own_mss: int) -> None:
        """In CLOSED. (Long: a line for every variable.)"""
        self.ends = ends
        self.wire = wire
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
        return self.snd_max - self.snd_una & MASK

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

    # -- states -------------------------------------------------------------------------------------------------------------

    def _begin(self, iss: int) -> None:
        self.iss = self.snd_una = self.snd_nxt = self.snd_max = iss

    def _peer_syn(self, segment: Segment) -> None:
        """What a peer's SYN says (MUST-5, 14 to 16)."""
        self.peer_mss = read_mss(segment.options)
        self.irs = segment.seq
        self.rcv_nxt = self.rcv_adv = seq_add(segment.seq, 1)
        self.snd_wnd = self.max_window = segment.window
        self.snd_wl1 = segment.seq

    def _time_wait(self, now: int) -> None:
        self.state = State.TIME_WAIT
        self._rexmit = self._persist = self._alive = None
        self._wait = now + 2 * self.settings.msl

    def _over(self, reason: Reason) -> None:
        self.state = State.CLOSED
        self._rexmit = self._persist = self._ack_due = self._wait = self._alive = None
        self._out.clear()
        self._tell_closed(reason)

    # -- what the owner is told ----------------------------------------------------------------------------------------------

    def _tell_closed(self, reason: Reason) -> None:
        """It is over, once."""
        raise NotImplementedError

    def _tell_trouble(self, trouble: str) -> None:
        """Something may be wrong."""
        raise NotImplementedError
