"""docs/protocol.md, section 3, fairness: eight always-backlogged channels at 9600 baud, MTU 64, and a ninth that speaks now and then."""

from collections import Counter
from itertools import pairwise

import pytest

from bench.card.applications.echo import echo
from bench.card.applications.streams import chargen, discard
from bench.channels.message import MessageType
from bench.host.peers import PeerSocket
from bench.observe import Direction, Packet
from tests.support import SLOW, Chain, profile

CHANNELS = 8
WINDOW = 80
ETU_S = 372 / 3_571_200


def jain(shares: list[int]) -> float:
    """1 where all are equal, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def _slow() -> Chain:
    return Chain(
        profile(("echo", echo), ("discard", discard), ("chargen", chargen), ta1=SLOW), ta1=SLOW, poll_ms=10
    ).start()


def _data(rig: Chain, direction: Direction) -> list[int]:
    """The channel of each DATA message that crossed hop 1 in this direction, in order."""
    return [
        each.channel
        for each in rig.seen.observations
        if isinstance(each, Packet)
        and each.direction is direction
        and each.kind == "channel"
        and each.data[0] & 0x0F == MessageType.DATA
    ]


def _saturate(rig: Chain, service: str) -> list[PeerSocket]:
    sockets = [rig.dial(service) for _ in range(CHANNELS)]
    if service == "discard":
        for socket in sockets:
            socket.source = bytes
            socket.flush()
    rig.run(10)  # all are under way
    rig.seen.observations.clear()
    return sockets


@pytest.mark.parametrize(("service", "direction"), [("discard", Direction.OUT), ("chargen", Direction.IN)])
def test_eight_backlogged_channels_share_a_slow_line(service: str, direction: Direction) -> None:
    rig = _slow()
    _saturate(rig, service)
    rig.run(120)
    order = _data(rig, direction)
    assert len(set(order)) == CHANNELS
    assert len(order) > 10 * WINDOW
    worst = min(
        jain(list(Counter(order[at : at + WINDOW]).values()) + [0] * (CHANNELS - len(set(order[at : at + WINDOW]))))
        for at in range(len(order) - WINDOW)
    )
    assert worst >= 0.98
    gaps = {channel: [at for at, each in enumerate(order) if each == channel] for channel in set(order)}
    longest = max(after - before for places in gaps.values() for before, after in pairwise(places))
    assert longest <= 2 * CHANNELS, f"longest gap: {longest} messages of others"
    rig.assert_sound()


@pytest.mark.parametrize(("service", "direction"), [("discard", Direction.OUT), ("chargen", Direction.IN)])
def test_a_ninth_that_sometimes_speaks_is_not_starved(service: str, direction: Direction) -> None:
    rig = _slow()
    ninth = rig.dial("echo")
    alone = max(rig.echo(ninth, bytes(16)) for _ in range(5))
    _saturate(rig, service)
    times: list[float] = []
    for pause in range(60):
        rig.run(0.5 + 0.037 * pause)
        times.append(rig.echo(ninth, bytes(16)))
    # Its own message and the answer to it, and as long as it takes to get into either queue's turn: two full messages each way.
    own = 2 * (12 * (16 + 6) + 112) * ETU_S
    full = (12 * 65 + 112) * ETU_S
    assert max(times) <= own + 4 * full + 0.010
    assert max(times) < alone + 4 * full + 0.010
    order = _data(rig, direction)
    assert len(order) > 10 * WINDOW, "the others were busy all the time"
    rig.assert_sound()


def test_both_directions_at_once_are_fair_too() -> None:
    rig = _slow()
    _saturate(rig, "discard")
    _saturate(rig, "chargen")
    rig.run(150)
    for direction in (Direction.OUT, Direction.IN):
        order = _data(rig, direction)
        assert len(set(order)) == CHANNELS
        worst = min(
            jain([Counter(order[at : at + WINDOW])[channel] for channel in set(order)])
            for at in range(0, len(order) - WINDOW, 7)
        )
        assert worst >= 0.98, direction
    out, into = len(_data(rig, Direction.OUT)), len(_data(rig, Direction.IN))
    assert 0.8 < out / into < 1.25, "neither direction starves the other"
