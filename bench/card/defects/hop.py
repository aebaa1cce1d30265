"""Cards whose side of the hop is wrong: toggles, repeats, status words, room, classes (docs/protocol.md, section 1)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench.card.card import Card
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.hop.card import HopAnswer, HopCard
from bench.hop.segment import (
    INS_ENVELOPE,
    INS_GET_RESPONSE,
    SW_EMPTY,
    SW_NO_MEMORY,
    SW_NOT_ANNOUNCED,
    SW_NOTHING,
    SW_OK,
    SW_SENSELESS,
    TOGGLE,
    Joiner,
)
from bench.iso7816.t0 import Later, Reply


class _Forgetful(Joiner):
    """Takes every segment for a new one."""

    __slots__ = ()

    def is_new(self, segment: bytes) -> bool:
        self.expect = 1 if segment[0] & TOGGLE else 0
        return True


class _TakesRepeats(HopCard):
    def envelope(self, p1: int, segment: bytes, le: int | None) -> HopAnswer:
        become(self.joiner, _Forgetful)
        return super().envelope(p1, segment, le)


class _GivesOnce(HopCard):
    """What was given once is gone, whether or not it arrived."""

    def get_response(self, p1: int, le: int, inline: bool) -> HopAnswer:
        if self._given and self.cutter.current:
            self.cutter.taken()
            self._given = False
        return super().get_response(p1, le, inline)


class _ToggleStuck(HopCard):
    """Every segment it gives bears the same toggle."""

    def _load(self) -> bytes:
        if not self.cutter.current:
            self.cutter.toggle = 0
        return super()._load()


class _KeepsToggles(HopCard):
    def reset(self) -> None:
        given, expected = self.cutter.toggle, self.joiner.expect
        super().reset()
        self.cutter.toggle, self.joiner.expect = given, expected


def _answering(found: int, given: int) -> type[HopCard]:
    """A hop that answers ``given`` where ``found`` would be right."""

    class Answering(HopCard):
        def envelope(self, p1: int, segment: bytes, le: int | None) -> HopAnswer:
            return self._other(super().envelope(p1, segment, le))

        def get_response(self, p1: int, le: int, inline: bool) -> HopAnswer:
            return self._other(super().get_response(p1, le, inline))

        def _other(self, answer: HopAnswer) -> HopAnswer:
            return replace(answer, sw=given) if answer.sw == found else answer

    return Answering


class _Unannounced(HopCard):
    """Says 9000 although a segment waits."""

    def envelope(self, p1: int, segment: bytes, le: int | None) -> HopAnswer:
        answer = super().envelope(p1, segment, le)
        return HopAnswer(b"", SW_OK) if answer.sw >> 8 == 0x61 and not answer.data else answer


class _NoPlainFetch(HopCard):
    def plain_fetch(self, le: int, inline: bool) -> HopAnswer:
        del le, inline
        return HopAnswer(b"", SW_NOT_ANNOUNCED)


class _NothingInline(HopCard):
    def envelope(self, p1: int, segment: bytes, le: int | None) -> HopAnswer:
        del le
        return super().envelope(p1, segment, None)


class _LongPacketsCut(HopCard):
    """The last byte of a packet in several segments is lost."""

    def _load(self) -> bytes:
        current = super()._load()
        if current and not self.cutter.rest and not current[0] & 0x80:
            self.cutter.current = current[:-1]
        return self.cutter.current


def _machine(kind: type[HopCard]) -> Callable[[Card], None]:
    return lambda card: become(card.io1.machine, kind)


class _EveryClass(Card):
    """ENVELOPE and GET RESPONSE of any class go to the hop."""

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        hop = header[1] in (INS_ENVELOPE, INS_GET_RESPONSE)
        return super().execute(b"\x80" + header[1:] if hop else header, data, later)


class _Interrupted(Card):
    """An answer that waits is forgotten as soon as something else is in the queue."""

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        if header[0] == 0 and header[1] == INS_GET_RESPONSE and len(self.io1.queue):
            return Reply(b"", 0x6985)
        return super().execute(header, data, later)


def _defect(name: str, text: str, requirement: str, kind: type[HopCard]) -> Defect:
    return Defect(name, text, requirement, card=_machine(kind), parks=True)


DEFECTS: Final = (
    _defect("repeats-taken", "takes a repeated ENVELOPE for a new one", "HOP-ONCE-1", _TakesRepeats),
    _defect("given-once", "gives a segment once, whether or not it arrived", "HOP-ONCE-2", _GivesOnce),
    _defect("hop-toggle-stuck", "gives every packet with the same toggle", "HOP-SEG-1", _ToggleStuck),
    _defect("toggles-kept", "keeps its toggles over a reset", "HOP-RESET-1", _KeepsToggles),
    _defect("long-packets-cut", "loses the last byte of a packet in several segments", "HOP-SEG-1", _LongPacketsCut),
    _defect("unannounced", "says 9000 where a segment waits", "HOP-SW-1", _Unannounced),
    _defect(
        "nothing-is-9000", "answers a poll with 9000 where nothing waits", "HOP-POLL-1", _answering(SW_NOTHING, SW_OK)
    ),
    _defect("senseless-taken", "takes segments that make no sense", "HOP-SEG-2", _answering(SW_SENSELESS, SW_OK)),
    _defect("headless-taken", "takes an ENVELOPE without a segment header", "HOP-SEG-3", _answering(SW_EMPTY, SW_OK)),
    _defect("plain-fetch-refused", "gives nothing to a reader that fetches by itself", "HOP-FETCH-1", _NoPlainFetch),
    _defect("nothing-inline", "T=1: announces what it could give at once", "HOP-FETCH-2", _NothingInline),
    _defect(
        "no-room-is-no-sense", "answers 6A80 where it has no room", "HOP-MEM-1", _answering(SW_NO_MEMORY, SW_SENSELESS)
    ),
    Defect(
        "every-class-is-the-hop",
        "takes ENVELOPE of any class for the hop's",
        "HOP-CLASS-1",
        card=lambda card: become(card, _EveryClass),
    ),
    Defect(
        "answer-interrupted",
        "forgets an answer when a packet waits",
        "HOP-WHOLE-1",
        card=lambda card: become(card, _Interrupted),
    ),
)
"""Every card whose side of the hop is wrong."""
