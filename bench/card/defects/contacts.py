"""Cards that are wrong at their contacts: answer to reset, resets, PPS, and the procedure of T=0 (ISO/IEC 7816-3:2006, clauses 6 to 10)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from bench.card.card import Card
from bench.card.contacts import Contacts
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.card.defects.timing import Mistimed
from bench.card.pps_behaviour import PpsBehaviour
from bench.iso7816.line import Burst, CardEnd
from bench.iso7816.pps import PPSS
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import Reply, T0Card

DEAF_AFTER: Final = 2
"""Resets that a card survives which does not survive more."""


class _WrongAnswer(Mistimed):
    """The answer to reset is another one on the line than the card means to send."""

    def __init__(self, end: CardEnd, change: Callable[[bytes], bytes]) -> None:
        super().__init__(end)
        self.change = change

    def altered(self, burst: Burst) -> list[Burst]:
        return [replace(burst, data=self.change(burst.data))] if burst is self.atr else [burst]


def _wrong_ts(atr: bytes) -> bytes:
    return b"\x3c" + atr[1:]


def _wrong_tck(atr: bytes) -> bytes:
    """The last character is TCK where T=1 is offered; one that is right without it is told by one that is not asked for."""
    return atr[:-1] + bytes((atr[-1] ^ 1,))


def _promises_more(atr: bytes) -> bytes:
    return atr[:1] + bytes((atr[1] & 0xF0 | min(15, (atr[1] & 15) + 1),)) + atr[2:]


class _HurriedPps(Mistimed):
    """The characters of a PPS response are 11 etu apart."""

    def altered(self, burst: Burst) -> list[Burst]:
        return [replace(burst, pitch=11 * burst.etu)] if burst.data[0] == PPSS else [burst]


class _DeafToWarm(Contacts):
    def reset(self, now: int) -> None:
        """A warm reset leaves it as it was: no answer comes."""


class _DeafAfterSome(Contacts):
    resets = 0

    def _reset(self, now: int, answer: bytes) -> None:
        self.resets += 1
        if self.resets <= DEAF_AFTER:
            super()._reset(now, answer)


class _FirstProtocol(Contacts):
    def _speak(self, protocol: int, rate: Rate) -> None:
        del protocol
        super()._speak(self.atr.first_protocol, rate)


class _T0Contacts(Contacts):
    """Speaks T=0 with another machine than the reference one. Subclasses say which."""

    machine = T0Card

    def _speak(self, protocol: int, rate: Rate) -> None:
        super()._speak(protocol, rate)
        if isinstance(self._machine, T0Card):
            become(self._machine, self.machine)


class _NoNulls(T0Card):
    def _next_reminder(self) -> None:
        self.deadline = None if self._pending is None else self._pending_at


class _WrongAck(T0Card):
    """It acknowledges an instruction that is not the one it was given."""

    def _emit(self, data: bytes, start: int) -> Burst:
        return super()._emit(bytes((data[0] ^ 0x04,)) if len(data) == 1 else data, start)


class _SilentSecond(T0Card):
    """What was refused once is not repeated."""

    def signalled(self, burst: Burst, index: int) -> Burst | None:
        del burst, index
        return None


class _SwappedStatus(T0Card):
    def _answer_bytes(self, reply: Reply) -> bytes:
        answer = super()._answer_bytes(reply)
        return answer[:-2] + answer[:-3:-1] if reply.data else answer


def _speaking(machine: type[T0Card]) -> Callable[[Card], None]:
    contacts = type(f"ContactsWith{machine.__name__}", (_T0Contacts,), {"machine": machine})
    return lambda card: become(card.contacts, contacts)


def _contacts(kind: type[Contacts]) -> Callable[[Card], None]:
    return lambda card: become(card.contacts, kind)


def _class_a_alone(card: Card) -> None:
    card.contacts.traits = replace(card.contacts.traits, classes="A")


DEFECTS: Final = (
    Defect("ts-wrong", "begins its answer to reset with 3C", "ATR-TS-1", end=partial(_WrongAnswer, change=_wrong_ts)),
    Defect(
        "atr-announces-more",
        "announces one historical byte more than it sends",
        "ATR-LEN-1",
        end=partial(_WrongAnswer, change=_promises_more),
    ),
    Defect(
        "tck-wrong",
        "ends its answer to reset with a wrong TCK where T=1 is offered",
        "ATR-TCK-1",
        end=partial(_WrongAnswer, change=_wrong_tck),
    ),
    Defect("warm-reset-ignored", "does not answer a warm reset", "ATR-WARM-1", card=_contacts(_DeafToWarm)),
    Defect("third-reset-ignored", "answers two resets and no more", "ATR-AGAIN-1", card=_contacts(_DeafAfterSome)),
    Defect("classes-overstated", "works in class A alone, whatever it names", "ATR-CLASS-1", card=_class_a_alone),
    Defect(
        "pps-not-applied",
        "accepts a PPS request and stays at the rate it had",
        "PPS-2",
        profile=lambda profile: replace(profile, pps=PpsBehaviour.NOT_SWITCHED),
        disturbs=True,
    ),
    Defect("pps-hurried", "sends the characters of a PPS response 11 etu apart", "PPS-4", end=_HurriedPps),
    Defect(
        "first-protocol-kept",
        "stays with its first protocol, whatever PPS says",
        "T1-PPS-1",
        card=_contacts(_FirstProtocol),
    ),
    Defect("nulls-missing", "sends no NULL while it works", "T0-NULL-1", card=_speaking(_NoNulls)),
    Defect("procedure-byte-wrong", "acknowledges with another instruction", "IPSC-LAYER2-1", card=_speaking(_WrongAck)),
    Defect("not-repeated", "does not repeat a character that was refused", "CHAR-ERR-3", card=_speaking(_SilentSecond)),
    Defect("status-swapped", "sends SW2 before SW1 after data", "APDU-READ-1", card=_speaking(_SwappedStatus)),
)
"""Every card that is wrong at its contacts, or in T=0."""
