"""Cards whose T=1 is wrong: error detection code, sequence number, chaining, S-blocks, waiting time (ISO/IEC 7816-3:2006, clause 11)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench.card.card import Card
from bench.card.contacts import Contacts
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t1_block import Block, IBlock, RBlock, swap_nad
from bench.iso7816.t1_card import T1Card

WAITED_TOO_LONG: Final = 2
"""How many times the block waiting time passes until the block of an overrun comes."""


class _T1Contacts(Contacts):
    """Speaks T=1 with another machine than the reference one. Subclasses say which."""

    machine = T1Card

    def _speak(self, protocol: int, rate: Rate) -> None:
        super()._speak(protocol, rate)
        if isinstance(self._machine, T1Card):
            become(self._machine, self.machine)
            actions = self._machine._actions
            for action, method in actions.items():  # they are methods in hand
                actions[action] = getattr(self._machine, method.__name__)


class _WrongCode(T1Card):
    def _send(self, block: Block) -> Burst:
        burst = super()._send(block)
        return replace(burst, data=burst.data[:-1] + bytes((burst.data[-1] ^ 1,)))


class _SequenceStuck(T1Card):
    def _send_i(self, block: object) -> Burst:
        burst = super()._send_i(block)
        self._connection.send = 0
        return burst


class _AcknowledgesWrong(T1Card):
    """Asks, within a chain, for the block that it has just got."""

    def _send_r(self, _block: object) -> Burst:
        return self._send(RBlock(self._connection.nad_out, self._connection.receive ^ 1))


class _ChainCutShort(T1Card):
    """The last block of a chain lacks its last byte."""

    def _send(self, block: Block) -> Burst:
        if isinstance(block, IBlock) and not block.more and self._connection.sent > self.ifsd:
            block = replace(block, inf=block.inf[:-1])
        return super()._send(block)


class _IfsUnanswered(T1Card):
    def _accept_ifs(self, block: object) -> Burst:
        return replace(super()._accept_ifs(block), data=b"")


class _Overruns(T1Card):
    """Asks for more time, is granted it, and is later still."""

    def _resume(self, block: object) -> Burst | None:
        burst = super()._resume(block)
        late = WAITED_TOO_LONG * self.timing.bwt * self._multiplier
        return burst if burst is None else replace(burst, start=burst.start + late)


class _OwnNad(T1Card):
    def _send(self, block: Block) -> Burst:
        return super()._send(replace(block, nad=swap_nad(block.nad) ^ 0x10))


def _speaking(machine: type[T1Card]) -> Callable[[Card], None]:
    contacts = type(f"ContactsWith{machine.__name__}", (_T1Contacts,), {"machine": machine, "_send": _send_something})
    return lambda card: become(card.contacts, contacts)


def _send_something(contacts: Contacts, burst: Burst | None) -> None:
    """A block without bytes is one that is not sent."""
    Contacts._send(contacts, burst if burst is None or burst.data else None)


DEFECTS: Final = (
    Defect("edc-wrong", "T=1: ends its blocks with a wrong code", "T1-EDC-1", card=_speaking(_WrongCode)),
    Defect("sequence-stuck", "T=1: numbers every I-block 0", "T1-CHAIN-1", card=_speaking(_SequenceStuck)),
    Defect(
        "asks-for-the-same",
        "T=1: asks for the block that it has just got",
        "T1-CHAIN-1",
        card=_speaking(_AcknowledgesWrong),
    ),
    Defect("chain-cut-short", "T=1: loses the last byte of a chain", "T1-CHAIN-1", card=_speaking(_ChainCutShort)),
    Defect("ifs-unanswered", "T=1: does not answer S(IFS request)", "T1-IFS-1", card=_speaking(_IfsUnanswered)),
    Defect(
        "wtx-overrun",
        "T=1: asks for more time, is granted it, and is later still",
        "T1-WT-2",
        profile=lambda profile: replace(profile, wtxs=1),
        card=_speaking(_Overruns),
    ),
    Defect("nad-wrong", "T=1: answers from another node than was asked", "T1-EDC-1", card=_speaking(_OwnNad)),
)
"""Every card whose T=1 is wrong."""
