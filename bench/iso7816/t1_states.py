"""What the transition tables of T=1 are made of: states, events, actions, steps.

ISO/IEC 7816-3:2006, 11.6.2 (error-free operation, rules 1 to 5) and 11.6.3 (error handling, rules 6 to 9). A table is
state -> event -> step, a step being what to do, which state follows, and by which rule. The tables (`t1_table_terminal`,
`t1_table_card`) decide everything that T=1 does next; the machines (`t1_terminal`, `t1_card`) look up and carry out, and
`docs/t1.md` is drawn from the tables.

A key that is missing means that the other side may not send this here. The machine notes a fault of the peer and goes
on as after an invalid block, since that is all the standard gives a receiver to do.

States are named after what is awaited. In SENDING, RECEIVING, ACKING and ANSWERING a side has the right to send and
takes its next step at once. Blocks come sorted into events:

- I_LAST, I_MORE: an I-block with the N(S) expected, M = 0 or 1; I_WRONG: any other.
- R_NEXT: N(R) is the N(S) of the next I-block not yet sent, so the last one has arrived; R_AGAIN: N(R) is the N(S) of
  the last one sent, which is to be repeated. What the error bits of an R-block say does not matter (11.6.3).
- INVALID: characters that are no block (`t1_block.BlockError`), or a block of another logical connection.

What is not pretty: ISO has no word on a card that asks for more time, or announces an IFS, without end. STORM ends
that (the terminal's own limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from bench.iso7816.t1_block import Supervisory

S = TypeVar("S", bound=StrEnum)


class Event(StrEnum):
    """What can happen to either side."""

    # From the peer.
    I_LAST = "I(N(S),0)"
    I_MORE = "I(N(S),1)"
    I_WRONG = "I, wrong N(S)"
    R_NEXT = "R, next"
    R_AGAIN = "R, again"
    RESYNCH_REQUEST = "S(RESYNCH request)"
    RESYNCH_RESPONSE = "S(RESYNCH response)"
    IFS_REQUEST = "S(IFS request)"
    IFS_RESPONSE = "S(IFS response)"
    ABORT_REQUEST = "S(ABORT request)"
    ABORT_RESPONSE = "S(ABORT response)"
    WTX_REQUEST = "S(WTX request)"
    WTX_RESPONSE = "S(WTX response)"
    INVALID = "invalid block"
    SILENCE = "BWT over"
    # What becomes of a failure that was one too many.
    EXHAUSTED = "attempts used up"
    NO_START = "attempts used up, no block ever"
    HOPELESS = "attempts and resynchronisations used up"
    STORM = "too many requests"
    # From this side, when it has the right to send.
    NEXT_MORE = "block to send, not the last"
    NEXT_LAST = "last block to send"
    ACKNOWLEDGE = "chained block taken"
    WISH_IFS = "new IFS to announce"
    WISH_ABORT = "chain to abort"
    WISH_RESYNCH = "resynchronisation asked for"
    # From the card's application and clock.
    REPLY = "answer ready"
    TIME_SHORT = "BWT running out"


EVENT_OF: Final = {
    (Supervisory.RESYNCH, False): Event.RESYNCH_REQUEST,
    (Supervisory.RESYNCH, True): Event.RESYNCH_RESPONSE,
    (Supervisory.IFS, False): Event.IFS_REQUEST,
    (Supervisory.IFS, True): Event.IFS_RESPONSE,
    (Supervisory.ABORT, False): Event.ABORT_REQUEST,
    (Supervisory.ABORT, True): Event.ABORT_RESPONSE,
    (Supervisory.WTX, False): Event.WTX_REQUEST,
    (Supervisory.WTX, True): Event.WTX_RESPONSE,
}
"""S-blocks by function and whether they are responses."""


class Action(StrEnum):
    """What a side does."""

    SEND_I = "send I"
    SEND_R = "send R"
    SEND_IFS = "send S(IFS request)"
    SEND_ABORT = "send S(ABORT request)"
    SEND_RESYNCH = "send S(RESYNCH request)"
    SEND_WTX = "send S(WTX request)"
    GRANT = "send S(WTX response)"
    ACCEPT_IFS = "send S(IFS response)"
    ACCEPT_ABORT = "send S(ABORT response)"
    ACCEPT_RESYNCH = "send S(RESYNCH response)"
    ASK = "send R for the expected I"
    REPEAT = "repeat the S-block"
    REPEAT_I = "repeat the I-block"
    ADVANCE = "go on sending"
    TAKE = "take INF"
    DELIVER = "deliver"
    EXECUTE = "execute"
    APPLY_IFS = "new IFS in force"
    ABORTED = "chain dropped"
    RESTART = "start anew"
    GIVE_UP = "give up"
    STORE = "keep the answer"
    RESUME = "go on executing"
    WAIT = "keep silent"


FAILURES: Final = frozenset((Action.ASK, Action.REPEAT, Action.REPEAT_I))
"""Actions that are one more attempt at the same thing; all others are progress."""


def counts_as_failure(event: Event, action: Action) -> bool:
    """Whether rule 7.4 counts this: no error-free block, or not the response that an S(… request) asks for (7.3)."""
    return action is Action.REPEAT or event in (Event.INVALID, Event.SILENCE, Event.I_WRONG)


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One transition. `rule` is that of 11.6.2 or 11.6.3."""

    action: Action
    next: S
    rule: str


Row = Mapping[Event, Step[S]]
Table = Mapping[S, Row[S]]


class TerminalState(StrEnum):
    """States of the interface device."""

    IDLE = "IDLE"
    SENDING = "SENDING"
    RECEIVING = "RECEIVING"
    ACK = "ACK"
    """I(.,1) sent."""
    ANSWER = "ANSWER"
    """I(.,0) sent."""
    MORE = "MORE"
    """R sent, which acknowledged a chained block of the card."""
    IFS_IDLE = "IFS_IDLE"
    IFS_SENDING = "IFS_SENDING"
    IFS_RECEIVING = "IFS_RECEIVING"
    """S(IFS request) sent, before going on with what the name says."""
    ABORT = "ABORT"
    """S(ABORT request) sent."""
    RELEASE = "RELEASE"
    """S(ABORT response) sent: the card must give the right to send back."""
    RESYNCH = "RESYNCH"
    """S(RESYNCH request) sent."""
    DEAD = "DEAD"
    """Only a reset helps."""


class CardState(StrEnum):
    """States of the card, one for each logical connection."""

    START = "START"
    """Nothing received since ATR, PPS or RESYNCH."""
    RESTED = "RESTED"
    """I(.,0) sent."""
    GATHERING = "GATHERING"
    """R sent, which acknowledged a chained block of the terminal."""
    CHAINING = "CHAINING"
    """I(.,1) sent."""
    ACKING = "ACKING"
    ANSWERING = "ANSWERING"
    BUSY = "BUSY"
    """A command is being executed; the card has the right to send."""
    TIME = "TIME"
    """S(WTX request) sent."""
    LISTENING = "LISTENING"
    """Executing, but the request for time failed: the terminal must speak first."""
    HOLD = "HOLD"
    """An answer is ready, but the terminal must speak first."""
    IFS_GATHERING = "IFS_GATHERING"
    IFS_ANSWERING = "IFS_ANSWERING"
    """S(IFS request) sent, before the acknowledgement or the answer."""
    ABORT = "ABORT"
    """S(ABORT request) sent."""
    RELEASED = "RELEASED"
    """A chain was aborted: a new command may come."""


Parts = Mapping[Event, tuple[Action, S | None, str]]


def row(state: S, *parts: Parts[S]) -> Row[S]:
    """One state's row from parts, later ones first in effect; a next state of None is the state itself."""
    merged: dict[Event, tuple[Action, S | None, str]] = {}
    for part in parts:
        merged.update(part)
    return {event: Step(action, state if to is None else to, rule) for event, (action, to, rule) in merged.items()}
