"""A card behind a UART: rates, parity, conventions, lines, time. Without a port."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.iso7816.edges import swap
from bench.iso7816.rates import Rate
from bench.serve.uart import Pacing, Parity, ServedUart, UartSettings
from tests.readers.test_serial import InverseProfile
from tests.serial_support import CLOCK_HZ, SELECT, card, served_uart


def read(uart: ServedUart) -> bytes:
    uart.follow()
    return b"".join(data for data, _ in uart.due())


def running(uart: ServedUart, **settings: object) -> ServedUart:
    uart.settings = UartSettings(**settings)  # type: ignore[arg-type]
    uart.lines(power=True, rst=False)
    assert read(uart) == b""
    uart.lines(power=True, rst=True)
    return uart


def test_the_answer_to_reset_then_echo_and_answer() -> None:
    uart = running(served_uart(card()))
    assert read(uart) == card().atr
    uart.received(SELECT[:5])
    assert read(uart) == SELECT[:5] + b"\xa4"
    uart.received(SELECT[5:])
    assert read(uart) == SELECT[5:] + b"\x90\x00"


def test_a_card_in_reset_or_without_power_is_silent_and_only_the_echo_comes() -> None:
    uart = served_uart(card())
    uart.received(b"ab")
    assert read(uart) == b"ab"
    uart.lines(power=True, rst=False)
    uart.received(SELECT)
    assert read(uart) == SELECT
    uart.lines(power=False, rst=True)
    assert read(uart) == b""
    uart.lines(power=True, rst=True)
    assert read(uart) == card().atr


def test_a_reset_in_the_middle_of_a_command_begins_anew() -> None:
    uart = running(served_uart(card()))
    read(uart)
    uart.received(SELECT[:3])
    uart.lines(power=True, rst=False)
    uart.lines(power=True, rst=True)
    assert read(uart) == card().atr
    uart.received(SELECT[:5])
    assert read(uart) == SELECT[:5] + b"\xa4"


def test_a_card_that_is_pulled_is_silent_until_the_reset_after_it_came_back() -> None:
    uart = running(served_uart(card()))
    read(uart)
    uart.pull()
    uart.received(SELECT)
    assert read(uart) == SELECT
    uart.insert()
    uart.received(SELECT)
    assert read(uart) == SELECT
    uart.reset()
    assert read(uart) == card().atr


@pytest.mark.parametrize("percent", [-2, -1, 1, 2])
def test_a_rate_within_the_tolerance_of_the_frame_is_read_right(percent: int) -> None:
    uart = running(served_uart(card()), baud=9600 * (100 + percent) // 100)
    assert read(uart) == card().atr
    uart.received(SELECT[:5])
    assert read(uart) == SELECT[:5] + b"\xa4"


@pytest.mark.parametrize("baud", [1200, 4800, 8400, 10_800, 19_200, 38_400, 115_200])
def test_a_wrong_rate_is_garbage_both_ways(baud: int) -> None:
    uart = running(served_uart(card()), baud=baud)
    assert read(uart) != card().atr
    uart.received(SELECT[:5])
    assert read(uart)[:6] != SELECT[:5] + b"\xa4"


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.integers(300, 200_000), st.sampled_from(list(Parity)))
def test_no_rate_parity_or_character_breaks_the_card(data: bytes, baud: int, parity: Parity) -> None:
    uart = running(served_uart(card()), baud=baud, parity=parity)
    read(uart)
    uart.received(data)
    assert read(uart)[: len(data)] == data
    uart.settings = UartSettings()
    uart.reset()
    assert read(uart) == card().atr


@pytest.mark.parametrize("parity", [Parity.NONE, Parity.ODD, Parity.MARK])
def test_characters_with_wrong_parity_do_not_make_a_command(parity: Parity) -> None:
    uart = running(served_uart(card()), parity=parity)
    assert read(uart) == card().atr
    uart.received(SELECT[:5])
    assert read(uart) == SELECT[:5]


def test_space_parity_is_right_for_even_characters_only() -> None:
    uart = running(served_uart(card()), parity=Parity.SPACE)
    read(uart)
    uart.received(bytes.fromhex("00 C0 00 00 05"))  # none of odd parity
    assert read(uart)[5:] != b""


def test_the_inverse_convention_is_the_other_bits_and_odd_parity() -> None:
    profile = InverseProfile(identity=b"I")
    uart = running(served_uart(profile), parity=Parity.ODD)
    assert read(uart) == bytes(map(swap, profile.atr))
    assert swap(profile.atr[0]) == 0x03
    uart.received(bytes(map(swap, SELECT[:5])))
    assert read(uart) == bytes(map(swap, SELECT[:5] + b"\xa4"))
    uart.settings = UartSettings(parity=Parity.EVEN)
    uart.received(bytes(map(swap, SELECT[5:])))
    assert read(uart) == bytes(map(swap, SELECT[5:]))


def test_after_pps_the_old_rate_is_garbage_and_the_new_one_is_not() -> None:
    uart = running(served_uart(card(ta1=0x96)))
    read(uart)
    uart.received(bytes.fromhex("FF 10 96 79"))
    assert read(uart) == bytes.fromhex("FF 10 96 79") * 2
    uart.settings = UartSettings(round(CLOCK_HZ / Rate(0x96).etu_cycles))
    uart.received(SELECT[:5])
    assert read(uart) == SELECT[:5] + b"\xa4"
    uart.settings = UartSettings(9600)
    uart.received(SELECT[5:])
    assert b"\x90\x00" not in read(uart)


def test_unpaced_takes_no_time_and_paced_takes_the_lines() -> None:
    clock = [0]

    def at(uart: ServedUart) -> ServedUart:
        uart.slaved.clock = lambda: clock[0]
        uart.slaved._origin = 0
        return uart

    assert read(running(at(served_uart(card())))) == card().atr
    uart = running(at(served_uart(card(), pacing=Pacing.LINE)))
    heard = [(clock[0], len(read(uart)))]
    while sum(count for _, count in heard) < len(card().atr):
        clock[0] += 100_000
        heard.append((clock[0], len(read(uart))))
        assert clock[0] < 10**9
    times = [time for time, count in heard for _ in range(count)]
    character = 12 * 10**9 / 9600
    begin = 1000 / CLOCK_HZ * 1e9 + 10 * 10**9 / 9600
    for index, time in enumerate(times):
        assert 0 <= time - (begin + index * character) <= 100_000


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_command_may_come_in_pieces(cut: int) -> None:
    uart = running(served_uart(card(ta1=0x11, protocols=(1,))))
    read(uart)
    block = bytes.fromhex("00 C1 01 FE 3E 00")[:5]
    uart.received(block[:cut])
    assert read(uart) == block[:cut] + (bytes.fromhex("00 E1 01 FE 1E") if cut >= 5 else b"")
    if cut < 5:
        uart.received(block[cut:])
        assert read(uart) == block[cut:] + bytes.fromhex("00 E1 01 FE 1E")
