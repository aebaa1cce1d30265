"""The card side of QEMU's passed-through card: messages, coming and going, TPDUs, refusals. (QEMU itself: tests/witness/test_raw_usb_guest.py.)"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.card.card import Card
from bench.card.profile import CardProfile
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.observe import NullSink
from bench.serve.vscard import (
    LONGEST,
    NO_READER,
    Code,
    Kind,
    Message,
    Messages,
    ServedContacts,
    VscardError,
    VscardLoop,
    connect,
)

CLOCK_HZ = 4_000_000
T0 = CardProfile(b"T0", ta1=0x96, hop=False)
INIT = Message(Kind.INIT, NO_READER, b"VSCD" + bytes.fromhex("00000002 00000000"))


def served(profile: CardProfile = T0, *, paced: bool = False) -> ServedContacts:
    engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
    card = Card(engine, profile, PollPlan(engine.timebase.hz // 100, engine.timebase.hz), NullSink())
    return ServedContacts(engine, card.contacts, profile.atr, CLOCK_HZ, paced=paced)


class TestMessages:
    @given(
        st.lists(st.builds(Message, st.integers(0, 99), st.integers(0, 2**32 - 1), st.binary(max_size=300))), st.data()
    )
    def test_whatever_way_the_bytes_arrive_the_messages_are_the_same(
        self, sent: list[Message], data: st.DataObject
    ) -> None:
        stream = b"".join(message.encode() for message in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
        messages = Messages()
        got: list[Message] = []
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            got += messages.feed(stream[start:end])
        assert got == sent

    def test_a_length_that_cannot_be(self) -> None:
        with pytest.raises(VscardError, match="type 7: length 65537; expected 65536 at most"):
            Messages().feed(bytes.fromhex("00000007 00000000") + (LONGEST + 1).to_bytes(4, "big"))

    def test_layout(self) -> None:
        assert Message(Kind.ATR, 0, b"\x3b\x00").encode().hex() == "000000050000000000000002" + "3b00"


class Qemu:
    """The other side."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        end.settimeout(10)
        self._messages = Messages()
        self._waiting: list[Message] = []

    def hear(self) -> Message:
        while not self._waiting:
            data = self.end.recv(65_536)
            assert data, "the card has gone"
            self._waiting += self._messages.feed(data)
        return self._waiting.pop(0)

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.end.sendall(Message(kind, 0, payload).encode())

    def apdu(self, command: bytes) -> Message:
        self.say(Kind.APDU, command)
        return self.hear()


@pytest.fixture
def pair() -> Iterator[tuple[Qemu, VscardLoop]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = VscardLoop(ours, served())
        stopping = threading.Event()
        thread = threading.Thread(target=lambda: loop.run(stopping.is_set))
        thread.start()
        try:
            yield Qemu(theirs), loop
        finally:
            stopping.set()
            theirs.close()
            thread.join(10)
        assert not thread.is_alive()


def introduced(qemu: Qemu) -> None:
    assert qemu.hear() == INIT
    assert qemu.hear().kind == Kind.READER_ADD
    assert qemu.hear() == Message(Kind.ATR, 0, T0.atr)
    qemu.end.sendall(INIT.encode())
    qemu.say(Kind.ERROR, bytes(4))


def test_introduction_and_tpdus(pair: tuple[Qemu, VscardLoop]) -> None:
    qemu, loop = pair
    introduced(qemu)
    assert qemu.apdu(bytes.fromhex("A0EC00000568656C6C6F")) == Message(Kind.APDU, 0, b"\x61\x05")
    assert qemu.apdu(bytes.fromhex("00C0000005")) == Message(Kind.APDU, 0, b"hello\x90\x00")
    assert qemu.apdu(b"\x00\xa4") == Message(Kind.ERROR, 0, int(Code.GENERAL_ERROR).to_bytes(4, "big"))
    qemu.say(Kind.FLUSH)
    assert qemu.hear().kind == Kind.FLUSH_COMPLETE
    assert loop.trouble == ""


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        (Kind.ERROR, bytes((0, 0, 0, 2)), "QEMU refuses: CANNOT_ADD_MORE_READERS"),
        (Kind.ERROR, bytes((0, 0, 0, 99)), "QEMU refuses: 99"),
        (Kind.INIT, b"XXXX" + bytes(8), "QEMU introduces itself with b'XXXX'; expected b'VSCD'"),
        (42, b"", "QEMU sent a message of type 42, which a card does not know"),
    ],
)
def test_what_qemu_says_wrong_is_named(pair: tuple[Qemu, VscardLoop], kind: int, payload: bytes, words: str) -> None:
    qemu, loop = pair
    introduced(qemu)
    qemu.say(kind, payload)
    assert qemu.apdu(bytes.fromhex("A0EC00000568656C6C6F")).payload == b"\x61\x05", "the card goes on"
    assert loop.trouble.startswith(words)


def test_a_length_that_cannot_be_ends_it(pair: tuple[Qemu, VscardLoop]) -> None:
    qemu, loop = pair
    introduced(qemu)
    qemu.end.sendall(bytes.fromhex("00000007 00000000 7FFFFFFF"))
    while not loop.ended:
        threading.Event().wait(0.01)
    assert "length 2147483647" in loop.trouble


def test_pulled_and_put_back_the_card_has_been_reset() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = VscardLoop(ours, served())
        qemu = Qemu(theirs)
        introduced(qemu)
        loop.turn()
        qemu.say(Kind.APDU, bytes.fromhex("A0EC00000568656C6C6F"))
        loop.turn()
        assert qemu.hear().payload == b"\x61\x05"
        loop.pull()
        loop.pull()
        assert qemu.hear().kind == Kind.CARD_REMOVE
        qemu.say(Kind.APDU, bytes.fromhex("00C0000005"))
        loop.turn()
        assert qemu.hear().kind == Kind.ERROR
        loop.insert()
        loop.insert()
        assert qemu.hear() == Message(Kind.ATR, 0, T0.atr)
        qemu.say(Kind.APDU, bytes.fromhex("00C0000005"))
        loop.turn()
        assert qemu.hear().payload == b"\x69\x85", "what waited to be fetched is forgotten"
        other = CardProfile(b"T2", ta1=0x95, hop=False)
        loop.replace(served(other))
        assert qemu.hear().kind == Kind.CARD_REMOVE
        assert qemu.hear() == Message(Kind.ATR, 0, other.atr)


def test_a_mute_card_stays_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = VscardLoop(ours, served(CardProfile(b"BC", hop=False, classes="B")))
        assert loop.trouble.startswith("the card ")
        qemu = Qemu(theirs)
        assert [qemu.hear().kind, qemu.hear().kind] == [Kind.INIT, Kind.READER_ADD]


def test_paced_answers_wait_for_the_wall() -> None:
    side = served(paced=True)
    assert side.on() == ""
    side.command(bytes.fromhex("A0EC0000FF") + bytes(255))
    assert side.take_due() == b""
    assert 0 < side.sleep(10) < 1
    while not (data := side.take_due()):
        threading.Event().wait(side.sleep(0.5))
        side.slaved.follow()
    assert data.endswith(b"\x61\xff")


def test_where_to_connect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the path of a socket, or HOST:PORT"):
        connect("nowhere")
    with pytest.raises(OSError, match=r"No such file|refused"):
        connect(str(tmp_path / "none"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "vsc"))
        listener.listen(1)
        connect(str(tmp_path / "vsc")).close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect(f"127.0.0.1:{listener.getsockname()[1]}").close()
