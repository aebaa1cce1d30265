"""Command chaining (ISO/IEC 7816-4, 5.3.3) over T=0: both sides, and what breaks a chain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.card.profile import CardProfile
from bench.iso7816.apdu import CommandApdu, ResponseApdu
from bench.iso7816.atr import parse_atr
from bench.iso7816.t0 import Reply
from bench.iso7816.transport import ApduInT0Card, ApduOverT0, chain_of, takes_chains
from tests.support import Chain


def _later(_reply: Reply) -> None:
    raise AssertionError("the card answers at once here")


class _Card:
    def __init__(self, *, chaining: bool = True) -> None:
        self.commands: list[CommandApdu] = []
        self.side = ApduInT0Card(self._execute, chaining=chaining)

    def _execute(self, command: CommandApdu, _later: object) -> ResponseApdu:
        self.commands.append(command)
        return ResponseApdu(command.data[::-1], 0x9000)

    def send(self, tpdu: bytes) -> bytes:
        reply = self.side.execute(tpdu[:5], tpdu[5:], _later)
        assert reply is not None
        return reply.data + reply.sw.to_bytes(2, "big")


@given(st.binary(min_size=256, max_size=3000), st.integers(0, 3))
def test_5_3_3_data_of_any_length_arrive_whole_and_are_answered(data: bytes, channel: int) -> None:
    card = _Card()
    terminal = ApduOverT0(CommandApdu(channel, 0xD6, 1, 2, data, 65_536), chaining=True)
    step = terminal.start()
    while not isinstance(step, ResponseApdu):
        assert len(step.data) <= 260
        step = terminal.step(card.send(step.data))
    assert [(each.cla, each.ins, each.p1, each.p2, each.data) for each in card.commands] == [
        (channel, 0xD6, 1, 2, data)
    ]
    assert step == ResponseApdu(data[::-1], 0x9000)


def test_5_3_3_all_but_the_last_have_b5_set() -> None:
    chain = chain_of(CommandApdu(0x00, 0xD6, 0, 0, bytes(600), None))
    assert [(tpdu[0], tpdu[4]) for tpdu in chain] == [(0x10, 255), (0x10, 255), (0x00, 90)]


def test_5_3_3_another_command_breaks_the_chain_and_the_card_says_so() -> None:
    card = _Card()
    assert card.send(bytes.fromhex("10 D6 00 00 02 01 02")) == b"\x90\x00"
    assert card.send(bytes.fromhex("00 B0 00 00 05")) == b"\x68\x83"
    assert card.send(bytes.fromhex("00 D6 00 00 02 03 04")) == b"\x61\x02"
    assert [command.data for command in card.commands] == [b"\x03\x04"]


def test_a_chain_that_never_ends_is_refused_and_forgotten() -> None:
    card = _Card()
    words = {card.send(bytes.fromhex("10 D6 00 00 FF") + bytes(255)) for _ in range(300)}
    assert words == {b"\x90\x00", b"\x67\x00"}
    assert not card.commands


def test_a_reset_forgets_the_chain() -> None:
    card = _Card()
    card.send(bytes.fromhex("10 D6 00 00 02 01 02"))
    card.side.reset()
    card.send(bytes.fromhex("00 D6 00 00 02 03 04"))
    assert card.commands[0].data == b"\x03\x04"


def test_without_chaining_long_data_go_in_envelopes_and_class_1x_is_the_applications() -> None:
    first = ApduOverT0(CommandApdu(0, 0xD6, 0, 0, bytes(300), None)).start()
    assert first.data[:2] == b"\x00\xc2"
    card = _Card(chaining=False)
    card.send(bytes.fromhex("10 D6 00 00 02 01 02"))
    assert card.commands[0].cla == 0x10


def test_the_atr_says_whether_a_card_takes_chains() -> None:
    for chaining in (False, True):
        atr = parse_atr(CardProfile(identity=b"x", chaining=chaining).atr)
        assert takes_chains(atr.historical_bytes) is chaining
    assert not takes_chains(b"")
    assert not takes_chains(b"\x80\x7f")  # broken COMPACT-TLV


@pytest.mark.parametrize("chaining", [False, True])
def test_the_whole_way_a_long_update_reaches_the_file(chaining: bool) -> None:
    data = bytes(range(256)) * 3
    chain = Chain(CardProfile(identity=b"x", hop=False, chaining=chaining), ta1=0x18)
    words: list[int] = []
    chain.host.link.greets = False
    chain.engine.call(chain.host.start)
    chain.wait(lambda: chain.host.link.powered)
    for command in (CommandApdu(0, 0xA4, 0, 0x0C, b"\x00\x01", None), CommandApdu(0, 0xD6, 0, 0, data, None)):
        chain.host.apdu(command, lambda outcome: words.append(outcome.response.sw if outcome.response else 0))
    chain.wait(lambda: len(words) == 2)
    assert words == [0x9000, 0x9000]
    assert bytes(chain.cards[0].files.master.files[1].content[: len(data)]) == data
    assert (b"\x10\xd6" in {each.command[:2] for each in chain.exchanges}) is chaining
