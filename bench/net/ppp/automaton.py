"""The option negotiation automaton of RFC 1661, chapter 4: its table, and the machine that runs it for LCP, IPCP and IPV6CP alike.

What the options mean is a ``Negotiator``'s business. Units: times are ticks, handed in.

Longer than other files: the table of 4.1 stands here as the standard prints it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Protocol

from bench.net.ppp.packets import Code, ControlPacket, Option, PppError, encode_options, parse_control, parse_options


class State(IntEnum):
    """RFC 1661, 4.2, with the table's own numbers."""

    INITIAL = 0
    STARTING = 1
    CLOSED = 2
    STOPPED = 3
    CLOSING = 4
    STOPPING = 5
    REQ_SENT = 6
    ACK_RCVD = 7
    ACK_SENT = 8
    OPENED = 9


class Event(StrEnum):
    """RFC 1661, 4.3."""

    UP = "Up"
    DOWN = "Down"
    OPEN = "Open"
    CLOSE = "Close"
    TIMEOUT = "TO+"
    TIMEOUT_LAST = "TO-"
    REQUEST_GOOD = "RCR+"
    REQUEST_BAD = "RCR-"
    ACK = "RCA"
    NAK = "RCN"
    TERMINATE_REQUEST = "RTR"
    TERMINATE_ACK = "RTA"
    UNKNOWN_CODE = "RUC"
    REJECT_BORNE = "RXJ+"
    REJECT_FATAL = "RXJ-"
    ECHO = "RXR"


class Action(StrEnum):
    """RFC 1661, 4.4."""

    LAYER_UP = "tlu"
    LAYER_DOWN = "tld"
    LAYER_STARTED = "tls"
    LAYER_FINISHED = "tlf"
    INIT_RESTART = "irc"
    ZERO_RESTART = "zrc"
    SEND_REQUEST = "scr"
    SEND_ACK = "sca"
    SEND_NAK = "scn"
    SEND_TERMINATE = "str"
    SEND_TERMINATE_ACK = "sta"
    SEND_CODE_REJECT = "scj"
    SEND_ECHO_REPLY = "ser"


TABLE_TEXT: Final = """
      0      1          2            3            4      5      6           7           8           9
Up    2      irc,scr/6  -            -            -      -      -           -           -           -
Down  -      -          0            tls/1        0      1      1           1           1           tld/1
Open  tls/1  1          irc,scr/6    3            5      5      6           7           8           9
Close 0      tlf/0      2            2            4      4      irc,str/4   irc,str/4   irc,str/4   tld,irc,str/4
TO+   -      -          -            -            str/4  str/5  scr/6       scr/6       scr/8       -
TO-   -      -          -            -            tlf/2  tlf/3  tlf/3       tlf/3       tlf/3       -
RCR+  -      -          sta/2        irc,scr,sca/8 4     5      sca/8       sca,tlu/9   sca/8       tld,scr,sca/8
RCR-  -      -          sta/2        irc,scr,scn/6 4     5      scn/6       scn/7       scn/6       tld,scr,scn/6
RCA   -      -          sta/2        sta/3        4      5      irc/7       scr/6       irc,tlu/9   tld,scr/6
RCN   -      -          sta/2        sta/3        4      5      irc,scr/6   scr/6       irc,scr/8   tld,scr/6
RTR   -      -          sta/2        sta/3        sta/4  sta/5  sta/6       sta/6       sta/6       tld,zrc,sta/5
RTA   -      -          2            3            tlf/2  tlf/3  6           6           8           tld,scr/6
RUC   -      -          scj/2        scj/3        scj/4  scj/5  scj/6       scj/7       scj/8       scj/9
RXJ+  -      -          2            3            4      5      6           6           8           9
RXJ-  -      -          tlf/2        tlf/3        tlf/2  tlf/3  tlf/3       tlf/3       tlf/3       tld,irc,str/5
RXR   -      -          2            3            4      5      6           7           8           ser/9
"""
"""RFC 1661, 4.1, cell by cell: actions, then the next state; "-" cannot happen. The options r (restart) and p (passive) are not taken."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one event in one state does."""

    actions: tuple[Action, ...]
    next: State


def _read(text: str) -> dict[tuple[Event, State], Cell]:
    table = {}
    for line in text.strip().splitlines()[1:]:
        event, *cells = line.split()
        for state, cell in zip(State, cells, strict=True):
            if cell != "-":
                *actions, following = cell.replace("/", ",").split(",")
                table[Event(event), state] = Cell(tuple(map(Action, actions)), State(int(following)))
    return table


TABLE: Final = _read(TABLE_TEXT)
_TIMED: Final = frozenset({State.CLOSING, State.STOPPING, State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})
"""States in which the restart timer runs (4.1)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is answered to a peer's Configure-Request: Ack of all of it, Nak or Reject of some."""

    code: Code
    options: tuple[Option, ...]


class Negotiator(Protocol):
    """What one protocol's options mean."""

    def begin(self) -> None:
        """A new negotiation: back to what is wished for at first."""

    def request(self) -> tuple[Option, ...]:
        """What to ask for now."""

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        """The answer to what the peer asks for; ``insist``: enough was Naked, reject instead (Max-Failure)."""

    def acked(self, options: tuple[Option, ...]) -> None:
        """The peer agrees to what was asked for."""

    def nakked(self, options: tuple[Option, ...]) -> None:
        """The peer would rather have these values."""

    def rejected(self, options: tuple[Option, ...]) -> None:
        """The peer does not know, or never takes, these."""


@dataclass(frozen=True, slots=True)
class Patience:
    """RFC 1661, 4.6. The timer in ticks."""

    restart: int
    max_configure: int = 10
    max_terminate: int = 2
    max_failure: int = 5
    """Configure-Naks without an Ack in between; then what is not agreed to is rejected."""
    max_rounds: int = 30
    """Naks and Rejects taken in one negotiation: a peer that is not content then never will be."""


RESTART_SLACK_MS: Final = 100
"""What RFC 1661, 4.6 allows the peer beyond the time on the line."""


def patience_on(hz: int, octet: int, longest: int, beyond: int = 0) -> Patience:
    """Timers for a line whose octets take ``octet`` ticks: twice the time of a frame of ``longest`` octets each way, ``beyond`` ticks and 100 ms.

    A line of 9600 baud gives 6.4 s where frames have 1500 octets, a fast one 0.1 s (RFC 1661, 4.6: large enough on slow links, shorter on fast ones).
    """
    return Patience(4 * octet * longest + beyond + hz * RESTART_SLACK_MS // 1000)


class IllegalEventError(Exception):
    """An event that the table says cannot happen: whoever caused it has not kept to the order of layers."""


class Automaton:
    """One control protocol of one link. ``extra`` handles codes beyond the common seven (LCP's); True where it knew the code."""

    def __init__(
        self, name: str, negotiator: Negotiator, send: Callable[[bytes], None], patience: Patience, mru: int = 1500
    ) -> None:
        self.name = name
        self.negotiator = negotiator
        self.send = send
        self.patience = patience
        self.mru = mru
        """The longest packet that may be sent: a reject quotes no more."""
        self.state = State.INITIAL
        self.discarded = 0
        """Packets discarded in silence: malformed, or answers to nothing."""
        self.why = ""
        """Why nothing came of it, where that is so."""
        self.terminated = 0
        """Terminate-Acks that came."""
        self.on_up: Callable[[int], None] = _nothing
        self.on_down: Callable[[int], None] = _nothing
        self.on_started: Callable[[int], None] = _nothing
        self.on_finished: Callable[[int], None] = _nothing
        self.extra: Callable[[ControlPacket, int], bool] = _unknown
        self.due: int | None = None
        """When ``tick`` is wanted; None while the restart timer is stopped."""
        self._restarts = 0
        self._identifier = 0
        self._requested: tuple[Option, ...] = ()
        self._failures = 0
        self._rounds = 0
        self._answered = False
        """The last request has had its answer: another one is a repetition (or crossed), and no event."""
        self._answer = b""
        self._begun = False
        """The request at hand has begun a new negotiation already."""
        self._packet: ControlPacket | None = None

    @property
    def opened(self) -> bool:
        return self.state is State.OPENED

    def up(self, now: int) -> None:
        """The layer below is ready."""
        self._afresh()
        self.why = ""
        self.event(Event.UP, now)

    def down(self, now: int) -> None:
        """The layer below is not ready any more."""
        self.event(Event.DOWN, now)

    def open(self, now: int) -> None:
        """Traffic is wanted."""
        if self.state is State.CLOSED:
            self._afresh()
            self.why = ""
        self.event(Event.OPEN, now)

    def close(self, now: int) -> None:
        """Traffic is not wanted any more."""
        self.event(Event.CLOSE, now)

    def tick(self, now: int) -> None:
        """The restart timer, where it is due."""
        if self.due is None or self.due > now:
            return
        if self._restarts > 0:
            self.event(Event.TIMEOUT, now)
            return
        if self.state not in (State.CLOSING, State.STOPPING):
            self.why = f"no answer to {self.patience.max_configure} requests"
        self.event(Event.TIMEOUT_LAST, now)

    def rejected(self, now: int) -> None:
        """The peer has no such protocol (LCP Protocol-Reject): nothing comes of it."""
        if self.state > State.STARTING:
            self.why = "the peer rejects the protocol"
            self.event(Event.REJECT_FATAL, now)

    def receive(self, data: bytes, now: int) -> None:
        """A packet of this protocol came. Discards in silence what is malformed, or answers nothing that was sent."""
        if self.state in (State.INITIAL, State.STARTING):
            self.discarded += 1
            return
        try:
            packet = parse_control(data)
            self._take(packet, now)
        except PppError:
            self.discarded += 1

    def event(self, event: Event, now: int) -> None:
        """One cell of the table. Raises IllegalEventError."""
        cell = TABLE.get((event, self.state))
        if cell is None:
            raise IllegalEventError(f"{self.name}: {event} in state {self.state.name}")
        self.state = cell.next
        if cell.next not in _TIMED:
            self.due = None
        for action in cell.actions:
            self._do(action, now)

    def _take(self, packet: ControlPacket, now: int) -> None:
        self._packet = packet
        code = packet.code
        if code == Code.CONFIGURE_REQUEST:
            self._asked(packet, now)
        elif code in (Code.CONFIGURE_ACK, Code.CONFIGURE_NAK, Code.CONFIGURE_REJECT):
            self._replied(packet, parse_options(packet.data), now)
        elif code == Code.TERMINATE_REQUEST:
            self.why = self.why or "the peer terminates"
            self.event(Event.TERMINATE_REQUEST, now)
        elif code == Code.TERMINATE_ACK:
            self.terminated += 1
            self.event(Event.TERMINATE_ACK, now)
        elif code == Code.CODE_REJECT:
            rejected = packet.data[0] if packet.data else 0
            fatal = Code.CONFIGURE_REQUEST <= rejected <= Code.CODE_REJECT
            if fatal:
                self.why = f"the peer rejects code {rejected}, without which there is no negotiation"
            self.event(Event.REJECT_FATAL if fatal else Event.REJECT_BORNE, now)
        elif not self.extra(packet, now):
            self.event(Event.UNKNOWN_CODE, now)

    def _asked(self, packet: ControlPacket, now: int) -> None:
        """A Configure-Request: judged by what a new negotiation begins with where this one begins it."""
        options = parse_options(packet.data)
        if self.state in (State.OPENED, State.STOPPED):
            self._afresh()
            self._begun = True
        judged = self.negotiator.judge(options, insist=self._failures >= self.patience.max_failure)
        self._answer = ControlPacket(judged.code, packet.identifier, encode_options(judged.options)).encode()
        if judged.code == Code.CONFIGURE_NAK:
            self._failures += 1
        elif judged.code == Code.CONFIGURE_ACK:
            self._failures = 0
        self.event(Event.REQUEST_GOOD if judged.code == Code.CONFIGURE_ACK else Event.REQUEST_BAD, now)
        self._begun = False

    def _replied(self, packet: ControlPacket, options: tuple[Option, ...], now: int) -> None:
        """Ack, Nak or Reject of the last request."""
        if packet.identifier != self._identifier or self._answered:
            raise PppError(
                self.name, 1, f"an answer to request {packet.identifier}, the last one was {self._identifier}"
            )
        if packet.code == Code.CONFIGURE_ACK and options != self._requested:
            raise PppError(self.name, 4, "an Ack of other options than were asked for")
        if packet.code == Code.CONFIGURE_REJECT and not set(options) <= set(self._requested):
            raise PppError(self.name, 4, "a Reject of other options than were asked for")
        self._answered = True
        negotiating = self.state in (State.REQ_SENT, State.ACK_SENT)
        if packet.code == Code.CONFIGURE_ACK:
            if negotiating:
                self.negotiator.acked(options)
            self.event(Event.ACK, now)
            return
        if negotiating:
            self._rounds += 1
            if self._rounds > self.patience.max_rounds:
                self.why = f"no agreement after {self._rounds - 1} rounds"
                self.event(Event.TIMEOUT_LAST, now)
                return
            if packet.code == Code.CONFIGURE_NAK:
                self.negotiator.nakked(options)
            else:
                self.negotiator.rejected(options)
        self.event(Event.NAK, now)

    def _afresh(self) -> None:
        self.negotiator.begin()
        self._failures = 0
        self._rounds = 0

    def _do(self, action: Action, now: int) -> None:
        match action:
            case Action.LAYER_UP:
                self.why = ""
                self.on_up(now)
            case Action.LAYER_DOWN:
                if not self._begun:
                    self._afresh()
                self.on_down(now)
            case Action.LAYER_STARTED:
                self.on_started(now)
            case Action.LAYER_FINISHED:
                self.on_finished(now)
            case Action.INIT_RESTART:
                closing = self.state in (State.CLOSING, State.STOPPING)
                self._restarts = self.patience.max_terminate if closing else self.patience.max_configure
                if self.state in _TIMED:
                    self.due = now + self.patience.restart
            case Action.ZERO_RESTART:
                self._restarts = 0
                self.due = now + self.patience.restart
            case Action.SEND_REQUEST:
                self._send_request(now)
            case Action.SEND_ACK | Action.SEND_NAK:
                self.send(self._answer)
            case Action.SEND_TERMINATE:
                self._count(now)
                self.send(ControlPacket(Code.TERMINATE_REQUEST, self._next()).encode())
            case Action.SEND_TERMINATE_ACK:
                asked = self._packet is not None and self._packet.code == Code.TERMINATE_REQUEST
                identifier = self._packet.identifier if asked and self._packet is not None else self._next()
                self.send(ControlPacket(Code.TERMINATE_ACK, identifier).encode())
            case Action.SEND_CODE_REJECT:
                assert self._packet is not None
                quoted = self._packet.encode()[: max(0, self.mru - 4)]
                self.send(ControlPacket(Code.CODE_REJECT, self._next(), quoted).encode())
            case Action.SEND_ECHO_REPLY:
                pass  # made by ``extra``, which knows the magic number

    def _send_request(self, now: int) -> None:
        self._count(now)
        self._requested = self.negotiator.request()
        self._answered = False
        data = encode_options(self._requested)
        self.send(ControlPacket(Code.CONFIGURE_REQUEST, self._next(), data).encode())

    def _count(self, now: int) -> None:
        self._restarts -= 1
        self.due = now + self.patience.restart

    def _next(self) -> int:
        self._identifier = (self._identifier + 1) & 0xFF
        return self._identifier


def _nothing(_now: int) -> None:
    pass


def _unknown(_packet: ControlPacket, _now: int) -> bool:
    return False
