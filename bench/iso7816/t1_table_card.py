"""What the card does on T=1, in each state and on each event (ISO/IEC 7816-3:2006, 11.6.2 and 11.6.3).

How to read it: `t1_states`. A rule of "limit" is none of the standard's.
"""

from __future__ import annotations

from typing import Final

from bench.iso7816.t1_states import Action, CardState, Event, Parts, Table, row

_C = CardState

_CARD_RESYNCH: Final[Parts[CardState]] = {Event.RESYNCH_REQUEST: (Action.ACCEPT_RESYNCH, _C.START, "6.2")}

_CARD_LISTENS: Final[Parts[CardState]] = {
    **_CARD_RESYNCH,
    Event.IFS_REQUEST: (Action.ACCEPT_IFS, None, "4"),
    Event.INVALID: (Action.ASK, None, "7.1"),
    Event.I_WRONG: (Action.ASK, None, "7.1"),
    Event.R_NEXT: (Action.ASK, None, "7.1"),
    Event.R_AGAIN: (Action.REPEAT_I, None, "7.1"),
    Event.EXHAUSTED: (Action.WAIT, None, "7.4.3"),
}

_CARD_TAKES: Final[Parts[CardState]] = {
    **_CARD_LISTENS,
    Event.I_LAST: (Action.EXECUTE, _C.BUSY, "2.1"),
    Event.I_MORE: (Action.TAKE, _C.ACKING, "2.2"),
}

_CARD_REQUESTS: Final[Parts[CardState]] = {
    **_CARD_RESYNCH,
    Event.INVALID: (Action.REPEAT, None, "7.3"),
    Event.I_LAST: (Action.REPEAT, None, "7.3"),
    Event.I_MORE: (Action.REPEAT, None, "7.3"),
    Event.I_WRONG: (Action.REPEAT, None, "7.3"),
    Event.R_NEXT: (Action.REPEAT, None, "7.3"),
    Event.R_AGAIN: (Action.REPEAT, None, "7.3"),
}

_CARD_SPEAKS: Final[Parts[CardState]] = dict.fromkeys(
    (Event.I_LAST, Event.I_MORE, Event.I_WRONG, Event.R_NEXT, Event.R_AGAIN), (Action.SEND_WTX, _C.TIME, "3")
)

CARD: Final[Table[CardState]] = {
    _C.START: row(
        _C.START,
        _CARD_TAKES,
        {
            Event.I_LAST: (Action.EXECUTE, _C.BUSY, "1"),
            Event.I_MORE: (Action.TAKE, _C.ACKING, "1"),
            Event.INVALID: (Action.ASK, None, "7.5"),
            Event.R_NEXT: (Action.ASK, None, "7.5"),
            Event.R_AGAIN: (Action.ASK, None, "7.5"),
        },
    ),
    _C.RESTED: row(_C.RESTED, _CARD_TAKES),
    _C.GATHERING: row(
        _C.GATHERING,
        _CARD_TAKES,
        {
            Event.I_LAST: (Action.EXECUTE, _C.BUSY, "5"),
            Event.I_MORE: (Action.TAKE, _C.ACKING, "5"),
            Event.INVALID: (Action.ASK, None, "7.2"),
            Event.I_WRONG: (Action.ASK, None, "7.2"),
            Event.R_NEXT: (Action.ASK, None, "7.2"),
            Event.R_AGAIN: (Action.ASK, None, "7.2"),
            Event.ABORT_REQUEST: (Action.ACCEPT_ABORT, _C.RELEASED, "9"),
        },
    ),
    _C.CHAINING: row(
        _C.CHAINING,
        _CARD_LISTENS,
        {
            Event.R_NEXT: (Action.ADVANCE, _C.ANSWERING, "2.2"),
            Event.ABORT_REQUEST: (Action.ACCEPT_ABORT, _C.RELEASED, "9"),
        },
    ),
    _C.ACKING: row(
        _C.ACKING,
        {
            Event.ACKNOWLEDGE: (Action.SEND_R, _C.GATHERING, "2.2"),
            Event.WISH_IFS: (Action.SEND_IFS, _C.IFS_GATHERING, "4"),
            Event.WISH_ABORT: (Action.SEND_ABORT, _C.ABORT, "9"),
        },
    ),
    _C.ANSWERING: row(
        _C.ANSWERING,
        {
            Event.NEXT_MORE: (Action.SEND_I, _C.CHAINING, "5"),
            Event.NEXT_LAST: (Action.SEND_I, _C.RESTED, "2.1"),
            Event.WISH_IFS: (Action.SEND_IFS, _C.IFS_ANSWERING, "4"),
            Event.WISH_ABORT: (Action.SEND_ABORT, _C.ABORT, "9"),
        },
    ),
    _C.BUSY: row(
        _C.BUSY,
        _CARD_RESYNCH,
        _CARD_SPEAKS,
        {
            Event.REPLY: (Action.ADVANCE, _C.ANSWERING, "2.1"),
            Event.TIME_SHORT: (Action.SEND_WTX, _C.TIME, "3"),
            Event.INVALID: (Action.WAIT, None, "3"),
        },
    ),
    _C.TIME: row(
        _C.TIME,
        _CARD_REQUESTS,
        {
            Event.WTX_RESPONSE: (Action.RESUME, _C.BUSY, "3"),
            Event.REPLY: (Action.STORE, None, "3"),
            Event.EXHAUSTED: (Action.WAIT, _C.LISTENING, "7.4.3"),
        },
    ),
    _C.LISTENING: row(
        _C.LISTENING,
        _CARD_RESYNCH,
        _CARD_SPEAKS,
        {
            Event.REPLY: (Action.STORE, _C.HOLD, "7.4.3"),
            Event.INVALID: (Action.WAIT, None, "7.4.3"),
        },
    ),
    _C.HOLD: row(
        _C.HOLD,
        _CARD_RESYNCH,
        {
            Event.R_NEXT: (Action.ADVANCE, _C.ANSWERING, "7.1"),
            Event.R_AGAIN: (Action.ASK, None, "7.1"),
            Event.I_WRONG: (Action.ASK, None, "7.1"),
            Event.INVALID: (Action.ASK, None, "7.1"),
            Event.EXHAUSTED: (Action.WAIT, None, "7.4.3"),
        },
    ),
    _C.IFS_GATHERING: row(
        _C.IFS_GATHERING,
        _CARD_REQUESTS,
        {
            Event.IFS_RESPONSE: (Action.APPLY_IFS, _C.ACKING, "4"),
            Event.EXHAUSTED: (Action.WAIT, _C.GATHERING, "8"),
        },
    ),
    _C.IFS_ANSWERING: row(
        _C.IFS_ANSWERING,
        _CARD_REQUESTS,
        {
            Event.IFS_RESPONSE: (Action.APPLY_IFS, _C.ANSWERING, "4"),
            Event.EXHAUSTED: (Action.WAIT, _C.HOLD, "8"),
        },
    ),
    _C.ABORT: row(
        _C.ABORT,
        _CARD_REQUESTS,
        {
            Event.ABORT_RESPONSE: (Action.ABORTED, _C.RELEASED, "9"),
            Event.EXHAUSTED: (Action.WAIT, None, "7.4.3"),
        },
    ),
    _C.RELEASED: row(
        _C.RELEASED,
        _CARD_TAKES,
        {
            Event.R_AGAIN: (Action.ASK, None, "7.1"),
            Event.ABORT_REQUEST: (Action.ACCEPT_ABORT, None, "7.3"),
        },
    ),
}
