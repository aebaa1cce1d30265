"""The host's side of CCID against our firmware and reference card: every level, T=0 and T=1, rates, clocks, classes, slots, time, abort."""

from __future__ import annotations

import pytest

from bench.card.pps_behaviour import PpsBehaviour
from bench.card.profile import CardProfile
from bench.ccid.codes import Chain, IccState, MessageType, PowerSelect, SlotError
from bench.ccid.descriptor import Feature, Voltage
from bench.ccid.driver import notified
from bench.ccid.driver_errors import (
    AnswerError,
    CardError,
    HardwareFailedError,
    SilentReaderError,
    Trouble,
    UnableError,
)
from bench.ccid.responses import DataBlock, HardwareError, Status
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.atr_values import Edc
from bench.iso7816.rates import Rate
from tests.ccid.driver_loop import AUTO_RATE, CLOCK_HZ, ECHO, MANUAL, SELECT_MASTER_FILE, Loop, descriptor

T0 = CardProfile(b"T0", ta1=0x96, hop=False)
T1 = CardProfile(b"T1", ta1=0x96, hop=False, protocols=(1,))
BOTH = CardProfile(b"TB", ta1=0x96, hop=False, protocols=(0, 1))
SHORT, EXTENDED = Feature.SHORT_APDU, Feature.EXTENDED_APDU
CHOOSES = Feature.AUTO_NEGOTIATION | Feature.AUTO_PARAMETERS | Feature.AUTO_CLOCK | Feature.AUTO_RATE
CHARACTER = Feature.AUTO_CLOCK | Feature.AUTO_RATE


def echo(data: bytes, le: int = 256) -> bytes:
    return CommandApdu(0xA0, 0xEC, 0, 0, data, le).encode()


# -- levels ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [AUTO_RATE, CHARACTER], ids=["tpdu", "character"])
def test_t0_tpdus(features: Feature) -> None:
    loop = Loop(descriptor(features), [T0])
    up = loop.power_up()
    assert (up.atr, up.protocol, up.ta1, up.clock_hz) == (T0.atr, 0, 0x11, CLOCK_HZ)
    assert loop.exchange(SELECT_MASTER_FILE).response[-2:-1] in (b"\x90", b"\x61")
    got = loop.exchange(ECHO + b"\x05hello")
    assert got.response == b"\x61\x05"
    got = loop.exchange(bytes.fromhex("00C0000005"))
    assert got.response == b"hello\x90\x00"
    assert 0 < got.start_ns < got.end_ns


@pytest.mark.parametrize("features", [AUTO_RATE, CHARACTER], ids=["tpdu", "character"])
@pytest.mark.parametrize("edc", [Edc.LRC, Edc.CRC])
@pytest.mark.parametrize("ifsc", [32, 254])
def test_t1_with_our_engine_on_top(features: Feature, edc: Edc, ifsc: int) -> None:
    card = CardProfile(b"T1", ta1=0x96, hop=False, protocols=(1,), edc=edc, ifsc=ifsc)
    loop = Loop(descriptor(features), [card])
    up = loop.power_up(ta1=0x96)
    assert (up.protocol, up.ta1) == (1, 0x96)
    data = bytes(range(256)) * 5
    got = loop.exchange(echo(data, 65536))
    assert got.error == ""
    assert got.response == data + b"\x90\x00"
    assert got.characters > 2 * len(data)
    assert got.retries == 0


@pytest.mark.parametrize("features", [SHORT | CHOOSES, EXTENDED | CHOOSES], ids=["short", "extended"])
@pytest.mark.parametrize("card", [T0, T1], ids=["T=0", "T=1"])
def test_apdus(features: Feature, card: CardProfile) -> None:
    loop = Loop(descriptor(features), [card])
    up = loop.power_up()
    assert up.protocol == card.protocols[0]
    assert up.ta1 == 0x96, "the reader chose the card's rate, and says so"
    data = bytes(range(200))
    assert loop.exchange(echo(data)).response == data + b"\x90\x00"


@pytest.mark.parametrize("length", [250, 251, 252, 600, 65_535])
def test_extended_apdus_travel_in_chains(length: int) -> None:
    loop = Loop(descriptor(EXTENDED | CHOOSES, maximum_message=271), [T1])
    loop.power_up()
    data = (bytes(range(251)) * 262)[:length]
    command = echo(data, 65_536)
    got = loop.exchange(command)
    assert got.response == data + b"\x90\x00"
    levels = [each[8] for each in loop.sent(MessageType.XFR_BLOCK) if each[1:5] != bytes(4)]
    pieces = -(-len(command) // 261)
    expected = [Chain.BEGINS, *[Chain.CONTINUES] * (pieces - 2), Chain.ENDS] if pieces > 1 else [Chain.WHOLE]
    assert levels == expected
    fetches = [each[8] for each in loop.sent(MessageType.XFR_BLOCK) if each[1:5] == bytes(4)]
    assert fetches == [Chain.NEXT] * (-(-(length + 2) // 261) - 1)


def test_a_short_apdu_reader_is_not_asked_for_more() -> None:
    loop = Loop(descriptor(SHORT | CHOOSES), [T1])
    loop.power_up()
    with pytest.raises(UnableError, match="an APDU of 309 bytes: the reader takes short ones, 261 bytes at most"):
        loop.exchange(echo(bytes(300), 65_536))
    assert loop.exchange(echo(b"on")).response == b"on\x90\x00"


# -- rate, protocol, clock ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [AUTO_RATE, MANUAL, CHARACTER, AUTO_RATE | Feature.AUTO_PPS])
@pytest.mark.parametrize("card", [T0, T1], ids=["T=0", "T=1"])
@pytest.mark.parametrize("ta1", [0x11, 0x12, 0x95, 0x96])
def test_the_bench_chooses_the_rate(features: Feature, card: CardProfile, ta1: int) -> None:
    loop = Loop(descriptor(features), [card])
    up = loop.power_up(ta1=ta1)
    assert up.ta1 == ta1
    own = bool(features & Feature.AUTO_PPS)
    command = ECHO + b"\x02hi" if up.protocol == 0 else echo(b"hi")
    assert loop.exchange(command).response in (b"\x61\x02", b"hi\x90\x00")
    inside = loop.cards[0]
    assert inside is not None
    assert loop.driver.up is not None
    assert inside.contacts.rate.ta1 == loop.driver.up.ta1, "the card agrees"
    assert own or loop.driver.up.ta1 == ta1
    blocks = [each[10:] for each in loop.sent(MessageType.XFR_BLOCK)]
    made = [each for each in blocks if each[:1] == b"\xff"]
    assert len(made) == (0 if ta1 == 0x11 or own else 1)
    if features == MANUAL and ta1 != 0x11:
        (message,) = loop.sent(MessageType.SET_DATA_RATE_AND_CLOCK)
        assert int.from_bytes(message[10:14], "little") == CLOCK_HZ // 1000


def test_the_second_protocol_is_asked_for() -> None:
    loop = Loop(descriptor(), [BOTH])
    assert loop.power_up().protocol == 0
    assert loop.power_up(protocol=1).protocol == 1
    assert loop.exchange(echo(b"T=1")).response == b"T=1\x90\x00"
    with pytest.raises(UnableError, match="T=1 is to be used, the reader has T=0"):
        Loop(descriptor(protocols=(0,)), [BOTH]).power_up(protocol=1)


def test_a_reader_with_one_protocol_takes_the_card_s_second() -> None:
    up = Loop(descriptor(protocols=(1,)), [BOTH]).power_up()
    assert up.protocol == 1


def test_a_rate_that_the_reader_cannot_drive_is_not_asked_for() -> None:
    loop = Loop(descriptor(maximum_rate_bps=115_200), [T0])
    assert 0x96 not in loop.driver.plan.rates(CLOCK_HZ // 1000)
    with pytest.raises(UnableError, match="rate: TA1=96 is 250000 bit/s at 4000 kHz"):
        loop.power_up(ta1=0x96)
    assert not loop.sent(MessageType.XFR_BLOCK), "nothing was said to the card"
    assert loop.power_up(ta1=0x94).ta1 == 0x94


def test_a_list_of_rates_counts() -> None:
    listed = (10_753, 43_011)
    loop = Loop(descriptor(rates=2, maximum_rate_bps=43_011), [T0], rates_bps=listed)
    offered = loop.driver.plan.rates(CLOCK_HZ // 1000)
    assert {0x11, 0x13} <= set(offered)
    assert {round(Rate(each).baud(CLOCK_HZ)) for each in offered} == set(listed)
    assert loop.power_up(ta1=0x13).ta1 == 0x13
    with pytest.raises(UnableError):
        loop.power_up(ta1=0x12)


def test_the_bench_chooses_the_clock() -> None:
    clocks = (4_000_000, 5_000_000)
    loop = Loop(descriptor(MANUAL, clocks=2, maximum_clock_khz=5000), [T0], clocks)
    assert loop.driver.plan.clocks == (4000, 5000)
    up = loop.power_up(clock_khz=5000, ta1=0x96)
    assert up.clock_hz == 5_000_000
    inside = loop.cards[0]
    assert inside is not None
    assert inside.contacts.clock_hz == 5_000_000
    assert loop.exchange(ECHO + b"\x02hi").response == b"\x61\x02"
    assert loop.power_up().clock_hz == 4_000_000
    with pytest.raises(UnableError, match="clock: 3000 kHz is asked for, the reader has 4000, 5000 kHz"):
        loop.power_up(clock_khz=3000)


@pytest.mark.parametrize("behaviour", [PpsBehaviour.SILENT, PpsBehaviour.BAD_CHECK])
def test_a_pps_that_fails_is_named_and_fallen_back_from(behaviour: PpsBehaviour) -> None:
    card = CardProfile(b"PP", ta1=0x96, hop=False, pps=behaviour)
    loop = Loop(descriptor(), [card])
    with pytest.raises(CardError) as caught:
        loop.power_up(ta1=0x96)
    assert caught.value.trouble is Trouble.PPS
    assert loop.run(loop.driver.status()) is IccState.INACTIVE, "deactivated (ISO/IEC 7816-3, 9.1)"
    up = loop.power_up(ta1=0x96, fallback=True)
    assert up.ta1 == 0x11
    assert loop.exchange(ECHO + b"\x02hi").response == b"\x61\x02"


# -- power -------------------------------------------------------------------------------------------------------------------


def test_the_lowest_class_comes_first() -> None:
    loop = Loop(descriptor(), [T0])
    assert loop.power_up().operating_class == "C"
    assert [each[7] for each in loop.sent(MessageType.ICC_POWER_ON)] == [PowerSelect.V1_8]
    old = Loop(descriptor(), [CardProfile(b"5V", hop=False, classes="A")])
    assert old.power_up().operating_class == "A"
    assert [each[7] for each in old.sent(MessageType.ICC_POWER_ON)] == [3, 2, 1]
    assert Loop(descriptor(), [T0]).power_up(classes="AB").operating_class == "B"


def test_a_reader_without_the_class_says_so() -> None:
    loop = Loop(descriptor(voltages=Voltage.V5), [T0])
    with pytest.raises(UnableError, match="class: asked for C, the reader supplies A"):
        loop.power_up(classes="C")
    with pytest.raises(CardError, match="mute"):
        Loop(descriptor(voltages=Voltage.V5), [CardProfile(b"18", hop=False, classes="C")]).power_up()


def test_the_reader_chooses_the_voltage_where_it_can() -> None:
    loop = Loop(descriptor(AUTO_RATE | Feature.AUTO_VOLTAGE), [T0])
    assert loop.power_up().operating_class == ""
    assert [each[7] for each in loop.sent(MessageType.ICC_POWER_ON)] == [PowerSelect.AUTO]
    assert loop.power_up(classes="B").operating_class == "B"


def test_no_card_and_no_power() -> None:
    loop = Loop(descriptor(), [None])
    with pytest.raises(CardError) as caught:
        loop.power_up()
    assert str(caught.value) == "absent"
    with pytest.raises(UnableError, match="power it up first"):
        loop.exchange(ECHO + b"\x00")
    with pytest.raises(UnableError, match="slot 2: the reader has 1"):
        type(loop.driver)(loop.driver.plan, 1)


def test_pulling_the_card_is_told_on_both_pipes() -> None:
    loop = Loop(descriptor(), [T1])
    loop.power_up()
    loop.notices.clear()
    loop.slots[0].remove()
    change = notified(loop.notices[0], 0)
    assert change is not None
    assert not change.present
    assert loop.exchange(echo(b"gone")).error == "absent"


def test_a_card_pulled_in_the_middle() -> None:
    loop = Loop(descriptor(), [T1])
    loop.power_up()
    loop.engine.after(loop.engine.timebase.nanoseconds(20 * 10**6), loop.slots[0].remove)
    assert loop.exchange(echo(bytes(1000), 65_536)).error == "absent"


@pytest.mark.parametrize("error", [SlotError.ICC_MUTE, SlotError.XFR_PARITY_ERROR, SlotError.PROCEDURE_BYTE_CONFLICT])
@pytest.mark.parametrize("switch_ms", [0, 50])
def test_a_card_that_went_wrong_because_it_was_pulled_is_absent(switch_ms: int, error: SlotError) -> None:
    """The contacts part first: the reader says so when its switch has opened, after its answer about the card."""
    loop = Loop(descriptor(), [T0])
    loop.power_up()
    _goes_wrong(loop, error, switch_ms)
    assert loop.exchange(ECHO + b"\x02hi").error == "absent"


def test_a_mute_card_that_is_still_there_is_mute() -> None:
    loop = Loop(descriptor(), [T0])
    loop.power_up()
    _goes_wrong(loop, SlotError.ICC_MUTE)
    looks = len(loop.sent(MessageType.GET_SLOT_STATUS))
    before = loop.ns
    got = loop.exchange(ECHO + b"\x02hi")
    assert got.error == "mute"
    assert len(loop.sent(MessageType.GET_SLOT_STATUS)) == looks + 2
    assert loop.ns - 100 * 10**6 >= got.end_ns > before, "the looks are not the exchange's time"


def test_an_answer_to_reset_that_failed_because_the_card_was_pulled() -> None:
    loop = Loop(descriptor(), [T0])
    _goes_wrong(loop, SlotError.ICC_MUTE, 50)
    with pytest.raises(CardError) as caught:
        loop.power_up(classes="A")
    assert caught.value.trouble is Trouble.ABSENT


def _goes_wrong(loop: Loop, error: SlotError, switch_ms: int | None = None) -> None:
    """The card's answers are said to have failed, on a card that is there; until so long afterwards."""

    def mutated(message: bytes) -> bytes:
        if message[0] != MessageType.DATA_BLOCK:
            return message
        if switch_ms is not None:
            loop.engine.after(loop.engine.timebase.nanoseconds(switch_ms * 10**6), loop.slots[0].remove)
        return DataBlock(message[5], message[6], Status.failed(IccState.ACTIVE, error)).encode()

    loop.mutate = mutated


def test_specific_mode_needs_no_pps() -> None:
    from bench.iso7816.atr import SpecificMode

    card = CardProfile(b"SP", ta1=0x95, hop=False, specific=SpecificMode(0, can_change=False))
    loop = Loop(descriptor(), [card])
    assert loop.power_up().ta1 == 0x95
    assert loop.exchange(ECHO + b"\x02hi").response == b"\x61\x02"
    implicit = CardProfile(b"IM", hop=False, specific=SpecificMode(0, can_change=False, implicit=True))
    with pytest.raises(CardError, match=r"^(mode|protocol): "):
        Loop(descriptor(), [implicit]).power_up()


# -- several slots, time, abort ------------------------------------------------------------------------------------------------


def test_slots_do_not_disturb_each_other() -> None:
    loop = Loop(descriptor(slots=3), [T0, None, T1])
    loop.power_up(0, ta1=0x96)
    loop.power_up(2, ta1=0x95)
    with pytest.raises(CardError, match="absent"):
        loop.power_up(1)
    assert loop.exchange(ECHO + b"\x02hi", 0).response == b"\x61\x02"
    assert loop.exchange(echo(b"hi"), 2).response == b"hi\x90\x00"
    loop.notices.clear()
    loop.slots[2].remove()
    (notice,) = loop.notices
    assert notified(notice, 0) is None
    assert (change := notified(notice, 2)) is not None
    assert not change.present
    assert loop.exchange(echo(b"hi"), 2).error == "absent"
    assert loop.exchange(bytes.fromhex("00C0000002"), 0).response == b"hi\x90\x00"


@pytest.mark.parametrize("protocols", [(0,), (1,)])
def test_a_slow_card_extends_the_time(protocols: tuple[int, ...]) -> None:
    card = CardProfile(b"SL", ta1=0x96, hop=False, protocols=protocols, card_time_ns=20 * 10**9)
    loop = Loop(descriptor(), [card])
    loop.power_up(ta1=0x96)
    before = loop.ns
    got = loop.exchange(ECHO + b"\x02hi" if protocols == (0,) else echo(b"hi"))
    assert got.error == ""
    assert loop.ns - before >= 20 * 10**9
    assert loop.driver.pipe.extensions >= 25


def test_a_waiting_time_extension_reaches_the_reader_as_bbwi() -> None:
    card = CardProfile(b"WX", ta1=0x96, hop=False, protocols=(1,), wtxs=2)
    loop = Loop(descriptor(), [card])
    loop.power_up(ta1=0x96)
    assert loop.exchange(echo(b"hi")).response == b"hi\x90\x00"
    granted = [each for each in loop.sent(MessageType.XFR_BLOCK) if each[11] == 0xE3]
    assert granted
    assert all(each[7] == each[13] for each in granted)


def test_an_answer_that_does_not_come_is_aborted_before_the_next_command() -> None:
    loop = Loop(descriptor(), [T0])
    loop.power_up(ta1=0x96)
    lost = []

    def lose(message: bytes) -> None:
        lost.append(message)

    loop.mutate = lose
    with pytest.raises(SilentReaderError, match=r"driver hangs: no answer to XFR_BLOCK within \d+\.\d s; unplug"):
        loop.exchange(ECHO + b"\x02hi")
    assert lost
    loop.mutate = lambda message: message
    seq = loop.said[-1][6]
    assert loop.exchange(ECHO + b"\x03out").response == b"\x61\x03"
    assert [each.value for each in loop.requests] == [seq << 8]
    kinds = [each[0] for each in loop.said[-3:]]
    assert kinds == [MessageType.ABORT, MessageType.GET_SLOT_STATUS, MessageType.XFR_BLOCK]
    assert loop.said[-3][6] == seq


def test_what_is_under_way_can_be_given_up() -> None:
    card = CardProfile(b"SL", ta1=0x96, hop=False, protocols=(1,), card_time_ns=100 * 10**9)
    loop = Loop(descriptor(), [card])
    loop.power_up(ta1=0x96)
    steps = loop.driver.exchange(echo(b"hi"), loop.ns)
    step = next(steps)
    assert step.message[0] == MessageType.XFR_BLOCK  # type: ignore[union-attr]
    loop.firmware.receive(step.message)  # type: ignore[union-attr]
    steps.close()
    up = loop.power_up(ta1=0x96)
    assert up.ta1 == 0x96
    assert loop.requests, "the command was aborted"


def test_a_late_answer_of_another_slot_is_not_taken_for_ours() -> None:
    loop = Loop(descriptor(slots=2), [T0, T0])
    loop.power_up(0)
    loop.power_up(1)
    held: list[bytes] = []
    loop.mutate = lambda message: held.append(message) or None  # type: ignore[func-returns-value]
    with pytest.raises(SilentReaderError):
        loop.exchange(ECHO + b"\x02hi", 0)
    loop.mutate = lambda message: message
    loop.inbox.extend(held[-1:])
    assert loop.exchange(ECHO + b"\x03out", 1).response == b"\x61\x03"


def test_overcurrent() -> None:
    loop = Loop(descriptor(slots=2), [T0, T0])
    loop.power_up(1)
    loop.notices.clear()
    loop.firmware.hardware_failed(1)
    (notice,) = loop.notices
    assert notified(notice, 0) is None
    with pytest.raises(HardwareFailedError, match="overcurrent"):
        notified(notice, 1)
    with pytest.raises(HardwareFailedError, match="code 07"):
        notified(HardwareError(1, 3, 7).encode(), 1)


@pytest.mark.parametrize("notice", [b"", b"\x50", b"\x51\x00", b"\x99\x00"])
def test_notifications_that_are_none(notice: bytes) -> None:
    with pytest.raises(AnswerError):
        notified(notice, 0)
