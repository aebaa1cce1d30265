"""The answer to reset: values, reading, building (ISO/IEC 7816-3:2006, clause 8; T=0 10.2; T=1 11.4).

`read_atr` reads whatever can be read and lists every rule the bytes break, which is what a bench wants from a doubtful card;
`parse_atr` raises on the first of them, which is what a terminal wants. Historical bytes are ISO/IEC 7816-4's business: a COMPACT-TLV
that is broken is listed, but stops no terminal.

Left out: the meaning of the deprecated TB1 and TB2 (programming voltage), which the 2006 edition tells the terminal to ignore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import reduce
from operator import xor
from typing import Final

from bench.iso7816 import rates
from bench.iso7816.compact_tlv import HistoricalBytes, parse_historical
from bench.iso7816.errors import CompactTlvError, Iso7816Error
from bench.iso7816.rates import Rate

ATR_MAX_BYTES: Final = 33
"""TS and at most 32 bytes after it (8.2.1)."""

T15: Final = 15
"""The T value that is no protocol: it announces global interface bytes (8.2.3)."""

_GLOBAL_FROM_GROUP: Final = 3
"""Interface bytes of groups 1 and 2 have fixed meanings; from the third on the T of the TD before decides (8.2.3)."""


class Convention(IntEnum):
    """The coding convention, by the value of TS (8.1)."""

    DIRECT = 0x3B
    INVERSE = 0x3F


class Edc(Enum):
    """Error detection code of T=1 (11.4.4)."""

    LRC = "LRC"
    CRC = "CRC"


class ClockStop(IntEnum):
    """Clock stop indicator X (8.3)."""

    NOT_SUPPORTED = 0
    STATE_L = 1
    STATE_H = 2
    NO_PREFERENCE = 3


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

    `position` counts from 1 (TS) and points just past the end where a byte is missing; `name` is TS, T0, TA1 …, T1 …, TCK; `value`
    is None where the byte is missing; `detail` is what was found.
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


@dataclass(frozen=True, slots=True)
class InterfaceGroup:
    """TAi, TBi, TCi, TDi for one i. `protocol` is the T of the TD before, None for i = 1."""

    index: int
    protocol: int | None
    ta: int | None = None
    tb: int | None = None
    tc: int | None = None
    td: int | None = None

    @property
    def presence(self) -> int:
        """Yi: bit 0 to 3 for TAi, TBi, TCi, TDi."""
        return sum(1 << bit for bit, byte in enumerate(self._all()) if byte is not None)

    def named_bytes(self) -> Iterator[tuple[str, int]]:
        """The bytes that are present, with their names (TA1, TB1, …), in the order of transmission."""
        for letter, byte in zip("ABCD", self._all(), strict=True):
            if byte is not None:
                yield f"T{letter}{self.index}", byte

    def _all(self) -> tuple[int | None, int | None, int | None, int | None]:
        return self.ta, self.tb, self.tc, self.td


@dataclass(frozen=True, slots=True)
class SpecificMode:
    """TA2 (8.3): the card talks `protocol` at once, PPS is not possible.

    `can_change`: a warm reset may bring negotiable mode. `implicit`: the rate is not TA1's but one both sides know.
    """

    protocol: int
    can_change: bool = True
    implicit: bool = False

    @staticmethod
    def decode(ta2: int) -> SpecificMode:
        """From the byte TA2."""
        return SpecificMode(ta2 & 0xF, can_change=not ta2 & 0x80, implicit=bool(ta2 & 0x10))

    def encode(self) -> int:
        """The byte TA2."""
        return (0 if self.can_change else 0x80) | (0x10 if self.implicit else 0) | self.protocol


@dataclass(frozen=True, slots=True)
class Atr:
    """An answer to reset as values. Properties give each parameter with its default where the byte is absent.

    Values are what the bytes say, reserved ones included: `parse_atr` has refused those already, `read_atr` has listed them.
    """

    convention: Convention
    groups: tuple[InterfaceGroup, ...]
    historical_bytes: bytes = b""
    tck: int | None = None

    def encode(self) -> bytes:
        """The bytes TS to TCK, exactly these values, sound or not; at most 15 historical bytes and at least one group."""
        first = self.groups[0]
        out = bytearray([self.convention, first.presence << 4 | len(self.historical_bytes)])
        for group in self.groups:
            out += bytes(byte for _, byte in group.named_bytes())
        out += self.historical_bytes
        if self.tck is not None:
            out.append(self.tck)
        return bytes(out)

    # --- protocols ----------------------------------------------------------------------------------------------------------

    @property
    def indicated(self) -> tuple[int, ...]:
        """Every T of TD1, TD2, … in order, T=15 and repetitions included; (0,) when TD1 is absent (8.2.3)."""
        return tuple(group.td & 0xF for group in self.groups if group.td is not None) or (0,)

    @property
    def protocols(self) -> tuple[int, ...]:
        """The protocols offered, in the order of the card's preference, without T=15 and repetitions."""
        return tuple(dict.fromkeys(t for t in self.indicated if t != T15))

    @property
    def first_protocol(self) -> int:
        """The first offered protocol: TD1's, or T=0 without TD1 (8.2.3)."""
        return self.indicated[0]

    @property
    def has_t15(self) -> bool:
        """Whether a T=15 group is there, which changes R of the extra guard time (8.3) and asks for TCK (8.2.5)."""
        return T15 in self.indicated

    @property
    def needs_tck(self) -> bool:
        """Whether 8.2.5 asks for TCK: unless T=0 alone is indicated."""
        return any(t != 0 for t in self.indicated)

    @property
    def specific_mode(self) -> SpecificMode | None:
        """TA2, or None in negotiable mode (6.3.1)."""
        ta2 = self._byte(2, "ta")
        return None if ta2 is None else SpecificMode.decode(ta2)

    # --- global interface bytes (8.3) ---------------------------------------------------------------------------------------

    @property
    def ta1(self) -> int:
        """The TA1 code, 11 when absent."""
        ta1 = self._byte(1, "ta")
        return rates.RATE_DEFAULT if ta1 is None else ta1

    @property
    def rate(self) -> Rate:
        """Fi, Di and f(max) of TA1. Raises RateError if the code is reserved (never after `parse_atr`)."""
        return Rate(self.ta1)

    @property
    def fi(self) -> int:
        """Fi. Raises RateError as `rate` does."""
        return self.rate.f

    @property
    def di(self) -> int:
        """Di. Raises RateError as `rate` does."""
        return self.rate.d

    @property
    def fmax_hz(self) -> int:
        """Highest card clock in hertz. Raises RateError as `rate` does."""
        return self.rate.fmax_hz

    @property
    def extra_guard_time(self) -> int:
        """N of TC1, 0 to 255; 0 when absent."""
        return self._byte(1, "tc") or 0

    @property
    def clock_stop(self) -> ClockStop:
        """X of the first TA for T=15."""
        ta = self._first_after(T15, "ta")
        return ClockStop.NOT_SUPPORTED if ta is None else ClockStop(ta >> 6)

    @property
    def class_indicator(self) -> int:
        """Y of the first TA for T=15: bits 1, 2, 4 for class A (5 V), B (3 V), C (1.8 V); A alone when absent."""
        ta = self._first_after(T15, "ta")
        return 1 if ta is None else ta & 0x3F

    @property
    def classes(self) -> str:
        """The class indicator as letters, such as "AB"; "" for a reserved value."""
        return CLASSES.get(self.class_indicator, "")

    @property
    def spu(self) -> int:
        """The first TB for T=15: use of contact C6; 0 when absent (not used)."""
        return self._first_after(T15, "tb") or 0

    # --- T=0 (10.2) and T=1 (11.4) ------------------------------------------------------------------------------------------

    @property
    def wi(self) -> int:
        """WI of TC2, 10 when absent."""
        tc2 = self._byte(2, "tc")
        return 10 if tc2 is None else tc2

    @property
    def ifsc(self) -> int:
        """Information field size of the card in bytes, 32 when absent."""
        ta = self._first_after(1, "ta")
        return 32 if ta is None else ta

    @property
    def bwi(self) -> int:
        """Block waiting integer, 4 when absent."""
        tb = self._first_after(1, "tb")
        return 4 if tb is None else tb >> 4

    @property
    def cwi(self) -> int:
        """Character waiting integer, 13 when absent."""
        tb = self._first_after(1, "tb")
        return 13 if tb is None else tb & 0xF

    @property
    def edc(self) -> Edc:
        """Error detection code, LRC when absent."""
        tc = self._first_after(1, "tc")
        return Edc.CRC if tc is not None and tc & 1 else Edc.LRC

    @property
    def historical(self) -> HistoricalBytes | None:
        """The historical bytes decoded, None when there are none. Raises CompactTlvError when they are broken."""
        return parse_historical(self.historical_bytes)

    def _byte(self, index: int, letter: str) -> int | None:
        return _interface_byte(self.groups[index - 1], letter) if index <= len(self.groups) else None

    def _first_after(self, protocol: int, letter: str) -> int | None:
        """The byte in the first group from the third on that T = `protocol` qualifies (8.2.3, "first occurrence")."""
        for group in self.groups[_GLOBAL_FROM_GROUP - 1 :]:
            if group.protocol == protocol and (byte := _interface_byte(group, letter)) is not None:
                return byte
        return None


CLASSES: Final = {1: "A", 2: "B", 3: "AB", 4: "C", 6: "BC", 7: "ABC"}
"""Class indicator Y (8.3) -> operating classes."""


def _interface_byte(group: InterfaceGroup, letter: str) -> int | None:
    return {"ta": group.ta, "tb": group.tb, "tc": group.tc, "td": group.td}[letter]


# --- reading ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AtrReading:
    """What could be read: `atr` is None when not even TS and T0 are usable. Sound when `violations` is empty."""

    raw: bytes
    atr: Atr | None
    violations: tuple[Violation, ...]

    @property
    def transmission_violations(self) -> tuple[Violation, ...]:
        """Those that concern ISO/IEC 7816-3, thus the terminal."""
        return tuple(found for found in self.violations if found.rule.kind is not RuleKind.HISTORICAL)


def parse_atr(data: bytes) -> Atr:
    """Read an ATR. Raises AtrError for the first rule of ISO/IEC 7816-3 it breaks (see `Rule`)."""
    reading = read_atr(data)
    if reading.transmission_violations:
        raise AtrError(reading.transmission_violations[0])
    assert reading.atr is not None, "an ATR without violations has been read"
    return reading.atr


def read_atr(data: bytes) -> AtrReading:
    """Read an ATR as far as possible and list every rule it breaks. Never raises on any bytes."""
    found: list[Violation] = []
    if len(data) > ATR_MAX_BYTES:
        found.append(
            Violation(Rule.TOO_LONG, ATR_MAX_BYTES + 1, "TCK", data[ATR_MAX_BYTES], f"the ATR has {len(data)} bytes")
        )
    if data and data[0] not in (Convention.DIRECT, Convention.INVERSE):
        found.append(Violation(Rule.TS, 1, "TS", data[0], _ts_detail(data[0])))
        return AtrReading(data, None, tuple(found))
    if len(data) < 2:
        name = "T0" if data else "TS"
        found.append(Violation(Rule.EMPTY, len(data) + 1, name, None, f"the ATR has {len(data)} bytes"))
        return AtrReading(data, None, tuple(found))
    body = data[:ATR_MAX_BYTES]
    groups, at = _read_groups(body, found)
    count = body[1] & 0xF
    historical = body[at : at + count]
    if len(historical) < count and not any(item.rule is Rule.TRUNCATED for item in found):
        missing = f"T0 announces {count} historical bytes, {len(historical)} are there"
        found.append(Violation(Rule.TRUNCATED, len(body) + 1, f"T{len(historical) + 1}", None, missing))
    atr = Atr(Convention(body[0]), groups, historical)
    truncated = any(item.rule is Rule.TRUNCATED for item in found)
    if not truncated:
        atr = _with_tck(atr, body, at + count, found)
        _check_historical(atr, at, found)
    found.sort(key=lambda item: (list(RuleKind).index(item.rule.kind), item.position))
    return AtrReading(data, atr, tuple(found))


def _ts_detail(ts: int) -> str:
    if ts == 0x03:
        return "this is 3F read in the direct convention, so the card uses the inverse one"
    if ts == 0x23:
        return "this is 3B read in the inverse convention, so the card uses the direct one"
    return "no convention has this initial character"


def _read_groups(body: bytes, found: list[Violation]) -> tuple[tuple[InterfaceGroup, ...], int]:
    groups: list[InterfaceGroup] = []
    at, presence, protocol = 2, body[1] >> 4, None
    while True:
        index = len(groups) + 1
        values: list[int | None] = [None, None, None, None]
        for bit, letter in enumerate("ABCD"):
            if not presence >> bit & 1:
                continue
            name = f"T{letter}{index}"
            if at >= len(body):
                announcer = "T0" if index == 1 else f"TD{index - 1}"
                found.append(Violation(Rule.TRUNCATED, at + 1, name, None, f"announced by {announcer}"))
                groups.append(InterfaceGroup(index, protocol, *values))
                return tuple(groups), at
            values[bit] = body[at]
            detail = _check_interface(index, letter, body[at], groups, protocol)
            if detail is not None:
                found.append(Violation(detail[0], at + 1, name, body[at], detail[1]))
            at += 1
        groups.append(InterfaceGroup(index, protocol, *values))
        td = values[3]
        if td is None:
            return tuple(groups), at
        presence, protocol = td >> 4, td & 0xF


def _check_interface(
    index: int, letter: str, value: int, before: Sequence[InterfaceGroup], protocol: int | None
) -> tuple[Rule, str] | None:
    """The rule that one interface byte breaks, and how; None when sound or without a rule."""
    if letter == "D":
        return _check_td(index, value, protocol)
    if index < _GLOBAL_FROM_GROUP:
        return _check_fixed(f"T{letter}{index}", value, protocol)
    first = not any(
        group.index >= _GLOBAL_FROM_GROUP
        and group.protocol == protocol
        and _interface_byte(group, f"t{letter.lower()}") is not None
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


def _with_tck(atr: Atr, body: bytes, at: int, found: list[Violation]) -> Atr:
    """Judge what follows the historical bytes (8.2.5) and take TCK if it is one."""
    rest = body[at:]
    if not atr.needs_tck:
        if rest and reduce(xor, body[1 : at + 1]) == 0:
            found.append(Violation(Rule.TCK_PRESENT, at + 1, "TCK", rest[0], "only T=0 is indicated"))
        elif rest:
            found.append(Violation(Rule.EXTRA_BYTES, at + 1, "TCK", rest[0], f"{len(rest)} more bytes"))
        return Atr(atr.convention, atr.groups, atr.historical_bytes, rest[0] if rest else None)
    if not rest:
        found.append(Violation(Rule.TCK_MISSING, at + 1, "TCK", None, f"T={_list(atr.indicated)} is indicated"))
        return atr
    if (wrong := reduce(xor, body[1 : at + 1])) != 0:
        found.append(Violation(Rule.TCK_WRONG, at + 1, "TCK", rest[0], f"{rest[0] ^ wrong:02X} would be right"))
    if len(rest) > 1:
        found.append(Violation(Rule.EXTRA_BYTES, at + 2, "after TCK", rest[1], f"{len(rest) - 1} more bytes"))
    return Atr(atr.convention, atr.groups, atr.historical_bytes, rest[0])


def _list(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)


def _check_historical(atr: Atr, at: int, found: list[Violation]) -> None:
    try:
        parse_historical(atr.historical_bytes)
    except CompactTlvError as error:
        index = error.position - 1
        value = atr.historical_bytes[index] if index < len(atr.historical_bytes) else None
        found.append(Violation(Rule.COMPACT_TLV, at + error.position, f"T{error.position}", value, error.reason))


# --- building -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class T1Parameters:
    """What the first TA, TB, TC for T=1 say; None leaves a byte out (its default holds)."""

    ifsc: int | None = None
    bwi_cwi: int | None = None
    edc: Edc | None = None


@dataclass(frozen=True, slots=True)
class GlobalParameters:
    """What the first TA and TB for T=15 say; None leaves TB out."""

    clock_stop: ClockStop = ClockStop.NOT_SUPPORTED
    class_indicator: int = 1
    spu: int | None = None


def build_atr(
    *,
    convention: Convention = Convention.DIRECT,
    protocols: Sequence[int] = (0,),
    ta1: int | None = None,
    tb1: int | None = None,
    extra_guard_time: int | None = None,
    specific_mode: SpecificMode | None = None,
    tb2: int | None = None,
    wi: int | None = None,
    t1: T1Parameters | None = None,
    t15: GlobalParameters | None = None,
    historical_bytes: bytes = b"",
) -> bytes:
    """The shortest ATR that says exactly this; a parameter left None has no byte. TCK is added where 8.2.5 asks for it.

    Raises AtrError when the result breaks a rule of ISO/IEC 7816-3, ValueError when a parameter has no place in an ATR (more than 15
    historical bytes, a value over one byte, no protocol, parameters of T=1 or T=0 without that protocol).
    """
    if not protocols:
        raise ValueError("an ATR offers at least one protocol")
    if len(historical_bytes) > 15:
        raise ValueError(f"{len(historical_bytes)} historical bytes; T0 can announce at most 15")
    if t1 is not None and 1 not in protocols:
        raise ValueError("parameters of T=1 without T=1 among the protocols")
    if wi is not None and protocols[0] != 0:
        raise ValueError("WI (TC2) belongs to T=0, which is not the first protocol")
    ta2 = None if specific_mode is None else specific_mode.encode()
    tail = _tail(protocols, t1, t15)
    second = (ta2, tb2, wi)
    td1 = protocols[0] if tail or protocols[0] != 0 or any(byte is not None for byte in second) else None
    chain: list[tuple[int | None, _Bytes]] = [(None, (ta1, tb1, extra_guard_time))]
    if td1 is not None:
        chain += [(td1, second), *tail]
    atr = Atr(convention, _groups(chain), historical_bytes)
    if atr.needs_tck:
        atr = Atr(convention, atr.groups, historical_bytes, reduce(xor, atr.encode()[1:]))
    data = atr.encode()
    parse_atr(data)
    return data


_Bytes = tuple[int | None, int | None, int | None]


def _tail(
    protocols: Sequence[int], t1: T1Parameters | None, t15: GlobalParameters | None
) -> list[tuple[int | None, _Bytes]]:
    """The groups from the third on, each with the T that qualifies it."""
    tail: list[tuple[int | None, _Bytes]] = []
    for position, protocol in enumerate(protocols):
        edc = None if t1 is None or t1.edc is None else int(t1.edc is Edc.CRC)
        own: _Bytes = (None, None, None) if protocol != 1 or t1 is None else (t1.ifsc, t1.bwi_cwi, edc)
        if position > 0 or any(byte is not None for byte in own):
            tail.append((protocol, own))
    if t15 is not None:
        tail.append((T15, (t15.clock_stop << 6 | t15.class_indicator, t15.spu, None)))
    return tail


def _groups(chain: Sequence[tuple[int | None, _Bytes]]) -> tuple[InterfaceGroup, ...]:
    """Groups with their TDi worked out from what follows."""
    groups: list[InterfaceGroup] = []
    following: InterfaceGroup | None = None
    for index in range(len(chain), 0, -1):
        protocol, (ta, tb, tc) = chain[index - 1]
        td = None if following is None else following.presence << 4 | (following.protocol or 0)
        following = InterfaceGroup(index, protocol, ta, tb, tc, td)
        groups.insert(0, following)
    return tuple(groups)
