"""What the interface device does on T=1, in each state and on each event (ISO/IEC 7816-3:2006, 11.6.2 and 11.6.3).

How to read it: `t1_states`. A rule of "limit" is none of the standard's.
"""

from __future__ import annotations

from typing import Final

from bench.iso7816.t1_states import Action, Event, Parts, Table, TerminalState, row

_T = TerminalState

_TERMINAL_ENDS: Final[Parts[TerminalState]] = {
    Event.EXHAUSTED: (Action.SEND_RESYNCH, _T.RESYNCH, "7.4.2"),
    Event.HOPELESS: (Action.GIVE_UP, _T.DEAD, "6.4"),
}

_TERMINAL_MAY_BE_FIRST: Final[Parts[TerminalState]] = {Event.NO_START: (Action.GIVE_UP, _T.DEAD, "7.4.1")}
"""For states in which no block may ever have come; the others follow on one."""

_TERMINAL_WAITS: Final[Parts[TerminalState]] = {
    **_TERMINAL_ENDS,
    Event.INVALID: (Action.ASK, None, "7.1"),
    Event.SILENCE: (Action.ASK, None, "7.1"),
    Event.I_WRONG: (Action.ASK, None, "7.1"),
    Event.WTX_REQUEST: (Action.GRANT, None, "3"),
    Event.IFS_REQUEST: (Action.ACCEPT_IFS, None, "4"),
    Event.STORM: (Action.GIVE_UP, _T.DEAD, "limit"),
}

_TERMINAL_REPEATS: Final[Parts[TerminalState]] = {
    Event.INVALID: (Action.REPEAT, None, "7.3"),
    Event.SILENCE: (Action.REPEAT, None, "7.3"),
    Event.I_LAST: (Action.REPEAT, None, "7.3"),
    Event.I_MORE: (Action.REPEAT, None, "7.3"),
    Event.I_WRONG: (Action.REPEAT, None, "7.3"),
    Event.R_NEXT: (Action.REPEAT, None, "7.3"),
    Event.R_AGAIN: (Action.REPEAT, None, "7.3"),
}

_TERMINAL_REQUESTS: Final[Parts[TerminalState]] = {**_TERMINAL_ENDS, **_TERMINAL_REPEATS}

TERMINAL: Final[Table[TerminalState]] = {
    _T.IDLE: row(
        _T.IDLE,
        {
            Event.NEXT_MORE: (Action.SEND_I, _T.ACK, "1"),
            Event.NEXT_LAST: (Action.SEND_I, _T.ANSWER, "1"),
            Event.WISH_IFS: (Action.SEND_IFS, _T.IFS_IDLE, "4"),
            Event.WISH_RESYNCH: (Action.SEND_RESYNCH, _T.RESYNCH, "6"),
        },
    ),
    _T.SENDING: row(
        _T.SENDING,
        {
            Event.NEXT_MORE: (Action.SEND_I, _T.ACK, "5"),
            Event.NEXT_LAST: (Action.SEND_I, _T.ANSWER, "5"),
            Event.WISH_IFS: (Action.SEND_IFS, _T.IFS_SENDING, "4"),
            Event.WISH_ABORT: (Action.SEND_ABORT, _T.ABORT, "9"),
        },
    ),
    _T.RECEIVING: row(
        _T.RECEIVING,
        {
            Event.ACKNOWLEDGE: (Action.SEND_R, _T.MORE, "2.2"),
            Event.WISH_IFS: (Action.SEND_IFS, _T.IFS_RECEIVING, "4"),
            Event.WISH_ABORT: (Action.SEND_ABORT, _T.ABORT, "9"),
        },
    ),
    _T.ACK: row(
        _T.ACK,
        _TERMINAL_WAITS,
        _TERMINAL_MAY_BE_FIRST,
        {
            Event.R_NEXT: (Action.ADVANCE, _T.SENDING, "2.2"),
            Event.R_AGAIN: (Action.REPEAT_I, None, "7.1"),
            Event.ABORT_REQUEST: (Action.ACCEPT_ABORT, _T.RELEASE, "9"),
        },
    ),
    _T.ANSWER: row(
        _T.ANSWER,
        _TERMINAL_WAITS,
        _TERMINAL_MAY_BE_FIRST,
        {
            Event.I_LAST: (Action.DELIVER, _T.IDLE, "2.1"),
            Event.I_MORE: (Action.TAKE, _T.RECEIVING, "2.1"),
            Event.R_AGAIN: (Action.REPEAT_I, None, "7.1"),
            Event.R_NEXT: (Action.ASK, None, "7.2"),
        },
    ),
    _T.MORE: row(
        _T.MORE,
        _TERMINAL_WAITS,
        {
            Event.INVALID: (Action.ASK, None, "7.2"),
            Event.SILENCE: (Action.ASK, None, "7.2"),
            Event.I_WRONG: (Action.ASK, None, "7.2"),
            Event.I_LAST: (Action.DELIVER, _T.IDLE, "5"),
            Event.I_MORE: (Action.TAKE, _T.RECEIVING, "5"),
            Event.R_NEXT: (Action.ASK, None, "7.2"),
            Event.R_AGAIN: (Action.ASK, None, "7.2"),
            Event.ABORT_REQUEST: (Action.ACCEPT_ABORT, _T.RELEASE, "9"),
        },
    ),
    _T.IFS_IDLE: row(
        _T.IFS_IDLE,
        _TERMINAL_REQUESTS,
        _TERMINAL_MAY_BE_FIRST,
        {Event.IFS_RESPONSE: (Action.APPLY_IFS, _T.IDLE, "4")},
    ),
    _T.IFS_SENDING: row(_T.IFS_SENDING, _TERMINAL_REQUESTS, {Event.IFS_RESPONSE: (Action.APPLY_IFS, _T.SENDING, "4")}),
    _T.IFS_RECEIVING: row(
        _T.IFS_RECEIVING, _TERMINAL_REQUESTS, {Event.IFS_RESPONSE: (Action.APPLY_IFS, _T.RECEIVING, "4")}
    ),
    _T.ABORT: row(_T.ABORT, _TERMINAL_REQUESTS, {Event.ABORT_RESPONSE: (Action.ABORTED, _T.IDLE, "9")}),
    _T.RELEASE: row(
        _T.RELEASE,
        _TERMINAL_ENDS,
        {
            Event.R_NEXT: (Action.ABORTED, _T.IDLE, "9"),
            Event.R_AGAIN: (Action.ABORTED, _T.IDLE, "9"),
            Event.ABORT_REQUEST: (Action.ACCEPT_ABORT, None, "7.3"),
            Event.INVALID: (Action.ASK, None, "7.3"),
            Event.SILENCE: (Action.ASK, None, "7.3"),
            Event.STORM: (Action.GIVE_UP, _T.DEAD, "limit"),
        },
    ),
    _T.RESYNCH: row(
        _T.RESYNCH,
        _TERMINAL_REPEATS,
        {
            Event.RESYNCH_RESPONSE: (Action.RESTART, _T.IDLE, "6.3"),
            Event.EXHAUSTED: (Action.GIVE_UP, _T.DEAD, "6.4"),
            Event.NO_START: (Action.GIVE_UP, _T.DEAD, "6.4"),
        },
    ),
    _T.DEAD: row(_T.DEAD, {}),
}
