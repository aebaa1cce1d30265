"""Each error on a T=1 line is correctable, detectable or undetectable; any two sound sides, any seed; nothing hangs.

Undetectable is what no parity and no EDC tells (`t1_block.damage`): a session with such a residual error must only end.
In all others a response is the right one, and every failure is named (ISO/IEC 7816-3:2006, 11.6.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.iso7816.line import Burst
from bench.iso7816.t1_block import CRC_LIBCCID, LRC, Damage, EdcScheme, IBlock, damage, encode_block
from bench.iso7816.t1_card import ApduLater, ApduReply
from bench.iso7816.t1_line import ATTEMPTS
from bench.iso7816.t1_outcome import T1Failure, T1Outcome
from tests.iso7816.t1_pair import TIMING, Echo, Heard, Pair

LONGEST_BLOCK = (3 + 254 + 2) * TIMING.pitch_to_card


class ErrorClass(StrEnum):
    """What became of a disturbance."""

    CORRECTABLE = "correctable"
    DETECTABLE = "detectable"
    UNDETECTABLE = "undetectable"


ONE_BURST = ("parity", "pair", "column", "burst", "lost character", "extra character", "lost", "gap")
"""Ways to hurt a block that leave one block: with a gap above CWT the end of a block is a second, broken one."""
WAYS = (*ONE_BURST, "late gap")


@dataclass
class Noise:
    """A seeded line: each block is hurt with probability `rate`, in one of the ways a contact can."""

    seed: int
    rate: float
    edc: EdcScheme
    from_block: int = 0
    until_block: int = 10**9
    ways: tuple[str, ...] = WAYS
    unseen: int = 0
    seen: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.passed = 0

    def __call__(self, _direction: str, _index: int, burst: Burst) -> Sequence[Heard]:
        self.passed += 1
        if not self.from_block < self.passed <= self.until_block or self.random.random() >= self.rate:
            return (Heard(burst),)
        kind = self.random.choice(self.ways)
        self.kinds[kind] += 1
        heard = self._hurt(kind, burst)
        self._classify(burst, heard)
        return heard

    def _hurt(self, kind: str, burst: Burst) -> Sequence[Heard]:
        random = self.random
        data = bytearray(burst.data)
        at = random.randrange(len(data))
        match kind:
            case "parity":
                data[at] ^= 1 << random.randrange(8)
                return (Heard(replace(burst, data=bytes(data)), (at,)),)
            case "pair":
                data[at] ^= 0x81 >> random.randrange(2)  # 81 or 40: the latter is one bit
                parity = (burst.data[at] ^ data[at]).bit_count() % 2
                return (Heard(replace(burst, data=bytes(data)), (at,) if parity else ()),)
            case "column":  # what LRC cannot see
                other = random.randrange(len(data))
                data[at] ^= 0x11
                data[other] ^= 0x11
                return (Heard(replace(burst, data=bytes(data))),)
            case "burst":
                hurt = range(at, min(len(data), at + random.randint(1, 8)))
                for index in hurt:
                    data[index] = random.randrange(256)
                wrong = [index for index in hurt if random.random() < 0.5]
                return (Heard(replace(burst, data=bytes(data)), tuple(wrong)),)
            case "lost character":
                del data[at]
                return (Heard(replace(burst, data=bytes(data))),) if data else ()
            case "extra character":
                data.insert(at, random.randrange(256))
                return (Heard(replace(burst, data=bytes(data), start=burst.start - burst.pitch)),)
            case "lost":
                return ()
        gap = TIMING.cwt if kind == "gap" else TIMING.cwt + 1 + random.randrange(TIMING.cwt)
        if at == 0:
            return (Heard(burst),)
        first = replace(burst, data=burst.data[:at])
        return (Heard(first), Heard(replace(burst, data=burst.data[at:], start=first.last + gap)))

    def _classify(self, burst: Burst, heard: Sequence[Heard]) -> None:
        if len(heard) > 1 and heard[1].burst.start - heard[0].burst.last <= TIMING.cwt:
            return  # irregular, but within CWT: sound
        classes = [damage(burst.data, each.burst.data, self.edc, each.damaged) for each in heard]
        if Damage.UNSEEN in classes:
            self.unseen += 1
        elif Damage.SEEN in classes or not heard:
            self.seen += 1


class Sound(Echo):
    """A card that answers at once, after a while it knows, or later; and announces sizes as it likes."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.pair: Pair | None = None
        self.lively = True
        """False: it only answers at once."""

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        reply = super().execute(apdu, later)
        assert self.pair is not None
        assert reply is not None
        if not self.lively:
            return reply
        if self.random.random() < 0.2:
            self.pair.card.announce_ifsc(self.random.randint(1, 254))
        how = self.random.random()
        ticks = self.random.randrange(2 * TIMING.bwt)
        if how < 0.5:
            return reply
        if how < 0.75:
            reply.ticks = ticks
            return reply
        self.pair.engine.after(ticks, lambda: later(reply))
        return None


def sound_pair(seed: int, noise: Noise) -> tuple[Pair, Sound, Random]:
    """Two sound sides, drawn by the seed."""
    random = Random(~seed)
    node = Sound(random)
    pair = Pair(node, disturb=noise, ifsc=random.choice([1, 7, 32, 254]), edc=noise.edc, wtx=random.choice([1, 4]))
    node.pair = pair
    return pair, node, random


def check(pair: Pair, node: Sound, outcome: T1Outcome, apdu: bytes, executed: int) -> ErrorClass:
    """The property, for one exchange over a line without residual errors."""
    if outcome.error:
        assert outcome.failure in (
            T1Failure.MUTE,
            T1Failure.NO_START,
            T1Failure.LOST,
            T1Failure.REFUSED,
        ), outcome
        assert outcome.response == b""
        return ErrorClass.DETECTABLE
    assert outcome.response == node.answer(apdu), pair.transcript
    assert 1 <= executed <= 1 + outcome.resynchs, pair.transcript
    return ErrorClass.CORRECTABLE


def session(seed: int, rate: float, edc: EdcScheme) -> Counter[ErrorClass]:
    """A few commands over a disturbed line, each judged; the class of each disturbed exchange."""
    noise = Noise(seed, rate, edc)
    pair, node, random = sound_pair(seed, noise)
    found: Counter[ErrorClass] = Counter()
    if random.random() < 0.5:
        outcome = pair.announce_ifsd(random.choice([3, 40, 254]))
        if outcome.needs_reset:
            return found
    for _ in range(4):
        apdu = random.randbytes(random.choice([0, 1, 5, 40, 260]))
        before, hurt = len(node.executed), noise.seen + noise.unseen
        outcome = pair.exchange(apdu)
        if noise.unseen:
            found[ErrorClass.UNDETECTABLE] += 1
            return found
        judged = check(pair, node, outcome, apdu, len(node.executed) - before)
        if noise.seen + noise.unseen > hurt:
            found[judged] += 1
        if outcome.needs_reset:
            break
    return found


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([0.01, 0.1, 0.3, 0.6]), st.sampled_from([LRC, CRC_LIBCCID]))
def test_any_two_sound_sides_any_seed(seed: int, rate: float, edc: EdcScheme) -> None:
    session(seed, rate, edc)


def test_each_class_occurs_and_crc_leaves_fewer_residual_errors(capsys: pytest.CaptureFixture[str]) -> None:
    found = {edc.kind: Counter[ErrorClass]() for edc in (LRC, CRC_LIBCCID)}
    for seed in range(600):
        for edc in (LRC, CRC_LIBCCID):
            found[edc.kind] += session(seed, 0.15, edc)
    with capsys.disabled():
        for kind, classes in found.items():
            print(f"\nT=1 {kind.value}: " + ", ".join(f"{classes[each]} {each}" for each in ErrorClass), end="")
    lrc, crc = found.values()
    assert all(lrc[each] for each in ErrorClass)
    assert crc[ErrorClass.CORRECTABLE] > 500
    assert crc[ErrorClass.UNDETECTABLE] * 10 < lrc[ErrorClass.UNDETECTABLE]


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_a_line_cut_at_any_block_ends_within_the_bound_of_the_standard(seed: int, cut: int) -> None:
    """Three attempts (7.4.2) and three resynchronisations (6.4), each BWT, the first with what WTX granted."""
    passed: list[Burst] = []

    def scissors(_direction: str, _index: int, burst: Burst) -> Sequence[Heard]:
        passed.append(burst)
        return () if len(passed) > cut else (Heard(burst),)

    random = Random(~seed)
    node = Sound(random)
    pair = Pair(node, disturb=scissors, ifsc=random.choice([1, 7, 32, 254]), wtx=random.choice([1, 4]))
    node.pair = pair
    for _ in range(4):
        apdu = random.randbytes(random.choice([0, 5, 60]))
        outcome = pair.exchange(apdu)
        if outcome.error:
            break
        assert outcome.response == node.answer(apdu)
    else:
        return
    assert outcome.needs_reset
    last_heard = passed[cut - 1].last if cut else 0
    allowed = (ATTEMPTS + ATTEMPTS) * (TIMING.bwt + LONGEST_BLOCK) + 4 * TIMING.bwt
    assert outcome.end - last_heard <= allowed


@given(st.integers(0, 2**32), st.integers(1, 2))
def test_up_to_two_disturbed_blocks_in_a_row_are_always_corrected(seed: int, count: int) -> None:
    """Rule 7.4 allows two more attempts, so what two blocks suffer is never fatal once the protocol has started."""
    noise = Noise(seed, 1.0, CRC_LIBCCID, from_block=2, until_block=2 + count, ways=ONE_BURST)
    pair, node, random = sound_pair(seed, noise)
    node.lively = False
    assert pair.exchange(b"").error == ""
    node.lively = True
    node.executed.clear()
    apdu = random.randbytes(20)
    outcome = pair.exchange(apdu)
    if not noise.unseen:
        assert check(pair, node, outcome, apdu, len(node.executed)) is ErrorClass.CORRECTABLE
        assert outcome.resynchs == 0


@given(st.binary(max_size=60), st.binary(max_size=600), st.integers(1, 254), st.integers(1, 254))
def test_any_command_and_answer_pass_whatever_the_sizes(apdu: bytes, response: bytes, ifsc: int, ifsd: int) -> None:
    class Fixed(Echo):
        def answer(self, apdu: bytes) -> bytes:
            del apdu
            return response

    node = Fixed()
    pair = Pair(node, ifsc=ifsc)
    pair.terminal.ifsd = pair.card.ifsd = ifsd
    outcome = pair.exchange(apdu)
    assert (outcome.response, outcome.retries, outcome.resynchs) == (response, 0, 0)
    assert node.executed == [apdu]


def test_a_residual_error_is_counted_and_not_excused() -> None:
    """LRC cannot see the same two bits flipped in two characters."""
    sent = encode_block(IBlock(0, 0, False, b"\x01\x02\x03"), LRC)
    heard = bytearray(sent)
    heard[3] ^= 0x11
    heard[4] ^= 0x11
    assert damage(sent, bytes(heard), LRC) is Damage.UNSEEN
    sent = encode_block(IBlock(0, 0, False, b"\x01\x02\x03"), CRC_LIBCCID)
    heard = bytearray(sent)
    heard[3] ^= 0x11
    heard[4] ^= 0x11
    assert damage(sent, bytes(heard), CRC_LIBCCID) is Damage.SEEN
    assert damage(sent, sent, CRC_LIBCCID) is Damage.NONE
    assert damage(sent, sent, CRC_LIBCCID, (2,)) is Damage.SEEN
