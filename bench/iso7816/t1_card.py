"""T=1, the card's side (ISO/IEC 7816-3:2006, clause 11), as a machine without I/O.

Bursts and times go in, bursts and the next deadline come out. What follows on what is in `t1_table_card`; here is how
each step is carried out. Decisions where the standard leaves room:

- A logical connection is a pair of SAD and DAD (11.3.2.1) with N(S), chain and last block of its own; several nodes
  (DADs) may live behind one line. A block for a DAD that is not here gets no answer: it is another card's. While the
  card has the right to send, or waits for the answer to an S(… request), no other connection may speak.
- It asks for more time when half of what it has is over, so that a terminal with a clock of its own is never late.
- It gives up after three attempts, after two for S(IFS request), and listens (rules 7.4 and 8); any valid block sets it
  going again.

Longer than other files: every action of the table has its method here.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

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
    edc_scheme,
    encode_block,
    swap_nad,
)
from bench.iso7816.t1_line import ATTEMPTS, BlockReceiver, T1Fault, T1Timing, T1UsageError
from bench.iso7816.t1_states import EVENT_OF, FAILURES, Action, CardState, Event, counts_as_failure
from bench.iso7816.t1_table_card import CARD

COMMAND_MAX: Final = 65_548
"""A command gathered from a chain may not be longer (12.1.3: 4 + 3 + 65 535 + 3, and some air): the chain is aborted."""
IFS_ATTEMPTS: Final = 2
"""S(IFS request) of a card is repeated only once (rule 8)."""
FAULTS_KEPT: Final = 64

_YIELDS: Final = frozenset(
    (CardState.START, CardState.RESTED, CardState.GATHERING, CardState.CHAINING, CardState.RELEASED)
)
"""States in which another logical connection may speak."""
_IFS_STATES: Final = frozenset((CardState.IFS_GATHERING, CardState.IFS_ANSWERING))
_EXECUTES: Final = frozenset((CardState.BUSY, CardState.TIME, CardState.LISTENING))


@dataclass(slots=True)
class ApduReply:
    """A card's answer to one command APDU, and how long the card takes beyond the mandatory guard time, in ticks."""

    response: bytes
    ticks: int = 0


ApduLater = Callable[[ApduReply], None]


class ApduHandler(Protocol):
    """What stands above T=1 in a card: one node."""

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        """Answer a command. None promises an answer through `later`; T=1 asks for time meanwhile."""


@dataclass(slots=True)
class _Connection:
    nad_out: int
    handler: ApduHandler
    state: CardState = CardState.START
    send: int = 0
    """N(S) of the next I-block not yet sent."""
    receive: int = 0
    """N(S) of the next I-block expected."""
    last_block: Block | None = None
    last_i: IBlock | None = None
    gathered: bytearray = field(default_factory=bytearray)
    answer: bytes = b""
    sent: int = 0
    attempts: int = 0


class T1Card:
    """The card's side: `receive` and `complete` give the burst to send, or None; `deadline` (if any) is when `remind`
    must be called."""

    def __init__(
        self,
        nodes: Mapping[int, ApduHandler],
        timing: T1Timing,
        *,
        ifsc: int = IFS_DEFAULT,
        edc: EdcScheme = LRC,
        wtx: int = 1,
        wtxs: int = 0,
    ) -> None:
        """`nodes` are the DADs (0 to 7) that live here, `ifsc` is what the ATR says, `wtx` the multiplier to ask for.

        `wtxs` is how often more time is asked for before each answer, needed or not: a storm, where it is many.
        (Long: its variables, and a method for each action of the table.)
        """
        if not nodes or not all(0 <= dad <= 7 for dad in nodes):
            raise T1UsageError(f"nodes {sorted(nodes)}: at least one, each with a DAD of 0 to 7 (11.3.2.1)")
        self.nodes = nodes
        self.timing = timing
        self.edc = edc
        self.wtx = wtx
        self.wtxs = wtxs
        self.ifsc = ifsc
        """Information field size of the card, in force."""
        self.ifsd = IFS_DEFAULT
        """Information field size of the terminal, in force."""
        self.faults: list[T1Fault] = []
        """What the terminal did that the standard does not allow, the first 64."""
        self.on_step: Callable[[CardState, Event], None] | None = None
        """Told of each transition."""
        self._initial_ifsc = ifsc
        self._receiver = BlockReceiver(edc, timing.cwt, -(10**30))
        self._last_out = -(10**30)
        self._connections: dict[int, _Connection] = {}
        dad = min(nodes)
        self._connection = self._connections[dad << 4] = _Connection(dad, nodes[dad])
        self._later: ApduLater = _nobody
        self._serial = 0
        self._ready: ApduReply | None = None
        self._not_before = 0
        self._earliest = 0
        self._multiplier = 1
        self._wtxs_left = 0
        self._wish_ifs = 0
        self._ifs_asked = 0
        self._wish_abort = False
        self._actions: dict[Action, Callable[[Block | BlockError | None], Burst | None]] = {
            Action.EXECUTE: self._execute,
            Action.TAKE: self._take,
            Action.SEND_I: self._send_i,
            Action.SEND_R: self._send_r,
            Action.SEND_IFS: self._send_ifs,
            Action.SEND_ABORT: self._send_abort,
            Action.SEND_WTX: self._send_wtx,
            Action.ACCEPT_IFS: self._accept_ifs,
            Action.ACCEPT_ABORT: self._accept_abort,
            Action.ACCEPT_RESYNCH: self._accept_resynch,
            Action.ASK: self._ask,
            Action.REPEAT: self._repeat,
            Action.REPEAT_I: self._repeat_i,
            Action.ADVANCE: self._advance,
            Action.APPLY_IFS: self._apply_ifs,
            Action.ABORTED: self._aborted,
            Action.RESUME: self._resume,
            Action.STORE: self._wait,
            Action.WAIT: self._wait,
        }

    @classmethod
    def for_atr(
        cls,
        nodes: Mapping[int, ApduHandler],
        atr: Atr,
        rate: Rate,
        clock_hz: int,
        timebase: Timebase,
        *,
        wtx: int = 1,
        wtxs: int = 0,
    ) -> T1Card:
        """A card that is what its ATR says. Raises T1TimingError as `T1Timing.at_rate` does."""
        timing = T1Timing.at_rate(atr, rate, clock_hz, timebase)
        return cls(nodes, timing, ifsc=atr.ifsc, edc=edc_scheme(atr.edc), wtx=wtx, wtxs=wtxs)

    @property
    def state(self) -> CardState:
        """Of the logical connection that spoke last."""
        return self._connection.state

    @property
    def busy(self) -> bool:
        """An answer is promised, or given and not yet due."""
        return self._connection.state in _EXECUTES

    def busy_until(self, now: int) -> int:
        """Up to when commands and their answers have kept the line: an answer is promised, or going out, or did not arrive.

        A card cannot know whether its block arrived: where it did not, the terminal waits its time out before it asks for it again.
        """
        return now if self.busy else max(self._receiver.last + self.timing.bwt, self._last_out)

    @property
    def deadline(self) -> int | None:
        """When `remind` must be called: half of the time to answer is over, or a block broke off (CWT)."""
        broke_off = self._broke_off
        if self._connection.state is not CardState.BUSY:
            return broke_off
        short = self._short
        return short if broke_off is None else min(short, broke_off)

    # --- what the user asks for --------------------------------------------------------------------------------------

    def announce_ifsc(self, size: int) -> None:
        """Tell the terminal, at the next occasion, the longest information field (1 to 254) this card takes (rule 4)."""
        if not 1 <= size <= INF_MAX:
            raise T1UsageError(f"IFSC of {size}: it is 1 to {INF_MAX} (ISO/IEC 7816-3, 11.4.2)")
        self._wish_ifs = size

    def abort(self) -> None:
        """Abort the chain under way, whichever side sends it, at the next occasion (rule 9); none is needed."""
        self._wish_abort = True

    # --- what the line and the application bring ---------------------------------------------------------------------

    def incoming(self, burst: Burst) -> None:
        """The terminal has begun a burst. Need not be told: a block that comes in pieces is then judged too early."""
        self._receiver.incoming(burst)

    def receive(self, burst: Burst, later: ApduLater, damaged: Collection[int] = ()) -> Burst | None:
        """The terminal's burst has been taken; `damaged` are the indices of characters with wrong parity.

        `later` takes the answer that a handler promised; its owner then calls `complete`.
        """
        if burst.start < self._last_out + self.timing.bgt and not self._receiver.partial:
            if burst.start < self._last_out + self.timing.character:
                damaged = range(len(burst.data))  # both sides drove the line
            self._fault("11.4.3", "a block before the block guard time was over")
        self._later = later
        self._earliest = 0
        block = self._receiver.receive(burst, max(self.ifsc, self._ifs_asked), damaged)
        return None if block is None else self._heard_block(block)

    def complete(self, reply: ApduReply, now: int) -> Burst | None:
        """The answer that `execute` promised. It leaves at once if the card has the right to send, else at its turn."""
        if self._connection.state not in _EXECUTES or self._ready is not None:
            return None
        self._ready = reply
        self._not_before = now + reply.ticks
        self._earliest = now
        if self._connection.state is CardState.BUSY and self._not_before > self._short:
            return None
        return self._step(Event.REPLY, None)

    def remind(self) -> Burst | None:
        """`deadline` is here: ask for more time (rule 3), or judge a block that broke off."""
        at = self.deadline
        if at is None:
            return None
        if at == self._broke_off:
            self._earliest = at
            return self._heard_block(self._receiver.close(max(self.ifsc, self._ifs_asked)))
        self._earliest = at
        return self._step(Event.TIME_SHORT, None)

    # --- deciding ----------------------------------------------------------------------------------------------------

    @property
    def _broke_off(self) -> int | None:
        """When CWT is over within a block."""
        receiver = self._receiver
        return receiver.extended(receiver.last + self.timing.cwt) if receiver.partial else None

    @property
    def _short(self) -> int:
        """When half of the time to answer is over."""
        return self._receiver.last + self.timing.bwt * self._multiplier // 2

    def _heard_block(self, block: Block | BlockError) -> Burst | None:
        if isinstance(block, BlockError):
            return self._step(Event.INVALID, block)
        if block.nad != swap_nad(self._connection.nad_out):
            handler = self.nodes.get(block.nad >> 4)
            if handler is None:
                self._fault("11.3.2.1", f"NAD = {block.nad:02X}: no node {block.nad >> 4} here")
                return None
            if self._connection.state not in _YIELDS:
                error = BlockError(BlockRule.NAD_OTHER, 1, f"NAD = {block.nad:02X} in state {self._connection.state}")
                self._fault(error.rule.clause, error.found)
                return self._step(Event.INVALID, error)
            found = self._connections.get(block.nad)
            if found is None:
                found = self._connections[block.nad] = _Connection(swap_nad(block.nad), handler)
            self._connection = found
        return self._step(self._classify(block), block)

    def _classify(self, block: Block) -> Event:
        connection = self._connection
        if isinstance(block, IBlock):
            if block.ns != connection.receive:
                return Event.I_WRONG
            return Event.I_MORE if block.more else Event.I_LAST
        if isinstance(block, RBlock):
            return Event.R_NEXT if block.nr == connection.send else Event.R_AGAIN
        event = EVENT_OF[block.function, block.response]
        asked = self._ifs_asked if event is Event.IFS_RESPONSE else self.wtx
        if event in (Event.IFS_RESPONSE, Event.WTX_RESPONSE) and block.value != asked:
            self._fault("11.6.2", f"{event} says {block.value:02X}, asked was {asked:02X}")
            return Event.INVALID
        return event

    def _step(self, event: Event, block: Block | BlockError | None) -> Burst | None:
        connection = self._connection
        row = CARD[connection.state]
        step = row.get(event)
        if step is None:
            self._fault("11.6", f"{block if block is not None else event} in state {connection.state}")
            event = Event.INVALID
            step = row[event]
        heard = event
        if step.action in FAILURES and counts_as_failure(event, step.action):
            connection.attempts += 1
            limit = IFS_ATTEMPTS if connection.state in _IFS_STATES else ATTEMPTS
            if connection.attempts >= limit and Event.EXHAUSTED in row:
                event = Event.EXHAUSTED
                step = row[event]
        else:
            connection.attempts = 0
        before = connection.state
        if self.on_step is not None:
            self.on_step(before, event)
        connection.state = step.next
        if event is Event.EXHAUSTED and heard is not Event.INVALID and before is not step.next:
            # In reception mode now: what was heard is a valid block, and is answered as such.
            connection.attempts = 0
            return self._step(heard, block)
        return self._actions[step.action](block)

    def _turn_acking(self) -> Burst | None:
        if self._wish_abort:
            return self._step(Event.WISH_ABORT, None)
        if self._wish_ifs:
            return self._step(Event.WISH_IFS, None)
        return self._step(Event.ACKNOWLEDGE, None)

    def _turn_answering(self) -> Burst | None:
        connection = self._connection
        if self._wish_abort and connection.sent:
            return self._step(Event.WISH_ABORT, None)
        if self._wish_ifs:
            return self._step(Event.WISH_IFS, None)
        more = len(connection.answer) - connection.sent > self.ifsd
        return self._step(Event.NEXT_MORE if more else Event.NEXT_LAST, None)

    # --- actions -----------------------------------------------------------------------------------------------------

    def _execute(self, block: object) -> Burst | None:
        assert isinstance(block, IBlock)
        connection = self._connection
        connection.receive ^= 1
        apdu = block.inf
        if connection.gathered:
            apdu = bytes(connection.gathered) + apdu
            connection.gathered.clear()
        self._wish_abort = False
        self._ready = None
        self._multiplier = 1
        self._wtxs_left = self.wtxs
        self._serial += 1
        serial, later = self._serial, self._later

        def answer(reply: ApduReply) -> None:
            if serial == self._serial:  # the command has not been forgotten since (rule 6.5)
                later(reply)

        reply = connection.handler.execute(apdu, answer)
        if reply is not None:
            self._ready = reply
            self._not_before = self._receiver.last + self.timing.bgt + reply.ticks
        return self._go_on()

    def _resume(self, block: object) -> Burst | None:
        assert isinstance(block, SBlock)
        self._multiplier = block.value
        return self._go_on()

    def _go_on(self) -> Burst | None:
        """Ask for time as often as is wanted; then answer, if there is an answer and it is in time."""
        if self._wtxs_left:
            self._wtxs_left -= 1
            return self._step(Event.TIME_SHORT, None)
        if self._ready is None or self._not_before > self._short:
            return None
        return self._step(Event.REPLY, None)

    def _take(self, block: object) -> Burst | None:
        assert isinstance(block, IBlock)
        connection = self._connection
        connection.receive ^= 1
        connection.gathered += block.inf
        if len(connection.gathered) > COMMAND_MAX:
            self._wish_abort = True
        return self._turn_acking()

    def _advance(self, _block: object) -> Burst | None:
        ready, self._ready = self._ready, None
        if ready is not None:
            self._connection.answer = ready.response
            self._connection.sent = 0
            self._earliest = max(self._earliest, self._not_before)
        return self._turn_answering()

    def _send_i(self, _block: object) -> Burst:
        connection = self._connection
        piece = connection.answer[connection.sent : connection.sent + self.ifsd]
        connection.sent += len(piece)
        block = IBlock(connection.nad_out, connection.send, connection.sent < len(connection.answer), piece)
        connection.send ^= 1
        connection.last_i = block
        return self._send(block)

    def _send_r(self, _block: object) -> Burst:
        return self._send(RBlock(self._connection.nad_out, self._connection.receive))

    def _send_ifs(self, _block: object) -> Burst:
        self._ifs_asked, self._wish_ifs = self._wish_ifs, 0
        return self._send(SBlock(self._connection.nad_out, Supervisory.IFS, value=self._ifs_asked))

    def _send_abort(self, _block: object) -> Burst:
        self._wish_abort = False
        return self._send(SBlock(self._connection.nad_out, Supervisory.ABORT))

    def _send_wtx(self, _block: object) -> Burst:
        return self._send(SBlock(self._connection.nad_out, Supervisory.WTX, value=self.wtx))

    def _accept_ifs(self, block: object) -> Burst:
        assert isinstance(block, SBlock)
        self.ifsd = block.value
        return self._send(SBlock(self._connection.nad_out, Supervisory.IFS, True, block.value))

    def _accept_abort(self, _block: object) -> Burst:
        self._drop_chain()
        return self._send(SBlock(self._connection.nad_out, Supervisory.ABORT, True))

    def _accept_resynch(self, _block: object) -> Burst:
        for connection in self._connections.values():
            connection.state = CardState.START
            connection.send = connection.receive = connection.attempts = 0
            connection.last_i = None
            connection.gathered.clear()
        self.ifsc = self._initial_ifsc
        self.ifsd = IFS_DEFAULT
        self._ifs_asked = 0
        self._drop_chain()
        self._serial += 1
        self._ready = None
        return self._send(SBlock(self._connection.nad_out, Supervisory.RESYNCH, True))

    def _ask(self, block: object) -> Burst:
        """Rules 7.1 and 7.3: ask for the I-block expected; rule 7.2: with the very block, if that was an R-block."""
        last = self._connection.last_block
        if isinstance(last, RBlock):
            return self._send(last)
        code = block.code if isinstance(block, BlockError) else RCode.OTHER
        return self._send(RBlock(self._connection.nad_out, self._connection.receive, code))

    def _repeat(self, _block: object) -> Burst:
        assert self._connection.last_block is not None
        return self._send(self._connection.last_block)

    def _repeat_i(self, block: object) -> Burst:
        last = self._connection.last_i
        return self._ask(block) if last is None else self._send(last)

    def _apply_ifs(self, _block: object) -> Burst | None:
        self.ifsc = self._ifs_asked
        self._ifs_asked = 0
        return self._turn_acking() if self._connection.state is CardState.ACKING else self._turn_answering()

    def _aborted(self, _block: object) -> Burst:
        """Rule 9: the right to send goes back to the terminal."""
        self._drop_chain()
        return self._send_r(None)

    def _wait(self, _block: object) -> None:
        return None

    # --- inside ------------------------------------------------------------------------------------------------------

    def _drop_chain(self) -> None:
        connection = self._connection
        connection.gathered.clear()
        connection.answer = b""
        connection.sent = 0
        self._wish_abort = False

    def _send(self, block: Block) -> Burst:
        timing = self.timing
        self._connection.last_block = block
        start = max(self._receiver.last + timing.bgt, self._last_out + timing.pitch_to_terminal, self._earliest)
        burst = Burst(encode_block(block, self.edc), start, timing.pitch_to_terminal, timing.etu)
        self._last_out = burst.last
        return burst

    def _fault(self, clause: str, found: str) -> None:
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(T1Fault(clause, found))


def _nobody(_reply: ApduReply) -> None:
    """No command has come yet."""
