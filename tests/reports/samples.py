"""Runs made by hand: observations in, a run directory out, in the shape that `bench.records` leaves. A tick here is a nanosecond."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.iso7816.rates import Rate
from bench.observe import (
    Direction,
    Exchange,
    Measurement,
    Observation,
    Packet,
    Parameter,
    PointVerdict,
    StepMark,
    Verdict,
)
from bench.records.columns import TABLES, ColumnKind

CLOCK_HZ = 3_571_200
MS = 1_000_000

_TYPES = {
    ColumnKind.INTEGER: pa.int64(),
    ColumnKind.NANOSECONDS: pa.int64(),
    ColumnKind.UNSIGNED: pa.uint64(),
    ColumnKind.TEXT: pa.string(),
    ColumnKind.FLOAT: pa.float64(),
    ColumnKind.OPTIONAL_FLOAT: pa.float64(),
    ColumnKind.BOOLEAN: pa.bool_(),
}


def verdict(
    word: Verdict = Verdict.PASS, reason: str = "", step: int = 0, title: str = "A title", requirements: str = "REQ-1"
) -> PointVerdict:
    """The last word on a point."""
    return PointVerdict(title, requirements, word, reason, step, 2**64 - 1, 5 * MS, 10)


def measured(
    name: str, value: float, unit: str, detail: str = "", word: Verdict = Verdict.PASS, at_least: float | None = None
) -> Measurement:
    """A judged value."""
    return Measurement(name, value, unit, at_least, None, None, 0.0, word, "", detail, "")


def given(swept: bool = True, **values: object) -> list[Parameter]:
    """Parameters of a point."""
    return [Parameter(name, str(value), swept) for name, value in values.items()]


def exchange(duration: int, ta1: int = 0x11, count: int = 1, error: str = "", level: str = "tpdu") -> Exchange:
    """One exchange of so many nanoseconds, four fifths of them on the wire."""
    wire = duration * 4 // 5
    return Exchange(
        hop=1,
        level=level,
        start_ticks=0,
        duration_ticks=duration,
        command=b"",
        response=b"",
        ins=0xC2,
        sent_bytes=37,
        received_bytes=2,
        sw=0x9000,
        ta1=ta1,
        clock_hz=CLOCK_HZ,
        characters=40,
        retries=0,
        wire_ticks=wire,
        card_ticks=duration - wire,
        error=error,
        count=count,
    )


@dataclass(slots=True)
class SampleRun:
    """Observations by point, in the order they were made."""

    station: str = "lab-3"
    date: str = "2025-11-23"
    number: str = "101500"
    points: dict[tuple[str, str], list[Observation]] = field(default_factory=dict)
    planned: list[tuple[str, str]] = field(default_factory=list)

    def add(self, scenario: str, point: str, *observations: Observation) -> None:
        """What one point emitted."""
        self.points.setdefault((scenario, point), []).extend(observations)

    def write(self, out: Path) -> Path:
        """Write tables and run.json below `out`; gives the run's directory."""
        path = out / f"station={self.station}" / f"date={self.date}" / f"run={self.number}"
        path.mkdir(parents=True)
        for table in TABLES:
            rows = [
                (scenario, point, place, observation)
                for (scenario, point), observations in sorted(self.points.items())
                for place, observation in enumerate(observations)
                if isinstance(observation, table.observed)
            ]
            columns: list[pa.Array] = [
                pa.array([row[0] for row in rows], pa.string()),
                pa.array([row[1] for row in rows], pa.string()),
                pa.array([row[2] for row in rows], pa.int64()),
            ]
            for column in table.columns:
                values = [getattr(row[3], column.field) for row in rows]
                texts = column.kind is ColumnKind.TEXT
                columns.append(pa.array([str(value) if texts else value for value in values], _TYPES[column.kind]))
            names = ["scenario", "point", "seq", *(column.name for column in table.columns)]
            pq.write_table(pa.Table.from_arrays(columns, names), path / f"{table.name}.parquet")
        (path / "run.json").write_text(json.dumps(self._run_json()), "utf-8")
        return path

    def _run_json(self) -> dict[str, object]:
        return {
            "format": 1,
            "station": self.station,
            "run": self.number,
            "seed": 7,
            "command_line": ["cardbench", "run", "scenarios"],
            "started": "2025-11-23T10:15:00.000Z",
            "resumed": [],
            "ended": "2025-11-23T10:15:42.000Z",
            "planned": self.planned or [list(key) for key in sorted(self.points)],
            "finished": len(self.points),
            "rigs": [
                {
                    "name": "three-in-a-row",
                    "text": "station: lab-3\nrigs: []\n",
                    "sha256": "00" * 32,
                    "reader": "software",
                    "driver": "",
                    "firmware": "",
                    "atr": "3B 95 96 C0 01 41 43 4D 45",
                    "clock_hz": CLOCK_HZ,
                }
            ],
            "environment": {
                "host": "bench-3",
                "kernel": "Linux 6.1",
                "machine": "x86_64",
                "cpu": "some processor",
                "cpus": 2,
                "python": "CPython 3.12.1",
                "cardbench": "0.1.0",
                "commit": "0123456789abcdef+",
                "packages": [{"name": "numpy", "version": "2.0"}],
            },
        }


def whole_run(rates: Sequence[int] = (0x11, 0x18, 0x94, 0x96), mtus: Sequence[int] = (64, 256, 1024)) -> SampleRun:
    """A run that fills every picture: 1 failure of the card, 1 error of the bench, 1 inconclusive, 1 not applicable, 1 marginal among the passes."""
    chance = random.Random(1)
    run = SampleRun()
    for ta1 in rates:
        for mtu in mtus:
            _throughput(run, ta1, mtu, chance)
    for cards in range(1, 17):
        _round_trip(run, cards, chance)
    for channels in (1, 2, 4, 8):
        _fairness(run, channels, chance)
    run.add("routing/loop", "single", verdict(Verdict.NOT_APPLICABLE, "the card declares no router", title="No loops"))
    run.add(
        "routing/unplug",
        "single",
        StepMark(0, 1, "power_on", True),
        StepMark(1, 2, "remove_card", True),
        verdict(Verdict.ERROR, "reader three-in-a-row: no answer within 5 s", 2, "A card leaves", "CHAIN-2"),
    )
    run.add(
        "routing/late",
        "single",
        measured("noticed_after", 1.9, "polls", word=Verdict.INCONCLUSIVE),
        verdict(Verdict.INCONCLUSIVE, "1.9 ± 0.5 polls crosses the limit of 2", 3, "Noticed late", "CHAIN-2 CHAIN-3"),
    )
    return run


def _throughput(run: SampleRun, ta1: int, mtu: int, chance: random.Random) -> None:
    scenario, point = "baud-rate/throughput", f"ta1-{ta1:02X}-mtu-{mtu}"
    share = 99.4 - 180 / mtu - Rate(ta1).d * 0.05 + chance.uniform(-0.2, 0.2)
    word, reason = Verdict.PASS, ""
    if (ta1, mtu) == (0x96, 64):
        word, reason, share = Verdict.FAIL, "goodput 88.2 percent_of_limit is below 90", 88.2
    if (ta1, mtu) == (0x18, 256):
        word = Verdict.MARGINAL
    etu = float(Rate(ta1).etu_cycles) / CLOCK_HZ * 1e9
    run.add(
        scenario,
        point,
        *given(ta1=f"{ta1:02X}", mtu=mtu),
        *given(False, clock_hz=CLOCK_HZ, direction="out", protocol="tcp"),
        StepMark(0, 1, "open_channels", True),
        StepMark(0, 2, "transfer", True),
        *(exchange(int(etu * 12 * (min(mtu, 255) + 7) * chance.uniform(0.97, 1.1)), ta1) for _ in range(40)),
        exchange(3 * MS, ta1, count=50),
        Packet(MS, 0, 1, Direction.OUT, "channel", 0, 1, 3, mtu, b""),
        Packet(2 * MS, 0, 1, Direction.IN, "control", 1, 0, 0, 4, b""),
        measured("goodput", share, "percent_of_limit", word=word, at_least=90.0),
        verdict(word, reason, 2 if reason else 0, "Bulk transfer reaches its limit", "RATE-1 RATE-2"),
    )


def _round_trip(run: SampleRun, cards: int, chance: random.Random) -> None:
    run.add(
        "routing/round-trip",
        f"cards-{cards}",
        *given(cards=cards),
        *given(False, ta1="96", clock_hz=CLOCK_HZ),
        measured("round_trip_median", 4.2 + 6.37 * cards + chance.uniform(-0.1, 0.1), "ms"),
        measured("round_trip_longest", (5.0 + 7.9 * cards + chance.uniform(-0.8, 0.8)) / 1e3, "s"),
        verdict(title="Cost per hop is linear", requirements="CHAIN-1"),
    )


def _fairness(run: SampleRun, channels: int, chance: random.Random) -> None:
    shares = [chance.uniform(0.97, 1.03) / channels for _ in range(channels)]
    run.add(
        "multi-channel/fairness",
        f"channels-{channels}",
        *given(channels=channels),
        *given(False, ta1="11", clock_hz=CLOCK_HZ),
        *(measured("share", share, "ratio", detail=f"channel {number}") for number, share in enumerate(shares, 1)),
        measured("fairness", 1 - chance.uniform(0, 0.01), "jain", at_least=0.98),
        measured("longest_gap", 240.0 * channels, "ms"),
        verdict(title="Channels share a slow line fairly", requirements="CH-FAIR-1"),
    )
