"""The rules an answer to reset can break, as a table, and what breaking one looks like (ISO/IEC 7816-3:2006, clause 8).

`check_interface` judges one interface byte by itself; rules about the whole (length, TCK, historical bytes) are applied
by `bench.iso7816.atr.read_atr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bench.iso7816 import rates
from bench.iso7816.atr_values import CLASSES, QUALIFIED_FROM_GROUP, T15, InterfaceGroup, interface_byte
from bench.iso7816.errors import Iso7816Error


class RuleKind(Enum):
    """How far a broken rule reaches."""

    STRUCTURE = "the bytes cannot be told apart reliably"
    VALUE = "one byte has a value that the standard reserves or forbids"
    HISTORICAL = "the historical bytes break ISO/IEC 7816-4; transmission is not concerned"


class Rule(Enum):
    """Every rule an ATR can break: kind, clause, text."""

    EMPTY = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.2.1", "an ATR has at least the two bytes TS and T0"
    TOO_LONG = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.2.1", "at most 32 bytes follow TS, 33 in all"
    TS = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.1", "TS is 3B (direct convention) or 3F (inverse convention)"
    TRUNCATED = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.2.2", "every byte that T0 or TDi announces is there"
    TCK_MISSING = (
        RuleKind.STRUCTURE,
        "ISO/IEC 7816-3, 8.2.5",
        "TCK is present unless T=0 alone is indicated",
    )
    TCK_PRESENT = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.2.5", "TCK is absent when T=0 alone is indicated"
    TCK_WRONG = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.2.5", "the exclusive-or of T0 to TCK is 00"
    EXTRA_BYTES = RuleKind.STRUCTURE, "ISO/IEC 7816-3, 8.2.1", "nothing follows the last byte that T0 and TDi announce"
    FI_RESERVED = RuleKind.VALUE, "ISO/IEC 7816-3, 8.3, table 7", "Fi codes 7, 8, E and F are reserved"
    DI_RESERVED = RuleKind.VALUE, "ISO/IEC 7816-3, 8.3, table 8", "Di codes 0 and A to F are reserved"
    T15_IN_TD1 = RuleKind.VALUE, "ISO/IEC 7816-3, 8.2.3", "T=15 is no protocol and is invalid in TD1"
    T_ORDER = RuleKind.VALUE, "ISO/IEC 7816-3, 8.2.3", "the T values of TD1, TD2, … ascend"
    T_RESERVED = RuleKind.VALUE, "ISO/IEC 7816-3, 8.2.3", "T = 2 to 13 are reserved"
    TA2_RESERVED = RuleKind.VALUE, "ISO/IEC 7816-3, 8.3", "bits 7 and 6 of TA2 are 00"
    WI_ZERO = RuleKind.VALUE, "ISO/IEC 7816-3, 10.2", "WI (TC2) is 1 to 255"
    IFSC = RuleKind.VALUE, "ISO/IEC 7816-3, 11.4.2", "the first TA for T=1 is 01 to FE"
    BWI = RuleKind.VALUE, "ISO/IEC 7816-3, 11.4.3", "BWI is 0 to 9"
    EDC_RESERVED = RuleKind.VALUE, "ISO/IEC 7816-3, 11.4.4", "bits 8 to 2 of the first TC for T=1 are 0"
    CLASS_RESERVED = (
        RuleKind.VALUE,
        "ISO/IEC 7816-3, 8.3",
        "the class indicator is 1, 2, 3, 4, 6 or 7 (classes A, B, AB, C, BC, ABC)",
    )
    COMPACT_TLV = RuleKind.HISTORICAL, "ISO/IEC 7816-4, 12.1.1", "historical bytes of category 00 or 80 are COMPACT-TLV"

    @property
    def kind(self) -> RuleKind:
        """How far breaking it reaches."""
        return self.value[0]

    @property
    def clause(self) -> str:
        """Where the standard states it."""
        return self.value[1]

    @property
    def text(self) -> str:
        """What it asks for."""
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule broken at one byte.

    `position` counts from 1 (TS) and points just past the end where a byte is missing; `name` is TS, T0, TA1 …, T1 …,
    TCK; `value` is None where the byte is missing; `detail` is what was found.
    """

    rule: Rule
    position: int
    name: str
    value: int | None
    detail: str

    def __str__(self) -> str:
        found = "missing" if self.value is None else f"{self.value:02X}"
        return f"byte {self.position} ({self.name}, {found}): {self.detail}; {self.rule.text} ({self.rule.clause})"


class AtrError(Iso7816Error):
    """An answer to reset breaks a rule of ISO/IEC 7816-3; `violation` says which, where, and with what value."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(f"ATR {violation}")
        self.violation = violation

    @property
    def rule(self) -> Rule:
        """The rule broken."""
        return self.violation.rule


def check_interface(
    index: int, letter: str, value: int, before: Sequence[InterfaceGroup], protocol: int | None
) -> tuple[Rule, str] | None:
    """The rule that one interface byte breaks, and how; None when sound or without a rule."""
    if letter == "D":
        return _check_td(index, value, protocol)
    if index < QUALIFIED_FROM_GROUP:
        return _check_fixed(f"T{letter}{index}", value, protocol)
    first = not any(
        group.index >= QUALIFIED_FROM_GROUP
        and group.protocol == protocol
        and interface_byte(group, f"t{letter.lower()}") is not None
        for group in before
    )
    return _check_qualified(letter, value, protocol) if first else None


def _check_fixed(name: str, value: int, protocol: int | None) -> tuple[Rule, str] | None:
    """Groups 1 and 2: TA1, TA2 and TC2 have rules of their own."""
    if name == "TA1":
        if value >> 4 not in rates.F_TABLE:
            return Rule.FI_RESERVED, f"Fi code {value >> 4:X}"
        if value & 0xF not in rates.D_TABLE:
            return Rule.DI_RESERVED, f"Di code {value & 0xF:X}"
    if name == "TA2" and value & 0x60:
        return Rule.TA2_RESERVED, "reserved bits are set"
    if name == "TC2" and value == 0 and protocol == 0:
        return Rule.WI_ZERO, "WI is 0"
    return None


def _check_qualified(letter: str, value: int, protocol: int | None) -> tuple[Rule, str] | None:
    """The first TA, TB, TC after T=1 or T=15, from group 3 on."""
    if protocol == 1:
        if letter == "A" and value in (0x00, 0xFF):
            return Rule.IFSC, f"IFSC of {value}"
        if letter == "B" and value >> 4 > 9:
            return Rule.BWI, f"BWI of {value >> 4}"
        if letter == "C" and value & 0xFE:
            return Rule.EDC_RESERVED, "reserved bits are set"
    if protocol == T15 and letter == "A" and value & 0x3F not in CLASSES:
        return Rule.CLASS_RESERVED, f"class indicator {value & 0x3F:02X}"
    return None


def _check_td(index: int, value: int, previous: int | None) -> tuple[Rule, str] | None:
    t = value & 0xF
    if index == 1 and t == T15:
        return Rule.T15_IN_TD1, "TD1 offers T=15"
    if 2 <= t <= 13:
        return Rule.T_RESERVED, f"T={t}"
    if previous is not None and t < previous:
        return Rule.T_ORDER, f"T={t} comes after T={previous}"
    return None
