"""docs/protocol.md, section 2: cards are numbered hop by hop, come and go, and both sides of a hop know it."""

import json
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from bench.card.applications.echo import echo
from bench.channels.message import Cause
from tests.support import Chain, chain, profile

ECHO = ("echo", echo)
WAITING_TIME_S = 10 * 960 * 512 / 3_571_200
"""WI 10, Fi 512 (TA1 = 96) at 3.5712 MHz: how long a reader without a switch waits for a card that is gone (7816-3, 10.2)."""


def short_chain(cards: int, **options: object) -> Chain:
    """Cards with nothing but an echo: quick to bring up."""
    return Chain(*[profile(ECHO) for _ in range(cards)], **options)  # type: ignore[arg-type]


def assert_numbers_are_shared_by_none(rig: Chain) -> None:
    numbers = [card.number for card in rig.cards]
    known = [number for number in numbers if number is not None]
    assert len(known) == len(set(known)), numbers
    assert known == list(range(1, len(known) + 1)), numbers


def directory(rig: Chain, question: bytes = b"\n") -> str:
    socket = rig.uplink.dial(7816)
    socket.write(question)
    rig.wait(lambda: socket.ended)
    return socket.received.decode()


def assert_directory_is_right(rig: Chain, cards: set[int]) -> None:
    """It lists the echo of every card there is, on the port on which that answers, and nothing else."""
    listed = [line.split(" ") for line in directory(rig).split("\r\n") if line]
    assert {(name, protocol, int(card), state) for name, _, protocol, card, state in listed} == {
        ("echo", "tcp", card, "listening") for card in cards
    }
    as_json = json.loads(directory(rig, b"json\n"))
    assert [
        [row["name"], str(row["port"]), row["protocol"], str(row["card"]), row["state"]] for row in as_json
    ] == listed
    assert {port for udp, port in rig.uplink.listeners if not udp} == {7816, *(int(row[1]) for row in listed)}
    for _, port, _, card, _ in listed:
        socket = rig.uplink.dial(int(port))
        rig.wait(lambda socket=socket: socket.open)  # type: ignore[misc]
        rig.echo(socket, b"card " + card.encode())
        socket.close()


@pytest.mark.parametrize("cards", [1, 2, 16])
def test_n_cards_are_numbered_and_no_number_is_ever_shared(cards: int) -> None:
    rig = short_chain(cards, poll_ms=5)
    rig.host.start()

    def numbered() -> bool:
        assert_numbers_are_shared_by_none(rig)
        return len(rig.host.cards) == cards

    rig.wait(numbered)
    assert [card.number for card in rig.cards] == list(range(1, cards + 1))
    assert {number: facts.identity for number, facts in rig.host.cards.items()} == {
        number: b"%02d" % number for number in range(1, cards + 1)
    }
    rig.wait(lambda: len(rig.services) == cards)
    assert_directory_is_right(rig, set(range(1, cards + 1)))
    rig.assert_sound()


def test_the_mtu_never_grows_outward_and_the_smaller_one_holds_between_two_nodes() -> None:
    rig = Chain(profile(ECHO, mtu=256), profile(ECHO, mtu=64), profile(ECHO, mtu=1280), mtu=512).start()
    assert [rig.host.cards[number].mtu for number in (1, 2, 3)] == [256, 64, 64]
    sizes: dict[int, int] = {}
    for card in (1, 2, 3):
        socket = rig.dial("echo", card)
        rig.seen.observations.clear()
        rig.echo(socket, bytes(2000))
        sizes[card] = max(len(each.command) - 6 for each in rig.exchanges if each.hop == 1 and each.ins == 0xC2)
    assert sizes == {1: 254, 2: 64, 3: 64}  # a packet of 256 bytes is cut in two: 254 fit into one segment
    rig.assert_sound()


# -- two polls ---------------------------------------------------------------------------------------------------------------


def _tail_gone(rig: Chain, tail: int) -> bool:
    return tail not in rig.host.cards


@pytest.mark.parametrize("moment", [0.0, 0.0013, 0.0027, 0.0101])
@pytest.mark.parametrize("cards", [1, 3])
def test_a_tail_removed_is_known_on_both_sides_after_two_failed_polls(cards: int, moment: float) -> None:
    """Without a switch a poll has failed when the waiting time is over: that, twice, is all it may take."""
    rig = short_chain(cards).start()
    rig.run(0.05 + moment)
    cutter = rig.cutters[-1]
    before = cutter.attempts
    begun = rig.now
    rig.remove(cards)
    assert rig.cards[-1].number is None, "the card has no power: its side knows at once"
    side = rig.host if cards == 1 else rig.cards[-2]
    took = rig.wait(lambda: cards not in side.chain.beyond)
    assert cutter.attempts - before <= 2, "one that was under way, and no more than two polls in all fail"
    assert took <= 2 * (WAITING_TIME_S + 0.002)
    rig.wait(lambda: _tail_gone(rig, cards), 0.1)
    changes = [
        each for each in rig.link_changes if each.hop == cards and not each.up and each.time_ticks >= rig.ticks(begun)
    ]
    assert {(each.side, each.reason) for each in changes} == {("card", "power lost"), ("terminal", "mute")}
    rig.assert_sound()


@pytest.mark.parametrize("cards", [1, 3])
def test_with_a_switch_the_next_poll_tells(cards: int) -> None:
    rig = short_chain(cards, detects=True).start()
    rig.run(0.05)
    rig.remove(cards)
    took = rig.wait(lambda: _tail_gone(rig, cards))
    assert took <= 0.002 + 0.005 * (cards - 1)  # one poll period on the last hop; then NODE DOWN on its way to the host
    assert any(each.reason == "absent" for each in rig.link_changes)


@pytest.mark.parametrize("cards", [1, 3])
def test_a_tail_inserted_is_known_on_both_sides_after_two_looks(cards: int) -> None:
    """A look is a reset and the wait for its answer: the poll of a hop that is down."""
    rig = short_chain(cards).start()
    rig.remove(cards)
    rig.wait(lambda: _tail_gone(rig, cards))
    for moment in (0.3, 0.313, 0.347, 0.371):
        rig.run(moment)
        cutter = rig.cutters[-1]
        looks = cutter.attempts
        rig.insert(cards)
        side = rig.host if cards == 1 else rig.cards[-2]
        rig.wait(lambda: rig.cards[-1].number == cards, 1)
        assert cutter.attempts - looks <= 2 + 1, "two looks, and the ENVELOPE that brings HELLO"
        took = rig.wait(lambda side=side: cards in side.chain.beyond, 1)  # type: ignore[misc]
        assert took < 0.01
        rig.wait(lambda: cards in rig.host.cards, 0.1)
        rig.wait(lambda: len(rig.services) == cards)
        rig.remove(cards)
        rig.wait(lambda: _tail_gone(rig, cards))
    rig.assert_sound()


# -- in the middle -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def five() -> Iterator[Chain]:
    rig = short_chain(5, poll_ms=2).start()
    yield rig
    rig.assert_sound()


def test_a_card_removed_in_the_middle_takes_everything_beyond_it_dark_and_back_again(five: Chain) -> None:
    rig = five
    for middle in (3, 1, 4):
        rig.remove(middle)
        rig.wait(lambda middle=middle: set(rig.host.cards) == set(range(1, middle)))  # type: ignore[misc]
        assert [card.number for card in rig.cards] == [*range(1, middle), *[None] * (6 - middle)]
        assert not any(card.contacts.powered for card in rig.cards[middle - 1 :]), "no power beyond the gap"
        assert [set(card.chain.beyond) for card in rig.cards] == [
            set(range(card + 1, middle)) if card < middle else set() for card in range(1, 6)
        ]
        rig.wait(lambda middle=middle: len(rig.services) == middle - 1)  # type: ignore[misc]
        assert_directory_is_right(rig, set(range(1, middle)))
        rig.insert(middle)

        def back() -> bool:
            assert_numbers_are_shared_by_none(rig)
            return len(rig.host.cards) == 5

        rig.wait(back)
        rig.wait(lambda: len(rig.services) == 5)
        assert_directory_is_right(rig, {1, 2, 3, 4, 5})


def test_a_card_removed_and_put_back_at_once_is_a_new_one(five: Chain) -> None:
    rig = five
    socket = rig.dial("echo", 4)
    rig.echo(socket, b"old")
    rig.remove(3)
    rig.insert(3)
    rig.wait(lambda: socket.cause is not None)
    assert socket.cause is Cause.NOT_REACHABLE
    rig.wait(lambda: len(rig.host.cards) == 5 and len(rig.services) == 5)
    assert_directory_is_right(rig, {1, 2, 3, 4, 5})


def test_node_down_closes_channels_with_cause_07_and_no_others() -> None:
    rig = chain(4, poll_ms=2).start()
    near, far = rig.dial("echo", 2), rig.dial("echo", 4)
    across = rig.relay(2, 4)
    beside = rig.relay(1, 2)
    rig.echo(across, b"across")
    rig.remove(3)
    rig.wait(lambda: far.cause is not None and across.ended)
    assert far.cause is Cause.NOT_REACHABLE
    assert near.cause is None
    rig.echo(near, b"still")
    rig.echo(beside, b"here")
    refused = rig.dial("relay", 1)
    refused.write(b"4 echo\n")
    rig.wait(lambda: refused.ended)
    assert bytes(refused.received) == b"refused 07\r\n"
    rig.insert(3)
    rig.wait(lambda: len(rig.host.cards) == 4 and len(rig.services) == 24)
    rig.echo(rig.relay(1, 4), b"again")
    rig.assert_sound()


def test_a_terminal_gone_silent_is_noticed_by_the_card_which_then_asks_for_a_reset() -> None:
    """Section 2: two of the longest poll periods and one second after the waiting time (1.376 s at this rate); from then on 6985, so that the
    terminal side starts anew."""
    rig = short_chain(2).start()
    held: list[Callable[[], None]] = []
    port = rig.host.link.port
    submit = port.submit
    port.submit = lambda command, done: held.append(lambda: submit(command, done))  # type: ignore[method-assign]
    rig.wait(lambda: bool(held), 0.1)
    took = rig.wait(lambda: rig.cards[0].number is None, 5)
    assert 2.376 <= took <= 2.386
    assert rig.cards[1].number is None, "the cards beyond go with it"
    port.submit = submit  # type: ignore[method-assign]
    held[0]()
    rig.wait(lambda: rig.cards[0].number == 1 and len(rig.host.cards) == 2 and len(rig.services) == 2, 1)
    assert [each.sw for each in rig.exchanges].count(0x6985) == 1
    rig.echo(rig.dial("echo", 2), b"again")
    rig.assert_sound()


@pytest.mark.parametrize("service", ["discard", "chargen"])
def test_a_line_so_slow_that_one_exchange_outlasts_the_cards_patience_stays_up(service: str) -> None:
    """TA1 = D1 at 3.5712 MHz: 1744 baud, 1.8 s for an exchange of 255 bytes. A command under way counts as heard."""
    rig = Chain(profile(mtu=254, ta1=0xD1), ta1=0xD1, mtu=254).start()
    socket = rig.dial(service)
    socket.source = bytes
    socket.flush()
    rig.run(30)
    assert max(each.duration_ticks for each in rig.exchanges) > rig.ticks(1.7)
    assert [each for each in rig.link_changes if not each.up] == []
    rig.assert_sound()


# -- any two cards -----------------------------------------------------------------------------------------------------------

TEN_KIB = bytes(n * 7 % 251 for n in range(10 * 1024))
ALL_PAIRS = [(a, b) for a, b in product(range(1, 17), repeat=2) if a != b]


def _sixteen() -> Chain:
    return Chain(*[profile(mtu=256) for _ in range(16)], mtu=256, poll_ms=20).start()


def test_sixteen_cards_and_ten_kib_between_a_sample_of_pairs() -> None:
    rig = _sixteen()
    pairs = [(1, 16), (16, 1), (8, 9), (9, 8), (2, 13), (15, 4), (16, 15), (5, 5)]
    sockets = [rig.relay(a, b) for a, b in pairs]
    for socket in sockets:
        socket.write(TEN_KIB)
    rig.wait(lambda: all(len(socket.received) == len(TEN_KIB) for socket in sockets), 600)
    assert all(bytes(socket.received) == TEN_KIB for socket in sockets)
    rig.assert_sound()


@pytest.mark.soak
def test_ten_kib_between_any_two_of_sixteen_cards() -> None:
    rig = _sixteen()
    for pair in ALL_PAIRS:
        socket = rig.relay(*pair)
        rig.echo(socket, TEN_KIB, 600)
        socket.close()
    rig.assert_sound()
