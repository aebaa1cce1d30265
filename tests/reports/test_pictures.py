"""What the pictures say: the numbers behind them, their sentences, their specification."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.observe import Measurement
from reports.exchanges import exchange_statistics, packet_counts
from reports.load import load
from reports.pictures import Picture, fairness, latency, share, times
from reports.points import clock_hz, rate_label, ta1_code
from tests.reports.samples import MS, SampleRun, exchange, given, measured, verdict, whole_run


def _datasets(picture: Picture) -> list[dict[str, object]]:
    """All data of a specification."""
    specification = json.loads(picture.specification)
    found = list(specification.get("datasets", {}).values())
    found += [layer["data"]["values"] for layer in specification["layer"] if "values" in layer.get("data", {})]
    return [row for rows in found for row in rows]


def test_a_rate_is_named_by_ta1_clock_and_baud() -> None:
    assert rate_label(0x96, 3_571_200) == "ta1 96 @ 3.5712 MHz (223\u202f200 Bd)"
    assert rate_label(0x11, 3_571_200) == "ta1 11 @ 3.5712 MHz (9\u202f600 Bd)"
    assert rate_label(0x70, 3_571_200) == "ta1 70 @ 3.5712 MHz (no such rate)"


@pytest.mark.parametrize(("text", "code"), [("96", 0x96), ("0x18", 0x18), ("", None), ("7", None), ("XY", None)])
def test_ta1_is_read_as_two_hexadecimal_digits(text: str, code: int | None) -> None:
    assert ta1_code(text) == code


@pytest.mark.parametrize(
    ("text", "hz"),
    [("3571200", 3_571_200), ("3.5712 MHz", 3_571_200), ("4MHz", 4_000_000), ("0", None), ("fast", None)],
)
def test_a_clock_is_read_with_and_without_unit(text: str, hz: int | None) -> None:
    assert clock_hz(text) == hz


def test_share_is_drawn_over_rate_and_mtu_and_the_failure_is_ringed(tmp_path: Path) -> None:
    over_rate, over_mtu, *_ = share.pictures(load([whole_run().write(tmp_path)]))
    values = [row for row in _datasets(over_rate) if "baud" in row]
    assert {row["baud"] for row in values} == {9600.0, 115200.0, 55800.0, 223200.0}
    assert sorted({str(row["series"]) for row in values}) == ["1024 bytes", "256 bytes", "64 bytes"]
    assert {row["point"] for row in values if row["accused"]} == {"ta1-96-mtu-64"}
    assert [entry.label for entry in over_rate.legend] == ["64 bytes", "256 bytes", "1024 bytes"]
    assert {row["mtu"] for row in _datasets(over_mtu) if "mtu" in row} == {64.0, 256.0, 1024.0}
    assert "88.2 % (baud-rate/throughput, ta1-96-mtu-64)" in over_mtu.sentence
    assert over_mtu.table is not None
    assert len(over_mtu.table.rows) == 12


def test_a_share_above_the_limit_is_said_to_be_the_bench_s_fault(tmp_path: Path) -> None:
    run = SampleRun()
    run.add(
        "a/b",
        "single",
        *given(ta1="11", clock_hz=3571200, mtu=64),
        measured("goodput", 100.2, "percent_of_limit"),
        verdict(),
    )
    assert "there the bench is wrong" in share.pictures(load([run.write(tmp_path)]))[0].sentence


def test_more_series_than_colours_are_not_told_apart(tmp_path: Path) -> None:
    run = SampleRun()
    for mtu in range(10, 30):
        values = measured("goodput", 90 + mtu / 10, "percent_of_limit")
        run.add("a/b", f"mtu-{mtu}", *given(ta1="11", clock_hz=3571200, mtu=mtu), values, verdict())
    over_rate, *_ = share.pictures(load([run.write(tmp_path)]))
    assert {row["series"] for row in _datasets(over_rate) if "baud" in row} == {"all points"}


def test_the_slope_per_hop_is_that_of_the_values(tmp_path: Path) -> None:
    run = SampleRun()
    for cards in range(1, 6):
        run.add(
            "a/b", f"cards-{cards}", *given(cards=cards), measured("round_trip", 3000 + 2500 * cards, "us"), verdict()
        )
    picture = latency.picture(load([run.write(tmp_path)]))
    assert picture.sentence == "5 values; fitted line: 2.5 ms per hop (R² 1.0000)."
    ends = [row for row in _datasets(picture) if "scenario" not in row]
    assert [(row["hops"], pytest.approx(row["ms"])) for row in ends] == [(1.0, 5.5), (5.0, 15.5)]


def test_values_on_no_line_get_none(tmp_path: Path) -> None:
    run = SampleRun()
    for cards, took in ((1, 9.0), (2, 1.0), (3, 8.0), (4, 2.0)):
        run.add("a/b", f"cards-{cards}", *given(cards=cards), measured("round_trip", took, "ms"), verdict())
    picture = latency.picture(load([run.write(tmp_path)]))
    assert "no line is fitted. 1 series lies on none (R² below 0.9)" in picture.sentence
    assert all("scenario" in row for row in _datasets(picture))


def test_the_detail_tells_the_hops_before_the_point_does(tmp_path: Path) -> None:
    run = SampleRun()
    values = [measured("round_trip", float(card), "ms", f"card {card}") for card in (1, 2, 3)]
    run.add("a/b", "single", *given(cards=16), *values, verdict())
    picture = latency.picture(load([run.write(tmp_path)]))
    assert {row["hops"] for row in _datasets(picture) if "scenario" in row} == {1.0, 2.0, 3.0}


def test_a_line_needs_two_lengths() -> None:
    assert latency.fit_line(np.array([2.0, 2.0]), np.array([1.0, 3.0])) is None
    fit = latency.fit_line(np.array([1.0, 2.0]), np.array([4.0, 4.0]))
    assert fit is not None
    assert (fit.slope, fit.r_squared) == (pytest.approx(0.0, abs=1e-9), 1.0)


def test_jain_s_index_of_known_shares() -> None:
    assert fairness.jain(np.array([1.0, 1.0, 1.0])) == pytest.approx(1.0)
    assert fairness.jain(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    assert fairness.jain(np.array([0.0, 0.0])) == 1.0


def test_shares_are_drawn_as_multiples_of_an_equal_share(tmp_path: Path) -> None:
    run = SampleRun()
    values = [measured("share", value, "ratio", f"channel {number}") for number, value in enumerate((0.2, 0.6), 1)]
    run.add("a/b", "channels-2", *given(channels=2), *values, measured("fairness", 0.8, "jain"), verdict())
    shares, index = fairness.pictures(load([run.write(tmp_path)]))
    assert [row["ratio"] for row in _datasets(shares) if "ratio" in row] == pytest.approx([0.5, 1.5])
    assert [row["value"] for row in _datasets(index) if "channels" in row] == [0.8]


def test_durations_have_exact_quantiles_and_leave_out_idle_polls_and_errors(tmp_path: Path) -> None:
    run = SampleRun()
    ordinary = [exchange(number * MS) for number in range(1, 102)]
    run.add("a/b", "single", *ordinary, exchange(900 * MS, count=40), exchange(800 * MS, error="Timeout"), verdict())
    statistics = exchange_statistics(load([run.write(tmp_path)]))
    row = statistics.by_rate.iloc[0]
    assert [row["shortest_ns"], row["median_ns"], row["p95_ns"], row["longest_ns"]] == [MS, 51 * MS, 96 * MS, 101 * MS]
    assert [row["exchanges"], row["idle_polls"], row["errors"]] == [142, 40, 1]
    assert row["baud"] == 9600.0
    picture = times.picture(statistics)
    (drawn,) = [row for row in _datasets(picture) if "median" in row]
    assert drawn["median"] == 51.0


def test_a_rate_collects_the_exchanges_of_all_points_and_runs(tmp_path: Path) -> None:
    for number, duration in (("1", 10), ("2", 30)):
        run = SampleRun(number=number)
        run.add("a/b", "x-1", exchange(duration * MS, 0x96), verdict())
        run.add("a/b", "x-2", exchange(20 * MS, 0x96), exchange(5 * MS, 0x11), verdict())
        run.write(tmp_path)
    statistics = exchange_statistics(load([tmp_path]))
    assert list(statistics.by_rate["ta1"]) == [0x11, 0x96]
    assert list(statistics.by_rate["exchanges"]) == [2, 4]
    assert list(statistics.by_rate["median_ns"]) == [5 * MS, 20 * MS]
    assert len(statistics.by_point) == 6


def test_the_pieces_of_a_large_table_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = load([whole_run().write(tmp_path)])
    whole = exchange_statistics(records)
    counted, _ = packet_counts(records)
    monkeypatch.setattr("reports.arrow.BATCH_ROWS", 7)
    pieces = exchange_statistics(records)
    assert pieces.by_point.equals(whole.by_point)
    assert pieces.by_rate.equals(whole.by_rate)
    assert packet_counts(records)[0].equals(counted)


def test_exchanges_that_take_no_time_are_in_the_table_and_not_on_a_logarithmic_axis(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", exchange(0), verdict())
    picture = times.picture(exchange_statistics(load([run.write(tmp_path)])))
    assert picture.specification == ""
    assert picture.table is not None
    assert len(picture.table.rows) == 1


def test_pictures_without_data_say_which_scenarios_would_fill_them(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", verdict())
    records = load([run.write(tmp_path)])
    statistics = exchange_statistics(records)
    missing = [
        *share.pictures(records),
        *latency.pictures(records),
        *fairness.pictures(records),
        times.picture(statistics),
    ]
    assert len(missing) == 11
    for picture in missing:
        assert (picture.specification, picture.table) == ("", None)
        assert "cenario" in picture.sentence


def test_values_that_are_no_numbers_do_not_stop_a_picture(tmp_path: Path) -> None:
    run = SampleRun()
    odd = Measurement("goodput", float("nan"), "percent_of_limit", None, None, None, 0.0, verdict().verdict, "", "", "")
    run.add(
        "a/b",
        "single",
        *given(ta1="zz", clock_hz="?", mtu="big"),
        odd,
        measured("goodput", 97.0, "percent_of_limit"),
        verdict(),
    )
    over_rate, over_mtu, *_ = share.pictures(load([run.write(tmp_path)]))
    assert over_rate.specification == over_mtu.specification == ""
