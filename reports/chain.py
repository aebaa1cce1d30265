"""The chain with its verdicts, hop by hop: hop 1 is between the host and card 1, hop k between card k-1 and card k.

A point of n cards speaks for hops 1 to n. Where a measured value that did not pass names its hop or card, the point accuses that hop alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from bench.observe import Verdict
from reports.load import Records
from reports.pictures.hops import hop_of
from reports.points import POINT, parameter, parameters_wide, whole_numbers
from reports.verdicts import Tally, worst

MOST_HOPS: Final = 256
MOST_CHAINS: Final = 8
_BAD: Final = frozenset({Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE})


@dataclass(frozen=True, slots=True)
class ChainHop:
    """Hops `first` to `last`, which fared alike: points that went over them, and values that name them."""

    first: int
    last: int
    points: Tally
    values: Tally

    @property
    def verdict(self) -> Verdict | None:
        """The worst of both."""
        return worst(word for word in (self.points.worst, self.values.worst) if word is not None)

    @property
    def css(self) -> str:
        """The verdict as part of a class name."""
        return (self.verdict or Verdict.NOT_APPLICABLE).value.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and whose it is: all, or a run's and a stack's."""

    name: str
    hops: tuple[ChainHop, ...]


def chain(records: Records) -> tuple[ChainHop, ...]:
    """The longest chain of the runs, from the host outward; equal hops one behind the other as one. Empty where no point tells its cards."""
    wide = parameters_wide(records)
    wide = wide.rename(columns={name: f"p_{name}" for name in wide.columns if name not in POINT})
    lengths = dict(
        zip(_keys(wide), whole_numbers(parameter(wide, "cards")).fillna(0).astype(int).tolist(), strict=True)
    )
    longest = min(max(lengths.values(), default=0), MOST_HOPS)
    values: list[list[Verdict]] = [[] for _ in range(longest + 1)]
    accused: dict[tuple[str, ...], set[int]] = {}
    frame = records.measurements
    hops = hop_of(frame["detail"]).fillna(0).astype(int)
    for key, word, hop in zip(_keys(frame), frame["verdict"], hops, strict=True):
        if 0 < hop <= longest:
            verdict = Verdict(str(word))
            values[hop].append(verdict)
            if verdict in _BAD:
                accused.setdefault(key, set()).add(hop)
    points: list[list[Verdict]] = [[] for _ in range(longest + 1)]
    for key, word in zip(_keys(records.verdicts), records.verdicts["verdict"], strict=True):
        verdict = Verdict(str(word))
        for hop in range(1, min(lengths.get(key, 0), longest) + 1):
            if verdict not in _BAD or hop in accused.get(key, {hop}):
                points[hop].append(verdict)
    return _merged(ChainHop(hop, hop, Tally.of(points[hop]), Tally.of(values[hop])) for hop in range(1, longest + 1))


def chains(records: Records) -> tuple[Chain, ...]:
    """The chain of everything, and where several runs or stacks were tried one of each, so that a failure of one is not drawn on the others."""
    whole = Chain("all", chain(records))
    wide = parameters_wide(records)
    stacks = parameter(wide.rename(columns={"stack": "p_stack"}), "stack")
    kinds = dict(zip(_keys(wide), stacks.astype(str).tolist(), strict=True))
    parts = []
    for run, stack in list(dict.fromkeys((key[0], stack) for key, stack in kinds.items()))[:MOST_CHAINS]:
        keys = {key for key, each in kinds.items() if (key[0], each) == (run, stack)}
        hops = chain(_of(records, keys))
        name = " ".join(word for word in (run if len(records.runs) > 1 else "", stack and f"stack {stack}") if word)
        if hops:
            parts.append(Chain(name or "no stack", hops))
    return (whole, *parts) if len(parts) > 1 else (whole,)


def _of(records: Records, keys: set[tuple[str, ...]]) -> Records:
    def mine(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[pd.Series([key in keys for key in _keys(frame)], frame.index, dtype=bool)]

    return replace(
        records,
        parameters=mine(records.parameters),
        measurements=mine(records.measurements),
        verdicts=mine(records.verdicts),
    )


def _keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return [(str(run), str(scenario), str(point)) for run, scenario, point in frame[POINT].itertuples(index=False)]


def _merged(hops: Iterable[ChainHop]) -> tuple[ChainHop, ...]:
    merged: list[ChainHop] = []
    for hop in hops:
        before = merged[-1] if merged else None
        if before is not None and (before.points, before.values) == (hop.points, hop.values):
            merged[-1] = ChainHop(before.first, hop.last, hop.points, hop.values)
        else:
            merged.append(hop)
    return tuple(merged)
