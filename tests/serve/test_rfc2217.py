"""The RFC 2217 server as a protocol: what a client says, byte by byte, and what it is told."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.serve.rfc2217 import PRESENT, Data, Event, Lines, ModemState, Purge, Rfc2217Server, Settings
from bench.serve.uart import Parity, UartSettings

IAC, SB, SE = b"\xff", b"\xff\xfa", b"\xff\xf0"


def sub(command: int, value: bytes = b"") -> bytes:
    return SB + bytes((44, command)) + value.replace(IAC, IAC * 2) + SE


def agreed() -> Rfc2217Server:
    """A server whose client has agreed to the COM-PORT option; what was said so far is forgotten."""
    server = Rfc2217Server()
    assert list(server.feed(b"\xff\xfb\x2c\xff\xfd\x2c")) == []
    server.reply.clear()
    return server


def test_the_server_offers_what_it_needs_and_refuses_what_it_does_not_know() -> None:
    server = Rfc2217Server()
    assert bytes(server.reply) == bytes.fromhex("fffb00 fffd00 fffb03 fffd2c")
    server.reply.clear()
    list(server.feed(b"\xff\xfd\x01\xff\xfb\x18\xff\xfd\x01"))
    assert bytes(server.reply) == bytes.fromhex("fffc01 fffe18 fffc01")


def test_agreeing_is_said_once_so_that_no_loop_begins() -> None:
    server = agreed()
    list(server.feed(b"\xff\xfb\x2c\xff\xfd\x2c\xff\xfd\x00\xff\xfb\x00" * 3))
    assert bytes(server.reply) == b""


def test_the_modem_state_is_told_when_the_option_is_agreed_and_when_it_changes() -> None:
    server = Rfc2217Server()
    server.modem_state(PRESENT)
    list(server.feed(b"\xff\xfb\x2c"))
    assert bytes(server.reply).endswith(sub(107, b"\xb0"))
    server.reply.clear()
    server.modem_state(ModemState(0))
    assert bytes(server.reply) == sub(107, b"\x0b")
    server.reply.clear()
    server.modem_state(ModemState(0))
    assert bytes(server.reply) == b""


@pytest.mark.parametrize(
    ("command", "value", "answer", "settings"),
    [
        (1, (223_200).to_bytes(4, "big"), (223_200).to_bytes(4, "big"), UartSettings(223_200)),
        (1, (0x00FF_00FF).to_bytes(4, "big"), (0x00FF_00FF).to_bytes(4, "big"), UartSettings(0x00FF_00FF)),
        (1, bytes(4), (9600).to_bytes(4, "big"), None),
        (1, b"\xff\xff\xff\xff", (9600).to_bytes(4, "big"), None),
        (2, b"\x07", b"\x08", None),
        (3, b"\x01", b"\x01", UartSettings(parity=Parity.NONE)),
        (3, b"\x02", b"\x02", UartSettings(parity=Parity.ODD)),
        (3, b"\x09", b"\x03", None),
        (4, b"\x01", b"\x01", UartSettings(stop_bits=1)),
        (4, b"\x00", b"\x02", None),
    ],
)
def test_settings_take_effect_and_are_answered_with_what_holds(
    command: int, value: bytes, answer: bytes, settings: UartSettings | None
) -> None:
    server = agreed()
    events = list(server.feed(sub(command, value)))
    assert events == ([] if settings is None else [Settings(settings)])
    assert bytes(server.reply) == sub(command + 100, answer)


@pytest.mark.parametrize(
    ("value", "answer", "event"),
    [
        (8, 8, Lines(rts=True, dtr=True)),
        (9, 9, Lines(rts=True, dtr=False)),
        (12, 12, Lines(rts=False, dtr=True)),
        (7, 8, None),
        (10, 11, None),
        (3, 1, None),
        (5, 6, None),
        (15, 14, None),
        (17, 1, None),
    ],
)
def test_lines_are_switched_and_flow_control_and_break_are_not_there(
    value: int, answer: int, event: Event | None
) -> None:
    server = agreed()
    assert list(server.feed(sub(5, bytes((value,))))) == ([] if event is None else [event])
    assert bytes(server.reply) == sub(105, bytes((answer,)))


def test_characters_and_commands_keep_their_order() -> None:
    server = agreed()
    stream = b"ab\xff\xffc" + sub(12, b"\x03") + b"d" + sub(5, b"\x0c") + b"e\xff\xfd\x01f"
    assert list(server.feed(stream)) == [
        Data(b"ab\xffc"),
        Purge(receive=True, transmit=True),
        Data(b"d"),
        Lines(rts=False, dtr=True),
        Data(b"e"),
        Data(b"f"),
    ]


@given(cuts=st.lists(st.integers(1, 7)), data=st.binary(max_size=60))
def test_a_stream_means_the_same_however_it_is_cut(cuts: list[int], data: bytes) -> None:
    server = agreed()
    stream = data.replace(IAC, IAC * 2) + sub(1, b"\x00\xff\xff\x00") + data.replace(IAC, IAC * 2)
    pieces, at = [], 0
    for size in itertools.chain(cuts, itertools.repeat(9)):
        if at >= len(stream):
            break
        pieces.append(stream[at : at + size])
        at += size
    events = [event for piece in pieces for event in server.feed(piece)]
    characters = b"".join(event.data for event in events if isinstance(event, Data))
    assert characters == data + data
    assert [event for event in events if isinstance(event, Settings)] == [Settings(UartSettings(0x00FF_FF00))]


@given(st.binary(max_size=300))
def test_nothing_a_client_says_breaks_the_server(data: bytes) -> None:
    server = Rfc2217Server()
    list(server.feed(data))
    assert len(server.reply) <= 40 + 40 * len(data)
    server.reply.clear()
    list(server.feed(SE + IAC + b"\xf0\xff\xf1"))  # out of whatever it was in
    assert Settings(UartSettings(1200, server.settings.parity, server.settings.stop_bits)) in list(
        server.feed(b"\x00" + sub(1, (1200).to_bytes(4, "big")))
    )


def test_a_subnegotiation_without_end_takes_no_memory() -> None:
    server = agreed()
    list(server.feed(SB + b"\x2c\x01" + b"x" * 1_000_000))
    assert server._sub is not None
    assert len(server._sub) <= 256
