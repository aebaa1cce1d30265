"""T=1 from the software reader to a card's contacts: power-up, exchanges, failures, and two nodes behind one line (ISO/IEC 7816-3:2006, 11)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pytest

from bench.card.contacts import Contacts
from bench.engine import Timebase, VirtualEngine
from bench.iso7816.atr import T1Parameters, build_atr, parse_atr
from bench.iso7816.atr_values import Edc
from bench.iso7816.disturbance import Disturbance
from bench.iso7816.line import Burst
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.rates import Rate
from bench.iso7816.session import Side
from bench.iso7816.t0 import Later, Reply
from bench.iso7816.t1_block import nad_of
from bench.iso7816.t1_card import ApduHandler, ApduLater, ApduReply
from bench.iso7816.t1_outcome import T1Outcome
from bench.iso7816.t1_terminal import T1Terminal
from bench.readers.activation import Wishes
from bench.readers.software import SoftwareReader

CLOCK_HZ = 3_571_200
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)
S_IFS = bytes.fromhex("00 C1 01 FE 3E")
COMMAND = bytes.fromhex("80 C2 80 00 03 01 02 03 00")


@dataclass(slots=True)
class Node:
    """A node that answers a command with its name, the command and 9000."""

    name: bytes = b""
    ticks: int = 0
    commands: list[bytes] = field(default_factory=list)

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        del later
        self.commands.append(apdu)
        return ApduReply(self.name + apdu + b"\x90\x00", self.ticks)


@dataclass(slots=True)
class Promising:
    """A node that promises its answer; the test gives it."""

    laters: list[ApduLater] = field(default_factory=list)

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        del apdu
        self.laters.append(later)
        return None


class Plain:
    """What stands above T=0."""

    def takes_data(self, header: bytes) -> bool:
        return header[1] == 0xC2

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        del header, data, later
        return Reply(b"", 0x9000)


class Line:
    """A reader, a card's contacts, and every burst between them. ``alter`` may take a burst to the card away (None) or damage it."""

    def __init__(
        self, atr: bytes, nodes: Mapping[int, ApduHandler] | None = None, wishes: Wishes | None = None
    ) -> None:
        self.engine = VirtualEngine(TIMEBASE)
        self.resets: list[bool] = []
        self.node = Node()
        self.contacts = Contacts(
            self.engine, atr, 1000, Plain(), self.resets.append, nodes={0: self.node} if nodes is None else nodes
        )
        self.reader = SoftwareReader(self.engine, CLOCK_HZ)
        self.reader.wishes = wishes or Wishes()
        self.bursts: list[tuple[Burst, Side]] = []
        self.reader.on_burst = lambda burst, side: self.bursts.append((burst, side))
        self.alter: Callable[[Burst], tuple[Burst, Collection[int]] | None] = lambda burst: (burst, ())
        self._receive = self.contacts.receive
        self.contacts.receive = self._taken  # type: ignore[method-assign]
        self.reader.insert(self.contacts)

    def _taken(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        heard = self.alter(burst)
        if heard is not None:
            self._receive(heard[0], set(damaged) | set(heard[1]))

    def power_up(self) -> PowerUp:
        ups: list[PowerUp] = []
        self.reader.power_up(ups.append)
        assert self.engine.wait(lambda: bool(ups), 100 * TIMEBASE.hz)
        return ups[0]

    def exchange(self, command: bytes = COMMAND, within: int = 100) -> Answer:
        answers: list[Answer] = []
        self.reader.submit(command, answers.append)
        assert self.engine.wait(lambda: bool(answers), within * TIMEBASE.hz)
        return answers[0]

    @property
    def spoken(self) -> list[bytes]:
        """What the terminal has sent."""
        return [burst.data for burst, side in self.bursts if side is Side.TERMINAL]


def t1_atr(ta1: int = 0x11, *, n: int | None = 0xFF, bwi: int = 0, ifsc: int = 254, edc: Edc | None = None) -> bytes:
    return build_atr(
        protocols=(1,), ta1=ta1, extra_guard_time=n, t1=T1Parameters(ifsc=ifsc, bwi_cwi=bwi << 4 | 5, edc=edc)
    )


def up(atr: bytes | None = None, nodes: Mapping[int, ApduHandler] | None = None, wishes: Wishes | None = None) -> Line:
    line = Line(t1_atr() if atr is None else atr, nodes, wishes)
    assert line.power_up().error == ""
    return line


def bwt_ticks(line: Line) -> int:
    """BWT with BWI 0: 11 etu and 960 initial etu."""
    etu = TIMEBASE.cycles(372, CLOCK_HZ)
    assert line.contacts.atr.bwi == 0
    return 11 * etu + 960 * etu


# -- power-up ----------------------------------------------------------------------------------------------------------


def test_power_up_ends_when_the_card_knows_the_ifsd() -> None:
    line = up()
    assert line.spoken == [S_IFS]
    assert (line.reader.protocol, line.contacts.ifsd) == (1, 254)
    etu = TIMEBASE.cycles(372, CLOCK_HZ)
    atr, request, answer = (burst for burst, _ in line.bursts)
    assert request.start - atr.last == answer.start - request.last == 22 * etu
    assert (request.pitch, answer.pitch) == (11 * etu, 11 * etu)


def test_pps_asks_for_t1_and_the_first_block_waits_for_its_guard_time() -> None:
    line = up(t1_atr(0x97), wishes=Wishes(ta1=0x97))
    pps, request = line.spoken
    assert (pps.hex(), request) == ("ff119779", S_IFS)
    (response, _), (first, _) = line.bursts[2:4]
    assert first.start - response.last == 12 * TIMEBASE.cycles(372, CLOCK_HZ), (
        "12 etu of the old rate, not 22 of the new"
    )
    assert line.exchange().response == COMMAND + b"\x90\x00"


@pytest.mark.parametrize(("wanted", "spoken"), [(None, 0), (0, 0), (1, 1)])
def test_a_card_of_both_protocols_speaks_the_first_one_unless_asked(wanted: int | None, spoken: int) -> None:
    atr = build_atr(protocols=(0, 1), t1=T1Parameters(ifsc=254, bwi_cwi=5))
    line = up(atr, wishes=Wishes(protocol=wanted))
    assert line.reader.protocol == spoken
    command = COMMAND if spoken else COMMAND[:-1]
    assert line.exchange(command).response[-2:] == b"\x90\x00"


def test_a_warm_reset_begins_with_the_first_protocol_again() -> None:
    atr = build_atr(protocols=(0, 1), t1=T1Parameters(ifsc=254, bwi_cwi=5))
    line = up(atr, wishes=Wishes(protocol=1))
    line.reader.wishes = Wishes()
    ups: list[PowerUp] = []
    line.reader.warm_reset(ups.append)
    line.engine.wait(lambda: bool(ups), TIMEBASE.hz)
    assert (ups[0].error, line.reader.protocol, line.contacts.ifsd) == ("", 0, 0)
    assert line.exchange(COMMAND[:-1]).response == b"\x90\x00"


def test_a_card_that_is_silent_after_its_answer_to_reset_is_deactivated() -> None:
    line = Line(t1_atr())
    line.alter = lambda _burst: None
    assert line.power_up().error == "mute"
    assert line.spoken == [S_IFS] * 3
    assert line.resets == [True, False]


def test_times_that_contradict_each_other_are_told_as_a_bad_answer_to_reset() -> None:
    """CWT of 43 etu, characters 12 + 254 etu apart (11.4.3): what such a card says is heard, but it cannot be spoken to."""
    sound = t1_atr()
    line = Line(sound)
    line.contacts.atr_bytes = t1_atr(n=254)
    speak = line.contacts._speak

    def believing(protocol: int, rate: Rate) -> None:
        line.contacts.atr = parse_atr(sound)
        speak(protocol, rate)

    line.contacts._speak = believing  # type: ignore[method-assign]
    found = line.power_up()
    assert found.error.startswith("bad ATR: CWI = 5 makes CWT 43 etu, N = 254 makes the guard time 266 etu")


# -- exchanges ---------------------------------------------------------------------------------------------------------


def test_an_exchange_is_two_bursts_and_its_times_are_told() -> None:
    line = up(nodes={0: Node(ticks=1_000_000)})
    begun = len(line.bursts)
    answer = line.exchange()
    assert answer.response == COMMAND + b"\x90\x00"
    (command, _), (response, _) = line.bursts[begun:]
    assert answer.characters == len(command.data) + len(response.data) == 2 * len(COMMAND) + 2 + 8
    assert (answer.start, answer.end) == (command.start, response.end)
    assert (answer.card_ticks, answer.retries, answer.error) == (1_000_000, 0, "")


def test_exchanges_follow_each_other_after_the_block_guard_time() -> None:
    line = up()
    answers: list[Answer] = []

    def again(answer: Answer) -> None:
        answers.append(answer)
        line.reader.submit(COMMAND, answers.append)

    line.reader.submit(COMMAND, again)
    line.engine.wait(lambda: len(answers) == 2, TIMEBASE.hz)
    etu = TIMEBASE.cycles(372, CLOCK_HZ)
    assert answers[1].start - answers[0].end == (22 - 10) * etu


@pytest.mark.parametrize("edc", [Edc.LRC, Edc.CRC])
@pytest.mark.parametrize("size", [1, 254, 255, 4096])
def test_apdus_of_any_length_come_through_in_chains(size: int, edc: Edc) -> None:
    line = up(t1_atr(0x97, edc=edc), wishes=Wishes(ta1=0x97))
    command = bytes(index % 251 for index in range(size))
    assert line.exchange(command).response == command + b"\x90\x00"
    assert line.node.commands == [command]


def test_the_extra_guard_time_runs_before_each_character_to_the_card() -> None:
    line = up(t1_atr(n=20))
    line.exchange()
    etu = TIMEBASE.cycles(372, CLOCK_HZ)
    (response, _), (command, _) = line.bursts[-3:-1]
    assert (command.pitch, command.start - response.last) == (32 * etu, 32 * etu)


def test_a_promised_answer_is_waited_for_with_wtx() -> None:
    node = Promising()
    line = up(nodes={0: node})
    answers: list[Answer] = []
    line.reader.submit(COMMAND, answers.append)
    line.engine.run(line.engine.now + 5 * bwt_ticks(line))
    assert not answers
    node.laters[0](ApduReply(b"late\x90\x00"))
    line.engine.wait(lambda: bool(answers), TIMEBASE.hz)
    assert answers[0].response == b"late\x90\x00"
    assert line.spoken.count(bytes.fromhex("00 E3 01 01 E3")) >= 5


def test_an_answer_promised_before_a_reset_is_not_given_after_it() -> None:
    node = Promising()
    line = up(nodes={0: node})
    line.reader.submit(COMMAND, lambda _answer: None)
    line.engine.run(line.engine.now + bwt_ticks(line))
    assert line.power_up().error == ""
    heard = len(line.bursts)
    node.laters[0](ApduReply(b"late\x90\x00"))
    line.engine.run(line.engine.now + bwt_ticks(line))
    assert len(line.bursts) == heard


def test_a_promise_keeps_the_line() -> None:
    node = Promising()
    line = up(nodes={0: node})
    assert line.contacts.busy_until() <= line.engine.now + bwt_ticks(line), (
        "an answer that was lost is asked for again by then"
    )
    line.reader.submit(COMMAND, lambda _answer: None)
    line.engine.run(line.engine.now + 3 * bwt_ticks(line))
    assert line.contacts.busy_until() == line.engine.now


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_damaged_block_is_asked_for_again() -> None:
    line = up()
    line.alter = _once(lambda burst: (burst, (2,)))
    answer = line.exchange()
    assert (answer.response, answer.retries) == (COMMAND + b"\x90\x00", 1)


def test_a_block_that_breaks_off_is_over_after_cwt_not_after_bwt() -> None:
    """The card hears four characters of the command, and asks again 43 etu after the last of them."""
    line = up()
    line.alter = _once(lambda burst: (Burst(burst.data[:4], burst.start, burst.pitch, burst.etu), ()))
    begun = line.engine.now
    assert line.exchange().response == COMMAND + b"\x90\x00"
    assert line.engine.now - begun < bwt_ticks(line)


def test_an_answer_that_breaks_off_is_over_after_cwt_not_after_bwt() -> None:
    line = up(t1_atr(bwi=4))
    send = line.contacts.transmit
    broken: list[Burst] = []

    def transmit(burst: Burst) -> None:
        if not broken:
            broken.append(burst)
            burst = Burst(burst.data[:-2], burst.start, burst.pitch, burst.etu)
        send(burst)

    line.contacts.transmit = transmit
    begun = line.engine.now
    answer = line.exchange()
    assert (answer.response, answer.retries) == (COMMAND + b"\x90\x00", 1)
    assert line.engine.now - begun < TIMEBASE.hz // 4, "BWT is 1.6 s"


def test_a_card_gone_mute_is_deactivated_and_each_command_told_so_until_the_next_power_up() -> None:
    line = up()
    line.alter = lambda _burst: None
    begun = line.engine.now
    answer = line.exchange()
    assert (answer.response, answer.error) == (b"", "mute")
    assert 6 * bwt_ticks(line) <= line.engine.now - begun <= 20 * bwt_ticks(line)
    assert line.resets[-1] is False
    sent, now = len(line.bursts), line.engine.now
    assert line.exchange().error == answer.error
    assert (len(line.bursts), line.engine.now) == (sent, now), "nothing goes to a card without power"
    line.alter = lambda burst: (burst, ())
    assert line.power_up().error == ""
    assert line.exchange().response == COMMAND + b"\x90\x00"


def test_a_card_taken_away_is_missed() -> None:
    line = up()
    line.reader.remove()
    assert line.exchange().error == "mute"


def test_a_switch_tells_at_once_and_only_a_power_up_helps() -> None:
    line = up(nodes={0: Promising()})
    line.reader.detects = True
    answers: list[Answer] = []
    line.reader.submit(COMMAND, answers.append)
    line.engine.run(line.engine.now + bwt_ticks(line))
    line.reader.remove()
    line.reader.insert(line.contacts)
    assert answers[0].error == line.exchange().error == "absent"
    assert line.power_up().error == ""


def test_noise_is_overcome_block_by_block() -> None:
    line = Line(t1_atr(0x96), wishes=Wishes(ta1=0x96))
    assert line.power_up().error == ""
    line.reader.disturb(Disturbance(5, 0.0002))
    commands = [bytes((each,)) * 100 for each in range(40)]
    answers = [line.exchange(command) for command in commands]
    assert [answer.response for answer in answers] == [command + b"\x90\x00" for command in commands]
    assert 3 <= sum(answer.retries for answer in answers) <= 60
    assert line.node.commands == commands


# -- two nodes behind one line -----------------------------------------------------------------------------------------


class Addressing:
    """A terminal that addresses nodes, on the contacts of a card."""

    def __init__(self, nodes: Mapping[int, ApduHandler]) -> None:
        self.line = up(nodes=nodes)
        atr, rate = self.line.contacts.atr, Rate(0x11)
        self.terminal = T1Terminal.for_card(atr, rate, CLOCK_HZ, TIMEBASE, self.line.engine.now)
        self.outcomes: list[T1Outcome] = []
        self.line.contacts.transmit = self._answered
        request = self.terminal.announce_ifsd(254, self.line.engine.now)
        assert request is not None
        self._send(request)
        assert self.line.engine.wait(lambda: bool(self.outcomes), TIMEBASE.hz)

    def exchange(self, apdu: bytes, nad: int) -> bytes:
        self._send(self.terminal.begin(apdu, self.line.engine.now, nad))
        wanted = len(self.outcomes) + 1
        assert self.line.engine.wait(lambda: len(self.outcomes) == wanted, 10 * TIMEBASE.hz)
        return self.outcomes[-1].response

    def _send(self, burst: Burst) -> None:
        self.line.engine.at(burst.taken, lambda: self.line.contacts.receive(burst))

    def _answered(self, burst: Burst) -> None:
        self.terminal.incoming(burst)
        self.line.engine.at(burst.taken, lambda: self._heard(burst))

    def _heard(self, burst: Burst) -> None:
        step = self.terminal.receive(burst)
        if isinstance(step, Burst):
            self._send(step)
        elif step is not None:
            self.outcomes.append(step)


def test_two_nodes_on_one_card_answer_independently() -> None:
    one, two = Node(b"one "), Node(b"two ")
    rig = Addressing({0: Node(), 1: one, 2: two})
    to_one, to_two = nad_of(3, 1), nad_of(3, 2)
    assert rig.exchange(b"a" * 300, to_one) == b"one " + b"a" * 300 + b"\x90\x00"
    assert rig.exchange(b"b", to_two) == b"two b\x90\x00"
    assert rig.exchange(b"c", to_one) == b"one c\x90\x00"
    assert (one.commands, two.commands) == ([b"a" * 300, b"c"], [b"b"])


def _once(change: Callable[[Burst], tuple[Burst, Collection[int]]]) -> Callable[[Burst], tuple[Burst, Collection[int]]]:
    left = [change]
    return lambda burst: left.pop()(burst) if left else (burst, ())
