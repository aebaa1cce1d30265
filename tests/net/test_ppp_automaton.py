"""All 160 cells of RFC 1661, 4.1, each as a test: the state that follows, and what went out or up."""

from collections.abc import Callable

import pytest

from bench.net.ppp.automaton import Automaton, Event, IllegalEventError, Judged, Patience, State
from bench.net.ppp.packets import Code, ControlPacket, Option, encode_options

# RFC 1661, 4.1, typed from the RFC for the test alone: rows as printed there, states 0 to 5, then 6 to 9.
RFC = {
    "Up": ["2", "irc,scr/6", "-", "-", "-", "-", "-", "-", "-", "-"],
    "Down": ["-", "-", "0", "tls/1", "0", "1", "1", "1", "1", "tld/1"],
    "Open": ["tls/1", "1", "irc,scr/6", "3r", "5r", "5r", "6", "7", "8", "9r"],
    "Close": ["0", "tlf/0", "2", "2", "4", "4", "irc,str/4", "irc,str/4", "irc,str/4", "tld,irc,str/4"],
    "TO+": ["-", "-", "-", "-", "str/4", "str/5", "scr/6", "scr/6", "scr/8", "-"],
    "TO-": ["-", "-", "-", "-", "tlf/2", "tlf/3", "tlf/3p", "tlf/3p", "tlf/3p", "-"],
    "RCR+": ["-", "-", "sta/2", "irc,scr,sca/8", "4", "5", "sca/8", "sca,tlu/9", "sca/8", "tld,scr,sca/8"],
    "RCR-": ["-", "-", "sta/2", "irc,scr,scn/6", "4", "5", "scn/6", "scn/7", "scn/6", "tld,scr,scn/6"],
    "RCA": ["-", "-", "sta/2", "sta/3", "4", "5", "irc/7", "scr/6x", "irc,tlu/9", "tld,scr/6x"],
    "RCN": ["-", "-", "sta/2", "sta/3", "4", "5", "irc,scr/6", "scr/6x", "irc,scr/8", "tld,scr/6x"],
    "RTR": ["-", "-", "sta/2", "sta/3", "sta/4", "sta/5", "sta/6", "sta/6", "sta/6", "tld,zrc,sta/5"],
    "RTA": ["-", "-", "2", "3", "tlf/2", "tlf/3", "6", "6", "8", "tld,scr/6"],
    "RUC": ["-", "-", "scj/2", "scj/3", "scj/4", "scj/5", "scj/6", "scj/7", "scj/8", "scj/9"],
    "RXJ+": ["-", "-", "2", "3", "4", "5", "6", "6", "8", "9"],
    "RXJ-": ["-", "-", "tlf/2", "tlf/3", "tlf/2", "tlf/3", "tlf/3", "tlf/3", "tlf/3", "tld,irc,str/5"],
    "RXR": ["-", "-", "2", "3", "4", "5", "6", "7", "8", "ser/9"],
}
CODES = {"scr": 1, "sca": 2, "scn": 3, "str": 5, "sta": 6, "scj": 7, "ser": 10}
GOOD, BAD = Option(1, b"\x05\x00"), Option(99)
RESTART = 3_000


class Options:
    """Wishes for one option, and takes that one alone."""

    def begin(self) -> None: ...

    def request(self) -> tuple[Option, ...]:
        return (GOOD,)

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        del insist
        return Judged(Code.CONFIGURE_ACK if options == (GOOD,) else Code.CONFIGURE_NAK, options)

    def acked(self, options: tuple[Option, ...]) -> None: ...

    def nakked(self, options: tuple[Option, ...]) -> None: ...

    def rejected(self, options: tuple[Option, ...]) -> None: ...


class Watched:
    """An automaton, what it sends and what it tells its layers."""

    def __init__(self) -> None:
        self.sent: list[ControlPacket] = []
        self.told: list[str] = []
        self.now = 0
        self.machine = Automaton("test", Options(), self._send, Patience(RESTART))
        self.machine.extra = self._extra
        for name, word in (("on_up", "tlu"), ("on_down", "tld"), ("on_started", "tls"), ("on_finished", "tlf")):
            setattr(self.machine, name, self._tell(word))

    def _send(self, data: bytes) -> None:
        self.sent.append(ControlPacket(data[0], data[1], data[4:]))

    def _tell(self, word: str) -> Callable[[int], None]:
        return lambda _now: self.told.append(word)

    def _extra(self, packet: ControlPacket, now: int) -> bool:
        """Echo, as LCP has it."""
        if packet.code != Code.ECHO_REQUEST:
            return False
        if self.machine.opened:
            self._send(ControlPacket(Code.ECHO_REPLY, packet.identifier).encode())
        self.machine.event(Event.ECHO, now)
        return True

    def feed(self, code: int, data: bytes = b"", identifier: int = 77) -> None:
        self.machine.receive(ControlPacket(code, identifier, data).encode(), self.now)

    def answer(self, code: int) -> None:
        """Answer its last request (before any, an answer to nothing that carries the number it would have)."""
        requests = [each for each in self.sent if each.code == Code.CONFIGURE_REQUEST]
        self.feed(code, encode_options((GOOD,)), requests[-1].identifier if requests else self.machine._identifier)

    def reach(self, state: State) -> None:
        """Bring it into a state by events alone."""
        machine = self.machine
        if state is State.INITIAL:
            return
        if state is State.CLOSED:
            machine.up(0)
            return
        machine.open(0)
        if state is State.STARTING:
            return
        machine.up(0)
        match state:
            case State.STOPPED:
                while machine.state is not State.STOPPED:
                    self.expire()
            case State.CLOSING:
                machine.close(0)
            case State.ACK_RCVD:
                self.answer(Code.CONFIGURE_ACK)
            case State.ACK_SENT:
                self.feed(Code.CONFIGURE_REQUEST, encode_options((GOOD,)))
            case State.OPENED | State.STOPPING:
                self.answer(Code.CONFIGURE_ACK)
                self.feed(Code.CONFIGURE_REQUEST, encode_options((GOOD,)))
                if state is State.STOPPING:
                    self.feed(Code.TERMINATE_REQUEST)

    def expire(self) -> None:
        assert self.machine.due is not None
        self.now = self.machine.due
        self.machine.tick(self.now)

    def cause(self, event: str) -> None:
        machine = self.machine
        match event:
            case "Up":
                machine.up(self.now)
            case "Down":
                machine.down(self.now)
            case "Open":
                machine.open(self.now)
            case "Close":
                machine.close(self.now)
            case "TO+":
                machine.event(Event.TIMEOUT, self.now) if machine.due is None else self.expire_early()
            case "TO-":
                machine.event(Event.TIMEOUT_LAST, self.now) if machine.due is None else self.expire_late()
            case "RCR+":
                self.feed(Code.CONFIGURE_REQUEST, encode_options((GOOD,)))
            case "RCR-":
                self.feed(Code.CONFIGURE_REQUEST, encode_options((BAD,)))
            case "RCA":
                self.force_answer(Code.CONFIGURE_ACK)
            case "RCN":
                self.force_answer(Code.CONFIGURE_NAK)
            case "RTR":
                self.feed(Code.TERMINATE_REQUEST)
            case "RTA":
                self.feed(Code.TERMINATE_ACK)
            case "RUC":
                self.feed(200)
            case "RXJ+":
                self.feed(Code.CODE_REJECT, b"\xc8\x01\x00\x04")
            case "RXJ-":
                self.feed(Code.CODE_REJECT, b"\x01\x01\x00\x04")
            case "RXR":
                self.feed(Code.ECHO_REQUEST, bytes(4))

    def force_answer(self, code: int) -> None:
        """An answer with the number that is waited for, whatever was sent since."""
        self.machine._requested = (GOOD,)
        self.machine._answered = False
        self.feed(code, encode_options((GOOD,)), self.machine._identifier)

    def expire_early(self) -> None:
        self.machine._restarts = 1
        self.expire()

    def expire_late(self) -> None:
        self.machine._restarts = 0
        self.expire()


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.name)
@pytest.mark.parametrize("event", list(RFC))
def test_cell(event: str, state: State) -> None:
    watched = Watched()
    watched.reach(state)
    assert watched.machine.state is state
    watched.sent.clear()
    watched.told.clear()
    cell = RFC[event][state].rstrip("rpx")
    if cell == "-":
        if event.startswith(("RC", "RT", "RU", "RX")):
            watched.cause(event)  # nothing can come over a layer that is down: it is dropped
            assert (watched.machine.state, watched.sent, watched.machine.discarded) == (state, [], 1)
        else:
            with pytest.raises(IllegalEventError, match=state.name):
                watched.cause(event)
        return
    watched.cause(event)
    *actions, following = cell.replace("/", ",").split(",")
    assert watched.machine.state == int(following)
    assert [each.code for each in watched.sent] == [CODES[each] for each in actions if each in CODES]
    assert watched.told == [each for each in actions if each.startswith("tl")]
    running = watched.machine.state in (4, 5, 6, 7, 8)
    assert (watched.machine.due is not None) is running


def test_ten_requests_then_silence() -> None:
    watched = Watched()
    watched.machine.open(0)
    watched.machine.up(0)
    while watched.machine.due is not None:
        watched.expire()
    assert [each.code for each in watched.sent] == [Code.CONFIGURE_REQUEST] * 10
    assert (watched.now, watched.machine.state, watched.told) == (10 * RESTART, State.STOPPED, ["tls", "tlf"])


def test_two_terminate_requests_then_closed() -> None:
    watched = Watched()
    watched.reach(State.OPENED)
    watched.sent.clear()
    watched.machine.close(0)
    while watched.machine.due is not None:
        watched.expire()
    assert [each.code for each in watched.sent] == [Code.TERMINATE_REQUEST] * 2
    assert watched.machine.state is State.CLOSED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x01\x00",
        b"\x01\x01\x00\x03",
        b"\x01\x01\x00\x09\x01\x04\x05\x00",
        b"\x01\x01\x00\x06\x01\x01",
        b"\x01\x01\x00\x05\x01",
    ],
)
def test_malformed_packets_are_discarded_in_silence(data: bytes) -> None:
    watched = Watched()
    watched.reach(State.REQ_SENT)
    watched.sent.clear()
    watched.machine.receive(data, 0)
    assert (watched.sent, watched.machine.state, watched.machine.discarded) == ([], State.REQ_SENT, 1)


def test_an_answer_to_another_request_or_of_other_options_is_discarded() -> None:
    watched = Watched()
    watched.reach(State.REQ_SENT)
    number = watched.sent[-1].identifier
    watched.feed(Code.CONFIGURE_ACK, encode_options((GOOD,)), number + 1)
    watched.feed(Code.CONFIGURE_ACK, encode_options((BAD,)), number)
    assert (watched.machine.state, watched.machine.discarded) == (State.REQ_SENT, 2)
