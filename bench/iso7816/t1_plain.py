"""The exchange of T=1 in which nothing is amiss (ISO/IEC 7816-3:2006, 11.6.2, rules 1, 2 and 5), terminal's side, a fifth of the machine's work.

For lines whose times somebody else keeps (a reader at TPDU level). Only the one block that rules 1, 2 and 5 expect next is taken here. With
any other one the exchange is the machine's (`t1_terminal`): begun there and told what has been heard, it stands where this stands, since it makes
the same blocks out of the same answers.
"""

from __future__ import annotations

from typing import Final

from bench.iso7816.t1_block import PROLOGUE, RBlock, encode_block
from bench.iso7816.t1_outcome import RESPONSE_MAX
from bench.iso7816.t1_terminal import T1Terminal

_N_S: Final = 0x40
_MORE: Final = 0x20


class PlainT1:
    """One exchange after the other, over the logical connection 00, beside a terminal that is idle meanwhile."""

    def __init__(self, terminal: T1Terminal) -> None:
        self.terminal = terminal
        self.ended = False
        """Whether the last exchange came to its end here; then there are its ``response`` and ``characters``."""
        self.response = b""
        self.characters = 0
        """Of all blocks, both ways."""
        self.heard: list[bytes] = []
        """The card's blocks of this exchange, for the machine."""
        self._edc = terminal.edc
        self._acknowledges = tuple(encode_block(RBlock(0, number), self._edc) for number in (0, 1))
        self._command = b""
        self._sent = 0
        self._send = 0
        self._receive = 0
        self._received = b""

    def begin(self, command: bytes) -> bytes | None:
        """The first block; None where the terminal has something else to do first, or is watched."""
        self.ended = False
        self.heard.clear()
        numbers = self.terminal.numbers_at_rest()
        if numbers is None:
            return None
        self._send, self._receive = numbers.send, numbers.receive
        self._command = command
        self._sent = self.characters = 0
        self._received = b""
        return self._next()

    def hear(self, block: bytes) -> bytes | None:
        """The block that follows; None where the exchange has ended, or is the machine's to go on with."""
        self.heard.append(block)
        self.characters += len(block)
        if self._sent < len(self._command):
            return self._next() if block == self._acknowledges[self._send] else None
        end = len(block) - self._edc.size
        length = end - PROLOGUE
        if length < 0 or block[0] or block[2] != length or length > self.terminal.ifsd:
            return None
        more = block[1] & _MORE
        if block[1] != self._receive * _N_S + more or not self._edc.sound(block, end):
            return None
        if more and not length:
            return None
        self._received += block[PROLOGUE:end]
        if len(self._received) > RESPONSE_MAX:
            return None
        self._receive ^= 1
        if more:
            block = self._acknowledges[self._receive]
            self.characters += len(block)
            return block
        self.response = self._received
        self.ended = True
        self.terminal.rest(self._send, self._receive)
        return None

    def _next(self) -> bytes:
        """The command's next block."""
        piece = self._command[self._sent : self._sent + self.terminal.ifsc]
        self._sent += len(piece)
        pcb = self._send * _N_S + (_MORE if self._sent < len(self._command) else 0)
        self._send ^= 1
        block = bytes((0, pcb, len(piece))) + piece
        block += self._edc.compute(block)
        self.characters += len(block)
        return block
