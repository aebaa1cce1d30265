"""The judge of character timing (ISO/IEC 7816-3:2006): every interval of a session against its limits.

An interval runs from leading edge to leading edge and is judged where its second character is known; the sender of that character answers for it,
except where a card stayed silent when it was its turn: then the card does. One interval out of its limit fails the whole.

The judge imports none of the machines it judges: it knows the limits from ``rates``, the rules from ``timing_rules``, the order of things from
``session``.
Left out: rise and fall times, contacts other than I/O and RST, and the time between CLK and RST at a cold reset.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, TypeAlias

from bench.iso7816 import rates
from bench.iso7816.atr import Atr
from bench.iso7816.edges import Edge
from bench.iso7816.rates import Rate
from bench.iso7816.session import Character, Follower, Phase, Side
from bench.iso7816.timing_rules import (
    EDGE_TOLERANCE_ETU,
    WITHOUT_ALLOWANCE,
    Interval,
    TimingConditions,
    TimingRule,
    room_of,
    verdict_of,
)
from bench.observe import Verdict

KEPT: Final = 1000
"""Intervals out of their limits (and doubtful ones) that a report keeps one by one; all are counted."""

# --- what came out -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class RuleSummary:
    """All intervals of one rule that one side answers for."""

    rule: TimingRule
    side: Side | None
    tightest: Interval
    """The one that comes closest to its limit, or lies farthest beyond."""
    count: int = 0
    passed: int = 0
    failed: int = 0
    doubtful: int = 0

    def add(self, interval: Interval) -> None:
        self.count += 1
        if interval.verdict is Verdict.PASS:
            self.passed += 1
        elif interval.verdict is Verdict.FAIL:
            self.failed += 1
        else:
            self.doubtful += 1
        if interval.room is not self.tightest.room and interval.room < self.tightest.room:
            self.tightest = interval


@dataclass(slots=True)
class TimingReport:
    """What a judge has seen so far."""

    characters: int = 0
    summaries: dict[tuple[TimingRule, Side | None], RuleSummary] = field(default_factory=dict)
    out: list[Interval] = field(default_factory=list)
    """Intervals that fail, the first ``KEPT``."""
    doubtful: list[Interval] = field(default_factory=list)
    """Inconclusive ones, the first ``KEPT``."""

    def add(self, interval: Interval) -> None:
        key = (interval.rule, interval.side)
        summary = self.summaries.get(key)
        if summary is None:
            summary = self.summaries[key] = RuleSummary(interval.rule, interval.side, interval)
        summary.add(interval)
        kept = {Verdict.FAIL: self.out, Verdict.INCONCLUSIVE: self.doubtful}.get(interval.verdict)
        if kept is not None and len(kept) < KEPT:
            kept.append(interval)

    @property
    def intervals(self) -> int:
        return sum(summary.count for summary in self.summaries.values())

    def of(self, side: Side | None) -> list[RuleSummary]:
        """The summaries that `side` answers for; all of them for None. Intervals whose sender is unknown count for both."""
        return [each for each in self.summaries.values() if side is None or each.side in (side, None)]

    def verdict(self, side: Side | None = None) -> Verdict:
        """Fail where one interval that `side` answers for fails; where the sender of a failing one is unknown, inconclusive."""
        found = self.of(side)
        if any(each.failed and (side is None or each.side is side) for each in found):
            return Verdict.FAIL
        if any(each.failed or each.doubtful for each in found):
            return Verdict.INCONCLUSIVE
        return Verdict.PASS


# --- the judge -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Demand:
    """A rule that applies to an interval: who answers for it, the limit in ticks, and a note. One object for equal cases."""

    rule: TimingRule
    side: Side | None
    limit: Fraction
    note: str = ""
    silence: bool = False
    """Holds only where it is broken: the card said nothing, and the terminal gave up."""


_SEVERITY: Final = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2}
_Key: TypeAlias = tuple[Phase, int, Side | None, Phase, int, Side | None, Side | None, bool, int]
"""All that the rules for an interval depend on."""
_GAVE_UP: Final = "the other side gave up waiting"
_WHOSE: Final = "the capture does not tell who sent it: name the direction of the instruction's data"


def _sides(previous: Character, character: Character) -> list[tuple[Side, Side]]:
    """Who may have sent two characters; data of one T=0 command that a capture does not tell apart have one sender."""
    both = (Side.CARD, Side.TERMINAL)
    if previous.side is None and character.side is None:
        return [(side, side) for side in both]
    before = both if previous.side is None else (previous.side,)
    after = both if character.side is None else (character.side,)
    return [(one, other) for one in before for other in after]


class TimingJudge:
    """Judges one session. Tell it of resets, then of characters in the order of time; each call gives the intervals it ended."""

    def __init__(self, conditions: TimingConditions, follower: Follower) -> None:
        self.conditions = conditions
        self.follower = follower
        self.report = TimingReport()
        self._reset: int | None = None
        self._previous: Character | None = None
        self._cycle = conditions.cycle
        self._etus: dict[Rate, Fraction] = {}
        self._known: dict[_Key, list[_Demand]] = {}
        self._judged_before: dict[tuple[_Demand, int | Fraction, Fraction, Fraction | None], Interval] = {}

    def reset(self, time: int) -> None:
        """RST rose at `time`: the answer to reset is due."""
        if self.report.characters or self.follower.phase is not Phase.ATR:
            self.follower.reset()
        self._reset = time
        self._previous = None
        self._known.clear()

    @property
    def last(self) -> Character | None:
        """The character taken last; None after a reset."""
        return self._previous

    def take(self, start: int, value: int, side: Side | None = None) -> list[Interval]:
        """The next character, from `side` where that is known. Raises SessionError as the follower does."""
        character = self.follower.take(start, value, side)
        previous, self._previous = self._previous, character
        self.report.characters += 1
        if previous is None:
            return self._first(character)
        found = self._between(previous, character)
        for interval in found:
            self.report.add(interval)
        return found

    def shape(self, start: int, rate: Rate, side: Side | None, edges: Iterable[Edge]) -> list[Interval]:
        """The edges of the character taken last, each against its place on the grid of etu from the leading edge `start` (7.2)."""
        etu = self._etu(rate)
        found = []
        for edge in edges:
            offset = edge.time - start
            place = (2 * offset + etu) // (2 * etu)
            demand = _Demand(TimingRule.EDGE, side, EDGE_TOLERANCE_ETU * etu, f"edge at {place} etu")
            found.append(self._judged(demand, abs(offset - place * etu), etu, self.conditions.uncertainty.of(offset)))
        return self._added(found)

    def error_signal(self, start: int, rate: Rate, side: Side | None, begin: int, end: int | None) -> list[Interval]:
        """An error signal from `begin` to `end` after the character whose leading edge is `start`; `side` pulls the line (7.3)."""
        etu = self._etu(rate)
        demands = [
            (TimingRule.SIGNAL_EARLIEST, begin - start, Fraction(103, 10)),
            (TimingRule.SIGNAL_LATEST, begin - start, Fraction(107, 10)),
        ]
        if end is not None:
            demands.append((TimingRule.SIGNAL_SHORTEST, end - begin, Fraction(1)))
            demands.append((TimingRule.SIGNAL_LONGEST, end - begin, Fraction(2)))
        return self._added(
            [self._judged(_Demand(rule, side, limit * etu), value, etu) for rule, value, limit in demands]
        )

    def repetition(self, start: int, again: int, rate: Rate, side: Side | None) -> list[Interval]:
        """The character taken last got an error signal and is repeated at `again` (7.3), from where the next interval runs."""
        etu = self._etu(rate)
        if self._previous is not None:
            self._previous = replace(self._previous, start=again)
        return self._added([self._judged(_Demand(TimingRule.REPETITION, side, 13 * etu), again - start, etu)])

    # -- which rules apply -----------------------------------------------------------------------------------------------

    def _first(self, character: Character) -> list[Interval]:
        if self._reset is None or character.phase is not Phase.ATR:
            return []
        value = character.start - self._reset
        etu = self._etu(character.rate)
        return self._added(
            [
                self._judged(_Demand(rule, Side.CARD, cycles * self._cycle), value, etu)
                for rule, cycles in (
                    (TimingRule.ATR_EARLIEST, rates.ATR_START_MIN_CYCLES),
                    (TimingRule.ATR_LATEST, rates.ATR_START_MAX_CYCLES),
                )
            ]
        )

    def _between(self, previous: Character, character: Character) -> list[Interval]:
        value = character.start - previous.start
        etu = self._etu(character.rate)
        if previous.side is not None and character.side is not None:
            return self._all(self._demands(previous, character), value, etu)
        outcomes = []
        for before, after in _sides(previous, character):
            demands = self._demands(replace(previous, side=before), replace(character, side=after))
            outcomes.append(self._all([replace(each, side=None) for each in demands], value, etu))
        worst = {max((_SEVERITY[each.verdict] for each in found), default=0) for found in outcomes}
        if len(worst) == 1:
            return outcomes[0]
        one = max((each for found in outcomes for each in found), key=lambda each: _SEVERITY[each.verdict])
        return [replace(one, verdict=Verdict.INCONCLUSIVE, note=_WHOSE)]

    def _all(self, demands: list[_Demand], value: int, etu: Fraction) -> list[Interval]:
        found = [self._judged(demand, value, etu) for demand in demands]
        return [each for each, demand in zip(found, demands, strict=True) if not demand.silence or each.room < 0]

    def _demands(self, previous: Character, character: Character) -> list[_Demand]:
        """The rules for the interval between two characters whose senders are known."""
        key = (
            previous.phase,
            previous.rate.ta1,
            previous.side,
            character.phase,
            character.rate.ta1,
            character.side,
            character.due,
            character.begins,
            character.wtx,
        )
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._work_out(previous, character)
        return known

    def _work_out(self, previous: Character, character: Character) -> list[_Demand]:
        etu = self._etu(character.rate)
        side = character.side
        turned = previous.side is not side
        match character.phase:
            case Phase.ATR:
                return [
                    _Demand(TimingRule.ATR_GUARD, Side.CARD, rates.GUARD_ETU * etu),
                    _Demand(TimingRule.ATR_WAITING, Side.CARD, rates.INITIAL_WT_ETU * etu),
                ]
            case Phase.PPS:
                demands = [_Demand(TimingRule.PPS_GUARD, side, self._guard(character, 0))]
                if previous.phase is Phase.PPS:
                    demands.append(_Demand(TimingRule.PPS_WAITING, side, rates.INITIAL_WT_ETU * etu))
                return demands
            case Phase.T0:
                if turned:
                    least = self._after_change(previous, character, rates.TURNAROUND_T0_ETU)
                    demands = [_Demand(TimingRule.TURNAROUND, side, least)]
                else:
                    demands = [_Demand(TimingRule.GUARD, side, self._guard(character, 0))]
                return demands + self._answer(character, TimingRule.WWT, self._wwt())
            case Phase.T1:
                within = rates.cwt_etu(self._atr.cwi) * etu
                if not turned:
                    demands = [_Demand(TimingRule.GUARD, side, self._guard(character, 1))]
                    if not character.begins:
                        return [*demands, _Demand(TimingRule.CWT, side, within)]
                else:
                    least = self._after_change(previous, character, rates.BGT_ETU)
                    demands = [_Demand(TimingRule.BGT, side, least)]
                    if character.due is not side:  # the other side had not ended its block
                        return [*demands, _Demand(TimingRule.CWT, character.due, within, _GAVE_UP, silence=True)]
                return demands + self._answer(character, TimingRule.BWT, self._bwt(character))

    def _answer(self, character: Character, rule: TimingRule, waiting: Fraction) -> list[_Demand]:
        """The waiting time of a card that answers, or that was silent until the terminal spoke again."""
        if character.side is Side.CARD:
            return [_Demand(rule, Side.CARD, waiting)]
        if character.due is Side.CARD:
            return [_Demand(rule, Side.CARD, waiting, _GAVE_UP, silence=True)]
        return []

    # -- limits ------------------------------------------------------------------------------------------------------------

    @property
    def _atr(self) -> Atr:
        atr = self.follower.atr
        assert atr is not None, "no protocol before the answer to reset"
        return atr

    def _etu(self, rate: Rate) -> Fraction:
        etu = self._etus.get(rate)
        if etu is None:
            etu = self._etus[rate] = self.conditions.etu(rate)
        return etu

    def _after_change(self, previous: Character, character: Character, least_etu: int) -> Fraction:
        """A turn-around.

        Towards the card the extra guard time runs from the card's characters, too (8.3); after PPS the guard time of the last character
        at the old rate comes first (9.1).
        """
        least = max(least_etu * self._etu(character.rate), self._guard(character, self.follower.protocol))
        if previous.rate != character.rate:
            least = max(least, rates.GUARD_ETU * self._etu(previous.rate))
        return least

    def _guard(self, character: Character, protocol: int) -> Fraction:
        atr = self._atr
        if character.side is Side.CARD:
            return rates.card_guard_etu(atr.extra_guard_time, protocol) * self._etu(character.rate)
        cycles = rates.guard_cycles(atr.extra_guard_time, protocol, character.rate, atr.rate, atr.has_t15)
        return cycles * self._cycle

    def _wwt(self) -> Fraction:
        return rates.wwt_cycles(self._atr.wi, self._atr.fi) * self._cycle

    def _bwt(self, character: Character) -> Fraction:
        return rates.bwt_cycles(self._atr.bwi, character.rate, character.wtx) * self._cycle

    # -- verdicts ----------------------------------------------------------------------------------------------------------

    def _judged(
        self, demand: _Demand, value: int | Fraction, etu: Fraction, uncertainty: Fraction | None = None
    ) -> Interval:
        """Most intervals of a session are equal: each is worked out once."""
        key = (demand, value, etu, uncertainty)
        like = self._judged_before.get(key)
        number = self.report.characters
        if like is None:
            like = self._judge(demand, value, etu, uncertainty)
            if len(self._judged_before) >= KEPT:
                self._judged_before.clear()
            self._judged_before[key] = like
        return Interval(
            number,
            like.rule,
            like.side,
            value,
            like.limit,
            like.uncertainty,
            like.allowance,
            etu,
            like.cycle,
            like.room,
            like.verdict,
            like.note,
        )

    def _judge(self, demand: _Demand, value: int | Fraction, etu: Fraction, uncertainty: Fraction | None) -> Interval:
        conditions = self.conditions
        rule = demand.rule
        uncertain = conditions.uncertainty.of(value) if uncertainty is None else uncertainty
        allowance = Fraction(0) if rule in WITHOUT_ALLOWANCE else conditions.allowance_etu * etu
        room = room_of(value, rule.bound, demand.limit)
        return Interval(
            0,
            rule,
            demand.side,
            value,
            demand.limit,
            uncertain,
            allowance,
            etu,
            self._cycle,
            room,
            verdict_of(room, uncertain, allowance),
            demand.note,
        )

    def _added(self, found: list[Interval]) -> list[Interval]:
        for interval in found:
            self.report.add(interval)
        return found
