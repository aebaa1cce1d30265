"""What both sides of T=0 do next, as tables (ISO/IEC 7816-3:2006, 7.3 and 10.3): state -> event -> step.

A step is what to do and which state follows (None: the same). The machines (`t0`) sort what they hear into events, look up and carry out; a pair that
is missing cannot happen. In PROCEDURE the card decides: it answers each header with procedure bytes (10.3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class TerminalState(StrEnum):
    """What the interface device waits for."""

    IDLE = "nothing"
    PROCEDURE = "a procedure byte"
    DATA = "the data"
    ONE_DATA = "one byte of data"
    SW2 = "SW2"


class TerminalEvent(StrEnum):
    """What can happen to it."""

    COMMAND = "a command to send"
    STRAY = "characters nobody asked for"
    ALL_OUT = "INS, data to the card left"
    ONE_OUT = "INS complemented, data to the card left"
    ALL_IN = "INS, data from the card expected"
    ONE_IN = "INS complemented, data from the card expected"
    TOO_MUCH = "INS or its complement, all data gone by"
    NULL = "NULL"
    NULLS_UP = "NULL without end"
    SW1 = "SW1"
    NO_PROCEDURE = "no procedure byte"
    SOME = "data, not all of them"
    LAST = "the last of the data"
    BYTE = "a byte"
    DAMAGED = "a character with wrong parity"
    DAMAGED_AGAIN = "the same for the fourth time"
    REFUSED = "error signal"
    REFUSED_AGAIN = "error signal for the fourth time"
    SILENCE = "waiting time over"


class CardState(StrEnum):
    """What the card waits for."""

    IDLE = "a header"
    HEADER = "the rest of a header"
    DATA = "data"
    BUSY = "its own answer"


class CardEvent(StrEnum):
    """What can happen to it."""

    PART = "some characters"
    OUTGOING = "a header without data to the card"
    INCOMING = "a header with data to the card"
    WHOLE = "all the data"
    GAP = "a character after the waiting time"
    PROMISE = "answer promised"
    REPLY = "answer ready"
    TIME_SHORT = "waiting time running out"
    DAMAGED = "a character with wrong parity"
    DAMAGED_AGAIN = "the same for the fourth time"
    REFUSED = "error signal"
    REFUSED_AGAIN = "error signal for the fourth time"


class Action(StrEnum):
    """What is done."""

    SEND_HEADER = "send the header"
    SEND_REST = "send the rest of the data"
    SEND_ONE = "send one byte"
    TAKE = "take it"
    END = "hand the answer up"
    WAIT = "wait on"
    IGNORE = "ignore it"
    GIVE_UP = "give up, naming why"
    REPEAT = "repeat that character and go on"
    ASK = "give the error signal"
    KEEP = "keep them"
    ACKNOWLEDGE = "send INS"
    EXECUTE = "execute"
    FORGET = "forget the command"
    ANSWER = "send data and status word"
    SEND_NULL = "send NULL"


class TerminalStep(NamedTuple):
    """What the interface device does, what it waits for then (None: for the same), and the clause."""

    action: Action
    following: TerminalState | None
    clause: str


class CardStep(NamedTuple):
    """What the card does, what it waits for then (None: for the same), and the clause."""

    action: Action
    following: CardState | None
    clause: str


_T = TerminalState
_E = TerminalEvent
_C = CardState
_V = CardEvent

_ON_THE_WAY: Final[Mapping[TerminalEvent, TerminalStep]] = {
    _E.DAMAGED: TerminalStep(Action.ASK, None, "7.3"),
    _E.DAMAGED_AGAIN: TerminalStep(Action.GIVE_UP, _T.IDLE, "7.3"),
    _E.SILENCE: TerminalStep(Action.GIVE_UP, _T.IDLE, "10.2"),
}

TERMINAL: Final[Mapping[TerminalState, Mapping[TerminalEvent, TerminalStep]]] = {
    _T.IDLE: {
        _E.COMMAND: TerminalStep(Action.SEND_HEADER, _T.PROCEDURE, "10.3.2"),
        _E.STRAY: TerminalStep(Action.IGNORE, None, "10.3.3"),
    },
    _T.PROCEDURE: {
        _E.ALL_OUT: TerminalStep(Action.SEND_REST, None, "10.3.3"),
        _E.ONE_OUT: TerminalStep(Action.SEND_ONE, None, "10.3.3"),
        _E.ALL_IN: TerminalStep(Action.WAIT, _T.DATA, "10.3.3"),
        _E.ONE_IN: TerminalStep(Action.WAIT, _T.ONE_DATA, "10.3.3"),
        _E.TOO_MUCH: TerminalStep(Action.GIVE_UP, _T.IDLE, "10.3.3"),
        _E.NULL: TerminalStep(Action.WAIT, None, "10.3.3"),
        _E.NULLS_UP: TerminalStep(Action.GIVE_UP, _T.IDLE, "limit"),
        _E.SW1: TerminalStep(Action.TAKE, _T.SW2, "10.3.3"),
        _E.NO_PROCEDURE: TerminalStep(Action.GIVE_UP, _T.IDLE, "10.3.3"),
        _E.REFUSED: TerminalStep(Action.REPEAT, None, "7.3"),
        _E.REFUSED_AGAIN: TerminalStep(Action.GIVE_UP, _T.IDLE, "7.3"),
        **_ON_THE_WAY,
    },
    _T.DATA: {
        _E.SOME: TerminalStep(Action.TAKE, None, "10.3.3"),
        _E.LAST: TerminalStep(Action.TAKE, _T.PROCEDURE, "10.3.3"),
        **_ON_THE_WAY,
    },
    _T.ONE_DATA: {_E.BYTE: TerminalStep(Action.TAKE, _T.PROCEDURE, "10.3.3"), **_ON_THE_WAY},
    _T.SW2: {_E.BYTE: TerminalStep(Action.END, _T.IDLE, "10.3.3"), **_ON_THE_WAY},
}
"""The interface device. "limit" is none of the standard's."""

_HEARING: Final[Mapping[CardEvent, CardStep]] = {
    _V.DAMAGED: CardStep(Action.ASK, None, "7.3"),
    _V.DAMAGED_AGAIN: CardStep(Action.FORGET, _C.IDLE, "7.3"),
    _V.REFUSED: CardStep(Action.REPEAT, None, "7.3"),
    _V.REFUSED_AGAIN: CardStep(Action.FORGET, _C.IDLE, "7.3"),
}
_HEADER_WHOLE: Final[Mapping[CardEvent, CardStep]] = {
    _V.PART: CardStep(Action.KEEP, _C.HEADER, "10.3.2"),
    _V.OUTGOING: CardStep(Action.EXECUTE, _C.BUSY, "10.3.2"),
    _V.INCOMING: CardStep(Action.ACKNOWLEDGE, _C.DATA, "10.3.3"),
}

CARD: Final[Mapping[CardState, Mapping[CardEvent, CardStep]]] = {
    _C.IDLE: {**_HEADER_WHOLE, **_HEARING},
    _C.HEADER: {
        **_HEADER_WHOLE,
        _V.GAP: CardStep(Action.FORGET, _C.IDLE, "10.2"),
        _V.DAMAGED: _HEARING[_V.DAMAGED],
        _V.DAMAGED_AGAIN: _HEARING[_V.DAMAGED_AGAIN],
    },
    _C.DATA: {
        _V.PART: CardStep(Action.KEEP, None, "10.3.3"),
        _V.WHOLE: CardStep(Action.EXECUTE, _C.BUSY, "10.3.3"),
        _V.GAP: CardStep(Action.FORGET, _C.IDLE, "10.2"),
        **_HEARING,
    },
    _C.BUSY: {
        _V.PROMISE: CardStep(Action.WAIT, None, "10.3.3"),
        _V.REPLY: CardStep(Action.ANSWER, _C.IDLE, "10.3.3"),
        _V.TIME_SHORT: CardStep(Action.SEND_NULL, None, "10.3.3"),
        _V.PART: CardStep(Action.IGNORE, None, "10.3.3"),
        _V.REFUSED: CardStep(Action.REPEAT, None, "7.3"),
        _V.REFUSED_AGAIN: CardStep(Action.WAIT, None, "7.3"),
    },
}
"""The card."""
