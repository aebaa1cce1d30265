"""Answers that are damaged on their way: never a traceback, always an error by name, and afterwards the way back into step."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.card.profile import CardProfile
from bench.ccid.descriptor import Feature
from bench.ccid.driver_errors import AnswerError, DriverError, ReaderError
from bench.iso7816.apdu import CommandApdu
from tests.ccid.driver_loop import AUTO_RATE, ECHO, MANUAL, Loop, descriptor

T0 = CardProfile(b"T0", ta1=0x96, hop=False)
T1 = CardProfile(b"T1", ta1=0x96, hop=False, protocols=(1,))
CHOOSES = Feature.AUTO_NEGOTIATION | Feature.AUTO_PARAMETERS | Feature.AUTO_CLOCK | Feature.AUTO_RATE
SETUPS = {
    "tpdu-t0": (AUTO_RATE, T0),
    "tpdu-t1": (AUTO_RATE, T1),
    "manual-t1": (MANUAL, T1),
    "character-t0": (Feature.AUTO_CLOCK | Feature.AUTO_RATE, T0),
    "character-t1": (Feature.AUTO_CLOCK | Feature.AUTO_RATE, T1),
    "extended-t1": (Feature.EXTENDED_APDU | CHOOSES, T1),
}
APDU = CommandApdu(0xA0, 0xEC, 0, 0, bytes(range(100)) * 4, 65_536).encode()
TPDU = ECHO + b"\x0bhello world"


@dataclass(frozen=True, slots=True)
class Mutation:
    """What happens to the n-th message of the reader, and to ``lasts`` messages from there."""

    at: int
    lasts: int
    cut: int | None = None
    flip: int = 0
    by: int = 0
    instead: bytes | None = None
    more: bytes = b""
    lost: bool = False

    def apply(self, message: bytes) -> bytes | None:
        if self.lost:
            return None
        if self.instead is not None:
            return self.instead
        changed = bytearray(message)
        changed[self.flip % len(changed)] ^= self.by
        if self.cut is not None:
            del changed[self.cut % (len(changed) + 1) :]
        return bytes(changed) + self.more


MUTATIONS = st.builds(
    Mutation,
    at=st.integers(0, 14),
    lasts=st.integers(1, 3),
    cut=st.none() | st.integers(0, 40),
    flip=st.integers(0, 30),
    by=st.sampled_from([0, 1, 2, 0x40, 0x80, 0xC0, 0xFF]),
    instead=st.none()
    | st.binary(max_size=20)
    | st.builds(lambda tail: b"\x80" + tail, st.binary(min_size=9, max_size=9)),
    more=st.binary(max_size=2),
    lost=st.booleans() | st.just(False),
)


@pytest.mark.parametrize("setup", SETUPS)
@settings(max_examples=60, deadline=None)
@given(mutation=MUTATIONS)
def test_every_damaged_answer_ends_in_a_named_error_and_the_reader_is_found_again(
    setup: str, mutation: Mutation
) -> None:
    features, card = SETUPS[setup]
    loop = Loop(descriptor(features, maximum_message=271), [card])
    command = TPDU if card is T0 else APDU
    expected = b"\x61\x0b" if card is T0 else bytes(range(100)) * 4 + b"\x90\x00"
    count = 0
    named: list[str] = []

    def damage(message: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return mutation.apply(message) if mutation.at < count <= mutation.at + mutation.lasts else message

    loop.mutate = damage
    for _ in range(2):
        try:
            loop.power_up(ta1=0x96)
            for _ in range(2):
                loop.exchange(command)
        except DriverError as error:
            named.append(str(error))
    assert all(named)
    loop.mutate = lambda message: message
    try:
        loop.power_up(ta1=0x96)
    except ReaderError:
        loop.power_up(ta1=0x96)  # the first one may still meet what was left in the pipe
    assert loop.exchange(command).response == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("80 02 00 00 00 00 SS", "truncated answer: RDR_to_PC message, offset 7: 7 bytes; expected a header of 10"),
        (
            "80 05 00 00 00 00 SS 00 00 00 61 0B",
            "truncated answer: RDR_to_PC message, offset 1: dwLength 5 with 2 bytes",
        ),
        ("80 01 00 00 00 00 SS 00 00 00 61 0B", "garbled answer: RDR_to_PC message, offset 1: dwLength 1 with 2 bytes"),
        ("99 02 00 00 00 00 SS 00 00 00 61 0B", "garbled answer: RDR_to_PC message, offset 0: bMessageType 99"),
        ("80 02 00 00 00 05 SS 00 00 00 61 0B", "garbled answer: DATA_BLOCK, offset 5: bSlot 05; expected 00"),
        ("80 02 00 00 00 00 TT 00 00 00 61 0B", "garbled answer: DATA_BLOCK, offset 6: bSeq"),
        ("80 02 00 00 00 00 SS 03 00 00 61 0B", "garbled answer: DATA_BLOCK, offset 7: bStatus 03"),
        ("80 02 00 00 00 00 SS 00 00 07 61 0B", "garbled answer: DATA_BLOCK, offset 9: 07"),
        ("81 00 00 00 00 00 SS 00 00 00", "garbled answer: SLOT_STATUS, offset 0: bMessageType 81; expected 80"),
        ("80 01 00 00 00 00 SS 00 00 00 61", "truncated answer: DATA_BLOCK, offset 1: dwLength 1; expected SW1 SW2"),
    ],
)
def test_the_place_of_the_fault_is_named(message: str, expected: str) -> None:
    loop = Loop(descriptor(), [T0])
    loop.power_up()

    def instead(true: bytes) -> bytes:
        other = (true[6] + 9) & 0xFF
        return bytes.fromhex(message.replace("SS", f"{true[6]:02X}").replace("TT", f"{other:02X}"))

    loop.mutate = instead
    with pytest.raises(AnswerError) as caught:
        loop.exchange(TPDU)
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("its firmware is at fault")
