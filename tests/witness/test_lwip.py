"""Our TCP against lwIP's, both directions, in virtual time: every byte once and in order, an orderly end, whatever the link loses."""

import random
from collections.abc import Callable

import pytest

from bench.net.connection import Reason, State, TcpSettings
from bench.net.node import Event, Node
from bench.net.tcp import Tcp
from tests.net.lwip import TICK_MS, Lwip, LwipUser, available
from tests.net.tcp_pair import A4, A6, B4, B6, HZ, User

pytestmark = [
    pytest.mark.witness,
    pytest.mark.skipif(available() is None, reason="liblwip0 is not installed (Debian: apt-get install liblwip0)"),
]

MTUS = (128, 296, 576, 1280)
LOSSES = (0.0, 0.02, 0.1)
DELAY = HZ // 50


class Meeting:
    """Our node and lwIP's over one link that delays every packet the same and loses some."""

    def __init__(self, mtu: int, loss: float = 0.0, settings: TcpSettings | None = None) -> None:
        self.now = 0
        self.chance = random.Random(f"{mtu} {loss}")
        self.loss = loss
        self.longest = 0
        self._queue: list[tuple[int, int, Callable[[bytes], None], bytes]] = []
        self._count = 0
        self.node = Node(HZ)
        self.node.add_interface("link", mtu, self._ours)
        self.node.assign(0, A4, 24)
        self.node.assign(0, A6, 64)
        self.tcp = Tcp(self.node, settings or TcpSettings.usual(HZ), secret=b"us")
        self.user = User(self.tcp, self)
        self.lwip = Lwip(B4, B6, mtu, self._theirs)
        self._next_tick = 0

    def _ours(self, data: bytes) -> bool:
        self._put(self.lwip.receive, data)
        return True

    def _theirs(self, data: bytes) -> None:
        self._put(lambda data: self.node.receive(0, data, self.now), data)

    def _put(self, to: Callable[[bytes], None], data: bytes) -> None:
        self.longest = max(self.longest, len(data))
        self._count += 1
        if self.chance.random() >= self.loss:
            self._queue.append((self.now + DELAY, self._count, to, data))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.now + round(seconds * HZ)
        while not until():
            dues = [self._next_tick]
            if self._queue:
                dues.append(self._queue[0][0])
            if self.tcp.due is not None:
                dues.append(self.tcp.due)
            due = min(dues)
            if due >= end:
                self.now = end
                return
            self.now = max(self.now, due)
            if self._queue and self._queue[0][0] <= self.now:
                _, _, to, data = self._queue.pop(0)
                to(data)
            elif self._next_tick <= self.now:
                self.lwip.tick()
                self._next_tick += TICK_MS * HZ // 1000
            else:
                self.tcp.tick(self.now)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mtu", MTUS)
@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("we_open", [True, False], ids=["we-open", "they-open"])
def test_bytes_both_ways_and_an_orderly_end(mtu: int, loss: float, v6: bool, we_open: bool) -> None:
    we_end = (mtu in (128, 576)) is we_open  # each side ends first on connections of either side's opening
    meeting = Meeting(mtu, loss)
    there, back = random.Random(1).randbytes(12_000), random.Random(2).randbytes(9_999)
    meeting.user.todo += there
    meeting.user.finish = we_end
    other = LwipUser(back, finish=not we_end)
    if we_open:
        meeting.lwip.listen(80, other, v6=v6)
        meeting.user.connection = meeting.tcp.connect(B6 if v6 else B4, 80, meeting.user, 0)
    else:
        meeting.tcp.listen(80, lambda _connection: meeting.user)
        meeting.lwip.connect(A6 if v6 else A4, 80, other)
    meeting.run(1_500, lambda: meeting.user.reason is not None and (other.closed or other.error is not None))
    assert (bytes(other.got), bytes(meeting.user.got)) == (there, back)
    assert (meeting.user.reason, other.closed, other.error) == (Reason.FINISHED, True, None)
    assert meeting.longest <= mtu
    assert meeting.tcp.malformed == meeting.node.events[Event.MALFORMED] == 0
    connection = meeting.user.connection
    assert connection is not None
    if not loss:
        assert connection.counts.retransmissions == 0
        assert (connection.state is State.TIME_WAIT) is we_end
    meeting.run(600)
    assert (meeting.tcp.connections, meeting.tcp.due) == ({}, None)


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_a_window_that_we_keep_closed_is_probed_and_opens(v6: bool) -> None:
    meeting = Meeting(576)
    data = random.Random(3).randbytes(40_000)
    meeting.user.reads = False
    other = LwipUser(data, finish=True)
    meeting.lwip.listen(80, other, v6=v6)
    meeting.user.connection = meeting.tcp.connect(B6 if v6 else B4, 80, meeting.user, 0)
    meeting.run(100)
    assert (meeting.user.connection.readable, meeting.user.reason) == (8192, None)
    meeting.user.reads = True
    meeting.user.received(meeting.user.connection)
    meeting.run(300, lambda: meeting.user.reason is not None)
    assert bytes(meeting.user.got) == data


def test_nobody_listens_there_or_here() -> None:
    meeting = Meeting(576)
    meeting.tcp.connect(B4, 81, meeting.user, 0)
    meeting.run(5)
    assert meeting.user.reason is Reason.REFUSED
    other = LwipUser(b"x")
    meeting.lwip.connect(A4, 81, other)
    meeting.run(5)
    assert other.error == -14  # ERR_RST


def test_a_reset_is_believed_on_either_side() -> None:
    meeting = Meeting(576)
    other = LwipUser(b"hello")
    meeting.lwip.listen(80, other, v6=False)
    connection = meeting.tcp.connect(B4, 80, meeting.user, 0)
    meeting.run(1, lambda: bytes(meeting.user.got) == b"hello")
    meeting.tcp.abort(connection, meeting.now)
    meeting.run(1)
    assert other.error == -14
