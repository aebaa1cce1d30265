"""What every reader keeps, on every path: ``bench.readers.contract`` and ``bench.iso7816.port``, held from outside.

The card behind each reader is the reference card, so that it can be told what to be and asked what it sees.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from fractions import Fraction

import pytest

from bench.card.files import CLA_ECHO, INS_ECHO
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.port import Answer, ExchangeLevel, WarmResets
from bench.iso7816.rates import RATE_DEFAULT, Rate
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.rig.errors import RigNotAble
from tests.readers.contract.conftest import Open
from tests.readers.contract.stations import ReaderPath, Station

pytestmark = [pytest.mark.witness, pytest.mark.real]

SELECT_TEXT = CommandApdu(0x00, 0xA4, 0x00, 0x0C, b"\x00\x02")
SELECT_SCRATCH = CommandApdu(0x00, 0xA4, 0x00, 0x0C, b"\x00\x01")
SELECTION = SELECT_SCRATCH.encode()
"""One exchange at every level: a case 3 command is its own TPDU."""
TEXT = b"cardbench reference card: an IP smart card after T. Lamotte, Gemplus, 2001.\r\n"
NOTICED_S = 5.0
"""Within which a card that came or went is told of (pcscd looks every 400 ms)."""


def echo(data: bytes) -> CommandApdu:
    return CommandApdu(CLA_ECHO, INS_ECHO, 0, 0, data, max(1, len(data)))


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class TestAbilities:
    def test_they_say_what_can_be_true(self, station: Station) -> None:
        abilities = station.reader.abilities
        assert isinstance(abilities, Abilities)
        assert isinstance(abilities.level, ExchangeLevel)
        assert isinstance(abilities.stamped, StampedAt)
        assert abilities.protocols
        assert set(abilities.protocols) <= {0, 1}
        assert set(abilities.classes) <= set("ABC")
        assert all(clock > 0 for clock in abilities.clocks_hz)
        assert abilities.slots >= 1
        assert abilities.resolution_ns >= 0
        assert all(Rate(each).etu_cycles > 0 for each in abilities.rates)
        assert not abilities.rates or abilities.rate is RateControl.SELECTABLE

    def test_a_card_that_is_up_bears_them_out(self, station: Station) -> None:
        reader = station.up().reader
        abilities = reader.abilities
        assert reader.level is abilities.level
        assert reader.protocol in abilities.protocols
        assert reader.protocol == int(station.given.protocol[-1])
        assert bool(reader.ta1) is (abilities.rate is not RateControl.UNKNOWN)
        assert reader.clock_hz in (abilities.clocks_hz or (0,))

    def test_the_rate_is_what_the_card_sees(self, station: Station) -> None:
        """Asked for, observed or unknown: what the reader says is what is at the contacts, where there are any."""
        reader = station.up().reader
        seen = station.tell()
        if reader.ta1 and seen.f:
            assert Rate(reader.ta1).etu_cycles == Fraction(seen.f, seen.d)

    @pytest.mark.parametrize("ta1", ["11", "12", "18", "96"])
    def test_a_rate_that_can_be_chosen_is_chosen(self, open_one: Open, ta1: str) -> None:
        """By PPS; the card's own etu is another one then. Who cannot choose is refused before anything is powered (bench.rig.opening)."""
        wanted = int(ta1, 16)
        abilities = open_one().reader.abilities
        able = abilities.rate is RateControl.SELECTABLE and (not abilities.rates or wanted in abilities.rates)
        if not able and wanted != RATE_DEFAULT:
            with pytest.raises(RigNotAble, match=r"cannot choose a baud rate|rates, as TA1, are"):
                open_one(ta1=ta1)
            return
        station = open_one(ta1=ta1).up()
        data = noise(200)
        assert station.apdu(echo(data)).data == data
        if able:
            seen = station.tell()
            assert station.reader.ta1 == wanted
            assert Fraction(seen.f, seen.d) == Rate(wanted).etu_cycles

    def test_a_rate_ends_with_its_reader(self, open_one: Open) -> None:
        """Whoever opens the same reader next finds the card at the rate of its answer to reset."""
        abilities = open_one().reader.abilities
        if abilities.rate is RateControl.SELECTABLE:
            fast = next(
                (each for each in (0x96, 0x18, 0x12) if not abilities.rates or each in abilities.rates), RATE_DEFAULT
            )
            fast_one = open_one(ta1=f"{fast:02X}").up()
            assert fast_one.reader.ta1 == fast
            fast_one.close()
        after = open_one().up()
        assert after.apdu(echo(b"slow again")).data == b"slow again"


class TestPower:
    def test_power_gives_the_answer_to_reset(self, station: Station) -> None:
        assert station.power_up().atr == station.atr

    def test_every_power_up_is_a_reset(self, station: Station, path: ReaderPath) -> None:
        """A selection does not survive it (READ BINARY without one: 6986), wherever it reaches the card."""
        read = CommandApdu(0x00, 0xB0, 0x00, 0x00, b"", 4)
        for again in (False, True):
            station.up()
            assert (station.apdu(read).sw == 0x6986) is (path.resets or not again)
            assert station.apdu(SELECT_TEXT).sw == 0x9000
            assert station.apdu(read).data == TEXT[:4]

    def test_a_warm_reset_gives_it_as_well(self, station: Station) -> None:
        station.up()
        if not isinstance(station.reader, WarmResets):
            return  # a reader need not be able to
        assert station.apdu(SELECT_TEXT).sw == 0x9000
        result = station.warm_reset()
        assert (result.error, result.atr) == ("", station.atr)
        assert station.apdu(CommandApdu(0x00, 0xB0, 0x00, 0x00, b"", 4)).sw == 0x6986

    def test_power_down_drops_what_is_under_way(self, open_one: Open) -> None:
        station = open_one(card_time="400 ms").up()
        answers: list[Answer] = []

        def submit_and_leave() -> None:
            station.reader.submit(SELECTION, answers.append)
            station.reader.power_down()

        station.engine.call(submit_and_leave)
        assert not station.wait(lambda: bool(answers), 1.2)
        station.up()
        assert station.apdu(echo(b"again")).data == b"again"
        assert not answers
        assert not station.faults

    def test_no_card_is_told_as_such_and_blames_none(self, station: Station) -> None:
        station.pull()
        result = station.power_up()
        assert not result.atr
        if station.reader.abilities.removal:
            assert result.error.startswith("absent")
        else:
            assert result.error == "mute"
        station.insert()
        self._comes_up(station)

    def test_a_card_that_is_put_back_comes_up(self, station: Station) -> None:
        station.up()
        station.pull()
        station.wait(lambda: False, 0.6)
        station.insert()
        self._comes_up(station)
        assert station.apdu(echo(b"back")).data == b"back"

    def _comes_up(self, station: Station) -> None:
        limit = time.monotonic() + NOTICED_S
        while (result := station.power_up()).error and time.monotonic() < limit:
            station.wait(lambda: False, 0.1)
        assert (result.error, result.atr) == ("", station.atr)


class TestExchanges:
    def test_every_case_is_exact(self, station: Station) -> None:
        """Cases 1 to 4 of ISO/IEC 7816-4: no data either way, from the card, to the card, both."""
        station.up()
        assert station.apdu(CommandApdu(0x00, 0x44, 0x00, 0x00)).sw == 0x6D00
        assert station.apdu(SELECT_SCRATCH).sw == 0x9000
        written = noise(40)
        assert station.apdu(CommandApdu(0x00, 0xD6, 0x00, 0x00, written)).sw == 0x9000
        read = station.apdu(CommandApdu(0x00, 0xB0, 0x00, 0x00, b"", 40))
        assert (read.data, read.sw) == (written, 0x9000)
        echoed = station.apdu(echo(written))
        assert (echoed.data, echoed.sw) == (written, 0x9000)
        assert station.apdu(CommandApdu(0xC0, 0xA4, 0x00, 0x00)).sw == 0x6E00

    def test_short_edges(self, station: Station) -> None:
        station.up()
        for size in (1, 2, 31, 32, 33, 127, 128, 253, 254, 255):
            data = noise(size)
            answer = station.apdu(echo(data))
            assert (answer.data, answer.sw) == (data, 0x9000), f"{size} bytes"

    def test_reading_up_to_256_bytes(self, station: Station) -> None:
        station.up()
        assert station.apdu(SELECT_SCRATCH).sw == 0x9000
        stored = noise(256)
        for offset in (0, 128):
            update = CommandApdu(0x00, 0xD6, offset >> 8, offset & 0xFF, stored[offset : offset + 128])
            assert station.apdu(update).sw == 0x9000
        for size in (1, 255, 256):
            read = station.apdu(CommandApdu(0x00, 0xB0, 0x00, 0x00, b"", size))
            assert (read.data, read.sw) == (stored[:size], 0x9000)

    def test_extended_lengths(self, station: Station) -> None:
        station.up()
        for size in (256, 257, 1000):
            data = noise(size)
            answer = station.apdu(echo(data))
            assert (answer.data, answer.sw) == (data, 0x9000), f"{size} bytes"

    def test_who_fetches_answers_is_as_declared(self, station: Station) -> None:
        """At the level of TPDUs 61xx and 6Cxx come up to us, unless the reader says that it answers them itself."""
        station.up()
        data = noise(20)
        if not station.tpdus:
            assert station.exchange(echo(data).encode()).response == data + b"\x90\x00"
            return
        answer = station.exchange(bytes((CLA_ECHO, INS_ECHO, 0, 0, len(data))) + data)
        if station.reader.fetches_itself:
            assert answer.response == data + b"\x90\x00"
            return
        assert answer.response == bytes((0x61, len(data)))
        fetched = station.exchange(bytes((0x00, 0xC0, 0x00, 0x00, len(data))))
        assert fetched.response == data + b"\x90\x00"

    def test_every_byte_value_comes_through_in_every_place(self, station: Station) -> None:
        station.up()
        for shift in (0, 85, 170):
            data = bytes((value + shift) & 0xFF for value in range(255))
            assert station.apdu(echo(data)).data == data

    def test_one_exchange_at_a_time(self, open_one: Open) -> None:
        """A second one is refused, or waits for its turn: two are never on the way to a card at once."""
        station = open_one(card_time="50 ms").up()
        command = SELECTION
        answers: list[Answer] = []
        refused = False

        def submit() -> None:
            nonlocal refused
            station.reader.submit(command, answers.append)
            try:
                station.reader.submit(command, answers.append)
            except RuntimeError:
                refused = True

        station.engine.call(submit)
        assert station.wait(lambda: len(answers) == (1 if refused else 2))
        assert [(answer.response, answer.error) for answer in answers] == [(b"\x90\x00", "")] * len(answers)
        assert refused or answers[0].end <= answers[1].start


class TestTimes:
    def test_they_run_forward_and_lie_between_asking_and_being_told(self, open_one: Open) -> None:
        station = open_one(card_time="1 ms").up()  # which has a served card keep to the time of its line
        slack = station.engine.timebase.nanoseconds(station.reader.abilities.resolution_ns)
        if (
            station.reader.level is ExchangeLevel.CHARACTER
        ):  # one that came early is put where the guard time would have it
            slack += station.engine.timebase.cycles(12 * 372, station.reader.clock_hz)
        last = station.engine.now
        for size in (1, 10, 100, 200, 10, 1):
            asked = station.engine.now
            answer = station.exchange(bytes((CLA_ECHO, INS_ECHO, 0, 0, size)) + noise(size))
            assert asked <= answer.start <= answer.end <= station.engine.now + slack
            assert last <= answer.start
            assert 0 <= answer.card_ticks <= answer.end - answer.start
            assert answer.characters >= 0
            last = answer.end

    def test_a_card_that_takes_its_time_is_seen_to(self, open_one: Open) -> None:
        station = open_one(card_time="60 ms").up()
        answer = station.exchange(SELECTION)
        assert answer.response == b"\x90\x00"
        assert station.seconds(answer.end - answer.start) >= 0.06


class TestRemoval:
    def test_a_card_pulled_within_an_exchange_is_absent_and_not_to_blame(self, open_one: Open) -> None:
        station = open_one(card_time="1500 ms").up()
        answers: list[Answer] = []
        station.engine.call(lambda: station.reader.submit(SELECTION, answers.append))
        station.wait(lambda: False, 0.3)
        station.pull()
        begun = station.engine.now
        assert station.wait(lambda: bool(answers))
        answer = answers[0]
        assert not answer.response
        assert answer.start <= answer.end
        if station.reader.abilities.removal:
            assert answer.error == "absent"
            assert station.seconds(station.engine.now - begun) < NOTICED_S
        else:
            assert answer.error == "mute"

    def test_coming_and_going_is_told_as_declared(self, station: Station) -> None:
        station.engine.call(lambda: setattr(station.reader, "on_card", station.cards.append))
        station.up()
        if not station.reader.abilities.removal:
            station.pull()
            station.wait(lambda: False, 0.3)
            assert not station.cards
            return
        station.wait(lambda: False, 0.6)
        station.cards.clear()
        station.pull()
        assert station.wait(lambda: station.cards == [False], NOTICED_S), station.cards
        station.insert()
        assert station.wait(lambda: station.cards == [False, True], NOTICED_S), station.cards


class TestClose:
    def test_nothing_is_left(self, open_one: Open) -> None:
        """Descriptors and threads, after the first time (which starts what serves the card, and imports drivers)."""
        counts = []
        for _ in range(3):
            station = open_one().up()
            station.apdu(SELECT_TEXT)
            station.close()
            gc.collect()
            counts.append((_descriptors(), threading.active_count()))
        assert counts[2] == counts[1]
        assert counts[1][1] <= counts[0][1]

    def test_closing_powers_the_card_down(self, station: Station, path: ReaderPath) -> None:
        station.up()
        station.close()
        limit = time.monotonic() + 1
        while station.tell().powered and path.supply and time.monotonic() < limit:
            time.sleep(0.01)
        assert station.tell().powered is not path.supply

    def test_closing_with_an_exchange_under_way_is_soon_done(self, open_one: Open) -> None:
        station = open_one(card_time="800 ms").up()
        answers: list[Answer] = []
        station.engine.call(lambda: station.reader.submit(SELECTION, answers.append))
        begun = time.monotonic()
        station.close()
        assert time.monotonic() - begun < 5
        assert not station.reader.hung


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
