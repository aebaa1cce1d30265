"""APDUs over TPDUs of T=0 (ISO/IEC 7816-3:2006, 12.2): whatever the case and the length, what goes in at one side comes out at the other."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.iso7816.apdu import CommandApdu, ResponseApdu
from bench.iso7816.t0 import Reply
from bench.iso7816.transport import ApduInT0Card, ApduOverT0, Tpdu


def _never(_reply: Reply) -> None:
    raise AssertionError("nothing was promised")


def carry(command: CommandApdu, card: ApduInT0Card) -> tuple[ResponseApdu, list[bytes]]:
    """One APDU through both sides, with every TPDU that went by."""
    run = ApduOverT0(command)
    step: Tpdu | ResponseApdu = run.start()
    tpdus: list[bytes] = []
    while isinstance(step, Tpdu):
        tpdus.append(step.data)
        assert len(tpdus) < 1000
        assert len(step.data) == 5 or len(step.data) == 5 + step.data[4]
        reply = card.execute(step.data[:5], step.data[5:], _never)
        assert reply is not None
        assert not reply.data or len(step.data) == 5
        assert len(reply.data) <= 256
        step = run.step(reply.data + reply.sw.to_bytes(2, "big"))
    return step, tpdus


def _card(answer: Callable[[CommandApdu], ResponseApdu]) -> tuple[ApduInT0Card, list[CommandApdu]]:
    seen: list[CommandApdu] = []

    def application(command: CommandApdu, _later: Callable[[ResponseApdu], None]) -> ResponseApdu:
        seen.append(command)
        return answer(command)

    return ApduInT0Card(application), seen


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=700) | st.integers(0, 65_535).map(bytes),
    st.none() | st.integers(1, 300) | st.integers(1, 65_536),
    st.binary(max_size=600),
    st.sampled_from([0x9000, 0x6283, 0x6A82]),
)
def test_12_2_a_command_arrives_whole_and_its_answer_too(data: bytes, le: int | None, response: bytes, sw: int) -> None:
    card, seen = _card(lambda _command: ResponseApdu(response, sw))
    got, tpdus = carry(CommandApdu(0x00, 0xD6, 1, 2, data, le), card)
    assert [(each.cla, each.ins, each.p1, each.p2, each.data) for each in seen[:1]] == [(0x00, 0xD6, 1, 2, data)]
    assert len(seen) == 1 or (not data and len(response) < 256)  # case 2 with the wrong length is asked again (6Cxx)
    if le is None:
        assert not got.data or not data  # case 1 is case 2 to a card on T=0
    else:
        assert got.data == response[: len(got.data)]
        assert len(got.data) >= min(le, len(response)) or got.sw >> 8 == 0x61
    if len(got.data) == len(response) and response:
        assert got.sw == sw
    assert all(tpdu[1] in (0xD6, 0xC2, 0xC0) for tpdu in tpdus)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 65_535])
def test_12_2_7_a_case_4_command_of_any_length_echoes_whole(size: int) -> None:
    payload = bytes(n % 251 for n in range(size))
    card, seen = _card(lambda command: ResponseApdu(command.data, 0x9000))
    got, tpdus = carry(CommandApdu(0xA0, 0xEC, 0, 0, payload, 65_536 if size > 255 else 256), card)
    assert (got.data, got.sw) == (payload, 0x9000)
    assert [command.data for command in seen] == [payload]
    envelopes = [tpdu for tpdu in tpdus if tpdu[1] == 0xC2]
    if size > 255:
        assert envelopes[-1] == b"\x00\xc2\x00\x00\x00", "the series ends with one without data"
        assert len(envelopes) == -(-(4 + 3 + size + 2) // 255) + 1
    else:
        assert envelopes == []


def test_12_2_3_a_wrong_length_is_asked_again_with_the_right_one() -> None:
    card, _ = _card(lambda _command: ResponseApdu(b"12345", 0x9000))
    got, tpdus = carry(CommandApdu(0x00, 0xB0, 0, 0, b"", 256), card)
    assert (got.data, got.sw) == (b"12345", 0x9000)
    assert [tpdu.hex() for tpdu in tpdus] == ["00b0000000", "00b0000005"]


def test_12_2_5_an_answer_to_data_is_announced_and_fetched_in_pieces() -> None:
    card, _ = _card(lambda _command: ResponseApdu(bytes(300), 0x6283))
    got, tpdus = carry(CommandApdu(0x00, 0xDA, 0, 0, b"x", 65_536), card)
    assert (len(got.data), got.sw) == (300, 0x6283)
    assert [tpdu[1] for tpdu in tpdus] == [0xDA, 0xC0, 0xC0]


def test_12_2_a_refused_envelope_ends_the_command() -> None:
    run = ApduOverT0(CommandApdu(0x00, 0xD6, 0, 0, bytes(600), None))
    run.start()
    assert run.step(b"\x6d\x00") == ResponseApdu(b"", 0x6D00)


def test_7816_4_a_get_response_with_nothing_waiting_is_refused() -> None:
    card, _ = _card(lambda _command: ResponseApdu(b"", 0x9000))
    reply = card.execute(b"\x00\xc0\x00\x00\x05", b"", _never)
    assert reply is not None
    assert reply.sw == 0x6985


def test_another_command_drops_the_answer_that_waits_and_the_envelopes_gathered() -> None:
    card, seen = _card(lambda _command: ResponseApdu(bytes(10), 0x9000))
    assert card.execute(b"\x00\xda\x00\x00\x01", b"x", _never) == Reply(b"", 0x610A)
    card.execute(b"\x00\xc2\x00\x00\x05", b"00000", _never)
    reply = card.execute(b"\x00\xc0\x00\x00\x0a", b"", _never)
    assert reply is not None
    assert reply.sw == 0x6985
    card.execute(b"\x00\xb0\x00\x00\x0a", b"", _never)
    reply = card.execute(b"\x00\xc2\x00\x00\x00", b"", _never)  # ends a series that has no beginning
    assert reply is not None
    assert reply.sw == 0x6700
    assert len(seen) == 2


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from([0xC2, 0xC0, 0xB0, 0xDA]), st.binary(max_size=255), st.integers(0, 255)), max_size=12
    )
)
def test_a_card_answers_any_tpdu(tpdus: list[tuple[int, bytes, int]]) -> None:
    card, _ = _card(lambda command: ResponseApdu(command.data * 3, 0x9000))
    for ins, data, p3 in tpdus:
        header = bytes((0, ins, 0, 0, len(data) if data else p3))
        reply = card.execute(header, data, _never)
        assert reply is not None
        assert reply.sw >> 8 in (0x90, 0x61, 0x6C, 0x67, 0x69)
        assert len(reply.data) <= 256


@settings(max_examples=200)
@given(st.binary(max_size=600), st.none() | st.integers(1, 65_536), st.lists(st.binary(min_size=2, max_size=258)))
def test_a_terminal_ends_whatever_a_card_answers(data: bytes, le: int | None, responses: list[bytes]) -> None:
    run = ApduOverT0(CommandApdu(0x00, 0xDA, 0, 0, data, le))
    run.start()
    for response in responses:
        if isinstance(run.step(response), ResponseApdu):
            return


@pytest.mark.parametrize("forever", [b"\x61\x05", b"\x6c\x05", b"\x61\x00"])
def test_a_card_that_announces_for_ever_and_gives_nothing_is_not_asked_for_ever(forever: bytes) -> None:
    run = ApduOverT0(CommandApdu(0x00, 0xDA, 0, 0, b"x", 256))
    run.start()
    steps = [run.step(forever) for _ in range(3)]
    assert isinstance(steps[-1], ResponseApdu) or isinstance(steps[-2], ResponseApdu)
