"""The regular execution model (ISO/IEC 7816-4): status words of SELECT, READ BINARY and UPDATE BINARY, beside busy channels."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from bench.hop.terminal_link import ApduOutcome
from bench.iso7816.apdu import CommandApdu, ResponseApdu
from tests.support import Chain, chain, profile

SCRATCH, TEXT, ICCID = b"\x00\x01", b"\x00\x02", b"\x2f\xe2"


@pytest.fixture
def one() -> Iterator[Chain]:
    rig = chain().start()
    yield rig
    rig.assert_sound()


def _ask(
    rig: Chain, ins: int, p1: int, p2: int, data: bytes = b"", le: int | None = None, cla: int = 0
) -> ResponseApdu:
    outcome = rig.apdu(CommandApdu(cla, ins, p1, p2, data, le))
    assert outcome.error == ""
    assert outcome.response is not None
    return outcome.response


def _select(rig: Chain, file: bytes) -> None:
    assert _ask(rig, 0xA4, 0, 0x0C, file).sw == 0x9000


@pytest.mark.parametrize(
    ("p1", "p2", "data", "le", "sw"),
    [
        (0x00, 0x0C, b"\x3f\x00", None, 0x9000),
        (0x00, 0x0C, SCRATCH, None, 0x9000),
        (0x02, 0x0C, SCRATCH, None, 0x9000),
        (0x00, 0x0C, b"\x12\x34", None, 0x6A82),
        (0x04, 0x0C, b"\xa0\x00\x00\x00\x01", None, 0x6A82),
        (0x00, 0x0C, b"\x00", None, 0x6700),
        (0x08, 0x0C, b"\x3f\x00", None, 0x6A86),
        (0x00, 0x0F, b"\x3f\x00", None, 0x6A86),
    ],
)
def test_7816_4_select(one: Chain, p1: int, p2: int, data: bytes, le: int | None, sw: int) -> None:
    assert _ask(one, 0xA4, p1, p2, data, le) == ResponseApdu(b"", sw)


def test_7816_4_select_gives_file_control_information_where_it_is_asked_for(one: Chain) -> None:
    got = _ask(one, 0xA4, 0, 0, SCRATCH, 256)
    assert (got.data, got.sw) == (bytes.fromhex("6F 0B 80 02 0400 82 01 01 83 02 0001"), 0x9000)


def test_7816_4_read_binary(one: Chain) -> None:
    assert _ask(one, 0xB0, 0, 0, le=10).sw == 0x6986, "no file is selected"
    _select(one, TEXT)
    whole = _ask(one, 0xB0, 0, 0, le=256)
    assert whole.sw == 0x9000
    assert whole.data.startswith(b"cardbench reference card")
    size = len(whole.data)
    assert _ask(one, 0xB0, 0, 5, le=4) == ResponseApdu(whole.data[5:9], 0x9000)
    assert _ask(one, 0xB0, 0, size - 1, le=1).data == b"\n"
    assert _ask(one, 0xB0, 0, size, le=1).sw == 0x6B00
    assert _ask(one, 0xB0, 0x80, 0, le=1).sw == 0x6A86


def test_7816_4_update_binary(one: Chain) -> None:
    assert _ask(one, 0xD6, 0, 0, b"x").sw == 0x6986
    _select(one, SCRATCH)
    assert _ask(one, 0xD6, 0, 7, b"written").sw == 0x9000
    assert _ask(one, 0xB0, 0, 7, le=7).data == b"written"
    assert _ask(one, 0xD6, 0x04, 0x00, b"x").sw == 0x6B00, "beyond the file's 1024 bytes"
    assert _ask(one, 0xD6, 0x03, 0xFF, b"xy").sw == 0x6A84
    assert _ask(one, 0xD6, 0x03, 0xFF, b"x").sw == 0x9000
    _select(one, ICCID)
    assert _ask(one, 0xD6, 0, 0, b"x").sw == 0x6982


def test_7816_4_what_is_not_served_says_so(one: Chain) -> None:
    assert _ask(one, 0xB2, 1, 4, le=10).sw == 0x6D00
    assert _ask(one, 0xB0, 0, 0, le=10, cla=0x90).sw == 0x6E00


def test_7816_4_a_reset_keeps_the_content_and_forgets_the_selection(one: Chain) -> None:
    _select(one, SCRATCH)
    _ask(one, 0xD6, 0, 0, b"kept")
    one.remove(1)
    one.wait(lambda: not one.host.cards)
    one.insert(1)
    one.wait(lambda: len(one.host.cards) == 1)
    assert _ask(one, 0xB0, 0, 0, le=4).sw == 0x6986
    _select(one, SCRATCH)
    assert _ask(one, 0xB0, 0, 0, le=4).data == b"kept"


def test_indivisible_a_64_kib_case_4_apdu_comes_whole_while_32_channels_are_busy() -> None:
    rig = Chain(profile(channels=40)).start()
    sockets = [rig.dial("echo") for _ in range(32)]
    text = {socket: bytes((index,)) * 4000 for index, socket in enumerate(sockets)}
    for socket in sockets:
        socket.write(text[socket])
    rig.run(0.5)
    assert all(0 < len(socket.received) < 4000 for socket in sockets)
    payload = bytes(n % 251 for n in range(65_535))
    before = {socket: len(socket.received) for socket in sockets}
    outcome = rig.apdu(CommandApdu(0xA0, 0xEC, 0, 0, payload, 65_536))
    assert outcome.response == ResponseApdu(payload, 0x9000)
    between = [each for each in rig.exchanges if outcome.start <= each.start_ticks < outcome.end]
    assert len(between) >= 2 * 257
    assert {each.command[0] for each in between} == {0x00}, "no hop command comes in between"
    # Its own time, and at most one exchange before it.
    own = sum(each.duration_ticks for each in between)
    assert outcome.end - outcome.start < own * 1.02
    rig.wait(lambda: all(len(socket.received) == 4000 for socket in sockets), 60)
    assert all(bytes(socket.received) == text[socket] for socket in sockets)
    assert any(len(socket.received) > before[socket] for socket in sockets)
    rig.assert_sound()


def test_1_6_an_apdu_waits_for_one_exchange_at_most_and_takes_turns_with_the_hop() -> None:
    rig = chain().start()
    sockets = [rig.dial("echo") for _ in range(8)]
    for socket in sockets:
        socket.write(bytes(3000))
    rig.run(0.2)
    times: list[float] = []
    for _ in range(20):
        begun = rig.now
        rig.apdu(CommandApdu(0x00, 0xB0, 0, 0, b"", 1))
        times.append(rig.now - begun)
    etu = 16 / 3_571_200
    exchange = (
        2 * 112 + 2 * 12 * 65
    ) * etu  # an ENVELOPE of one MTU and the GET RESPONSE of one MTU that belongs to it
    assert max(times) <= exchange + 92 * etu
    # A flood of APDUs leaves the hop its turns, too.
    done: list[object] = []
    before = sum(len(socket.received) for socket in sockets)
    for _ in range(100):
        rig.host.apdu(CommandApdu(0x00, 0xB0, 0, 0, b"", 1), done.append)
    rig.wait(lambda: len(done) == 100)
    assert sum(len(socket.received) for socket in sockets) - before > 50 * 30
    rig.assert_sound()


def test_1_6_an_apdu_never_comes_between_61xx_and_its_fetch() -> None:
    rig = chain().start()
    socket = rig.dial("echo")
    socket.write(bytes(3000))
    for _ in range(60):
        rig.run(0.0007)
        rig.apdu(CommandApdu(0x00, 0xB0, 0, 0, b"", 1))
    announced = 0
    for before, after in pairwise(rig.exchanges):
        if before.command[0] == 0x80 and before.sw >> 8 in (0x61, 0x6C) and before.received_bytes == 2:
            announced += 1
            assert after.command[:2] == b"\x80\xc0"
    assert announced > 20
    rig.wait(lambda: len(socket.received) == 3000)
    rig.assert_sound()


def test_2_a_long_apdu_does_not_make_the_card_miss_its_terminal() -> None:
    rig = Chain(profile(ta1=0x11), ta1=0x11).start()
    socket = rig.dial("echo")
    rig.echo(socket, b"before")
    outcome = rig.apdu(CommandApdu(0xA0, 0xEC, 0, 0, bytes(8000), 65_536), 60)  # some twenty seconds at 9600 baud
    assert outcome.end - outcome.start > rig.ticks(10)
    rig.echo(socket, b"after")
    rig.assert_sound()


def test_a_plain_card_that_was_changed_is_powered_again() -> None:
    rig = chain()
    rig.host.link.greets = False
    rig.host.start()
    rig.wait(lambda: rig.host.link.powered)
    assert _ask(rig, 0xA4, 0, 0x0C, b"\x3f\x00").sw == 0x9000
    rig.remove(1)
    assert rig.apdu(CommandApdu(0x00, 0xA4, 0, 0x0C, b"\x3f\x00")).error == "mute"
    rig.insert(1)
    rig.wait(lambda: rig.host.link.powered)
    assert _ask(rig, 0xA4, 0, 0x0C, b"\x3f\x00").sw == 0x9000


def test_an_apdu_under_way_when_the_link_stops_is_told() -> None:
    rig = chain().start()
    outcomes: list[ApduOutcome] = []
    rig.host.apdu(CommandApdu(0xA0, 0xEC, 0, 0, bytes(255), 256), outcomes.append)
    rig.host.apdu(CommandApdu(0xA0, 0xEC, 0, 0, bytes(255), 256), outcomes.append)
    rig.run(0.003)
    rig.host.link.stop()
    assert [each.error for each in outcomes] == ["stopped", "stopped"]
