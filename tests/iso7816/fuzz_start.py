"""Fuzz targets: answers to reset and PPS exchanges, mutated. `python -m tests.iso7816.fuzz_start 100000`; a case is a number, and so is a finding."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.iso7816.atr import (
    AtrError,
    Convention,
    Edc,
    GlobalParameters,
    Rule,
    SpecificMode,
    T1Parameters,
    build_atr,
    parse_atr,
    read_atr,
)
from bench.iso7816.errors import PpsError
from bench.iso7816.pps import Pps, PpsOutcome, evaluate, respond
from bench.iso7816.rates import all_rates, sweep_range

RATES: Final = tuple(rate.ta1 for rate in all_rates())


@dataclass
class Result:
    """Which of the named ends some cases came to."""

    target: str
    cases: int
    names: tuple[str, ...]
    hits: Counter[str]

    @property
    def missed(self) -> list[str]:
        return [name for name in self.names if not self.hits[name]]

    @property
    def share(self) -> float:
        return 1 - len(self.missed) / len(self.names)

    def __str__(self) -> str:
        return f"{self.target}: {self.cases} mutated cases came to {self.share:.1%} of {len(self.names)} named ends"


def mutated(data: bytes, random: Random, most: int = 3) -> bytes:
    """`data` with up to `most` bytes changed, inserted, removed, or cut off."""
    out = bytearray(data)
    for _ in range(random.randrange(most + 1)):
        at = random.randrange(len(out) + 1)
        match random.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << random.randrange(8)
            case 1 if out:
                out[at % len(out)] = random.randrange(256)
            case 2:
                out.insert(at, random.randrange(256))
            case 3 if out:
                del out[at % len(out)]
            case 4 if random.random() < 0.2:
                del out[at:]
            case 5 if random.random() < 0.1:
                out += random.randbytes(random.choice((1, 20, 400)))
    return bytes(out)


def valid_atr(random: Random) -> bytes:
    """Some sound answer to reset."""
    maybe = random.random
    protocols = random.choice(((0,), (1,), (0, 1)))
    with_t1 = 1 in protocols and maybe() < 0.7
    t1 = T1Parameters(ifsc=random.choice((None, 1, 32, 254)), bwi_cwi=random.choice((None, 0x4D, 0x00, 0x95)))
    if maybe() < 0.3:
        t1 = T1Parameters(ifsc=t1.ifsc, bwi_cwi=t1.bwi_cwi, edc=random.choice((Edc.LRC, Edc.CRC)))
    historical = random.choice((b"", random.randbytes(random.randrange(16)), bytes.fromhex("80 73 80 01 40")))
    return build_atr(
        convention=random.choice((Convention.DIRECT, Convention.INVERSE)),
        protocols=protocols,
        ta1=random.choice((None, *RATES)) if maybe() < 0.7 else None,
        extra_guard_time=random.choice((None, 0, 2, 255)),
        specific_mode=SpecificMode(protocols[0], can_change=maybe() < 0.5) if maybe() < 0.2 else None,
        wi=random.choice((None, 1, 10, 255)) if protocols[0] == 0 else None,
        t1=t1 if with_t1 else None,
        t15=GlobalParameters(class_indicator=random.choice((1, 2, 3, 4, 6, 7))) if maybe() < 0.4 else None,
        historical_bytes=historical,
    )


def atr_case(number: int, hits: Counter[str]) -> None:
    """Read mutated bytes: no exception, every rule named once, and what is sound says itself again."""
    random = Random(number)
    data = mutated(valid_atr(random), random)
    reading = read_atr(data)
    for violation in reading.violations:
        hits[violation.rule.name] += 1
        assert str(violation)
    refused = None
    try:
        atr = parse_atr(data)
    except AtrError as error:
        refused = error.rule
    first = reading.transmission_violations[0].rule if reading.transmission_violations else None
    assert refused is first
    if refused is None:
        assert atr.encode() == data
        hits["sound"] += 1
        assert atr.fmax_hz > 0
        assert atr.wi >= 1 or 0 not in atr.protocols


def valid_request(random: Random) -> Pps:
    """Some request that a terminal may make."""
    return Pps(
        random.choice((0, 1)),
        random.choice((None, *RATES)),
        random.choice((None, 0, 1, 0x81)),
        random.choice((None, 0)),
    )


def pps_case(number: int, hits: Counter[str]) -> None:
    """A mutated request to a card, and a mutated answer to a terminal: a named outcome each time."""
    random = Random(number)
    request = valid_request(random)
    accepts = sweep_range(random.choice(RATES), 1_000_000)
    answer = respond(mutated(request.encode(), random), protocols=(0, 1), accepts=accepts, pps2=(1,))
    if answer is None:
        hits["card silent"] += 1
    else:
        hits["card answers"] += 1
        assert answer.rate.ta1 in RATES
        assert evaluate(answer.response, answer.response.encode()).outcome is PpsOutcome.ACCEPTED
    sound = respond(request.encode(), protocols=(0, 1), accepts=accepts, pps2=(1,))
    assert sound is not None
    said = sound.response.encode() if random.random() < 0.7 else valid_request(random).encode()
    response = mutated(said, random) if random.random() < 0.7 else said
    result = evaluate(request, b"" if random.random() < 0.05 else response)
    hits[result.outcome.name] += 1
    assert result.detail
    try:
        evaluate(Pps(0, 0x7F), response)
    except PpsError:
        return
    raise AssertionError("a reserved rate was proposed and nobody minded")


ATR_ENDS: Final = ("sound", *(rule.name for rule in Rule))
PPS_ENDS: Final = ("card silent", "card answers", *(outcome.name for outcome in PpsOutcome))
TARGETS: Final = {"ATR": (atr_case, ATR_ENDS), "PPS": (pps_case, PPS_ENDS)}


def run(target: str, first: int, count: int) -> Result:
    """Cases `first` to `first + count` of target "ATR" or "PPS"."""
    case, names = TARGETS[target]
    result = Result(target, count, names, Counter())
    for number in range(first, first + count):
        try:
            case(number, result.hits)
        except Exception as error:
            raise AssertionError(f"case {number} of target {target}: {error!r}") from error
    return result


if __name__ == "__main__":
    for name in TARGETS:
        found = run(name, 0, int(sys.argv[1]))
        print(found, "; never:", ", ".join(found.missed) or "none")
