"""What is read from a connection goes into its channel once, in order, whatever happens in between."""

from bench.channels.message import Cause
from tests.support import chain


def test_room_that_comes_while_sending_sends_nothing_twice() -> None:
    """A piece held back for more of its kind, then more: sending makes room, and room sends on."""
    rig = chain(mtu=64).start()
    socket = rig.dial("echo")
    text = b"".join(b"%06d" % number for number in range(4000))
    at, size = 0, 1
    while at < len(text):
        socket.write(text[at : at + size])
        at += size
        size = size * 7 % 131 + 1
        rig.run(0.0004 * (size % 5))
    rig.wait(lambda: len(socket.received) >= len(text))
    rig.run(0.2)
    assert bytes(socket.received) == text
    socket.close(Cause.NONE)
    rig.assert_sound()
