"""T=1, the interface device's side (ISO/IEC 7816-3:2006, clause 11), as a machine without I/O.

Bursts and times go in; bursts, outcomes and the next deadline come out. What follows on what is in `t1_table_terminal`; here
is how each step is carried out.

Decisions where the standard leaves room:
- A logical connection is a pair of SAD and DAD (11.3.2.1). Each counts N(S) for itself; IFS and the right to send are
  the line's. One command at a time is under way on a line.
- RESYNCH sets back all connections and both IFS (rule 6). An IFSD that was in force is announced again, and the command
  is sent again from its beginning (rules 6.3 and 6.5); `T1Outcome.resynchs` tells, since a command whose answer was
  lost may then have been executed twice.
- Three attempts (rule 7.4.2), then RESYNCH, three times (rule 6.4), then nothing but a reset helps. If no block ever
  came, three attempts are all (rule 7.4.1).
- Rule 7.4 counts blocks that were not error-free, in succession; a valid R-block in between starts the count anew (so
  annex A, scenario 13). Two sides that only ever ask each other again are stopped after six blocks without progress.
- Rules 2.1, 2.2, 5 and 6 to 7.3 are worded as the standard has them; 7.4 to 7.6, 8 and 9 as implementations quote
  them. Check against the text before certifying on a sub-number.

Longer than other files: every action of the table has its method here.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from bench.engine import Timebase
from bench.iso7816.atr import Atr
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t1_block import (
    IFS_DEFAULT,
    INF_MAX,
    LRC,
    Block,
    BlockError,
    BlockRule,
    EdcScheme,
    IBlock,
    RBlock,
    RCode,
    SBlock,
    Supervisory,
    check_nad,
    edc_scheme,
    encode_block,
    swap_nad,
)
from bench.iso7816.t1_line import ATTEMPTS, STALLED_MAX, BlockReceiver, T1Timing, T1UsageError
from bench.iso7816.t1_outcome import RESPONSE_MAX, Exchange, Numbers, Purpose, T1Failure, T1Outcome
from bench.iso7816.t1_states import EVENT_OF, FAILURES, Action, Event, TerminalState, counts_as_failure
from bench.iso7816.t1_table_terminal import TERMINAL


class T1Terminal:
    """The interface device's side.

    `begin`, `announce_ifsd` and `resynch` give the first burst of an exchange; `receive` and `expire` give the next
    burst, the outcome, or None to wait until `deadline`. `incoming` tells that the card has begun to send.
    """

    def __init__(
        self,
        timing: T1Timing,
        last_received: int,
        *,
        ifsc: int = IFS_DEFAULT,
        edc: EdcScheme = LRC,
        requests_max: int = 1000,
    ) -> None:
        """The leading edge of the last character was at `last_received`. (Long: its variables, and a method for each action of the table.)"""
        self.timing = timing
        self.edc = edc
        self.ifsc = ifsc
        """Information field size of the card, in force."""
        self.ifsd = IFS_DEFAULT
        """Information field size of this terminal, in force."""
        self.requests_max = requests_max
        """How many S-blocks, or empty blocks of a chain, the card may send in a row without getting on."""
        self.state = TerminalState.IDLE
        self.on_step: Callable[[TerminalState, Event], None] | None = None
        """Told of each transition."""
        self._initial_ifsc = ifsc
        self._receiver = BlockReceiver(edc, timing.cwt, last_received)
        self._last_sent = -(10**30)
        self._limit = 0
        self._numbers: dict[int, Numbers] = {}
        self._started = False
        self._now = 0
        self._last_block: Block = RBlock(0, 0)
        self._last_i: IBlock | None = None
        self._wanted_ifsd = IFS_DEFAULT
        self._wish_ifs = 0
        self._ifs_asked = 0
        self._x = Exchange(0, 0, Numbers(), Purpose.APDU, b"", 0, 0)
        self._actions: dict[Action, Callable[[Block | BlockError | None], Burst | T1Outcome]] = {
            Action.SEND_I: self._send_i,
            Action.SEND_R: self._send_r,
            Action.SEND_IFS: self._send_ifs,
            Action.SEND_ABORT: self._send_abort,
            Action.SEND_RESYNCH: self._send_resynch,
            Action.GRANT: self._grant,
            Action.ACCEPT_IFS: self._accept_ifs,
            Action.ACCEPT_ABORT: self._accept_abort,
            Action.ASK: self._ask,
            Action.REPEAT: self._repeat,
            Action.REPEAT_I: self._repeat_i,
            Action.ADVANCE: self._advance,
            Action.TAKE: self._take,
            Action.DELIVER: self._deliver,
            Action.APPLY_IFS: self._apply_ifs,
            Action.ABORTED: self._aborted,
            Action.RESTART: self._restart,
            Action.GIVE_UP: self._give_up,
        }

    @classmethod
    def for_card(
        cls, atr: Atr, rate: Rate, clock_hz: int, timebase: Timebase, last_received: int, *, requests_max: int = 1000
    ) -> T1Terminal:
        """A terminal for a card with this ATR. `last_received` is the leading edge of the card's last character.

        Raises T1TimingError as `T1Timing.at_rate` does.
        """
        timing = T1Timing.at_rate(atr, rate, clock_hz, timebase)
        return cls(timing, last_received, ifsc=atr.ifsc, edc=edc_scheme(atr.edc), requests_max=requests_max)

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self.state is not TerminalState.IDLE and self.state is not TerminalState.DEAD

    @property
    def deadline(self) -> int:
        """When the card will have been silent too long: BWT, or CWT inside a block (11.4.3)."""
        return self._receiver.extended(self._limit)

    # --- what the user asks for --------------------------------------------------------------------------------------

    def begin(self, apdu: bytes, now: int, nad: int = 0) -> Burst:
        """Send a command APDU over the logical connection `nad` (SAD and DAD as this terminal sends them)."""
        self._need_idle("send a command")
        self._clear(nad, Purpose.APDU, apdu, now)
        return self._first(self._turn_idle())

    def announce_ifsd(self, size: int, now: int, nad: int = 0) -> Burst | None:
        """Tell the card the longest information field (1 to 254) this terminal takes from now on (rule 4).

        While an exchange is under way the request is sent at the next occasion, and None is given. There may be none.
        """
        if not 1 <= size <= INF_MAX:
            raise T1UsageError(f"IFSD of {size}: it is 1 to {INF_MAX} (ISO/IEC 7816-3, 11.4.2)")
        if self.busy:
            self._wish_ifs = size
            return None
        self._need_idle("announce an IFSD")
        self._clear(nad, Purpose.IFS, b"", now)
        self._wish_ifs = size
        return self._first(self._turn_idle())

    def resynch(self, now: int, nad: int = 0) -> Burst:
        """Set sequence numbers and information field sizes back (rule 6)."""
        self._need_idle("resynchronise")
        self._clear(nad, Purpose.RESYNCH, b"", now)
        return self._first(self._step(Event.WISH_RESYNCH, None))

    def abort(self) -> None:
        """Abort the chain under way, whichever side sends it, at the next occasion (rule 9).

        The outcome is then ABORTED; if the chain ends before, nothing happens. Raises T1UsageError outside an exchange.
        """
        if not self.busy:
            raise T1UsageError(f"nothing to abort in state {self.state}; abort while a command is under way")
        self._x.wish_abort = T1Failure.ABORTED

    def numbers_at_rest(self) -> Numbers | None:
        """N(S) of the logical connection 00, where a command may be carried out beside the machine (`t1_plain`); else None."""
        if self.state is not TerminalState.IDLE or self._wish_ifs or self.on_step is not None:
            return None
        return self._numbers.setdefault(0, Numbers())

    def rest(self, send: int, receive: int) -> None:
        """A command was carried out so, and nothing was amiss: the numbers that come next."""
        numbers = self._numbers[0]
        numbers.send, numbers.receive = send, receive
        self._started = True

    # --- what the line brings ----------------------------------------------------------------------------------------

    def incoming(self, burst: Burst) -> None:
        """The card has begun a burst (or will at `burst.start`): it is in time if its first character is (11.4.3)."""
        self._receiver.incoming(burst)

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> Burst | T1Outcome | None:
        """The card's burst has been taken; `damaged` are the indices of characters with wrong parity."""
        timing = self.timing
        if not self.busy:
            self._receiver.skip(burst)  # nobody asked: the next block's guard time still runs from it
            return None
        begun = self._receiver.partial
        since = self._receiver.last + timing.pitch_to_terminal if begun else self._last_sent + timing.bgt
        if burst.start < since:
            if burst.start < self._last_sent + timing.character:
                damaged = range(len(burst.data))  # both sides drove the line
            self._x.fault(
                "11.4.3" if not begun else "11.2", f"{since - burst.start} ticks before the guard time is over"
            )
        else:
            self._x.card_ticks += burst.start - since
        self._x.heard = True
        self._x.end = burst.end
        self._now = burst.taken
        self._x.characters += len(burst.data)
        block = self._receiver.receive(burst, self._takes, damaged)
        if block is None:
            self._limit = burst.last + timing.cwt
            return None
        return self._heard_block(block)

    def sent(self, last: int) -> None:
        """The last character that was to be sent left at `last`, where a port's characters do not leave just when asked to."""
        self._limit += last - self._last_sent
        self._last_sent = last

    def expire(self, now: int) -> Burst | T1Outcome | None:
        """`deadline` has passed in silence. None where it has not, or nothing is awaited."""
        if not self.busy or now < self.deadline:
            return None
        self._now = now
        if self._receiver.partial:
            return self._heard_block(self._receiver.close(self._takes))
        self._x.end = now
        return self._step(Event.SILENCE, None)

    # --- deciding ----------------------------------------------------------------------------------------------------

    @property
    def _takes(self) -> int:
        """The longest INF to take: while a new IFSD is being announced, the longer of the two."""
        return max(self.ifsd, self._ifs_asked)

    def _heard_block(self, block: Block | BlockError) -> Burst | T1Outcome:
        if isinstance(block, BlockError):
            self._x.why = str(block)
            return self._step(Event.INVALID, block)
        if block.nad != self._x.nad_in:
            error = BlockError(BlockRule.NAD_OTHER, 1, f"NAD = {block.nad:02X} where {self._x.nad_in:02X} is expected")
            self._x.fault(error.rule.clause, error.found)
            return self._step(Event.INVALID, error)
        self._started = True
        return self._step(self._classify(block), block)

    def _classify(self, block: Block) -> Event:
        if isinstance(block, IBlock):
            if block.ns != self._x.connection.receive:
                return Event.I_WRONG
            if not block.more:
                return Event.I_LAST
            return Event.I_MORE if block.inf else self._request(Event.I_MORE)
        if isinstance(block, RBlock):
            return Event.R_NEXT if block.nr == self._x.connection.send else Event.R_AGAIN
        event = EVENT_OF[block.function, block.response]
        if event is Event.IFS_RESPONSE and block.value != self._ifs_asked:
            self._x.fault("11.6.2, rule 4", f"S(IFS response) says {block.value:02X}, asked was {self._ifs_asked:02X}")
            return Event.INVALID
        return event if block.response else self._request(event)

    def _request(self, event: Event) -> Event:
        """Count what does not get the exchange on."""
        self._x.requests += 1
        return Event.STORM if self._x.requests > self.requests_max else event

    def _step(self, event: Event, block: Block | BlockError | None) -> Burst | T1Outcome:
        row = TERMINAL[self.state]
        step = row.get(event)
        if step is None:
            self._x.fault("11.6", f"{block if block is not None else event} in state {self.state}")
            event = Event.INVALID
            step = row[event]
        exchange = self._x
        if step.action in FAILURES:
            exchange.retries += 1
            exchange.stalled += 1
            exchange.attempts = exchange.attempts + 1 if counts_as_failure(event, step.action) else 0
            if exchange.attempts >= ATTEMPTS or exchange.stalled >= STALLED_MAX:
                event = self._exhausted()
                step = row[event]
        else:
            exchange.attempts = 0
        if self.on_step is not None:
            self.on_step(self.state, event)
        self.state = step.next
        return self._actions[step.action](block)

    def _exhausted(self) -> Event:
        if not self._started:
            return Event.NO_START
        return Event.HOPELESS if self._x.resynchs >= ATTEMPTS else Event.EXHAUSTED

    def _turn_idle(self) -> Burst | T1Outcome:
        """IDLE with something to do."""
        if self._wish_ifs:
            return self._step(Event.WISH_IFS, None)
        if self._x.purpose is not Purpose.APDU:
            return self._outcome()
        return self._next_block()

    def _turn_sending(self) -> Burst | T1Outcome:
        if self._x.wish_abort is not None:
            return self._step(Event.WISH_ABORT, None)
        if self._wish_ifs:
            return self._step(Event.WISH_IFS, None)
        return self._next_block()

    def _turn_receiving(self) -> Burst | T1Outcome:
        if self._x.wish_abort is not None:
            return self._step(Event.WISH_ABORT, None)
        if self._wish_ifs:
            return self._step(Event.WISH_IFS, None)
        return self._step(Event.ACKNOWLEDGE, None)

    def _next_block(self) -> Burst | T1Outcome:
        more = len(self._x.command) - self._x.sent > self.ifsc
        return self._step(Event.NEXT_MORE if more else Event.NEXT_LAST, None)

    # --- actions -----------------------------------------------------------------------------------------------------

    def _send_i(self, _block: object) -> Burst:
        piece = self._x.command[self._x.sent : self._x.sent + self.ifsc]
        self._x.sent += len(piece)
        numbers = self._x.connection
        block = IBlock(self._x.nad, numbers.send, self._x.sent < len(self._x.command), piece)
        numbers.send ^= 1
        self._last_i = block
        return self._send(block)

    def _send_r(self, _block: object) -> Burst:
        return self._send(RBlock(self._x.nad, self._x.connection.receive))

    def _send_ifs(self, _block: object) -> Burst:
        self._ifs_asked, self._wish_ifs = self._wish_ifs, 0
        return self._send(SBlock(self._x.nad, Supervisory.IFS, value=self._ifs_asked))

    def _send_abort(self, _block: object) -> Burst:
        self._x.aborting, self._x.wish_abort = self._x.wish_abort, None
        return self._send(SBlock(self._x.nad, Supervisory.ABORT))

    def _send_resynch(self, _block: object) -> Burst:
        self._x.attempts = self._x.stalled = 0
        self._x.ifs_refused = self._x.purpose is Purpose.IFS
        self._ifs_asked = 0
        return self._send(SBlock(self._x.nad, Supervisory.RESYNCH))

    def _grant(self, block: object) -> Burst:
        assert isinstance(block, SBlock)
        self._x.extensions += 1
        return self._send(SBlock(self._x.nad, Supervisory.WTX, True, block.value), block.value)

    def _accept_ifs(self, block: object) -> Burst:
        assert isinstance(block, SBlock)
        self.ifsc = block.value
        return self._send(SBlock(self._x.nad, Supervisory.IFS, True, block.value))

    def _accept_abort(self, _block: object) -> Burst:
        self._x.aborting = T1Failure.ABORTED_BY_CARD
        return self._send(SBlock(self._x.nad, Supervisory.ABORT, True))

    def _ask(self, block: object) -> Burst:
        """Rules 7.1 and 7.3: ask for the I-block expected; rule 7.2: with the very block, if that was an R-block."""
        if isinstance(self._last_block, RBlock):
            return self._send(self._last_block)
        code = block.code if isinstance(block, BlockError) else RCode.OTHER
        return self._send(RBlock(self._x.nad, self._x.connection.receive, code))

    def _repeat(self, _block: object) -> Burst:
        return self._send(self._last_block)

    def _repeat_i(self, _block: object) -> Burst:
        assert self._last_i is not None
        return self._send(self._last_i)

    def _advance(self, _block: object) -> Burst | T1Outcome:
        self._x.requests = self._x.stalled = 0
        return self._turn_sending()

    def _take(self, block: object) -> Burst | T1Outcome:
        assert isinstance(block, IBlock)
        self._x.connection.receive ^= 1
        self._x.stalled = 0
        if block.inf:
            self._x.requests = 0
            self._x.received += block.inf
            if len(self._x.received) > RESPONSE_MAX:
                self._x.wish_abort = T1Failure.TOO_LONG
        return self._turn_receiving()

    def _deliver(self, block: object) -> T1Outcome:
        assert isinstance(block, IBlock)
        self._x.connection.receive ^= 1
        if not self._x.received:
            return self._outcome(block.inf)
        self._x.received += block.inf
        if len(self._x.received) > RESPONSE_MAX:
            return self._outcome(failure=T1Failure.TOO_LONG, detail=f"{len(self._x.received)} bytes")
        return self._outcome(bytes(self._x.received))

    def _apply_ifs(self, _block: object) -> Burst | T1Outcome:
        self.ifsd = self._wanted_ifsd = self._ifs_asked
        self._ifs_asked = 0
        match self.state:
            case TerminalState.SENDING:
                return self._turn_sending()
            case TerminalState.RECEIVING:
                return self._turn_receiving()
        return self._turn_idle()

    def _aborted(self, block: object) -> T1Outcome:
        if isinstance(block, RBlock):
            self._x.connection.send = block.nr
        return self._outcome(failure=self._x.aborting)

    def _restart(self, _block: object) -> Burst | T1Outcome:
        self._x.resynchs += 1
        self._x.stalled = 0
        for numbers in self._numbers.values():
            numbers.send = numbers.receive = 0
        self.ifsc = self._initial_ifsc
        self.ifsd = IFS_DEFAULT
        self._x.received.clear()
        self._x.sent = 0
        if self._x.aborting is not None:
            return self._outcome(failure=self._x.aborting)
        if self._x.ifs_refused:
            return self._outcome(failure=T1Failure.REFUSED)
        self._wish_ifs = 0
        if self._wanted_ifsd != IFS_DEFAULT and self._x.purpose is not Purpose.IFS:
            self._wish_ifs = self._wanted_ifsd
        return self._turn_idle()

    def _give_up(self, block: object) -> T1Outcome:
        if self._x.requests > self.requests_max:
            failure, detail = T1Failure.STORM, f"{self._x.requests} in a row, the last {block}"
        elif not self._x.heard:
            failure, detail = T1Failure.MUTE, ""
        else:
            failure = T1Failure.LOST if self._started else T1Failure.NO_START
            detail = f"{self._x.why}; reset the card" if self._x.why else "reset the card"
        return self._outcome(failure=failure, detail=detail)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _send(self, block: Block, multiplier: int = 1) -> Burst:
        timing = self.timing
        self._last_block = block
        data = encode_block(block, self.edc)
        start = max(self._now, self._receiver.last + timing.turnaround_to_card, self._last_sent + timing.pitch_to_card)
        burst = Burst(data, start, timing.pitch_to_card, timing.etu)
        self._last_sent = burst.last
        self._limit = self._last_sent + timing.bwt * multiplier
        self._x.characters += len(data)
        return burst

    def _outcome(self, response: bytes = b"", failure: T1Failure | None = None, detail: str = "") -> T1Outcome:
        self._ifs_asked = 0
        return self._x.outcome(response, failure, detail)

    def _clear(self, nad: int, purpose: Purpose, command: bytes, now: int) -> None:
        if nad and (error := check_nad(nad)) is not None:
            raise T1UsageError(str(error))
        self._now = now
        self._x = Exchange(nad, swap_nad(nad), self._numbers.setdefault(nad, Numbers()), purpose, command, now, now)

    def _first(self, burst: Burst | T1Outcome) -> Burst:
        assert isinstance(burst, Burst)
        self._x.start = burst.start
        return burst

    def _need_idle(self, what: str) -> None:
        if self.state is TerminalState.DEAD:
            raise T1UsageError(f"cannot {what}: synchronisation with the card is lost; reset it first")
        if self.state is not TerminalState.IDLE:
            raise T1UsageError(f"cannot {what} in state {self.state}: one exchange at a time on a line")
