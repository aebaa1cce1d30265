"""LCP's automaton from outside: events in every state that a peer can bring about, by RFC 1661, 4.1. Nothing here asks the card's own table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ppp_frames import LCP, RawPeer, raw
from bench.scenario.steps.support import wait
from bench.scenario.units import Span

REQUEST, ACK, NAK, REJECT, TERMINATE, TERMINATED, CODE_REJECT, PROTOCOL_REJECT, ECHO, ECHOED = range(1, 11)
UNKNOWN: Final = 0x2E
"""A code that nobody has."""
STRANGE: Final = bytes.fromhex("fd050a0b0c")
"""An option that nobody knows."""
LITTLE: Final = bytes.fromhex("01040010")
"""An MRU of 16 bytes, which no card of ours may agree to."""
SOON: Final = Span(20 * 10**9)
QUIET: Final = Span(10**9)
LAST: Final = Span(100 * 10**9)
"""Longer than any restart timer: who has said nothing for so long has given up."""

TABLE: Final = """
        req-sent  ack-rcvd  ack-sent  opened  stopping  stopped
good    2         2+        2         1,2     -         1,2
strange 4         4         4         1,4     -         1,4
ack     -         .         -+        .       -         .
nak     1         .         1         .       -         .
term    6         6         6         6       6         6
termed  -         -         -         1       -         -
unknown 7         7         7         7+      7         7
bearing -         -         -         -+      -         -
foreign -         -         -         -+      -         -
echo    -         -         -         10+     -         -
echoed  -         -         -         -+      -         -
stray   -         -         -         -+      -         .
"""
"""Codes that must be answered with; + : it is opened afterwards; . : an answer to what has had one, which 5.2 lets pass for none.

Requests (1) may come of the timer, too.
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet of LCP."""

    code: int
    identifier: int
    data: bytes

    def __str__(self) -> str:
        return f"code {self.code} number {self.identifier} {self.data[:16].hex()}".strip()


@dataclass(slots=True)
class _Talk:
    """What the peer says, and what it has heard."""

    context: StepContext
    peer: RawPeer
    number: int = 0x40
    acknowledged: set[int] = field(default_factory=set)

    def heard(self, since: int = 0) -> list[Heard]:
        """Packets of LCP from the ``since``-th frame on."""
        found = [each[2:] for each in self.peer.came[since:] if each[:2] == LCP and len(each) >= 6]
        return [Heard(each[0], each[1], each[4 : int.from_bytes(each[2:4], "big")]) for each in found]

    def say(self, code: int, data: bytes = b"", number: int | None = None) -> int:
        """Send a packet; gives its identifier."""
        self.number = self.number % 250 + 1
        chosen = self.number if number is None else number
        frame = LCP + bytes((code, chosen)) + (4 + len(data)).to_bytes(2, "big") + data
        self.context.engine.call(lambda: self.peer.send(frame))
        return chosen

    def wait(self, done: Callable[[], bool], span: Span = SOON) -> bool:
        wait(self.context, done, span)
        return done()

    def last(self) -> Heard:
        """The card's newest request. It fails the point where it never sent one."""
        asked = [each for each in self.heard() if each.code == REQUEST]
        if not asked:
            self.context.fail("the card sends no Configure-Request")
        return asked[-1]

    def agree(self) -> None:
        """Acknowledge the card's newest request."""
        asked = self.last()
        self.say(ACK, asked.data, asked.identifier)

    def asks(self, data: bytes = b"", answer: int = ACK) -> bool:
        """Ask, and tell whether the answer that is wanted came."""
        since = len(self.peer.came)
        number = self.say(REQUEST, data)
        return self.wait(lambda: any((each.code, each.identifier) == (answer, number) for each in self.heard(since)))

    def request(self, data: bytes = b"", answer: int = ACK) -> None:
        """Ask, and wait for the answer that is due."""
        since = len(self.peer.came)
        if not self.asks(data, answer):
            said = "; ".join(map(str, self.heard(since))) or "nothing"
            self.context.fail(f"a Configure-Request is answered with {said}: code {answer} is due")

    def is_open(self) -> bool:
        """Whether an echo comes back: it does in Opened alone (5.8)."""
        since, data = len(self.peer.came), bytes(4) + b"open?"
        number = self.say(ECHO, data)
        self.wait(lambda: any(each.code == ECHOED for each in self.heard(since)), QUIET)
        replies = [each for each in self.heard(since) if each.code == ECHOED]
        if any(each.identifier != number or each.data[4:] != data[4:] for each in replies) or len(replies) > 1:
            self.context.fail(f"an Echo-Request {number} is answered with {'; '.join(map(str, replies))}")
        return bool(replies)

    def quiet(self, span: Span = QUIET) -> None:
        wait(self.context, lambda: False, span)


class PppStates(Step):
    """Brings LCP of the card into each state that a peer can, has each event happen there, and holds the answers, and whether the link is open
    afterwards, against the table of RFC 1661, 4.1; then counts how patient the card is. Wants `ppp_frames: {opens: false}` before it.

    Example:
        - ppp_states: {}
          measure:
            cells: {at_least: 60, unit: cells}
            requests: {equals: 10, unit: requests}
            naks: {equals: 5, unit: answers}
            terminates: {equals: 2, unit: requests}
    """

    verb: ClassVar[str] = "ppp_states"
    measures: ClassVar = {
        "cells": Measure("cells", "pairs of state and event that were tried"),
        "requests": Measure("requests", "Configure-Requests until the card gives up, where none is answered (4.6)"),
        "naks": Measure("answers", "Configure-Naks until the card rejects what it is asked again and again (4.6)"),
        "terminates": Measure("requests", "Terminate-Requests until the card gives up, where none is answered (4.6)"),
    }

    def run(self, context: StepContext) -> None:
        talk = _Talk(context, raw(context))
        talk.wait(lambda: any(each.code == REQUEST for each in talk.heard()))
        cells = 0
        for event, row in _rows(TABLE):
            for state, wanted in row.items():
                if wanted != ".":
                    self._cell(talk, state, event, wanted)
                    cells += 1
        context.measured("cells", cells)
        context.measured("requests", self._unanswered(talk))
        context.measured("naks", self._naks(talk))
        context.measured("terminates", self._terminates(talk))

    def _cell(self, talk: _Talk, state: str, event: str, wanted: str) -> None:
        _REACH[state](talk)
        since = len(talk.peer.came)
        check = _EVENTS[event](talk)
        due = sorted(int(each) for each in wanted.rstrip("+").split(",") if each != "-")
        if due:
            talk.wait(lambda: {each.code for each in talk.heard(since)} >= set(due))
        talk.quiet()
        heard = talk.heard(since)
        timed = state not in ("opened", "stopped")
        codes = sorted(each.code for each in heard if each.code != REQUEST)
        asked = any(each.code == REQUEST for each in heard)
        said = "; ".join(map(str, heard)) or "nothing"
        place = f"event {event} in state {state} (RFC 1661, 4.1)"
        if codes != [each for each in due if each != REQUEST]:
            talk.context.fail(f"{place} is answered with {said}; codes {due or 'none'} are due")
        if (REQUEST in due and not asked) or (asked and REQUEST not in due and not timed):
            talk.context.fail(f"{place}: {'a' if REQUEST in due else 'no'} Configure-Request is due; it said {said}")
        wrong = next((each for each in heard if each.code != REQUEST and not check(each)), None)
        if wrong is not None:
            talk.context.fail(f"{place}: the answer is {wrong}, which is not what was asked")
        if talk.is_open() is not wanted.endswith("+"):
            talk.context.fail(f"{place}: afterwards the link is {'not ' if wanted.endswith('+') else ''}open")

    def _unanswered(self, talk: _Talk) -> int:
        """From Opened: the request of the new negotiation and its repetitions."""
        _opened(talk)
        since = len(talk.peer.came)
        talk.request()
        _until_silence(talk)
        asked = [each for each in talk.heard(since) if each.code == REQUEST]
        if len({each.data for each in asked}) > 1:
            talk.context.fail("a Configure-Request that is not answered is repeated with other options")
        return len(asked)

    def _naks(self, talk: _Talk) -> int:
        _opened(talk)
        for count in range(20):
            since = len(talk.peer.came)
            number = talk.say(REQUEST, LITTLE)
            talk.wait(lambda since=since: any(each.code in (NAK, REJECT) for each in talk.heard(since)))  # type: ignore[misc]
            answers = [each for each in talk.heard(since) if each.code in (ACK, NAK, REJECT)]
            if len(answers) != 1 or answers[0].identifier != number or answers[0].code == ACK:
                talk.context.fail(f"an MRU of 16 bytes is answered with {'; '.join(map(str, answers)) or 'nothing'}")
            if answers[0].code == REJECT:
                if answers[0].data != LITTLE:
                    talk.context.fail(f"the option {LITTLE.hex()} is rejected as {answers[0].data.hex()}")
                return count
        return 20

    def _terminates(self, talk: _Talk) -> int:
        """A peer that rejects Configure-Requests as such leaves nothing to be negotiated (5.6)."""
        _opened(talk)
        since = len(talk.peer.came)
        asked = talk.last()
        talk.say(
            CODE_REJECT, bytes((REQUEST, asked.identifier)) + (4 + len(asked.data)).to_bytes(2, "big") + asked.data
        )
        _until_silence(talk)
        heard = talk.heard(since)
        if any(each.code != TERMINATE for each in heard):
            talk.context.fail(f"a Code-Reject of Configure-Request is answered with {'; '.join(map(str, heard))}")
        _opened(talk)
        return len(heard)


# -- how a state is reached -----------------------------------------------------------------------------------------------


def _opened(talk: _Talk) -> None:
    """From any state: what we ask for is acknowledged, and so is what the card asks for."""
    for _ in range(4):
        if not talk.asks():
            continue  # it was still ending, and says nothing while it does
        talk.quiet(Span(10**8))
        talk.agree()
        if talk.is_open():
            return
    talk.context.fail("LCP does not come up again, although everything that is asked for is agreed to")


def _req_sent(talk: _Talk) -> None:
    _opened(talk)
    since = len(talk.peer.came)
    talk.request(STRANGE, REJECT)
    talk.wait(lambda: any(each.code == REQUEST for each in talk.heard(since)))


def _ack_rcvd(talk: _Talk) -> None:
    _req_sent(talk)
    talk.agree()


def _ack_sent(talk: _Talk) -> None:
    _opened(talk)
    since = len(talk.peer.came)
    talk.request()
    talk.wait(lambda: any(each.code == REQUEST for each in talk.heard(since)))


def _stopping(talk: _Talk) -> None:
    _opened(talk)
    since = len(talk.peer.came)
    talk.say(TERMINATE)
    if not talk.wait(lambda: any(each.code == TERMINATED for each in talk.heard(since))):
        talk.context.fail("a Terminate-Request is not answered")


def _stopped(talk: _Talk) -> None:
    _stopping(talk)
    talk.quiet(SOON)


def _until_silence(talk: _Talk) -> None:
    """Until the card has said nothing for long."""
    heard = -1
    while heard < len(talk.heard()):
        heard = before = len(talk.heard())
        talk.wait(lambda before=before: len(talk.heard()) > before, LAST)  # type: ignore[misc]


_REACH: Final[dict[str, Callable[[_Talk], None]]] = {
    "req-sent": _req_sent,
    "ack-rcvd": _ack_rcvd,
    "ack-sent": _ack_sent,
    "opened": _opened,
    "stopping": _stopping,
    "stopped": _stopped,
}


# -- events: each says something, and gives what an answer to it must be ---------------------------------------------------


def _same(number: int, data: bytes) -> Callable[[Heard], bool]:
    return lambda heard: heard.identifier == number and heard.data == data


def _any(_heard: Heard) -> bool:
    return True


def _good(talk: _Talk) -> Callable[[Heard], bool]:
    return _same(talk.say(REQUEST), b"")


def _strange(talk: _Talk) -> Callable[[Heard], bool]:
    return _same(talk.say(REQUEST, STRANGE), STRANGE)


def _ack(talk: _Talk) -> Callable[[Heard], bool]:
    talk.agree()
    return _any


def _nak(talk: _Talk) -> Callable[[Heard], bool]:
    talk.say(NAK, bytes.fromhex("0506") + b"\x5a\xa5\x5a\xa5", talk.last().identifier)
    return _any


def _term(talk: _Talk) -> Callable[[Heard], bool]:
    number = talk.say(TERMINATE, b"enough")
    return lambda heard: heard.identifier == number


def _termed(talk: _Talk) -> Callable[[Heard], bool]:
    talk.say(TERMINATED)
    return _any


def _unknown(talk: _Talk) -> Callable[[Heard], bool]:
    number = talk.say(UNKNOWN, b"what?")
    packet = bytes((UNKNOWN, number, 0, 9)) + b"what?"
    return lambda heard: heard.data == packet


def _bearing(talk: _Talk) -> Callable[[Heard], bool]:
    talk.say(CODE_REJECT, bytes((UNKNOWN, 1, 0, 4)))
    return _any


def _foreign(talk: _Talk) -> Callable[[Heard], bool]:
    talk.say(PROTOCOL_REJECT, bytes.fromhex("800101010004"))
    return _any


def _echo(talk: _Talk) -> Callable[[Heard], bool]:
    number = talk.say(ECHO, bytes(4) + b"data of it")
    return lambda heard: heard.identifier == number and heard.data[4:] == b"data of it"


def _echoed(talk: _Talk) -> Callable[[Heard], bool]:
    talk.say(ECHOED, bytes(4) + b"unasked for")
    return _any


def _stray(talk: _Talk) -> Callable[[Heard], bool]:
    """An acknowledgement of what was not asked (5.2): as if it had not come."""
    asked = talk.last()
    talk.say(ACK, asked.data, (asked.identifier + 100) & 0xFF)
    talk.say(ACK, asked.data + STRANGE, asked.identifier)
    return _any


_EVENTS: Final[dict[str, Callable[[_Talk], Callable[[Heard], bool]]]] = {
    "good": _good,
    "strange": _strange,
    "ack": _ack,
    "nak": _nak,
    "term": _term,
    "termed": _termed,
    "unknown": _unknown,
    "bearing": _bearing,
    "foreign": _foreign,
    "echo": _echo,
    "echoed": _echoed,
    "stray": _stray,
}


def _rows(table: str) -> list[tuple[str, dict[str, str]]]:
    head, *lines = table.strip().splitlines()
    states = head.split()
    return [(line.split()[0], dict(zip(states, line.split()[1:], strict=True))) for line in lines]
