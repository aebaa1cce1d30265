"""Following one card session on the line, character by character: whose turn it is, in which phase, at which rate (ISO/IEC 7816-3:2006).

From reset on: the answer to reset (8), PPS (9), then T=0 (10) or T=1 (11). The follower reads bytes only to know what comes next; it judges nothing
and imports none of the machines that speak the protocols. It says for each character who sent it and who should have, at which rate, and what the
block waiting time is multiplied with. Where the sides are known (a rig of the bench's own, a capture with a direction) it goes by them.

A capture of the line alone shows no direction. Everything follows from the protocol then, except the direction of T=0 data, which only the
instruction tells (10.3.2): where it is not one of ISO/IEC 7816-4 or of those the caller names, the side of those data is None.
Left out: several cards on one line, and T=1 blocks whose length field was damaged.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from bench.iso7816.atr import ATR_MAX_BYTES, Atr, Edc, Rule, read_atr
from bench.iso7816.errors import Iso7816Error, PpsError
from bench.iso7816.pps import PPSS, Pps, evaluate, expected_length, parse_pps
from bench.iso7816.rates import RATE_DEFAULT, Rate

_NULL: Final = 0x60
_HEADER: Final = 5
_PROLOGUE: Final = 3
_S_WTX_RESPONSE: Final = 0xE3

INCOMING_INS: Final = frozenset(
    bytes.fromhex(
        "04 0C 0E 0F 10 14 20 21 22 24 26 28 2A 2C 32 44 46 47 54 70 82 86 87 88 8C A0 A1 A2 A4 C2 C3 D0 D1 D2 D6 D7 DA DB DC DD E0 E2"
    )
)
"""Instructions of ISO/IEC 7816-4 and ETSI TS 102 221 whose data go to the card."""
OUTGOING_INS: Final = frozenset(bytes.fromhex("12 84 B0 B1 B2 B3 C0 CA CB F2"))
"""Instructions of the same whose data come from the card."""

_UNFINISHED: Final = frozenset({Rule.EMPTY, Rule.TRUNCATED, Rule.TCK_MISSING})


class SessionError(Iso7816Error):
    """A session that cannot be followed: the text says from which character on, and what would help."""


class Side(StrEnum):
    """Who sends a character."""

    CARD = "card"
    TERMINAL = "terminal"

    @property
    def other(self) -> Side:
        return Side.TERMINAL if self is Side.CARD else Side.CARD


class Phase(StrEnum):
    """What a character belongs to."""

    ATR = "ATR"
    PPS = "PPS"
    T0 = "T=0"
    T1 = "T=1"


@dataclass(frozen=True, slots=True)
class Character:
    """One character of a session."""

    number: int
    """Its place in the session, from 1."""
    start: int
    """Leading edge, in ticks."""
    value: int
    side: Side | None
    """Who sent it; None where a capture does not tell."""
    due: Side | None
    """Whose turn it was; None where that is not known."""
    phase: Phase
    rate: Rate
    begins: bool = False
    """T=1: the first character of a block."""
    wtx: int = 1
    """T=1: what the block waiting time is multiplied with (11.6.2, rule 3)."""


class _Turn(Enum):
    """Where T=0 is."""

    HEADER = auto()
    PROCEDURE = auto()
    DATA = auto()
    SW2 = auto()


class Follower:
    """Follows one session.

    Without `atr` the session begins with the answer to reset. With it, the session begins after that (and after PPS), at `rate`
    under `protocol` (the first one offered where it is None). `incoming` are instructions of the card's own whose data go to it.
    """

    def __init__(
        self,
        atr: Atr | None = None,
        rate: Rate | None = None,
        protocol: int | None = None,
        *,
        incoming: Collection[int] = (),
        outgoing: Collection[int] = (),
    ) -> None:
        self.atr = atr
        self._own_rate = rate
        self._incoming = (INCOMING_INS | frozenset(incoming)) - frozenset(outgoing)
        self._outgoing = (OUTGOING_INS | frozenset(outgoing)) - frozenset(incoming)
        self.rate = Rate(RATE_DEFAULT)
        self.phase = Phase.ATR
        self.protocol = 0
        self._fresh = True
        """Nothing but the answer to reset has gone by: a PPS may begin."""
        self._number = 0
        self._heard = bytearray()
        self._request: Pps | None = None
        self._turn = _Turn.HEADER
        self._header = bytearray()
        self._left = 0
        self._piece = 0
        self._data_side: Side | None = None
        self._block = bytearray()
        self._block_side = Side.TERMINAL
        self._wtx = 1
        if atr is not None:
            self._fresh = False
            self.rate = rate or Rate(RATE_DEFAULT)
            self._begin_protocol(atr.first_protocol if protocol is None else protocol)

    def reset(self) -> None:
        """RST was low: the session begins afresh with an answer to reset. Characters are counted on."""
        self.atr = None
        self.rate = Rate(RATE_DEFAULT)
        self.phase = Phase.ATR
        self._fresh = True
        self._heard.clear()
        self._request = None

    @property
    def error_signals(self) -> bool:
        """Whether error signals may be on the line (7.3): not under T=1."""
        return self.phase is not Phase.T1

    def take(self, start: int, value: int, side: Side | None = None) -> Character:
        """The next character, from `side` where that is known. Raises SessionError where the answer to reset cannot be read."""
        self._number += 1
        if self.phase is Phase.ATR and side is Side.TERMINAL and self._heard:
            raise SessionError(
                f"character {self._number}: the terminal sends {value:02X} before the answer to reset "
                f"{self._heard.hex(' ').upper()} is complete"
            )
        if self._fresh and self.atr is not None and self.phase is not Phase.PPS:
            if value == PPSS and side is not Side.CARD:
                self.phase = Phase.PPS
                self._heard.clear()
            else:
                self._fresh = False
        rate = self.rate
        match self.phase:
            case Phase.ATR:
                return self._in_atr(start, value)
            case Phase.PPS:
                return self._in_pps(start, value, side)
            case Phase.T0:
                due = self._due_t0()
                sent = self._in_t0(value, side)
                return Character(self._number, start, value, sent, due, Phase.T0, rate)
            case Phase.T1:
                return self._in_t1(start, value, side)

    # -- answer to reset, PPS ------------------------------------------------------------------------------------------

    def _in_atr(self, start: int, value: int) -> Character:
        self._heard.append(value)
        character = Character(self._number, start, value, Side.CARD, Side.CARD, Phase.ATR, self.rate)
        reading = read_atr(bytes(self._heard))
        found = {each.rule for each in reading.violations}
        if found & _UNFINISHED and len(self._heard) < ATR_MAX_BYTES and Rule.TS not in found:
            return character
        if reading.transmission_violations:
            raise SessionError(
                f"character {self._number}: no usable answer to reset: {reading.transmission_violations[0]}; a capture "
                "must begin before the answer does, or the ATR must be given"
            )
        assert reading.atr is not None, "an ATR without violations has been read"
        self.atr = reading.atr
        mode = reading.atr.specific_mode
        if mode is not None:
            self._fresh = False
            self.rate = self._own_rate or Rate(RATE_DEFAULT) if mode.implicit else reading.atr.rate
        self._begin_protocol(reading.atr.first_protocol if mode is None else mode.protocol)
        return character

    def _begin_protocol(self, protocol: int) -> None:
        if protocol not in (0, 1):
            raise SessionError(f"T={protocol} is in use; the follower knows T=0 and T=1")
        self.protocol = protocol
        self.phase = Phase.T1 if protocol == 1 else Phase.T0
        self._turn = _Turn.HEADER
        self._header.clear()
        self._block.clear()
        self._block_side = Side.TERMINAL
        self._wtx = 1

    def _in_pps(self, start: int, value: int, side: Side | None) -> Character:
        due = Side.TERMINAL if self._request is None else Side.CARD
        self._heard.append(value)
        character = Character(self._number, start, value, side or due, due, Phase.PPS, self.rate)
        if len(self._heard) < 3 or len(self._heard) < expected_length(self._heard[1]):
            return character
        heard = bytes(self._heard)
        self._heard.clear()
        if self._request is None:
            try:
                self._request = parse_pps(heard)
            except PpsError as error:
                raise SessionError(f"character {self._number}: the PPS request cannot be followed: {error}") from error
            return character
        result = evaluate(self._request, heard)
        self._fresh = False
        if not result.outcome.successful:
            raise SessionError(f"character {self._number}: the session ends with the PPS response: {result.detail}")
        self.rate = result.rate
        self._begin_protocol(result.protocol)
        return character

    # -- T=0 -------------------------------------------------------------------------------------------------------------

    def _due_t0(self) -> Side | None:
        match self._turn:
            case _Turn.HEADER:
                return Side.TERMINAL
            case _Turn.DATA:
                return self._data_side
            case _Turn.PROCEDURE | _Turn.SW2:
                return Side.CARD

    def _in_t0(self, value: int, side: Side | None) -> Side | None:
        """Take a character; who sent it."""
        due = self._due_t0()
        if side is not None and side is not due:
            if self._turn is _Turn.DATA and due is None:
                self._data_side = side
            elif side is Side.TERMINAL:
                self._turn = _Turn.HEADER  # it gave up and begins afresh
                self._header.clear()
            else:
                return side  # the card speaks out of turn: nothing follows from that
        sent = side or due
        match self._turn:
            case _Turn.HEADER:
                self._header.append(value)
                if len(self._header) == _HEADER:
                    self._command(side is not None)
            case _Turn.PROCEDURE:
                self._procedure(value)
            case _Turn.SW2:
                self._turn = _Turn.HEADER
                self._header.clear()
            case _Turn.DATA:
                self._left -= 1
                self._piece -= 1
                if not self._piece:
                    self._turn = _Turn.PROCEDURE
        return sent

    def _command(self, sides_known: bool) -> None:
        ins, size = self._header[1], self._header[4]
        self._data_side = None
        if sides_known:
            pass  # the first of the data will tell, whatever the instruction is
        elif ins in self._incoming:
            self._data_side = Side.TERMINAL
        elif ins in self._outgoing or not size:
            self._data_side = Side.CARD  # P3 = 00 brings nothing to the card (10.3.2): what comes comes from it
        self._left = size or (0 if self._data_side is Side.TERMINAL else 256)
        self._turn = _Turn.PROCEDURE

    def _procedure(self, value: int) -> None:
        ins = self._header[1]
        if self._left and value in (ins, ins ^ 0xFF):
            self._turn = _Turn.DATA
            self._piece = self._left if value == ins else 1
        elif value != _NULL and value >> 4 in (0x6, 0x9):
            self._turn = _Turn.SW2

    # -- T=1 -------------------------------------------------------------------------------------------------------------

    def _in_t1(self, start: int, value: int, side: Side | None) -> Character:
        if side is not None and side is not self._block_side:
            due, self._block_side = self._block_side, side
            self._block.clear()
        else:
            due = self._block_side
        block = self._block
        wtx = self._wtx if self._block_side is Side.CARD and not block else 1
        character = Character(
            self._number, start, value, self._block_side, due, Phase.T1, self.rate, begins=not block, wtx=wtx
        )
        block.append(value)
        edc = 2 if self.atr is not None and self.atr.edc is Edc.CRC else 1
        if len(block) >= _PROLOGUE and len(block) == _PROLOGUE + block[2] + edc:
            asked = self._block_side is Side.TERMINAL and block[1] == _S_WTX_RESPONSE and block[2] == 1
            self._wtx = max(1, block[_PROLOGUE]) if asked else 1
            self._block_side = self._block_side.other
            block.clear()
        return character
