"""The card side of vpcd: messages, power, and the loop over a socket. (The driver itself meets it in tests/witness/test_pcsc_vpcd.py.)"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine import Timebase, VirtualEngine
from bench.hop.limit import T0Limit
from bench.serve.pace import Pace
from bench.serve.vpcd import MAX_MESSAGE, Control, ServedCard, VpcdLoop, VpcdMessages, encode

TIMEBASE = Timebase.for_clocks(3_571_200)
MS = TIMEBASE.nanoseconds(10**6)
ATR = bytes.fromhex("3B00")


class Echo:
    """A card that answers with what it was told, and remembers what happened to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.long = False

    def power(self, on: bool) -> None:
        self.seen.append("on" if on else "off")

    def apdu(self, command: bytes) -> bytes:
        self.seen.append(command.hex())
        return bytes(MAX_MESSAGE + 1) if self.long else command + b"\x90\x00"


def served(card: Echo, paced: bool = False, card_ms: int = 0) -> ServedCard:
    return ServedCard(card, ATR, VirtualEngine(TIMEBASE), Pace(T0Limit(0, 0, card_ms * MS)), paced)


class TestMessages:
    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.data())
    def test_whatever_way_the_bytes_arrive_the_messages_are_the_same(
        self, sent: list[bytes], data: st.DataObject
    ) -> None:
        stream = b"".join(encode(message) for message in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
        messages = VpcdMessages()
        got: list[bytes] = []
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            got += messages.feed(stream[start:end])
        assert got == sent

    def test_an_empty_message_asks_for_nothing(self) -> None:
        assert VpcdMessages().feed(b"\x00\x00\x00\x01\x04") == [b"\x04"]

    def test_the_longest_message(self) -> None:
        assert encode(bytes(MAX_MESSAGE))[:2] == b"\xff\xff"
        with pytest.raises(ValueError, match="65536 bytes: vpcd takes at most 65535"):
            encode(bytes(MAX_MESSAGE + 1))


class TestServedCard:
    def test_power_on_off_and_reset(self) -> None:
        card = Echo()
        side = served(card)
        for control in (Control.POWER_ON, Control.RESET, Control.POWER_ON, Control.POWER_OFF, Control.POWER_OFF):
            assert side.message(bytes((control,))) is None
        assert card.seen == ["on", "on", "off", "on", "off"]

    def test_the_answer_to_reset_is_given_even_without_power(self) -> None:
        due = served(Echo()).message(bytes((Control.ATR,)))
        assert due is not None
        assert due.message == ATR

    def test_without_power_no_apdu_reaches_the_card(self) -> None:
        card = Echo()
        due = served(card).message(bytes.fromhex("00A40000"))
        assert due is not None
        assert due.message == b"\x6f\x00"
        assert not card.seen

    def test_a_single_byte_that_is_no_control_is_answered(self) -> None:
        """vpcd waits for an answer to everything but power: silence would hang pcscd."""
        card = Echo()
        side = served(card)
        side.message(bytes((Control.POWER_ON,)))
        due = side.message(b"\x77")
        assert due is not None
        assert due.message == b"\x77\x90\x00"

    def test_an_answer_too_long_for_vpcd_becomes_a_status_word(self) -> None:
        card = Echo()
        card.long = True
        side = served(card)
        side.message(bytes((Control.POWER_ON,)))
        due = side.message(bytes.fromhex("00B0000000"))
        assert due is not None
        assert due.message == b"\x6f\x00"

    def test_the_answer_exists_when_line_and_card_are_done(self) -> None:
        side = served(Echo(), card_ms=7)
        side.message(bytes((Control.POWER_ON,)))
        before = side.slaved.engine.now
        due = side.message(bytes.fromhex("00A40000"))
        assert due is not None
        side.settle()
        assert side.slaved.engine.now - before >= 7 * MS


class TestTime:
    """What an unpaced card gains on the wall."""

    def test_one_exchange_gains_at_most_nine_tenths_of_a_second(self) -> None:
        side = served(Echo(), card_ms=60_000)
        side.message(bytes((Control.POWER_ON,)))
        before = side.slaved.engine.now
        assert side.message(bytes(5)) is not None
        side.settle()
        assert 900 * MS <= side.slaved.engine.now - before <= 910 * MS

    def test_events_of_the_card_go_on_right_after_a_burst(self) -> None:
        """Were the engine to wait for the wall, this one would come ten seconds late."""
        side = served(Echo(), card_ms=500)
        side.message(bytes((Control.POWER_ON,)))
        for _ in range(20):
            side.message(bytes(5))
        assert side.slaved.seconds_until(side.slaved.engine.now + 10 * MS) <= 0.01

    def test_a_paced_card_gains_nothing(self) -> None:
        side = served(Echo(), paced=True, card_ms=2_000)
        side.message(bytes((Control.POWER_ON,)))
        due = side.message(bytes(5))
        assert due is not None
        assert side.slaved.seconds_until(due.tick) > 1.5


class Peer:
    """vpcd's end of a real TCP connection, and a loop at the other in a thread of its own."""

    def __init__(self, side: ServedCard) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.socket = socket.create_connection(listener.getsockname(), 5)
            connection, _ = listener.accept()
        self.connection = connection
        self.loop = VpcdLoop(lambda: connection, side)
        self.stop = False
        self.thread = threading.Thread(target=self.loop.run, args=(lambda: self.stop,), daemon=True)
        self.thread.start()

    def tell(self, message: bytes) -> None:
        """In two writes, as vpcd does it."""
        self.socket.sendall(len(message).to_bytes(2, "big"))
        self.socket.sendall(message)

    def answer(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(2), "big"))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the card has closed the connection"
            data += piece
        return data

    def close(self) -> None:
        self.stop = True
        self.socket.close()
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.connection.close()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.close()


class TestLoop:
    def test_apdus_are_answered_one_after_the_other(self, peers: list[Peer]) -> None:
        peers.append(peer := Peer(served(Echo())))
        peer.tell(b"\x01")
        for number in range(50):
            command = bytes((0, 0xA4, 0, number))
            peer.tell(command)
            assert peer.answer() == command + b"\x90\x00"

    def test_two_writes_a_message_cost_no_delayed_acknowledgement(self, peers: list[Peer]) -> None:
        """Without TCP_QUICKACK each of these takes about 44 ms."""
        peers.append(peer := Peer(served(Echo())))
        peer.tell(b"\x01")
        begun = time.monotonic()
        for _ in range(100):
            peer.tell(bytes(5))
            peer.answer()
        assert time.monotonic() - begun < 2

    def test_the_longest_answer_arrives_whole(self, peers: list[Peer]) -> None:
        peers.append(peer := Peer(served(Echo())))
        peer.tell(b"\x01")
        command = bytes(range(256)) * 255
        peer.tell(command)
        assert peer.answer() == command + b"\x90\x00"

    def test_unpaced_it_answers_before_the_wall_got_there(self, peers: list[Peer]) -> None:
        peers.append(peer := Peer(served(Echo(), card_ms=500)))
        peer.tell(b"\x01")
        begun = time.monotonic()
        peer.tell(bytes(5))
        peer.answer()
        assert time.monotonic() - begun < 0.4

    def test_paced_it_holds_each_answer(self, peers: list[Peer]) -> None:
        peers.append(peer := Peer(served(Echo(), paced=True, card_ms=40)))
        peer.tell(b"\x01")
        begun = time.monotonic()
        for _ in range(3):
            peer.tell(bytes(5))
            peer.answer()
        assert time.monotonic() - begun >= 0.12

    def test_events_of_the_card_run_while_nobody_asks(self, peers: list[Peer]) -> None:
        side = served(Echo())
        ran = threading.Event()
        side.slaved.engine.at(20 * MS, ran.set)
        peers.append(Peer(side))
        assert ran.wait(5)

    def test_the_card_loses_power_when_vpcd_goes(self, peers: list[Peer]) -> None:
        card = Echo()
        peers.append(peer := Peer(served(card)))
        peer.tell(b"\x01")
        peer.tell(bytes(5))
        peer.answer()
        peer.socket.close()
        peer.thread.join(5)
        assert peer.loop.ended
        assert card.seen[-1] == "off"

    def test_another_card_takes_the_place_without_power(self, peers: list[Peer]) -> None:
        first, second = Echo(), Echo()
        side = served(first)
        peers.append(peer := Peer(side))
        peer.tell(b"\x01")
        peer.tell(bytes(5))
        peer.answer()
        done = threading.Event()

        def replace() -> None:
            peer.loop.replace(served(second))
            done.set()

        side.slaved.engine.at(side.slaved.engine.now, replace)
        assert done.wait(5)
        peer.tell(bytes(5))
        assert peer.answer() == b"\x6f\x00"
        assert first.seen[-1] == "off"
        assert not second.seen
