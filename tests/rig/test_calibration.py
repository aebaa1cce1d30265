"""The reader's own latency: the law of the median's interval, what is kept, and how exchanges are divided by it."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine import Timebase
from bench.files.mistakes import FileError
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.atr import build_atr
from bench.iso7816.port import Answer, ExchangeLevel
from bench.observe import Exchange, ListSink, NullSink
from bench.readers.times import divided
from bench.readers.wrappers import Recorded
from bench.rig.build import build_rig
from bench.rig.calibrating import Measuring
from bench.rig.calibration import (
    POLICY,
    CalibratedSplit,
    Calibration,
    Series,
    WireTime,
    calibration_path,
    median_rank,
    read_calibrations,
    summary,
    write_calibration,
)
from bench.rig.errors import RigError
from bench.rig.given import Given
from bench.rig.loader import default_rig_file, load_rig_file

NS = Timebase(10**9)
ATR = build_atr(ta1=0x11)
COMMAND = bytes.fromhex("00 02 00 00 00")
REFUSED = bytes.fromhex("6D 00")


def series(kind: str, *times_ns: int) -> Series:
    return Series(kind, "00 02 00 00 00", "6D00", 0, times_ns, 0)


def calibration(*each: Series, key: str = "usb:1:2:3", protocol: int = 0, rig: str = "a") -> Calibration:
    return Calibration(
        rig, key, protocol, "00", 0, "3B 00", "2025-11-23T10:00:00Z", "r", "d", "0.1", "Linux", POLICY, each
    )


# -- the law -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    # Ranks of the 95 % interval of the median, as tabled (Conover, Practical Nonparametric Statistics, table A3; Gibbons).
    ("count", "rank", "coverage"),
    [
        (5, 0, 0.0),
        (6, 1, 0.96875),
        (8, 1, 0.9921875),
        (10, 2, 0.978515625),
        (20, 6, 0.9586105346679688),
        (100, 40, 0.9647997997822952),
    ],
)
def test_ranks_are_the_tabled_ones(count: int, rank: int, coverage: float) -> None:
    assert median_rank(count) == (rank, pytest.approx(coverage))


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    source = random.Random(20)
    runs, hits = 2000, 0
    for _ in range(runs):
        found = summary(tuple(round(source.expovariate(1) * 10**6) for _ in range(25)))  # skewed: its median is ln 2
        hits += found.low_ns <= 693_147 <= found.high_ns
    assert found.coverage == pytest.approx(0.9567, abs=1e-4)
    assert abs(hits / runs - found.coverage) < 0.015  # three standard deviations of so many runs


def test_an_outlier_is_counted_and_moves_nothing() -> None:
    calm = summary(tuple(range(100, 200)))
    wild = summary((*range(100, 199), 10**9))
    assert wild.median_ns == calm.median_ns
    assert (wild.outliers, calm.outliers) == (1, 0)
    assert abs(wild.high_ns - calm.high_ns) <= 1


@given(st.lists(st.integers(0, 10**9), min_size=6, max_size=60))
def test_the_median_lies_in_its_interval_and_most_values_in_the_spread(times: list[int]) -> None:
    found = summary(tuple(times))
    assert found.low_ns <= found.median_ns <= found.high_ns
    within = sum(abs(each - found.median_ns) <= found.spread_ns for each in times)
    assert within >= 0.95 * len(times)


def test_five_values_decide_nothing() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        summary((1, 2, 3, 4, 5))


@given(st.integers(0, 10**9), st.integers(-(10**9), 2 * 10**9), st.integers(-5, 2 * 10**9))
def test_no_part_is_negative_and_the_parts_add_up(duration: int, wire: int, latency: int) -> None:
    times = divided(duration, wire, latency, 7)
    assert min(times.wire, times.reader, times.card) >= 0
    assert times.wire + times.reader + times.card == duration
    assert times.uncertainty == 7


# -- the line ----------------------------------------------------------------------------------------------------------


class Port:
    """What a reader says of itself."""

    fetches_itself = False

    def __init__(self, level: ExchangeLevel, ta1: int, clock_hz: int, protocol: int = 0) -> None:
        self.level, self.ta1, self.clock_hz, self.protocol = level, ta1, clock_hz, protocol


def test_the_lines_time_is_that_of_its_characters() -> None:
    wire = WireTime()
    wire.powered(ATR)
    port = Port(ExchangeLevel.TPDU, 0x11, 3_720_000)  # an etu of 100 µs
    # Four pitches of 12 etu, 16 etu to the card's first character, 12 to its second, and that one's ten etu to the end of its parity bit.
    assert wire.ns(COMMAND, REFUSED, port) == (48 + 16 + 12 + 10) * 100_000  # type: ignore[arg-type]
    assert wire.ns(COMMAND, REFUSED, Port(ExchangeLevel.TPDU, 0, 0)) == 0  # type: ignore[arg-type]


def test_without_an_atr_nothing_is_said_of_the_line() -> None:
    wire = WireTime()
    wire.powered(b"\x3b")
    assert wire.ns(COMMAND, REFUSED, Port(ExchangeLevel.TPDU, 0x11, 3_720_000)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [0, 1])
def test_the_lines_time_is_the_virtual_lines(protocol: int, tmp_path: Path) -> None:
    """What is computed for a reader that cannot see characters is what one that can has seen, to within the card's own freedom."""
    model = default_rig_file(tmp_path)[0].rigs[0]
    rig = build_rig(model, Given.model_validate({"protocol": f"T={protocol}"}), NullSink(), 0, False)
    result = Measuring(rig, model).run("virtual", 20)
    rig.close()
    wire = WireTime()
    wire.powered(bytes.fromhex(result.atr))
    for each in result.series:
        port = Port(ExchangeLevel.CHARACTER, 0x11, 3_571_200, protocol)
        computed = wire.ns(bytes.fromhex(each.command), bytes.fromhex(each.sw), port)  # type: ignore[arg-type]
        assert computed == pytest.approx(each.wire_ns, abs=1500)  # ticks and nanoseconds are rounded once each
        assert set(each.times_ns) == {0}


# -- dividing ----------------------------------------------------------------------------------------------------------


def split(duration: int, command: bytes = COMMAND, characters: int = 0, card: int = 0) -> tuple[int, int, int, int]:
    made = CalibratedSplit([calibration(series("bare", *[1000] * 9, 1400), series("data", *[3000] * 10))], NS)
    made.powered(ATR)
    answer = Answer(REFUSED, 50, 50 + duration, characters, card)
    times = made.times(command, answer, Port(ExchangeLevel.APDU, 0, 0))  # type: ignore[arg-type]
    return times.reader, times.wire, times.card, times.uncertainty


def test_what_the_reader_takes_is_taken_off_the_card() -> None:
    assert split(5000) == (1000, 0, 4000, 400)
    assert split(5000, COMMAND + b"data") == (3000, 0, 2000, 0)
    assert split(5000, characters=7, card=1500) == (1000, 3500, 500, 400)


def test_another_protocol_than_was_calibrated_is_not_divided() -> None:
    made = CalibratedSplit([calibration(series("bare", *[1000] * 10), protocol=1)], NS)
    times = made.times(COMMAND, Answer(REFUSED, 0, 5000), Port(ExchangeLevel.APDU, 0, 0))  # type: ignore[arg-type]
    assert (times.reader, times.wire, times.card, times.uncertainty) == (0, 0, 0, 0)


def test_an_exchange_shorter_than_the_reader_leaves_nothing_for_the_card() -> None:
    assert split(600) == (600, 0, 0, 400)
    assert split(0) == (0, 0, 0, 400)


class Instant:
    """A port that answers a while after it was asked, and says that it took less."""

    level, fetches_itself, protocol, ta1, clock_hz = ExchangeLevel.APDU, False, 0, 0, 0

    def __init__(self, clock: "Clock") -> None:
        self.clock = clock

    def submit(self, command: bytes, done: object) -> None:  # noqa: ARG002
        self.clock.now = 9000
        done(Answer(REFUSED, 2000, 7000))  # type: ignore[operator]


class Clock:
    """As much of an engine as a record needs."""

    timebase = NS
    now = 1000


def test_the_record_tells_what_each_part_took() -> None:
    clock, sink = Clock(), ListSink()
    made = CalibratedSplit([calibration(series("bare", *[1000] * 10))], NS)
    port = Recorded(Instant(clock), 1, sink, engine=clock, split=made)  # type: ignore[arg-type]
    port.submit(COMMAND, lambda _: None)
    (row,) = sink.observations
    assert isinstance(row, Exchange)
    assert (row.duration_ticks, row.host_ticks) == (5000, 3000)
    assert (row.reader_ticks, row.wire_ticks, row.card_ticks, row.uncertainty_ticks) == (1000, 0, 4000, 0)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_what_was_measured_is_kept_beside_the_rig_file(tmp_path: Path) -> None:
    rig_file = tmp_path / "lab.yaml"
    rig_file.write_text(
        "station: lab\nrigs:\n  - {name: a, reader: {kind: software}}\n  - {name: b, reader: {kind: software}}\n"
    )
    path = calibration_path(rig_file)
    first, second = calibration(series("bare", *range(10))), calibration(series("bare", *range(20)))
    other = calibration(series("bare", *range(10)), key="other", rig="b")
    for each in (first, other, second):
        write_calibration(path, each)
    assert read_calibrations(path).calibrations == (other, second)
    loaded = load_rig_file(rig_file)
    assert loaded.rigs[0].calibrations == (second,)
    assert loaded.rigs[1].calibrations == (other,)


def test_too_few_times_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "lab.calibration.json"
    write_calibration(path, calibration(series("bare", 1, 2, 3)))
    with pytest.raises(FileError, match="too few times for usb:1:2:3"):
        read_calibrations(path)


def test_a_rig_without_calibrations_has_none(tmp_path: Path) -> None:
    assert default_rig_file(tmp_path)[0].rigs[0].calibrations == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 2, "calibrations": []}'])
def test_a_damaged_file_is_a_mistake_with_its_place(text: str, tmp_path: Path) -> None:
    rig_file = tmp_path / "lab.yaml"
    rig_file.write_text("station: lab\nrigs:\n  - {name: a, reader: {kind: software}}\n")
    (tmp_path / "lab.calibration.json").write_text(text)
    with pytest.raises(FileError, match=r"lab.calibration.json:1:1: .*; expected calibrations of format 1"):
        load_rig_file(rig_file)


# -- measuring ---------------------------------------------------------------------------------------------------------


def test_a_command_that_the_card_takes_is_not_neutral(tmp_path: Path) -> None:
    model = default_rig_file(tmp_path)[0].rigs[0]
    rig = build_rig(model, Given(), NullSink(), 0, False)
    try:
        with pytest.raises(RigError, match=r"the card takes A0 EC 00 00 02 AA BB .* give another command"):
            Measuring(rig, model, CommandApdu(0xA0, 0xEC, 0, 0, b"\xaa\xbb")).run("k", 20)
    finally:
        rig.close()


def test_without_a_card_there_is_nothing_to_measure(tmp_path: Path) -> None:
    model = default_rig_file(tmp_path)[0].rigs[0]
    rig = build_rig(model, Given(), NullSink(), 0, False)
    try:
        assert rig.chain is not None
        rig.chain.remove(1)
        with pytest.raises(RigError, match=r"no card to measure with: .*; put one in"):
            Measuring(rig, model).run("k", 20)
    finally:
        rig.close()
