"""Pacing takes exactly as long as the same APDU takes on a virtual line, character by character."""

from __future__ import annotations

import pytest

from bench.card.card import Card
from bench.card.files import CLA_ECHO, INS_ECHO
from bench.card.profile import CardProfile
from bench.engine import Timebase, VirtualEngine
from bench.hop.limit import T0Limit
from bench.hop.link import PollPlan
from bench.iso7816.apdu import CommandApdu, ResponseApdu
from bench.iso7816.atr import parse_atr
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import T0Timing
from bench.iso7816.transport import ApduOverT0
from bench.observe import NullSink
from bench.readers.software import SoftwareReader
from bench.serve.pace import Pace

CLOCK_HZ = 3_571_200
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)


class OnTheLine:
    """A reference card on a virtual line: what an APDU takes there, from its first character to where the next may begin."""

    def __init__(self, ta1: int, card_ms: int) -> None:
        self.engine = VirtualEngine(TIMEBASE)
        profile = CardProfile(identity=b"", ta1=ta1, card_time_ns=card_ms * 10**6)
        card = Card(self.engine, profile, PollPlan(1, 1), NullSink())
        self.reader = SoftwareReader(self.engine, CLOCK_HZ, ta1)
        self.reader.insert(card.contacts)
        powered: list[PowerUp] = []
        self.reader.power_up(powered.append)
        assert self.engine.wait(lambda: bool(powered), TIMEBASE.hz)
        self.command(CommandApdu(0, 0xA4, 0, 0x0C, b"\x00\x01"))
        timing = T0Timing.at_rate(parse_atr(profile.atr), Rate(ta1), CLOCK_HZ, TIMEBASE)
        self.pace = Pace(T0Limit(timing.etu, timing.pitch_to_card, TIMEBASE.nanoseconds(card_ms * 10**6)))

    def tpdu(self, tpdu: bytes) -> Answer:
        answers: list[Answer] = []
        self.reader.submit(tpdu, answers.append)
        assert self.engine.wait(lambda: bool(answers), 100 * TIMEBASE.hz)
        return answers[0]

    def command(self, command: CommandApdu) -> tuple[ResponseApdu, int]:
        """The answer, and the ticks from this command's first character to the next command's."""
        machine = ApduOverT0(command)
        step: object = machine.start()
        first = None
        while not isinstance(step, ResponseApdu):
            answer = self.tpdu(step.data)  # type: ignore[attr-defined]
            assert not answer.error
            first = answer.start if first is None else first
            step = machine.step(answer.response)
        following = self.tpdu(bytes.fromhex("00B0000001"))
        assert first is not None
        return step, following.start - first


@pytest.mark.parametrize("ta1", [0x11, 0x18, 0x96])
@pytest.mark.parametrize("card_ms", [0, 3])
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(CommandApdu(0, 0xA4, 0, 0x0C, b"\x00\x01"), id="case 3"),
        pytest.param(CommandApdu(0, 0xB0, 0, 0, b"", 8), id="case 2"),
        pytest.param(CommandApdu(CLA_ECHO, INS_ECHO, 0, 0, bytes(40), 40), id="case 4"),
        pytest.param(CommandApdu(CLA_ECHO, INS_ECHO, 0, 0, bytes(255), 256), id="case 4, longest short"),
        pytest.param(CommandApdu(CLA_ECHO, INS_ECHO, 0, 0, bytes(700), 65_536), id="case 4, extended"),
        pytest.param(CommandApdu(0, 0xB1, 0, 0), id="an instruction nobody knows"),
    ],
)
def test_an_apdu_takes_as_long_as_on_the_line(ta1: int, card_ms: int, command: CommandApdu) -> None:
    line = OnTheLine(ta1, card_ms)
    response, took = line.command(command)
    assert line.pace.ticks(command.encode(), response.encode()) == took


def test_what_is_no_apdu_costs_a_bare_header() -> None:
    pace = Pace(T0Limit(10, 120))
    assert pace.ticks(b"\x00", b"\x67\x00") == pace.line.status()
