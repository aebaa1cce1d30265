"""The front page's words and counts: the verdict in one word, counts by layer, and what it means for whoever ordered the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.files.mistakes import FileError
from bench.observe import Verdict
from bench.requirements.catalogue import Requirement, Strength, catalogue
from reports.load import Records
from reports.verdicts import RANK, Tally, natural, worst

LAYERS: Final = ("link", "transport", "hop", "chain", "channel", "ppp", "ip", "udp", "tcp", "application", "host")
"""From the line upwards; others come after them."""
OTHER: Final = "no requirement of the catalogue"
MOST_NAMED: Final = 5
_WORDS: Final = {
    None: "No verdict",
    Verdict.PASS: "Pass",
    Verdict.MARGINAL: "Pass, marginally",
    Verdict.FAIL: "Fail",
    Verdict.INCONCLUSIVE: "Inconclusive",
    Verdict.NOT_APPLICABLE: "Not applicable",
    Verdict.ERROR: "Error of the bench",
}


@dataclass(frozen=True, slots=True)
class LayerLine:
    """One layer: how many requirements of it were spoken to, and how the points that spoke to them ended. (A point may speak to several layers.)"""

    layer: str
    requirements: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Front:
    """What a manager reads in a minute."""

    word: str
    css: str
    layers: tuple[LayerLine, ...]
    meaning: tuple[str, ...]


def front(records: Records) -> Front:
    """The front page of a report."""
    known = _catalogue()
    by_requirement: dict[str, list[Verdict]] = {}
    by_layer: dict[str, list[Verdict]] = {}
    spoken: dict[str, set[str]] = {}
    every: list[Verdict] = []
    for word, requirements in zip(records.verdicts["verdict"], records.verdicts["requirements"], strict=True):
        verdict = Verdict(str(word))
        every.append(verdict)
        layers = set()
        for name in str(requirements).split():
            by_requirement.setdefault(name, []).append(verdict)
            if name in known:
                layers.add(known[name].layer)
                spoken.setdefault(known[name].layer, set()).add(name)
        for layer in layers or {OTHER}:
            by_layer.setdefault(layer, []).append(verdict)
    order = sorted(by_layer, key=lambda layer: (LAYERS.index(layer) if layer in LAYERS else len(LAYERS), layer))
    overall = worst(every)
    return Front(
        _WORDS[overall],
        overall.value.replace(" ", "-") if overall else "not-applicable",
        tuple(LayerLine(layer, len(spoken.get(layer, ())), Tally.of(by_layer[layer])) for layer in order),
        _meaning(by_requirement, Tally.of(every), known),
    )


def _catalogue() -> dict[str, Requirement]:
    """An unreadable catalogue must not cost a lab its report: it is told of by whatever runs scenarios."""
    try:
        return dict(catalogue())
    except FileError:
        return {}


def _meaning(found: dict[str, list[Verdict]], tally: Tally, known: dict[str, Requirement]) -> tuple[str, ...]:
    if not tally.total:
        return ()
    of: dict[Verdict, list[str]] = {}
    for name in sorted(found, key=natural):
        verdict = min(found[name], key=RANK.__getitem__)
        of.setdefault(verdict, []).append(name)
    failed = of.get(Verdict.FAIL, [])
    must = [name for name in failed if name not in known or known[name].strength is Strength.MUST]
    said = []
    if must:
        said.append(f"{_some(len(must), 'mandatory requirement')} not met: {_named(must, known)}")
    if rest := [name for name in failed if name not in must]:
        said.append(f"{_some(len(rest), 'recommendation')} not followed: {_named(rest, known)}")
    if errors := of.get(Verdict.ERROR):
        said.append(
            f"Of {_some(len(errors), 'requirement')} nothing can be said, since the bench, a reader or the network failed: mend that, run again."
        )
    if still := of.get(Verdict.INCONCLUSIVE):
        said.append(
            f"{_some(len(still), 'requirement')} undecided: a value lies nearer to its limit than the reader resolves."
        )
    held = len(of.get(Verdict.PASS, [])) + len(of.get(Verdict.MARGINAL, []))
    if held:
        margin = f", {len(of[Verdict.MARGINAL])} of them with little to spare" if Verdict.MARGINAL in of else ""
        said.append(f"{_some(held, 'requirement')} held wherever tried{margin}.")
    if none := of.get(Verdict.NOT_APPLICABLE):
        said.append(f"{_some(len(none), 'requirement')} without bearing on this card or rig.")
    tried = sum(name in known for name in found)
    if known:
        said.append(f"These scenarios speak to {tried} of the {len(known)} requirements of the catalogue.")
    return tuple(said)


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _named(names: Sequence[str], known: dict[str, Requirement]) -> str:
    texts = [f"{name} ({known[name].text})" if name in known else name for name in names[:MOST_NAMED]]
    more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return "; ".join(texts) + more + "."
