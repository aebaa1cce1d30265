"""The way past the T=1 machine: whatever happens to blocks, the host says and makes of it what it would by the machine alone."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.card.profile import CardProfile
from bench.ccid.codes import HEADER, MessageType
from bench.ccid.driver import Asked
from bench.ccid.driver_levels import BlocksT1
from bench.iso7816.apdu import CommandApdu
from tests.ccid.driver_loop import Loop, descriptor

LENGTHS = (0, 1, 60, 254, 255, 600)
PROFILE = CardProfile(b"T1", ta1=0x96, hop=False, protocols=(1,))


def spoiler(harm: dict[int, int]) -> Callable[[bytes], bytes]:
    """Of the blocks that the card sends, by number: another byte of each is wrong."""
    count = 0

    def mutate(message: bytes) -> bytes:
        nonlocal count
        if message[0] != MessageType.DATA_BLOCK or len(message) <= HEADER + 3:
            return message
        at, count = harm.get(count), count + 1
        if at is None:
            return message
        at = HEADER + at % (len(message) - HEADER)
        return message[:at] + bytes((message[at] ^ 0x21,)) + message[at + 1 :]

    return mutate


def ran(harm: dict[int, int], lengths: list[int], *, machine: bool) -> tuple[list[bytes], list[object], Loop]:
    loop = Loop(descriptor(), [PROFILE])
    driver = loop.drivers[0]
    driver.asked = Asked(ta1=0x96)
    loop.run(driver.power_up())
    exchanger = driver._exchanger
    assert isinstance(exchanger, BlocksT1)
    if machine:
        exchanger.terminal.on_step = lambda _state, _event: None
    loop.said.clear()
    loop.mutate = spoiler(harm)
    ended = []
    for length in lengths:
        data = bytes(index % 251 for index in range(length))
        command = CommandApdu(0xA0, 0xEC, 0, 0, data, 256 if length < 256 else 65_536).encode()
        got = loop.run(driver.exchange(command, loop.ns))
        ended.append((got.response, got.error, got.characters, got.retries))
    return list(loop.said), ended, loop


@settings(max_examples=60, deadline=None)
@given(
    harm=st.dictionaries(st.integers(0, 12), st.integers(0, 258), max_size=4),
    lengths=st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=3),
)
def test_the_same_blocks_and_the_same_outcome_as_by_the_machine(harm: dict[int, int], lengths: list[int]) -> None:
    plainly, by_machine = ran(harm, lengths, machine=False), ran(harm, lengths, machine=True)
    assert plainly[0] == by_machine[0]
    assert plainly[1] == by_machine[1]


def test_what_is_well_never_sees_the_machine() -> None:
    steps: list[object] = []
    loop = Loop(descriptor(), [PROFILE])
    driver = loop.drivers[0]
    loop.run(driver.power_up())
    exchanger = driver._exchanger
    assert isinstance(exchanger, BlocksT1)
    begin = exchanger.terminal.begin
    exchanger.terminal.begin = lambda *arguments: steps.append(arguments) or begin(*arguments)  # type: ignore[method-assign, func-returns-value]
    data = bytes(range(256)) * 4
    command = CommandApdu(0xA0, 0xEC, 0, 0, data, 65_536).encode()
    for _ in range(3):
        assert loop.run(driver.exchange(command, loop.ns)).response == data + b"\x90\x00"
    assert not steps
