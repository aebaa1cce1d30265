"""Slots over the virtual line: what a reader's firmware gets from a card at TPDU, character and APDU level, and what it keeps to on the line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.card.contacts import SOUND, ContactTraits
from bench.ccid.codes import PowerSelect, SlotError
from bench.ccid.parameters import ProtocolParameters, T0Parameters, T1Parameters
from bench.ccid.slot import RateAndClock, SlotAnswer, SlotRefusal
from bench.engine import Timebase, VirtualEngine
from bench.iso7816.atr import Atr, Edc, build_atr, parse_atr
from bench.iso7816.atr import T1Parameters as AtrT1
from bench.iso7816.disturbance import Disturbance, Fault, Towards
from bench.iso7816.line import Burst
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.pps import Pps
from bench.iso7816.rates import Rate
from bench.iso7816.session import Follower, Side
from bench.iso7816.t1_block import IBlock, SBlock, Supervisory, edc_scheme, encode_block
from bench.iso7816.timing import TimingJudge
from bench.iso7816.timing_rules import TimingConditions, Verdict
from bench.readers.tpdu import SlotTraits, TpduSlot
from bench.readers.tpdu_apdu import ApduSlot
from tests.readers.recording_card import ECHO, NOTHING, READ, TAKE, RecordingCard, pattern

CLOCK_HZ = 4_000_000
SLOW_HZ = 3_571_200
TIMEBASE = Timebase.for_clocks(CLOCK_HZ, SLOW_HZ)
PLAIN = SlotTraits()
T1_ATR = build_atr(protocols=(1,), ta1=0x96, t1=AtrT1(ifsc=254, bwi_cwi=0x15))


class Stand:
    """One slot, one card."""

    def __init__(
        self,
        atr: bytes,
        traits: SlotTraits = PLAIN,
        card: ContactTraits = SOUND,
        kind: type = TpduSlot,
    ) -> None:
        self.engine = VirtualEngine(TIMEBASE)
        self.card = RecordingCard(self.engine, atr, card)
        self.slot: TpduSlot | ApduSlot = kind(self.engine, traits)
        self.moves: list[bool] = []
        self.slot.on_card = self.moves.append
        self.slot.insert(self.card.contacts)

    def power_on(self, select: PowerSelect = PowerSelect.V5) -> SlotAnswer:
        answers: list[SlotAnswer] = []
        self.slot.power_on(select, answers.append)
        return self.one(answers)

    def transfer(self, data: bytes, bwi: int = 0, level: int = 0) -> SlotAnswer:
        answers: list[SlotAnswer] = []
        self.slot.transfer(data, bwi, level, answers.append)
        return self.one(answers)

    def one(self, answers: list[SlotAnswer]) -> SlotAnswer:
        assert self.engine.wait(lambda: bool(answers), 20 * TIMEBASE.hz), "a slot that never answers"
        assert len(answers) == 1
        return answers[0]

    def negotiate(self, ta1: int, parameters: ProtocolParameters) -> None:
        assert not self.power_on().error
        request = Pps(parameters.protocol, ta1).encode()
        assert self.transfer(request).data == request
        self.slot.set_parameters(parameters)

    def seconds(self, ticks: int) -> float:
        return ticks / TIMEBASE.hz


def block(inf: bytes, ns: int = 0, edc: Edc = Edc.LRC) -> bytes:
    return encode_block(IBlock(0, ns, False, inf), edc_scheme(edc))


def request(function: Supervisory, value: int | None = None) -> bytes:
    return encode_block(SBlock(0, function, value=value or 0), edc_scheme(Edc.LRC))


# -- activation --------------------------------------------------------------------------------------------------------


def test_nobody_there() -> None:
    slot = TpduSlot(VirtualEngine(TIMEBASE), SlotTraits())
    answers: list[SlotAnswer] = []
    slot.power_on(PowerSelect.V5, answers.append)
    assert answers[0].error == SlotError.ICC_MUTE
    assert not slot.present


@pytest.mark.parametrize("kind", [TpduSlot, ApduSlot])
def test_the_answer_to_reset_comes_as_it_is(kind: type) -> None:
    stand = Stand(T1_ATR, kind=kind)
    assert not stand.slot.active
    assert stand.power_on().data == T1_ATR
    assert stand.slot.active
    stand.slot.power_off()
    assert not stand.slot.active
    assert not stand.card.contacts.powered


@pytest.mark.parametrize("kind", [TpduSlot, ApduSlot])
@pytest.mark.parametrize(
    ("select", "classes", "error"),
    [
        (PowerSelect.V5, "A", None),
        (PowerSelect.V3, "A", SlotError.ICC_MUTE),
        (PowerSelect.V1_8, "C", None),
        (PowerSelect.AUTO, "A", None),
        (PowerSelect.AUTO, "C", None),
    ],
)
def test_classes(kind: type, select: PowerSelect, classes: str, error: SlotError | None) -> None:
    stand = Stand(build_atr(), card=ContactTraits(classes=classes), kind=kind)
    answer = stand.power_on(select)
    assert answer.error == error
    if error is None:
        reader = stand.slot if isinstance(stand.slot, TpduSlot) else stand.slot.reader
        assert reader.operating_class == classes


def test_a_class_that_the_slot_has_not_is_refused_with_the_field() -> None:
    assert Stand(build_atr(), SlotTraits(classes="AB")).power_on(PowerSelect.V1_8).error == SlotError.BAD_FIELD_7


# -- T=0 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def t0() -> Iterator[Stand]:
    stand = Stand(build_atr(ta1=0x96))
    stand.negotiate(0x96, T0Parameters(0x96))
    yield stand
    assert stand.card.contacts.rate == Rate(0x96)


@pytest.mark.parametrize(
    ("tpdu", "card", "answer"),
    [
        (bytes((0, NOTHING, 1, 2)), bytes((0, NOTHING, 1, 2, 0)), b"\x90\x00"),
        (bytes((0, READ, 0, 0, 5)), bytes((0, READ, 0, 0, 5)), pattern(5) + b"\x90\x00"),
        (bytes((0, READ, 0, 0, 0)), bytes((0, READ, 0, 0, 0)), pattern(256) + b"\x90\x00"),
        (bytes((0, TAKE, 0, 0, 3)) + b"abc", bytes((0, TAKE, 0, 0, 3)) + b"abc", b"\x90\x00"),
        (bytes((0, ECHO, 0, 0, 255)) + pattern(255), bytes((0, ECHO, 0, 0, 255)) + pattern(255), b"\x61\xff"),
        (bytes((0, ECHO, 0, 0, 3)) + b"abc\x00", bytes((0, ECHO, 0, 0, 3)) + b"abc", b"\x61\x03"),
    ],
    ids=["case 1", "case 2", "256 bytes", "case 3", "255 bytes", "case 4: Le left out"],
)
def test_t0_cases(t0: Stand, tpdu: bytes, card: bytes, answer: bytes) -> None:
    assert t0.transfer(tpdu).data == answer
    assert t0.card.commands == [card]


def test_t0_what_is_no_tpdu_never_reaches_the_card(t0: Stand) -> None:
    assert t0.transfer(b"\x00\xb0\x00").error == SlotError.BAD_LENGTH
    assert t0.transfer(bytes((0, TAKE, 0, 0, 9)) + b"abc").error == SlotError.BAD_LENGTH
    assert not t0.card.commands
    assert t0.transfer(bytes((0, READ, 0, 0, 1))).data == pattern(1) + b"\x90\x00"


def test_t0_nulls_are_the_readers_business() -> None:
    stand = Stand(build_atr(), card=ContactTraits(nulls=50))
    stand.power_on()
    assert stand.transfer(bytes((0, READ, 0, 0, 5))).data == pattern(5) + b"\x90\x00"


@pytest.mark.parametrize("towards", Towards)
def test_t0_one_damaged_character_is_repeated_unseen(t0: Stand, towards: Towards) -> None:
    assert isinstance(t0.slot, TpduSlot)
    t0.slot.disturb(Disturbance(0, planned={(towards, 0): {0: Fault(flips=0x10)}}))
    assert t0.transfer(bytes((0, READ, 0, 0, 5))).data == pattern(5) + b"\x90\x00"
    assert t0.card.commands == [bytes((0, READ, 0, 0, 5))]


def test_t0_a_character_damaged_for_ever_is_a_parity_error(t0: Stand) -> None:
    assert isinstance(t0.slot, TpduSlot)
    always = {(Towards.TERMINAL, number): {0: Fault(flips=0x10)} for number in range(10)}
    t0.slot.disturb(Disturbance(0, planned=always))
    assert t0.transfer(bytes((0, READ, 0, 0, 5))).error == SlotError.XFR_PARITY_ERROR


def test_t0_a_mute_card_is_mute_after_its_waiting_time() -> None:
    stand = Stand(build_atr(wi=2))
    stand.power_on()
    stand.slot.set_parameters(T0Parameters(wi=2))
    assert isinstance(stand.slot, TpduSlot)
    stand.slot.disturb(Disturbance(0, mute_after=0))
    before = stand.engine.now
    assert stand.transfer(bytes((0, READ, 0, 0, 5))).error == SlotError.ICC_MUTE
    assert stand.seconds(stand.engine.now - before) == pytest.approx(2 * 960 * 372 / CLOCK_HZ, rel=0.05)


# -- T=1 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edc", Edc)
@pytest.mark.parametrize("ta1", [0x11, 0x18, 0x94, 0x95, 0x96, 0x97])
def test_t1_blocks_go_through_as_they_are(ta1: int, edc: Edc) -> None:
    stand = Stand(build_atr(protocols=(1,), ta1=0x97, t1=AtrT1(ifsc=254, edc=edc)))
    stand.negotiate(ta1, T1Parameters(ta1, crc=edc is Edc.CRC))
    command = bytes((0, ECHO, 0, 0, 200)) + pattern(200)
    assert stand.transfer(block(command, edc=edc)).data[:3] == b"\x00\x20\x20", "IFSD is 32 until the host says other"
    assert stand.card.commands == [command]


def test_t1_a_wrong_edc_is_the_hosts_business() -> None:
    stand = Stand(T1_ATR)
    stand.power_on()
    stand.slot.set_parameters(T1Parameters())
    wrong = bytearray(block(bytes((0, NOTHING, 0, 0))))
    wrong[-1] ^= 1
    assert stand.transfer(bytes(wrong)).data == bytes.fromhex("00810081"), "the card's own complaint"
    assert isinstance(stand.slot, TpduSlot)
    stand.slot.disturb(Disturbance(0, planned={(Towards.TERMINAL, 0): {3: Fault(flips=0x06)}}))
    damaged = stand.transfer(block(bytes((0, NOTHING, 0, 0)))).data
    assert len(damaged) == 6
    assert damaged != block(b"\x90\x00")


def test_t1_parity_errors_are_told_from_wrong_edc() -> None:
    stand = Stand(T1_ATR)
    stand.power_on()
    stand.slot.set_parameters(T1Parameters())
    assert isinstance(stand.slot, TpduSlot)
    stand.slot.disturb(Disturbance(0, planned={(Towards.TERMINAL, 0): {3: Fault(flips=0x02)}}))
    assert stand.transfer(request(Supervisory.IFS, 254)).error == SlotError.XFR_PARITY_ERROR
    assert stand.transfer(request(Supervisory.IFS, 254)).data == bytes.fromhex("00E101FE1E")


def test_t1_a_block_cut_short_comes_as_far_as_it_got_after_cwt() -> None:
    stand = Stand(T1_ATR)
    stand.power_on()
    stand.slot.set_parameters(T1Parameters(bwi=1, cwi=5))
    assert isinstance(stand.slot, TpduSlot)
    stand.slot.disturb(Disturbance(0, planned={(Towards.TERMINAL, 0): {5: Fault(lost=True)}}))
    sound = Stand(T1_ATR)
    sound.power_on()
    sound.slot.set_parameters(T1Parameters(bwi=1, cwi=5))
    command = block(bytes((0, READ, 0, 0, 2)))
    whole = sound.transfer(command).data
    short = stand.transfer(command).data
    assert short == whole[:5] + whole[6:]
    cwt = (11 + 2**5) * 372 / CLOCK_HZ
    late = stand.seconds(stand.engine.now - sound.engine.now)
    assert 0 < late < 1.5 * cwt


@pytest.mark.parametrize("bwi", [0, 3])
def test_t1_bwt_runs_out_multiplied_by_bbwi(bwi: int) -> None:
    stand = Stand(T1_ATR)
    stand.power_on()
    stand.slot.set_parameters(T1Parameters(bwi=1, cwi=5))
    assert isinstance(stand.slot, TpduSlot)
    stand.slot.disturb(Disturbance(0, mute_after=0))
    before = stand.engine.now
    assert stand.transfer(block(bytes((0, NOTHING, 0, 0))), bwi).error == SlotError.ICC_MUTE
    bwt = (11 * 372 + 2 * 960 * 372) / CLOCK_HZ
    assert stand.seconds(stand.engine.now - before) == pytest.approx(max(1, bwi) * bwt, rel=0.15)


def test_a_card_that_goes_in_the_middle_is_told_at_once() -> None:
    stand = Stand(T1_ATR)
    stand.power_on()
    stand.slot.set_parameters(T1Parameters())
    answers: list[SlotAnswer] = []
    stand.slot.transfer(block(bytes((0, NOTHING, 0, 0))), 0, 0, answers.append)
    stand.slot.remove()
    assert answers[0].error == SlotError.ICC_MUTE
    assert (stand.slot.present, stand.slot.active) == (False, False)
    assert stand.moves == [True, False]


# -- rates -------------------------------------------------------------------------------------------------------------


def test_a_host_that_forgets_set_parameters_hears_garbage_and_the_right_rate_mends_it() -> None:
    stand = Stand(build_atr(ta1=0x96))
    stand.power_on()
    stand.transfer(Pps(0, 0x96).encode())
    assert stand.transfer(bytes((0, NOTHING, 0, 0))).error is not None
    assert not stand.card.commands
    stand.slot.set_parameters(T0Parameters(0x96))
    assert stand.transfer(bytes((0, NOTHING, 0, 0))).data == b"\x90\x00"


def test_rates_above_the_slots_own_are_refused_with_the_field() -> None:
    stand = Stand(build_atr(ta1=0x97), SlotTraits(maximum_rate_bps=344_086))
    stand.power_on()
    with pytest.raises(SlotRefusal) as caught:
        stand.slot.set_parameters(T0Parameters(0x97))
    assert caught.value.error == 10


def test_rate_and_clock() -> None:
    stand = Stand(build_atr(ta1=0x18), SlotTraits(clocks_hz=(CLOCK_HZ, SLOW_HZ)))
    assert stand.slot.set_rate_and_clock(RateAndClock(3500, 9600)) == RateAndClock(3571, 9600)
    stand.power_on()
    stand.transfer(Pps(0, 0x18).encode())
    assert stand.slot.set_rate_and_clock(RateAndClock(3571, 115_000)) == RateAndClock(3571, 115_200)
    assert stand.slot.parameters.ta1 == 0x18
    assert stand.transfer(bytes((0, NOTHING, 0, 0))).data == b"\x90\x00"
    with pytest.raises(SlotRefusal):
        stand.slot.set_rate_and_clock(RateAndClock(4000, 115_000))


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_slot_may_make_pps_and_parameters_itself(protocol: int) -> None:
    atr = build_atr(protocols=(0, 1), ta1=0x95, t1=AtrT1(ifsc=100))
    stand = Stand(atr, SlotTraits(auto_parameters=True, auto_pps=True))
    stand.power_on()
    if protocol:
        stand.slot.set_parameters(T1Parameters.of(parse_atr(atr)))
        answer = stand.transfer(block(bytes((0, READ, 0, 0, 9)))).data
        assert answer == block(pattern(9) + b"\x90\x00")
    else:
        assert stand.transfer(bytes((0, READ, 0, 0, 9))).data == pattern(9) + b"\x90\x00"
    assert stand.slot.parameters.ta1 == 0x95
    assert stand.card.contacts.rate == Rate(0x95)


# -- times on the line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize(("ta1", "guard"), [(0x11, 0), (0x96, 0), (0x97, 5), (0x18, 255)])
def test_every_time_is_within_iso_7816_3(protocol: int, ta1: int, guard: int) -> None:
    """A whole session, judged by a follower that imports none of this."""
    atr = build_atr(
        protocols=(protocol,), ta1=ta1, extra_guard_time=guard, t1=AtrT1(ifsc=254, bwi_cwi=0x45) if protocol else None
    )
    stand = Stand(atr)
    assert isinstance(stand.slot, TpduSlot)
    spoken: list[tuple[Burst, Side]] = []
    stand.slot.line.on_burst = lambda burst, side: spoken.append((burst, side))
    parameters = _parameters(parse_atr(atr), ta1, protocol)
    if ta1 == 0x11:
        stand.power_on()
        stand.slot.set_parameters(parameters)
    else:
        stand.negotiate(ta1, parameters)
    for size in (0, 1, 30, 200):
        command = bytes((0, TAKE, 0, 0, size)) + pattern(size) if size else bytes((0, NOTHING, 0, 0))
        if protocol:
            numbers = {0: 0, 1: 1, 30: 0, 200: 1}
            assert stand.transfer(block(command, numbers[size])).data[3:5] == b"\x90\x00"
        else:
            assert stand.transfer(command).data == b"\x90\x00"
    judge = TimingJudge(TimingConditions(CLOCK_HZ, TIMEBASE.hz), Follower())
    for burst, side in spoken:
        for index, value in enumerate(burst.data):
            judge.take(burst.start + index * burst.pitch, value, side)
    assert judge.report.verdict() is Verdict.PASS, judge.report.out + judge.report.doubtful
    assert judge.report.characters > 200


def _parameters(atr: Atr, ta1: int, protocol: int) -> ProtocolParameters:
    return T1Parameters.of(atr, ta1) if protocol else T0Parameters.of(atr, ta1)


# -- character level ---------------------------------------------------------------------------------------------------


def test_character_level_gives_as_many_as_are_asked_for() -> None:
    stand = Stand(build_atr(ta1=0x96), SlotTraits(level=ExchangeLevel.CHARACTER))
    stand.power_on()
    pps = Pps(0, 0x96).encode()
    assert stand.transfer(pps, level=len(pps)).data == pps
    stand.slot.set_parameters(T0Parameters(0x96))
    assert stand.transfer(bytes((0, READ, 0, 0, 4)), level=1).data == bytes((READ,))
    assert stand.transfer(b"", level=6).data == pattern(4) + b"\x90\x00"
    assert stand.transfer(bytes((0, TAKE, 0, 0, 2)), level=1).data == bytes((TAKE,))
    assert stand.transfer(b"ab", level=2).data == b"\x90\x00"
    assert stand.card.commands == [bytes((0, READ, 0, 0, 4)), bytes((0, TAKE, 0, 0, 2)) + b"ab"]
    assert stand.transfer(bytes((0, READ, 0, 0)), level=0).data == b"", "sent is done, where nothing is asked for"
    assert stand.transfer(bytes((1,)), level=4).data == bytes((READ,)) + pattern(1) + b"\x90\x00"


def test_character_level_of_a_mute_card() -> None:
    stand = Stand(build_atr(wi=1), SlotTraits(level=ExchangeLevel.CHARACTER))
    stand.power_on()
    stand.slot.set_parameters(T0Parameters(wi=1))
    assert stand.transfer(bytes((0, NOTHING, 0, 0)), level=1).error == SlotError.ICC_MUTE


# -- APDU level --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocols", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 5000])
def test_apdu_level_carries_whole_apdus(protocols: tuple[int, ...], size: int) -> None:
    atr = build_atr(protocols=protocols, ta1=0x97, t1=AtrT1(ifsc=254) if 1 in protocols else None)
    stand = Stand(atr, kind=ApduSlot)
    stand.power_on()
    if protocols == (0, 1):
        stand.slot.set_parameters(T1Parameters())
    data = pattern(size)
    if not size:
        command = bytes((0, NOTHING, 0, 0))
    elif size < 256:
        command = bytes((0, ECHO, 0, 0, size)) + data + b"\x00"
    else:
        command = bytes((0, ECHO, 0, 0, 0)) + size.to_bytes(2, "big") + data + b"\x00\x00"
    assert stand.transfer(command).data == data + b"\x90\x00"
    assert stand.slot.parameters.ta1 == 0x97
    assert stand.slot.parameters.protocol == protocols[-1]


@pytest.mark.parametrize("kind", [TpduSlot, ApduSlot])
def test_a_card_that_goes_while_it_is_powered_is_told(kind: type) -> None:
    stand = Stand(build_atr(), kind=kind)
    answers: list[SlotAnswer] = []
    stand.slot.power_on(PowerSelect.V5, answers.append)
    stand.slot.remove()
    assert [answer.error for answer in answers] == [SlotError.ICC_MUTE]
    stand.slot.insert(stand.card.contacts)
    assert not stand.power_on().error
    assert len(answers) == 1


def test_apdu_level_uses_the_class_bytes_it_was_told() -> None:
    stand = Stand(build_atr(), kind=ApduSlot)
    stand.power_on()
    stand.slot.set_class_bytes(0x0C, 0xFF)
    assert stand.transfer(bytes((0, ECHO, 0, 0, 2)) + b"ab\x00").data == b"ab\x90\x00"
    assert [command[:2] for command in stand.card.commands] == [bytes((0, ECHO)), b"\x0c\xc0"]
