"""Nobody certifies himself: our reading of an ATR against pcsc-tools' list, its ATR_analysis, and pyscard's ATR class.

Every literal entry of Debian's list of known cards is read; interface bytes, protocols, F, D and the verdict on TCK are
compared with both witnesses. Where they disagree, the disagreement has a name, the clause that decides, and the side
the clause is on; one that has no name fails the test.

Needs the Debian packages pcsc-tools and libpcsc-perl, and the package extra `pcsc` (pyscard).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import xor
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from bench.iso7816.atr import AtrReading, Rule, RuleKind, read_atr
from bench.iso7816.rates import D_TABLE, F_TABLE

pytestmark = pytest.mark.witness

LIST = Path("/usr/share/pcsc/smartcard_list.txt")
LITERAL = re.compile(r"[0-9A-Fa-f]{2}( [0-9A-Fa-f]{2})*")
CONTACTLESS = re.compile(r"3B 8[0-9A-F] 80 01\b", re.IGNORECASE)
"""How PC/SC part 3, 3.1.3.2.3 has a reader present a contactless card: T0 = 8n, TD1 = 80, TD2 = 01."""

# Loads the program's modules once and runs the unchanged program in a child for each line: 4 ms instead of 60 an ATR.
RUN_MANY = """
use strict; use warnings; use Getopt::Std; use Chipcard::PCSC::Card; use File::stat;
my $program = shift @ARGV; $| = 1;
while (my $atr = <STDIN>) {
  chomp $atr; print "=== $atr\\n";
  my $child = fork();
  if (!$child) { @ARGV = split / /, $atr; do $program; die $@ if $@; exit 0; }
  waitpid $child, 0;
}
"""


class Tck(Enum):
    """A verdict on TCK, in the words all three can be brought to."""

    NONE = "no TCK"
    RIGHT = "TCK right"
    WRONG = "TCK wrong"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one reader of an ATR says. `factors` are F and D as numbers, or RFU."""

    interface: tuple[tuple[str, int], ...]
    indicated: frozenset[int]
    factors: tuple[str, str]
    tck: Tck
    complete: bool


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A known difference: which field, when it may occur, who is right by which clause."""

    name: str
    field: str
    applies: Callable[[AtrReading], bool]
    reason: str


def rules(reading: AtrReading) -> set[Rule]:
    return {found.rule for found in reading.violations}


def incomplete_interface(reading: AtrReading) -> bool:
    return any(found.rule is Rule.TRUNCATED and re.fullmatch(r"T[A-D]\d+", found.name) for found in reading.violations)


TRUNCATED_INTERFACE: Final = Disagreement(
    "truncated within the interface bytes",
    "complete",
    incomplete_interface,
    "8.2.2: T0 and TDi announce bytes that are not there. We name the first one missing; "
    "pyscard raises IndexError, ATR_analysis stops printing",
)
TRUNCATED_HISTORICAL: Final = Disagreement(
    "truncated within the historical bytes",
    "complete",
    lambda reading: Rule.TRUNCATED in rules(reading) and not incomplete_interface(reading),
    "8.2.4: K historical bytes follow. We and ATR_analysis say that some are missing; pyscard takes what is there",
)
SURPLUS: Final = Disagreement(
    "more bytes than announced",
    "tck",
    lambda reading: Rule.EXTRA_BYTES in rules(reading),
    "8.2.1, 8.2.5: with T=0 alone a byte after the historical ones is no TCK, and nothing follows a TCK. The "
    "witnesses call a single surplus byte TCK whatever the protocols, and do not look for TCK when there are several",
)
FORBIDDEN_TCK: Final = Disagreement(
    "TCK although T=0 alone is indicated",
    "tck",
    lambda reading: Rule.TCK_PRESENT in rules(reading),
    "8.2.5: TCK is absent when T=0 alone is indicated. The witnesses check its value only",
)
EMPTY_REST: Final = Disagreement(
    "nothing after the interface bytes",
    "complete",
    lambda reading: (
        reading.atr is not None and not reading.atr.historical_bytes and Rule.TRUNCATED not in rules(reading)
    ),
    "8.2.4: K may be 0. ATR_analysis ends as soon as no byte is left, before it says anything on historical bytes",
)
EXPLAINED: Final = (TRUNCATED_INTERFACE, TRUNCATED_HISTORICAL, SURPLUS, FORBIDDEN_TCK, EMPTY_REST)


# --- the list --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entries:
    literal: tuple[bytes, ...]
    patterns: tuple[str, ...]
    contactless: int


@pytest.fixture(scope="module")
def entries() -> Entries:
    if not LIST.exists():
        pytest.skip(f"{LIST} is not there: install the Debian package pcsc-tools")
    heads = [
        line.strip()
        for line in LIST.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip() and line[0] not in "#\t"
    ]
    literal = tuple(bytes.fromhex(head) for head in heads if LITERAL.fullmatch(head))
    patterns = tuple(head for head in heads if not LITERAL.fullmatch(head))
    return Entries(literal, patterns, sum(bool(CONTACTLESS.match(head)) for head in heads))


@pytest.fixture(scope="module")
def readings(entries: Entries) -> tuple[AtrReading, ...]:
    return tuple(read_atr(raw) for raw in entries.literal)


def test_every_literal_atr_is_read(
    entries: Entries, readings: tuple[AtrReading, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    counts = Counter(found.rule for reading in readings for found in reading.violations)
    sound = sum(not reading.violations for reading in readings)
    usable = sum(not reading.transmission_violations for reading in readings)
    with capsys.disabled():
        print(
            f"\n{LIST.name}: {len(entries.literal) + len(entries.patterns)} entries, {len(entries.literal)} literal, "
            f"{len(entries.patterns)} patterns, {entries.contactless} of them all contactless (3B 8n 80 01); "
            f"of the literal ones {sound} break no rule, {usable} none of ISO/IEC 7816-3"
        )
        for rule, count in counts.most_common():
            print(f"  {count:4} {rule.name}: {rule.text} ({rule.clause})")
    assert len(entries.literal) > 3000, "the list of known cards is not the one expected"
    for reading in readings:
        assert reading.atr is not None, reading.raw.hex(" ")
        if all(found.rule.kind is not RuleKind.STRUCTURE for found in reading.violations):
            assert reading.atr.encode() == reading.raw
    assert usable / len(readings) > 0.95


# --- opinions --------------------------------------------------------------------------------------------------------


def ours(reading: AtrReading) -> Opinion:
    atr = reading.atr
    assert atr is not None
    f, d = F_TABLE.get(atr.ta1 >> 4), D_TABLE.get(atr.ta1 & 0xF)
    if atr.tck is None:
        tck = Tck.NONE
    else:
        tck = Tck.WRONG if Rule.TCK_WRONG in rules(reading) else Tck.RIGHT
    if {Rule.EXTRA_BYTES, Rule.TCK_PRESENT} & rules(reading) and not atr.needs_tck:
        tck = Tck.NONE
    return Opinion(
        interface=tuple(item for group in atr.groups for item in group.named_bytes()),
        indicated=frozenset(atr.indicated),
        factors=("RFU" if f is None else str(f.f), "RFU" if d is None else str(d)),
        tck=tck,
        complete=Rule.TRUNCATED not in rules(reading),
    )


def differences(mine: Opinion, theirs: Opinion) -> Iterator[str]:
    for field in ("complete", "interface", "indicated", "factors", "tck"):
        if getattr(mine, field) != getattr(theirs, field):
            yield field


def settle(who: str, pairs: list[tuple[AtrReading, Opinion]], capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """Compare; print the explained differences with their counts; fail on the others. Returns the counts by name."""
    explained: Counter[str] = Counter()
    unexplained: list[str] = []
    for reading, theirs in pairs:
        mine = ours(reading)
        for field in differences(mine, theirs):
            why = next((known for known in EXPLAINED if known.field == field and known.applies(reading)), None)
            if why is None:
                unexplained.append(
                    f"{reading.raw.hex(' ')}: {field}: {getattr(mine, field)} here, {getattr(theirs, field)} there"
                )
            else:
                explained[why.name] += 1
    reasons = MappingProxyType({known.name: known.reason for known in EXPLAINED})
    with capsys.disabled():
        print(f"\n{who}: {len(pairs)} ATRs compared, {sum(explained.values())} differences, all with a clause")
        for name, count in explained.most_common():
            print(f"  {count:4} {name}: {reasons[name]}")
    assert not unexplained, "\n".join(unexplained[:20])
    return explained


# --- pyscard ---------------------------------------------------------------------------------------------------------


def pyscards(raw: bytes) -> Opinion | None:
    """None where it raises IndexError: the interface bytes run past the end."""
    from smartcard.ATR import ATR

    try:
        atr = ATR(list(raw))
    except IndexError:
        return None
    interface = tuple(
        (f"T{letter}{index}", byte)
        for index, group in enumerate(zip(atr.TA, atr.TB, atr.TC, atr.TD, strict=True), start=1)
        for letter, byte in zip("ABCD", group, strict=True)
        if byte is not None
    )
    tck = Tck.NONE if not atr.hasChecksum else Tck.RIGHT if atr.checksumOK else Tck.WRONG
    return Opinion(
        interface=interface,
        indicated=frozenset(int(name.removeprefix("T=")) for name in atr.getSupportedProtocols()),
        factors=(str(atr.getClockRateConversion()), str(atr.getBitRateFactor())),
        tck=tck,
        complete=True,
    )


def test_pyscard_agrees(readings: tuple[AtrReading, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Its getSupportedProtocols lists T=15, which 8.2.3 says is no protocol: compared are the T values indicated."""
    pytest.importorskip("smartcard", reason="pyscard is not installed: install the extra `pcsc`")
    pairs: list[tuple[AtrReading, Opinion]] = []
    for reading in readings:
        theirs = pyscards(reading.raw)
        if theirs is None:
            assert incomplete_interface(reading), f"pyscard cannot read {reading.raw.hex(' ')}"
        else:
            assert not incomplete_interface(reading), f"pyscard finds all interface bytes in {reading.raw.hex(' ')}"
            pairs.append((reading, theirs))
    with capsys.disabled():
        print(f"\n{len(readings) - len(pairs)} ATRs {TRUNCATED_INTERFACE.name}: {TRUNCATED_INTERFACE.reason}")
    settle("pyscard smartcard.ATR", pairs, capsys)


def test_pyscard_agrees_on_every_beginning(readings: tuple[AtrReading, ...]) -> None:
    """8.2.2: the list holds no ATR that ends within its interface bytes, so they are made from it."""
    pytest.importorskip("smartcard", reason="pyscard is not installed: install the extra `pcsc`")
    truncated = 0
    for whole in readings[::10]:
        for length in range(2, len(whole.raw)):
            reading = read_atr(whole.raw[:length])
            theirs = pyscards(reading.raw)
            assert (theirs is None) == incomplete_interface(reading), reading.raw.hex(" ")
            if theirs is None:
                truncated += 1
                continue
            for field in differences(ours(reading), theirs):
                known = [each for each in EXPLAINED if each.field == field and each.applies(reading)]
                assert known, f"{reading.raw.hex(' ')}: {field}"
    assert truncated > 500


# --- ATR_analysis ----------------------------------------------------------------------------------------------------

COLOUR = re.compile(r"\x1b\[\d*m")
BYTE_LINE = re.compile(r"^  T([A-D])\((\d+)\) = ([0-9A-F]{2}) --> ", re.MULTILINE)
PROTOCOL = re.compile(r"Protocol T = (\d+)")
FACTORS = re.compile(r"Fi=(\w+), Di=(\w+)")
TCK_LINE = re.compile(r"^\+ TCK = [0-9A-F]{2} +\(?(correct checksum|WRONG CHECKSUM)", re.MULTILINE)


def analysed(text: str) -> Opinion:
    factors = FACTORS.search(text)
    tck = TCK_LINE.search(text)
    return Opinion(
        interface=tuple((f"T{letter}{index}", int(value, 16)) for letter, index, value in BYTE_LINE.findall(text)),
        indicated=frozenset(int(t) for t in PROTOCOL.findall(text)) or frozenset({0}),
        factors=("372", "1") if factors is None else (factors[1], factors[2]),
        tck=Tck.NONE if tck is None else Tck.RIGHT if tck[1] == "correct checksum" else Tck.WRONG,
        complete="+ Historical bytes:" in text and "ATR is truncated" not in text,
    )


@pytest.fixture(scope="module")
def analyses(entries: Entries, tmp_path_factory: pytest.TempPathFactory) -> dict[bytes, str]:
    """What ATR_analysis prints for each literal ATR."""
    program, perl = shutil.which("ATR_analysis"), shutil.which("perl")
    if program is None or perl is None:
        pytest.skip("ATR_analysis is not there: install the Debian package pcsc-tools")
    if subprocess.run([perl, "-MChipcard::PCSC::Card", "-e", "1"], capture_output=True, check=False).returncode:
        pytest.skip("ATR_analysis cannot run: install the Debian package libpcsc-perl")
    # A fresh, empty list of its own: it then neither searches for names nor asks the network for a newer list.
    cache = tmp_path_factory.mktemp("cache")
    (cache / "smartcard_list.txt").touch()
    lines = "".join(raw.hex(" ").upper() + "\n" for raw in entries.literal)
    done = subprocess.run(
        [perl, "-e", RUN_MANY, program],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "HOME": str(cache), "XDG_CACHE_HOME": str(cache)},
    )
    parts = COLOUR.sub("", done.stdout).split("=== ")[1:]
    found = {bytes.fromhex(part.split("\n", 1)[0]): part for part in parts}
    assert set(found) == set(entries.literal), "ATR_analysis has not answered for every ATR"
    return found


def test_atr_analysis_agrees(
    readings: tuple[AtrReading, ...], analyses: dict[bytes, str], capsys: pytest.CaptureFixture[str]
) -> None:
    settle("ATR_analysis", [(reading, analysed(analyses[reading.raw])) for reading in readings], capsys)


# --- the witnesses see what we see -----------------------------------------------------------------------------------


def test_a_flipped_tck_is_wrong_to_all(readings: tuple[AtrReading, ...]) -> None:
    """8.2.5: without this, agreement on TCK could be the agreement of two that never look."""
    pytest.importorskip("smartcard", reason="pyscard is not installed: install the extra `pcsc`")
    checked = 0
    for reading in readings:
        if reading.atr is None or reading.atr.tck is None or reading.violations:
            continue
        flipped = reading.raw[:-1] + bytes([reading.raw[-1] ^ 0x01])
        assert reduce(xor, flipped[1:]) != 0
        theirs = pyscards(flipped)
        assert theirs is not None
        assert theirs.tck is Tck.WRONG
        assert ours(read_atr(flipped)).tck is Tck.WRONG
        checked += 1
    assert checked > 1000
