"""The answer to reset: values, reading, building (ISO/IEC 7816-3:2006, clause 8; T=0 10.2; T=1 11.4).

`read_atr` reads whatever can be read and lists every rule the bytes break, which is what a bench wants from a doubtful
card; `parse_atr` raises on the first of them, which is what a terminal wants. Historical bytes are ISO/IEC 7816-4's
business: a COMPACT-TLV that is broken is listed, but stops no terminal.

Values live in `atr_values`, rules in `atr_rules`; both are offered from here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

from bench.iso7816.atr_rules import AtrError, Rule, RuleKind, Violation, check_interface
from bench.iso7816.atr_values import (
    CLASSES,
    T15,
    Atr,
    ClockStop,
    Convention,
    Edc,
    InterfaceGroup,
    SpecificMode,
)
from bench.iso7816.compact_tlv import parse_historical
from bench.iso7816.errors import CompactTlvError

__all__ = [
    "ATR_MAX_BYTES",
    "CLASSES",
    "T15",
    "Atr",
    "AtrError",
    "AtrReading",
    "ClockStop",
    "Convention",
    "Edc",
    "GlobalParameters",
    "InterfaceGroup",
    "Rule",
    "RuleKind",
    "SpecificMode",
    "T1Parameters",
    "Violation",
    "build_atr",
    "parse_atr",
    "read_atr",
]

ATR_MAX_BYTES: Final = 33
"""TS and at most 32 bytes after it (8.2.1)."""


# --- reading ---------------------------------------------------------------------------------------------------------


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
            detail = check_interface(index, letter, body[at], groups, protocol)
            if detail is not None:
                found.append(Violation(detail[0], at + 1, name, body[at], detail[1]))
            at += 1
        groups.append(InterfaceGroup(index, protocol, *values))
        td = values[3]
        if td is None:
            return tuple(groups), at
        presence, protocol = td >> 4, td & 0xF


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


# --- building --------------------------------------------------------------------------------------------------------


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

    Raises AtrError when the result breaks a rule of ISO/IEC 7816-3, ValueError when a parameter has no place in an ATR
    (more than 15 historical bytes, a value over one byte, no protocol, parameters of T=1 or T=0 without that protocol).
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
