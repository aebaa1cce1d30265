"""The poll period backs off while a line is idle: doubled by each fruitless poll, short again with traffic (docs/protocol.md, 1.7)."""

from __future__ import annotations

import pytest

from bench.hop.queue import FairQueue, Queued
from bench.hop.segment import INS_ENVELOPE, INS_GET_RESPONSE, Kind
from bench.hop.terminal import HopTerminal

NOTHING = b"\x62\x00"
SEGMENT = bytes.fromhex("C0 04 02 00 90 00")
"""One whole control packet, toggle 0, and 9000."""


class Line:
    """A terminal that is asked when it wants to send, and polls that take no time."""

    def __init__(self, first: int, longest: int | None) -> None:
        self.queue = FairQueue(64)
        self.machine = HopTerminal(self.queue, 64, explicit=True, inline=True, period=first, longest=longest)
        self.now = 0

    def poll(self, answer: bytes = NOTHING) -> int:
        """Let time pass until the next poll, answer it, and tell how long after the exchange before it came."""
        before = self.now
        command = self.machine.next_command(self.now)
        if command is None:
            self.now = self.machine.deadline
            command = self.machine.next_command(self.now)
        assert command is not None
        assert command[1] == INS_GET_RESPONSE
        self.machine.answered(answer, self.now)
        return self.now - before


@pytest.mark.parametrize("longest", [None, 5])
def test_equal_periods_stay_as_they_are(longest: int | None) -> None:
    line = Line(5, longest)
    assert [line.poll() for _ in range(6)] == [0, 5, 5, 5, 5, 5]


def test_each_fruitless_poll_doubles_the_period_up_to_the_longest() -> None:
    line = Line(2, 20)
    assert [line.poll() for _ in range(7)] == [0, 4, 8, 16, 20, 20, 20]


def test_a_segment_from_the_card_makes_it_short_again() -> None:
    line = Line(2, 20)
    for _ in range(6):
        line.poll()
    assert line.poll(SEGMENT) == 20
    assert line.poll() == 0, "more may follow what just came"
    assert [line.poll() for _ in range(3)] == [4, 8, 16]


def test_a_packet_to_the_card_makes_it_short_again() -> None:
    line = Line(2, 20)
    for _ in range(6):
        line.poll()
    line.now += 3
    assert line.queue.push(Queued(Kind.CONTROL, b"\x04\x02\x00", None))
    command = line.machine.next_command(line.now)
    assert command is not None
    assert command[1] == INS_ENVELOPE
    line.machine.answered(b"\x90\x00", line.now)
    assert [line.poll() for _ in range(4)] == [2, 4, 8, 16]


def test_a_failed_poll_is_repeated_at_once_and_does_not_lengthen_the_period() -> None:
    line = Line(2, 20)
    line.poll()
    line.poll()
    line.now = 12
    command = line.machine.next_command(line.now)
    line.machine.failed("mute")
    assert line.machine.next_command(line.now) == command
    line.machine.answered(NOTHING, line.now)
    assert line.poll() == 16


def test_a_longest_period_shorter_than_the_first_does_not_shorten_it() -> None:
    line = Line(8, 2)
    assert [line.poll() for _ in range(3)] == [0, 8, 8]
