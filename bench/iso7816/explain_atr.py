"""An answer to reset, byte by byte: meaning, clause, broken rules, and the rates and times that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bench.iso7816 import rates
from bench.iso7816.atr import CLASSES, T15, Atr, AtrReading, ClockStop, Convention, SpecificMode, read_atr
from bench.iso7816.atr_values import QUALIFIED_FROM_GROUP, InterfaceGroup
from bench.iso7816.compact_tlv import Category, HistoricalBytes
from bench.iso7816.errors import CompactTlvError
from bench.iso7816.explain import DEFAULT_CLOCK_HZ, ByteNote, Duration, number, table, to_hex
from bench.iso7816.rates import Rate, is_assigned

_CLOCK_STOP: Final = {
    ClockStop.NOT_SUPPORTED: "not supported",
    ClockStop.STATE_L: "in state L",
    ClockStop.STATE_H: "in state H",
    ClockStop.NO_PREFERENCE: "in either state",
}


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """One rule the ATR breaks: where, what was found, what the clause asks for."""

    position: int
    name: str
    found: str
    rule: str
    clause: str
    message: str


@dataclass(frozen=True, slots=True)
class RateNote:
    """A transmission rate at the clock of the explanation."""

    name: str
    ta1: str
    f: int
    d: int
    etu_cycles: Fraction
    baud: float


@dataclass(frozen=True, slots=True)
class AtrExplanation:
    """All there is to say about an ATR. `sound` is False when `broken` is not empty.

    `rates` and `times` are empty when TA1 cannot be used; `fmax_hz` is None then.
    """

    atr: str
    clock_hz: int
    sound: bool
    broken: tuple[BrokenRule, ...]
    bytes: tuple[ByteNote, ...]
    protocols: tuple[int, ...]
    mode: str
    fmax_hz: int | None
    rates: tuple[RateNote, ...]
    times: tuple[Duration, ...]
    historical: tuple[ByteNote, ...]

    def text(self) -> str:
        """For people: the bytes, what follows from them, and the verdict last."""
        parts = [f"ATR {self.atr}"]
        parts.append(table([(str(n.position), n.name, n.value, n.meaning, n.clause) for n in self.bytes]))
        if self.historical:
            rows = [(str(n.position), n.name, n.value, n.meaning) for n in self.historical]
            parts.append("historical bytes (ISO/IEC 7816-4)\n" + table(rows))
        if self.rates:
            offered = ", ".join(f"T={t}" for t in self.protocols)
            parts.append(f"offered: {offered}; {self.mode}; card clock up to {self.fmax_hz} Hz")
            if self.fmax_hz is not None and self.clock_hz > self.fmax_hz:
                parts.append(f"WARNING clock_hz={self.clock_hz} lies above f(max) (ISO/IEC 7816-3, 8.3, table 7)")
            figures = [
                (r.name, f"TA1={r.ta1}", f"{r.f}/{r.d}", f"{number(r.etu_cycles)} clk/etu", f"{r.baud:.0f} bit/s")
                for r in self.rates
            ]
            parts.append(f"at clock_hz={self.clock_hz}\n" + table(figures))
            parts.append(table([time.row() for time in self.times]))
        if self.sound:
            parts.append("sound: no rule is broken")
        else:
            parts.append("\n".join(f"BROKEN {item.message}" for item in self.broken))
        return "\n\n".join(parts)


def explain_atr(data: bytes, clock_hz: int = DEFAULT_CLOCK_HZ) -> AtrExplanation:
    """Explain any bytes as an ATR at a card clock in hertz. Raises RateError for a clock that is not positive."""
    rates.check_clock(clock_hz)
    reading = read_atr(data)
    atr = reading.atr
    usable = atr is not None and is_assigned(atr.ta1)
    return AtrExplanation(
        atr=to_hex(data),
        clock_hz=clock_hz,
        sound=not reading.violations,
        broken=tuple(
            BrokenRule(
                position=item.position,
                name=item.name,
                found="missing" if item.value is None else f"{item.value:02X}",
                rule=item.rule.name,
                clause=item.rule.clause,
                message=str(item),
            )
            for item in reading.violations
        ),
        bytes=tuple(_notes(reading)),
        protocols=() if atr is None else atr.protocols,
        mode="" if atr is None else _mode(atr),
        fmax_hz=atr.fmax_hz if atr is not None and usable else None,
        rates=tuple(_rates(atr, clock_hz)) if atr is not None and usable else (),
        times=tuple(_times(atr, clock_hz)) if atr is not None and usable else (),
        historical=() if atr is None else tuple(_historical(atr)),
    )


# --- byte by byte ----------------------------------------------------------------------------------------------------


def _notes(reading: AtrReading) -> Iterator[ByteNote]:
    raw, atr = reading.raw, reading.atr
    if atr is None:
        for at, value in enumerate(raw, start=1):
            yield ByteNote(at, "TS" if at == 1 else "?", f"{value:02X}", "cannot be told", "8.1" if at == 1 else "")
        return
    name = "direct convention: low is 0, least significant bit first"
    if atr.convention is Convention.INVERSE:
        name = "inverse convention: low is 1, most significant bit first"
    yield ByteNote(1, "TS", f"{raw[0]:02X}", name, "8.1")
    announced = _announced(raw[1] >> 4, 1)
    yield ByteNote(2, "T0", f"{raw[1]:02X}", f"{announced}; {raw[1] & 0xF} historical bytes", "8.2.2")
    at = 3
    for group in atr.groups:
        for name, value in group.named_bytes():
            meaning, clause = _interface_meaning(atr, group, name, value)
            yield ByteNote(at, name, f"{value:02X}", meaning, clause)
            at += 1
    for index, value in enumerate(atr.historical_bytes, start=1):
        yield ByteNote(at, f"T{index}", f"{value:02X}", "historical byte", "8.2.4")
        at += 1
    if atr.tck is not None:
        meaning = "exclusive-or of T0 to TCK is 00" if atr.needs_tck else "no TCK is due when T=0 alone is indicated"
        if any(item.rule.name == "TCK_WRONG" for item in reading.violations):
            meaning = "exclusive-or of T0 to TCK is not 00"
        yield ByteNote(at, "TCK", f"{atr.tck:02X}", meaning, "8.2.5")
        at += 1
    for value in raw[at - 1 :]:
        yield ByteNote(at, "-", f"{value:02X}", "not part of the ATR", "8.2.1")
        at += 1


def _announced(presence: int, index: int) -> str:
    names = [f"T{letter}{index}" for bit, letter in enumerate("ABCD") if presence >> bit & 1]
    return ", ".join(names) + (" follows" if len(names) == 1 else " follow") if names else "no interface bytes follow"


def _interface_meaning(atr: Atr, group: InterfaceGroup, name: str, value: int) -> tuple[str, str]:
    """What one interface byte says, and the clause."""
    letter = name[1]
    if letter == "D":
        t = value & 0xF
        what = "global interface bytes" if t == T15 else f"protocol T={t}"
        first = ", the first offered" if group.index == 1 and t != T15 else ""
        return f"{what}{first}; {_announced(value >> 4, group.index + 1)}", "8.2.3"
    if name == "TA1":
        return _ta1_meaning(value), "8.3, tables 7 and 8"
    if name == "TA2":
        return _mode(atr), "8.3"
    if name in ("TB1", "TB2"):
        return "programming voltage, deprecated: to be ignored", "8.3"
    if name == "TC1":
        return _tc1_meaning(value), "8.3, 11.2"
    if name == "TC2":
        return (
            (f"work waiting time WI = {value}", "10.2") if group.protocol == 0 else ("no meaning without T=0", "10.2")
        )
    return _qualified_meaning(atr, group, letter, value)


def _ta1_meaning(value: int) -> str:
    if not is_assigned(value):
        return "reserved Fi or Di"
    rate = Rate(value)
    return f"Fi = {rate.f}, Di = {rate.d}, f(max) = {rate.fmax_hz / 1e6:g} MHz"


def _tc1_meaning(value: int) -> str:
    if value == 0xFF:
        return "N = 255: characters every 12 etu under T=0, every 11 etu under T=1"
    return f"extra guard time N = {value}"


def _qualified_meaning(atr: Atr, group: InterfaceGroup, letter: str, value: int) -> tuple[str, str]:
    """TAi, TBi, TCi from the third group on: what they mean depends on the T before."""
    earlier = atr.groups[QUALIFIED_FROM_GROUP - 1 : group.index - 1]
    repeated = any(
        other.protocol == group.protocol and other.presence & group.presence & 1 << "ABC".index(letter)
        for other in earlier
    )
    if repeated:
        return f"a further T{letter} for T={group.protocol}: no meaning defined", "8.2.3"
    match group.protocol, letter:
        case 1, "A":
            return f"IFSC = {value} bytes", "11.4.2"
        case 1, "B":
            return f"BWI = {value >> 4}, CWI = {value & 0xF}", "11.4.3"
        case 1, "C":
            return f"error detection code {'CRC' if value & 1 else 'LRC'}", "11.4.4"
        case 15, "A":
            classes = CLASSES.get(value & 0x3F, "reserved")
            stop = _CLOCK_STOP[ClockStop(value >> 6)]
            return f"clock stop {stop}; operating classes {classes}", "8.3"
        case 15, "B":
            return f"use of contact C6 (SPU): {_spu(value)}", "8.3"
    return f"specific to T={group.protocol}: no meaning defined", "8.2.3"


def _spu(value: int) -> str:
    if value == 0:
        return "not used"
    return "proprietary" if value & 0x80 else "standard or reserved"


def _mode(atr: Atr) -> str:
    mode: SpecificMode | None = atr.specific_mode
    if mode is None:
        return "negotiable mode"
    change = "may change at a warm reset" if mode.can_change else "cannot change"
    rate = "rate known beforehand" if mode.implicit else "rate as in TA1"
    return f"specific mode with T={mode.protocol}, {change}, {rate}"


# --- what follows ----------------------------------------------------------------------------------------------------


def _rates(atr: Atr, clock_hz: int) -> Iterator[RateNote]:
    for name, rate in (("from reset on", Rate(rates.RATE_DEFAULT)), ("highest by TA1", atr.rate)):
        baud = float(rate.baud(clock_hz))
        yield RateNote(name, f"{rate.ta1:02X}", rate.f, rate.d, rate.etu_cycles, baud)


def _times(atr: Atr, clock_hz: int) -> Iterator[Duration]:
    """Guard and waiting times at the rate of TA1."""
    rate, etu = atr.rate, atr.rate.etu_cycles
    n, t15 = atr.extra_guard_time, atr.has_t15
    for t in atr.protocols:
        if t not in (0, 1):
            continue
        clause = "8.3" if t == 0 else "8.3, 11.2"
        to_card = rates.guard_cycles(n, t, rate, rate, t15)
        yield Duration.of(f"GT T={t}", to_card, etu, clock_hz, "least between characters to the card", clause)
        own = rates.card_guard_etu(n, t) * etu
        yield Duration.of(f"GT T={t}", own, etu, clock_hz, "least between characters from the card", clause)
        if t == 0 and atr.wi:
            wwt = Fraction(rates.wwt_cycles(atr.wi, atr.fi))
            yield Duration.of("WWT", wwt, etu, clock_hz, f"WI = {atr.wi}: longest between characters, T=0", "10.2")
        if t == 1:
            cwt = rates.cwt_etu(atr.cwi) * etu
            yield Duration.of("CWT", cwt, etu, clock_hz, f"CWI = {atr.cwi}: longest within a block", "11.4.3")
            bgt = rates.BGT_ETU * etu
            yield Duration.of("BGT", bgt, etu, clock_hz, "least between blocks of opposite directions", "11.4.3")
            if atr.bwi <= 9:
                bwt = rates.bwt_cycles(atr.bwi, rate)
                yield Duration.of("BWT", bwt, etu, clock_hz, f"BWI = {atr.bwi}: longest until the answer", "11.4.3")


def _historical(atr: Atr) -> Iterator[ByteNote]:
    try:
        decoded: HistoricalBytes | None = atr.historical
    except CompactTlvError:
        return
    if decoded is None:
        return
    clause = "7816-4, 12.1.1"
    yield ByteNote(1, "category", f"{decoded.raw[0]:02X}", decoded.category.value, clause)
    for item in decoded.objects:
        yield ByteNote(item.position, item.name, to_hex(item.value), f"COMPACT-TLV tag {item.tag:X}", clause)
    if decoded.category is Category.PROPRIETARY:
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in decoded.raw)
        yield ByteNote(1, "as text", to_hex(decoded.raw), text, clause)
    if decoded.status is not None:
        lcs = "no life cycle status" if decoded.status.lcs is None else f"life cycle status {decoded.status.lcs:02X}"
        sw = "no status word" if decoded.status.sw is None else f"status word {decoded.status.sw:04X}"
        yield ByteNote(len(decoded.raw), "status indicator", "", f"{lcs}, {sw}", clause)
