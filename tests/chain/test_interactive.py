"""A word beside 31 busy channels at 9600 baud and MTU 64: its own time there and back, a full message each way, one poll (protocol.md, section 3)."""

import pytest

from bench.card.applications.echo import echo
from bench.card.applications.streams import chargen, discard
from bench.host.peers import PeerSocket
from tests.support import SLOW, Chain, profile

BUSY = 31
ETU_S = 372 / 3_571_200
WORD = 16
POLL_S = 0.010


def _keep_busy(rig: Chain, service: str) -> list[PeerSocket]:
    sockets = [rig.dial(service) for _ in range(BUSY)]
    for socket in sockets:
        socket.on_data = _forget
        if service != "chargen":
            socket.source = bytes
            socket.flush()
    rig.run(10)
    return sockets


def _forget(_data: bytes) -> None:
    pass


@pytest.mark.parametrize("pause", [0.0, 0.4, 1.0, 3.1])
@pytest.mark.parametrize("service", ["discard", "chargen", "echo"])
def test_a_word_beside_31_busy_channels(service: str, pause: float) -> None:
    card = profile(("echo", echo), ("discard", discard), ("chargen", chargen), ta1=SLOW, channels=128)
    rig = Chain(card, ta1=SLOW, poll_ms=10).start()
    ninth = rig.dial("echo")
    _keep_busy(rig, service)
    times = []
    for _ in range(16):
        rig.run(pause)
        times.append(rig.echo(ninth, bytes(WORD)))
    own = (12 * (WORD + 6) + 112 + 12 * (WORD + 6) + 104) * ETU_S
    full = (12 * 65 + 112 + 12 * 65 + 104) * ETU_S
    assert max(times) <= own + full + POLL_S
    rig.assert_sound()
