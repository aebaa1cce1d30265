"""libccid against our wire: its serial driver, which makes PPS, parameters and all of T=1 itself, on our CCID firmware and our card at TPDU level.

Nobody here wrote the one side. Both ends note every byte, and the two notes are compared.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.card.contacts import SOUND, ContactTraits
from bench.ccid.codes import CommandState
from bench.engine import VirtualEngine
from bench.iso7816.atr import Edc, T1Parameters, build_atr
from bench.iso7816.disturbance import Disturbance, Fault, Towards
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.session import Side
from bench.rig.pcscd import Driver, missing_parts
from bench.rig.served_reader import close_served_reader
from bench.serve.gempc import Model
from tests.processes import begun
from tests.readers.recording_card import ECHO, EXACTLY, NOTHING, READ, TAKE, RecordingCard, pattern
from tests.witness.serial_stand import ProgramError, SerialStand, Slotted

MISSING = missing_parts(Driver.serial("", "")) or (
    "" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'"
)

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]

ROOT = Path(__file__).resolve().parents[2]
OK = b"\x90\x00"
Make = Callable[..., SerialStand]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes stands, and takes them down."""
    close_served_reader()  # one pcscd a process: another test's may still be there
    stands: list[SerialStand] = []

    def stand(atr: bytes, model: Model = Model.TWIN, traits: ContactTraits = SOUND, ticks_ms: int = 0) -> SerialStand:
        made = SerialStand([_slotted(0, atr, traits, ticks_ms)], model)
        stands.append(made)
        return made

    yield stand
    for each in stands:
        each.close()


def _slotted(slot: int, atr: bytes, traits: ContactTraits = SOUND, ticks_ms: int = 0) -> Slotted:
    def card(engine: VirtualEngine) -> RecordingCard:
        return RecordingCard(engine, atr, traits, engine.timebase.nanoseconds(ticks_ms * 10**6))

    return Slotted(slot, card)


def t1_atr(ta1: int = 0x96, ifsc: int | None = 254, edc: Edc = Edc.LRC) -> bytes:
    return build_atr(protocols=(1,), ta1=ta1, t1=T1Parameters(ifsc, 0x45, edc))


def echo(data: bytes) -> bytes:
    """A case 4 command, extended where it must be."""
    if len(data) < 256:
        return bytes((0, ECHO, 0, 0, len(data))) + data + b"\x00"
    return bytes((0, ECHO, 0, 0, 0)) + len(data).to_bytes(2, "big") + data + b"\x00\x00"


def take(data: bytes) -> bytes:
    """A case 3 command, extended where it must be."""
    if len(data) < 256:
        return bytes((0, TAKE, 0, 0, len(data))) + data
    return bytes((0, TAKE, 0, 0, 0)) + len(data).to_bytes(2, "big") + data


def _note_blocks(stand: SerialStand, blocks: list[bytes]) -> None:
    """What the driver sends on the first slot's line."""

    def note(burst: Burst, side: Side) -> None:
        if side is Side.TERMINAL:
            blocks.append(burst.data)

    stand.served.slots[0].line.on_burst = note


def both_ends_agree(stand: SerialStand, sent: list[bytes], got: list[bytes]) -> None:
    """The card's own notes are what the program sent and got, each once."""
    assert stand.card.commands == sent
    assert stand.card.responses == got


# -- T=0 -----------------------------------------------------------------------------------------------------------------


class TestT0:
    def test_every_case_byte_for_byte(self, make: Make) -> None:
        """Case 1 comes as four bytes, case 4 with its Le; 61xx, 6Cxx and GET RESPONSE are the program's business."""
        stand = make(build_atr(ta1=0x96))
        assert stand.connect() == 0
        data = random.Random(0).randbytes(255)
        talk = [
            (bytes((0, NOTHING, 1, 2)), OK),
            *[(bytes((0, READ, 0, 0, le & 0xFF)), pattern(le) + OK) for le in (1, 2, 254, 255, 256)],
            *[(bytes((0, TAKE, 0, 0, lc)) + data[:lc], OK) for lc in (1, 2, 254, 255)],
            (bytes((0, ECHO, 0, 0, 255)) + data + b"\x00", b"\x61\xff"),
            (bytes((0, 0xC0, 0, 0, 200)), data[:200] + b"\x61\x37"),
            (bytes((0, 0xC0, 0, 0, 55)), data[200:] + OK),
            (bytes((0, EXACTLY, 0, 7, 100)), b"\x6c\x07"),
            (bytes((0, EXACTLY, 0, 7, 7)), pattern(7) + OK),
            (bytes((0, EXACTLY, 0, 255, 5)), pattern(255)[:5] + b"\x61\xfa"),
        ]
        assert [stand.send(command) for command, _ in talk] == [answer for _, answer in talk]
        at_the_card = [_as_tpdu(command) for command, _ in talk]
        both_ends_agree(stand, at_the_card, [answer for _, answer in talk])

    def test_null_bytes_and_a_slow_card(self, make: Make) -> None:
        """1.5 s in the card: the driver is kept waiting by time extensions."""
        stand = make(build_atr(ta1=0x96), traits=ContactTraits(nulls=20), ticks_ms=1500)
        stand.connect()
        assert stand.send(bytes((0, READ, 0, 0, 5))) == pattern(5) + OK
        assert any(each.status.command is CommandState.TIME_EXTENSION for each in stand.said)

    def test_noise_is_mended_by_error_signals(self, make: Make) -> None:
        """Wrong parity is repeated on the line: the driver sees none of it, the card executes each command once."""
        stand = make(build_atr(ta1=0x96))
        stand.connect()
        noise = Disturbance(
            1, planned={(towards, n): {0: Fault(flips=4)} for towards in Towards for n in range(1, 200, 3)}
        )
        stand.disturb(noise)
        sent = [bytes((0, TAKE, 0, n, 20)) + random.Random(n).randbytes(20) for n in range(60)]
        got = [stand.send(command) for command in sent]
        assert noise.injected > 50
        both_ends_agree(stand, sent, got)
        assert set(got) == {OK}

    def test_a_mute_card_is_an_error_and_a_reset_brings_it_back(self, make: Make) -> None:
        stand = make(build_atr(ta1=0x96))
        stand.connect()
        stand.disturb(Disturbance(0, mute_after=0))
        with pytest.raises(ProgramError):
            stand.send(bytes((0, NOTHING, 0, 0)))
        stand.disturb(None)
        assert stand.program is not None
        stand.program.do("reset")
        assert stand.send(bytes((0, READ, 0, 0, 3))) == pattern(3) + OK


def _as_tpdu(command: bytes) -> bytes:
    """What of a command travels in one TPDU of T=0."""
    if len(command) == 4:
        return command + b"\x00"
    return command[:-1] if len(command) == 6 + command[4] and len(command) > 6 else command


# -- PPS -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("ta1", [0x11, 0x94, 0x95, 0x96, 0x97, 0x18])
def test_the_driver_negotiates_what_the_card_offers(make: Make, ta1: int, protocol: int) -> None:
    """PPS as bare characters through XfrBlock, then SetParameters: afterwards both ends of our line are at the card's rate."""
    atr = t1_atr(ta1) if protocol else build_atr(ta1=ta1)
    stand = make(atr, Model.SIM_PRO)
    assert stand.connect() == protocol
    assert stand.send(bytes((0, READ, 0, 0, 200))) == pattern(200) + OK
    assert stand.card.contacts.rate == Rate(ta1)
    assert stand.served.slots[0].parameters.ta1 == ta1


def test_a_rate_the_reader_has_not_is_not_asked_for(make: Make) -> None:
    """The GemPC Twin ends at 344 086 bit/s: the driver steps down from 97, and the card follows."""
    stand = make(build_atr(ta1=0x97), Model.TWIN)
    stand.connect()
    assert stand.send(bytes((0, READ, 0, 0, 200))) == pattern(200) + OK
    assert stand.card.contacts.rate in (Rate(0x96), Rate(0x11))
    assert stand.served.slots[0].parameters.ta1 == stand.card.contacts.rate.ta1


# -- T=1 -----------------------------------------------------------------------------------------------------------------


class TestT1:
    @pytest.mark.parametrize("edc", Edc)
    @pytest.mark.parametrize("ifsc", [32, 254])
    def test_every_length_byte_for_byte(self, make: Make, ifsc: int, edc: Edc) -> None:
        """Chains both ways, up to extended APDUs of 64 KiB; the driver announces an IFSD of 254, and counts blocks by itself."""
        stand = make(t1_atr(ifsc=ifsc, edc=edc))
        assert stand.connect() == 1
        edges = {ifsc - 6, ifsc - 5, ifsc - 4, ifsc + 1, 2 * ifsc - 5}
        sizes = sorted({1, 2, 24, 31, 32, 33, 247, 248, 249, 253, 254, 255, 256, 510, 4096, 65_535, *edges})
        sent = [bytes((0, NOTHING, 0, 0)), bytes((0, READ, 0, 0, 0))]
        sent += [echo(random.Random(size).randbytes(size)) for size in sizes]
        got = [stand.send(command) for command in sent]
        assert [len(answer) for answer in got] == [2, 258, *(size + 2 for size in sizes)]
        both_ends_agree(stand, sent, got)
        assert stand.card.contacts.ifsd == 254

    def test_waiting_time_extensions(self, make: Make) -> None:
        stand = make(t1_atr(), traits=ContactTraits(wtxs=3))
        stand.connect()
        sent = [echo(random.Random(size).randbytes(size)) for size in (1, 200, 700)]
        both_ends_agree(stand, sent, [stand.send(command) for command in sent])

    def test_a_slow_card_asks_for_time_by_itself(self, make: Make) -> None:
        """1.2 s a command; BWI 1 gives the card a fifth of that."""
        atr = build_atr(protocols=(1,), ta1=0x96, t1=T1Parameters(254, 0x15))
        stand = make(atr, ticks_ms=1200)
        stand.connect()
        sent = [echo(b"slow")]
        both_ends_agree(stand, sent, [stand.send(command) for command in sent])

    @pytest.mark.parametrize("edc", Edc)
    @pytest.mark.parametrize("towards", Towards)
    @pytest.mark.parametrize("flips", [0x06, 0x02], ids=["EDC", "parity"])
    def test_damaged_blocks_are_asked_for_again(self, make: Make, towards: Towards, flips: int, edc: Edc) -> None:
        """Two inverted bits in a character leave its parity right, so that only EDC tells; one is told by parity."""
        stand = make(t1_atr(ifsc=32, edc=edc))
        stand.connect()
        faults = Disturbance(0, planned={(towards, number): {3: Fault(flips=flips)} for number in range(2, 400, 7)})
        stand.disturb(faults)
        command = echo if edc is Edc.LRC else take  # with CRC the driver cannot repeat an R-block, see below
        sent = [command(random.Random(size).randbytes(size)) for size in (10, 100, 300, 3000)]
        got = [stand.send(each) for each in sent]
        assert faults.injected > 10
        both_ends_agree(stand, sent, got)

    def test_the_driver_cuts_a_repeated_r_block_short_under_crc(self, make: Make) -> None:
        """libccid's t1_rebuild copies four bytes of it whatever the EDC is: the block lacks its last one, and no card can answer.

        Where this fails, the driver has been mended: join CRC to the test above then.
        """
        stand = make(t1_atr(edc=Edc.CRC))
        stand.connect()
        blocks: list[bytes] = []
        stand.on_line(lambda: _note_blocks(stand, blocks))
        command = echo(random.Random(0).randbytes(700))
        assert stand.send(command) == random.Random(0).randbytes(700) + OK
        asked = max(at for at, block in enumerate(blocks) if block[1] & 0xEF == 0x80)
        assert len(blocks[asked]) == 5
        stand.disturb(Disturbance(0, planned={(Towards.CARD, asked): {3: Fault(flips=0x06)}}))
        blocks.clear()
        with pytest.raises(ProgramError):
            stand.send(command)
        assert [len(block) for block in blocks[asked : asked + 2]] == [5, 4]
        stand.disturb(None)
        assert stand.program is not None
        stand.program.do("reset")
        assert stand.send(command) == random.Random(0).randbytes(700) + OK

    @pytest.mark.parametrize("towards", Towards)
    def test_a_block_that_lost_a_character_is_ended_by_cwt_and_asked_for_again(
        self, make: Make, towards: Towards
    ) -> None:
        stand = make(t1_atr(ifsc=32))
        stand.connect()
        faults = Disturbance(0, planned={(towards, number): {3: Fault(lost=True)} for number in (3, 9, 14)})
        stand.disturb(faults)
        sent = [echo(random.Random(size).randbytes(size)) for size in (40, 400)]
        got = [stand.send(command) for command in sent]
        assert faults.injected == 3
        both_ends_agree(stand, sent, got)

    def test_noise_over_a_long_apdu(self, make: Make) -> None:
        stand = make(t1_atr())
        stand.connect()
        noise = Disturbance(3, bit_error_rate=2e-5)
        stand.disturb(noise)
        sent = [echo(random.Random(size).randbytes(size)) for size in (250, 20_000, 65_000)]
        got = [stand.send(command) for command in sent]
        assert noise.injected > 5
        both_ends_agree(stand, sent, got)

    @pytest.mark.parametrize("towards", Towards)
    def test_a_block_lost_whole_ends_the_drivers_patience(self, make: Make, towards: Towards) -> None:
        """Silence is ICC_MUTE: libccid does not repeat after that (rule 7.4 would), it gives up until the card is reset."""
        stand = make(t1_atr(ifsc=32))
        stand.connect()
        lost = {number: Fault(lost=True) for number in range(300)}
        stand.disturb(Disturbance(0, planned={(towards, 2): lost}))
        with pytest.raises(ProgramError):
            stand.send(echo(bytes(200)))
        assert stand.program is not None
        stand.program.do("reset")
        stand.card.commands.clear()
        stand.card.responses.clear()
        sent = [echo(bytes(200))]
        both_ends_agree(stand, sent, [stand.send(command) for command in sent])


# -- models, hands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "slots", "filled"), [(Model.SIM_PRO, 2, (0, 1)), (Model.POS_PRO, 5, (0, 2, 4))])
def test_readers_of_several_slots(model: Model, slots: int, filled: tuple[int, ...]) -> None:
    """Every slot is a reader of its own, with its own card; empty ones do not keep the others from appearing."""
    close_served_reader()
    stand = SerialStand([_slotted(slot, t1_atr() if slot % 2 else build_atr(ta1=0x95)) for slot in filled], model)
    try:
        assert len(stand.readers) == slots
        for round_ in range(3):
            for slot in filled:
                assert stand.connect(slot) == slot % 2
                assert stand.send(bytes((0, READ, round_, slot, 9))) == pattern(9) + OK
                stand.program.do("leave") if stand.program is not None else None
        for slot in filled:
            assert stand.cards[slot].commands == [bytes((0, READ, round_, slot, 9)) for round_ in range(3)]
        assert stand.program is not None
        for slot in set(range(slots)) - set(filled):
            assert stand.program.do("absent", stand.readers[slot]) == ""
    finally:
        stand.close()


def test_a_card_pulled_and_put_back_is_seen(make: Make) -> None:
    stand = make(build_atr(ta1=0x96))
    stand.connect()
    assert stand.send(bytes((0, NOTHING, 0, 0))) == OK
    for _ in range(2):
        began = time.monotonic()
        stand.on_line(stand.loop.pull)
        assert stand.program is not None
        stand.program.do("absent", stand.readers[0])
        with pytest.raises(ProgramError):
            stand.send(bytes((0, NOTHING, 0, 0)))
        stand.on_line(stand.loop.insert)
        assert bytes.fromhex(stand.program.do("present", stand.readers[0])) == build_atr(ta1=0x96)
        assert time.monotonic() - began < 5
        stand.connect()
        assert stand.send(bytes((0, READ, 0, 0, 3))) == pattern(3) + OK


def test_a_card_pulled_in_the_middle_of_a_command_ends_it(make: Make) -> None:
    stand = make(t1_atr(), ticks_ms=3000)
    stand.connect()
    began = time.monotonic()
    stand.loop.on_asked = lambda: stand.served.pull() if stand.card.commands else None
    with pytest.raises(ProgramError):
        stand.send(echo(b"never"))
    assert time.monotonic() - began < 5


# -- the command, and a program that is not pyscard ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def offered() -> Iterator[dict[str, str]]:
    """``cardbench card --serve gempc`` with a pcscd of its own: a chain of two in a reader of two slots."""
    command = ["card", "--serve", "gempc", "--model", "simpro", "--ta1", "97", "--cards", "2", "--pcscd"]
    with begun((sys.executable, "-m", "bench.cli", *command)) as process:
        assert process.stdout is not None
        serving = process.stdout.readline()
        assert "a chain of 2 cards in a GemCoreSIMPro" in serving, process.stderr and process.stderr.read()
        exported = process.stdout.readline()
        environment = {**os.environ, "PCSCLITE_CSOCK_NAME": exported.strip().partition("=")[2]}
        wait = "from smartcard.CardRequest import CardRequest; CardRequest(timeout=10).waitforcard()"
        for _ in range(50):
            if (
                subprocess.run(
                    (sys.executable, "-c", wait), env=environment, capture_output=True, check=False
                ).returncode
                == 0
            ):
                break
            time.sleep(0.05)
        yield environment
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not Path(environment["PCSCLITE_CSOCK_NAME"]).parent.exists()


def _opensc(environment: dict[str, str], *arguments: str) -> str:
    tool = shutil.which("opensc-tool")
    if tool is None:
        pytest.skip("opensc-tool is missing: apt-get install --no-install-recommends opensc")
    done = subprocess.run((tool, *arguments), env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestOpensc:
    def test_lists_both_slots(self, offered: dict[str, str]) -> None:
        lines = [line.split() for line in _opensc(offered, "-l").splitlines() if "cardbench" in line]
        assert [line[1] for line in lines] == ["Yes", "No"]

    def test_reads_the_answer_to_reset(self, offered: dict[str, str]) -> None:
        assert _opensc(offered, "-r", "0", "-a").strip() == "3b:18:97:80:73:80:01:40:52:49:50"

    def test_exchanges_apdus(self, offered: dict[str, str]) -> None:
        said = _opensc(offered, "-r", "0", "-c", "default", "-s", "00:A4:00:0C:02:00:01", "-s", "00:A4:00:0C:02:7F:FF")
        assert "SW1=0x90, SW2=0x00" in said
        assert "SW1=0x6A, SW2=0x82" in said
