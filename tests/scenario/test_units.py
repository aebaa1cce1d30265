"""Values with units are read exactly, and written back in their shortest form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bench.engine import Timebase
from bench.files.units import Count, Duration, HexBytes, Number, Size, Span, StatusWord, Ta1, Truth, Whole

DURATION: TypeAdapter[Span] = TypeAdapter(Duration)
SIZE: TypeAdapter[int] = TypeAdapter(Size)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("60 s", 60 * 10**9),
        ("10 ms", 10**7),
        ("500 us", 500_000),
        ("500µs", 500_000),
        ("1.5 ms", 1_500_000),
        ("2 min", 120 * 10**9),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert DURATION.validate_python(text) == Span(ns)


@given(st.integers(0, 10**15))
def test_a_duration_written_is_the_one_read(ns: int) -> None:
    assert DURATION.validate_python(str(Span(ns))) == Span(ns)


@given(st.integers(0, 2**40))
def test_a_size_written_is_the_one_read(size: int) -> None:
    assert SIZE.validate_python(SIZE.dump_python(size, mode="json")) == size


def test_a_duration_is_exact_in_ticks() -> None:
    timebase = Timebase.for_clocks(3_579_545)
    assert Span(1).ticks(timebase) * 10**9 == timebase.hz


@pytest.mark.parametrize("text", ["9000", "6E00", "0000", "61ff"])
def test_status_words_survive(text: str) -> None:
    adapter: TypeAdapter[int] = TypeAdapter(StatusWord)
    assert adapter.dump_python(adapter.validate_python(text), mode="json") == text.upper()


def test_the_others() -> None:
    assert TypeAdapter(Ta1).validate_python("96") == 0x96
    assert TypeAdapter(HexBytes).validate_python("00 a4\n0000") == bytes.fromhex("00A40000")
    assert TypeAdapter(Number).validate_python("0.98") == 0.98
    assert TypeAdapter(Truth).validate_python("yes") is True


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Duration, "10"),
        (Duration, "-1 s"),
        (Duration, "1e3 s"),
        (Duration, ["1 s"]),
        (Size, "10 MB"),
        (Size, "0.5 B"),
        (Ta1, "960"),
        (StatusWord, "0x9000"),
        (HexBytes, "0"),
        (Whole, "-1"),
        (Whole, "1.0"),
        (Count, "0"),
        (Number, "nan"),
        (Number, "inf"),
        (Truth, "maybe"),
    ],
)
def test_refused(kind: type[object], text: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)
