"""How an exchange of T=1 ends, for whoever asked for it: a response, or a named failure that says what to do.

Failures and faults are told apart: a failure ends an exchange; a fault (`t1_line.T1Fault`) is something the other side
did that ISO/IEC 7816-3:2006 does not allow, whatever became of the exchange. Misuse of a machine by its own user is
neither: it raises `t1_line.T1UsageError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from bench.iso7816.t1_line import T1Fault

RESPONSE_MAX: Final = 65_538
"""Data and status word of the longest response APDU (12.1.3)."""
FAULTS_KEPT: Final = 16


class T1Failure(StrEnum):
    """How an exchange can fail. `T1Outcome.needs_reset` says which of these leave the line unusable."""

    MUTE = "mute"
    """Not one character came."""
    NO_START = "protocol: no start"
    """Something came, never a block (rule 7.4.1)."""
    LOST = "protocol: synchronisation lost"
    """Resynchronisation failed three times (rule 6.4)."""
    STORM = "protocol: storm of requests"
    """The card went on asking for time, or announcing an IFS, beyond this terminal's limit."""
    TOO_LONG = "protocol: response too long"
    """More than any response APDU has; the chain was aborted."""
    ABORTED_BY_CARD = "protocol: aborted by the card"
    ABORTED = "protocol: aborted by the terminal"
    REFUSED = "protocol: IFS not accepted"
    """S(IFS request) was never answered; the line has been resynchronised."""


_RESETS: Final = frozenset((T1Failure.MUTE, T1Failure.NO_START, T1Failure.LOST, T1Failure.STORM))


@dataclass(slots=True)
class T1Outcome:
    """How an exchange ended. Times in ticks."""

    response: bytes
    """Response APDU; empty where `failure` is set, and after IFS or RESYNCH."""
    start: int
    end: int
    characters: int
    card_ticks: int
    """What the card took beyond the mandatory guard times and spacing."""
    retries: int
    """Blocks that either side sent again or asked for again, as seen from here."""
    resynchs: int
    extensions: int
    """Waiting time extensions granted."""
    failure: T1Failure | None = None
    detail: str = ""
    faults: tuple[T1Fault, ...] = ()
    """What the card did that the standard does not allow, the first 16."""

    @property
    def error(self) -> str:
        """Empty, `mute`, or `protocol: …` as `port.Answer` has it."""
        if self.failure is None:
            return ""
        return f"{self.failure}: {self.detail}" if self.detail else str(self.failure)

    @property
    def needs_reset(self) -> bool:
        """Whether only a reset of the card helps (rules 6.4 and 7.4.1)."""
        return self.failure in _RESETS


@dataclass(slots=True)
class Numbers:
    """N(S) of a logical connection."""

    send: int = 0
    """Of the next I-block not yet sent."""
    receive: int = 0
    """Of the next I-block expected."""


class Purpose(StrEnum):
    """What an exchange is for."""

    APDU = "APDU"
    IFS = "IFS"
    RESYNCH = "RESYNCH"


@dataclass(slots=True)
class Exchange:
    """What the terminal keeps while an exchange is under way."""

    nad: int
    nad_in: int
    connection: Numbers
    purpose: Purpose
    command: bytes
    start: int
    end: int
    sent: int = 0
    """Bytes of the command that have been sent at least once."""
    received: bytearray = field(default_factory=bytearray)
    attempts: int = 0
    """Failures in a row (rule 7.4)."""
    stalled: int = 0
    """Repetitions either side asked for since the exchange last got on."""
    requests: int = 0
    """Blocks in a row that did not get the exchange on."""
    retries: int = 0
    resynchs: int = 0
    extensions: int = 0
    characters: int = 0
    card_ticks: int = 0
    heard: bool = False
    ifs_refused: bool = False
    why: str = ""
    """What was wrong with the last invalid block."""
    wish_abort: T1Failure | None = None
    aborting: T1Failure | None = None
    faults: list[T1Fault] = field(default_factory=list)

    def fault(self, clause: str, found: str) -> None:
        """Note a fault of the card."""
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(T1Fault(clause, found))

    def outcome(self, response: bytes, failure: T1Failure | None, detail: str) -> T1Outcome:
        """How it ended."""
        return T1Outcome(
            response,
            self.start,
            self.end,
            self.characters,
            self.card_ticks,
            self.retries,
            self.resynchs,
            self.extensions,
            failure,
            detail,
            tuple(self.faults),
        )
