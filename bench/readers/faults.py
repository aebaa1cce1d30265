"""What can break between the bench and a card, by name: the first words of every ``on_fault`` text, whichever driver it comes from.

None of these is ever the card's doing: the point they end has verdict *error*. Some heal by themselves or by a hand (a card is put back, a daemon
comes up again), so the next point tries anew; a reader that froze, or that this user may not open, is of no use to the points after it either
(``LASTING``).
"""

from enum import StrEnum
from typing import Final

from bench.iso7816.port import ExchangeLevel

STATUS_WORD_SIZE: Final = 2
SHORT_LE_MOST: Final = 256


class Fault(StrEnum):
    """The kind of a fault."""

    ABSENT = "absent"
    """The card was pulled."""
    READER = "reader gone"
    DAEMON = "pcscd gone"
    RESET = "reset by another program"
    BUSY = "device busy"
    """Another program holds the reader or the card."""
    DENIED = "permission denied"
    MISSING = "software missing"
    """A library that the driver needs is not installed."""
    FROZEN = "driver hangs"
    """A driver call does not return."""
    TRUNCATED = "truncated answer"
    GARBLED = "garbled answer"
    OTHER = "reader fault"


LASTING: Final = frozenset({Fault.FROZEN, Fault.DENIED, Fault.MISSING})
"""What the next point would run into as well."""


def fault_text(fault: Fault, what: str, do: str) -> str:
    """The text of a fault: its name, what happened and where, what to do."""
    return f"{fault}: {what}; {do}"


def fault_of(text: str) -> Fault:
    """Which fault a text tells of."""
    for fault in Fault:
        if text.startswith(f"{fault}:") or text == fault:
            return fault
    return Fault.OTHER


def broken_answer(command: bytes, response: bytes, level: ExchangeLevel, protocol: int) -> str:
    """Why this cannot be what a card answered, so that the way to it must have damaged it; empty where it can.

    No exchange ends without a status word (ISO/IEC 7816-4, 5.6). Over T=0 a terminal accepts nothing but 6X and 9X as SW1 (7816-3, 10.3.3) and
    fetches no more than P3 asks for. Over T=1 the check characters vouch for every byte: what is odd there is the card's own doing.
    """
    shown = command[:5].hex(" ").upper()
    advice = "try another cable or reader; see what the driver says (pcscd -f --debug --apdu)"
    if len(response) < STATUS_WORD_SIZE:
        return fault_text(
            Fault.TRUNCATED, f"{shown} came back with {len(response)} bytes, without a status word", advice
        )
    if protocol:
        return ""
    sw1 = response[-2]
    if sw1 >> 4 not in (0x6, 0x9) or sw1 == 0x60:
        told = response[-2:].hex().upper()
        return fault_text(Fault.GARBLED, f"{shown} came back with {told}, which is no status word", advice)
    asked = (command[4] or SHORT_LE_MOST) if len(command) == 5 else 0
    got = len(response) - STATUS_WORD_SIZE
    if level is ExchangeLevel.TPDU and got > asked:
        return fault_text(Fault.GARBLED, f"{shown} came back with {got} bytes of data, {asked} were asked for", advice)
    return ""
