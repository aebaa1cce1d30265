"""A serial line in virtual time between a PPP program and the external support: full duplex, as fast as its rate, with bits that flip where asked.

Units: times are ticks of the engine's timebase, lengths are bytes.
"""

from collections import deque
from random import Random
from typing import Final

from bench.engine import Engine
from bench.host.external_support_hop import SupportPlug
from bench.host.ppp import PppEnd, PppOffer

BITS: Final = 10
"""Of a character: start, eight, stop."""
PIECE: Final = 64
"""Octets that arrive together, as from a UART's buffer."""


class SerialLine:
    """``end`` is the program's side, a PPP peer of the card behind ``plug``."""

    def __init__(
        self, engine: Engine, plug: SupportPlug, offer: PppOffer, baud: int, *, seed: int = 1, errors: float = 0.0
    ) -> None:
        """``errors``: the probability that an octet arrives with a wrong bit, both ways."""
        self.engine = engine
        self.plug = plug
        self.octet = -(-engine.timebase.hz * BITS // baud)
        self.errors = errors
        self.end = PppEnd(engine, offer, self._from_program, hdlc=True, seed=seed)
        self.looped = False
        """What the program sends comes back to it, and the card hears nothing."""
        self._chance = Random(seed)
        self._out: deque[bytes] = deque()
        self._outward = False
        self._inward = False
        plug.on_octets = self._to_program

    @property
    def waiting(self) -> int:
        """Octets that the program has written and the line has not carried."""
        return sum(map(len, self._out))

    def _from_program(self, data: bytes) -> None:
        self._out.extend(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        if not self._outward:
            self._carry_out()

    def _carry_out(self) -> None:
        self._outward = bool(self._out)
        if self._outward:
            piece = self._out.popleft()
            self.engine.after(len(piece) * self.octet, lambda: self._arrived(piece))

    def _arrived(self, piece: bytes) -> None:
        if self.looped:
            self.end.receive(self._spoilt(piece))
        else:
            self.plug.octets(self._spoilt(piece))
        self._carry_out()

    def _to_program(self) -> None:
        if self._inward:
            return
        data = self.plug.support.take_octets(self.engine.now)
        if data:
            self._inward = True
            self.engine.after(len(data) * self.octet, lambda: self._read(data))

    def _read(self, data: bytes) -> None:
        self._inward = False
        if not self.looped:
            self.end.receive(self._spoilt(data))
        self._to_program()

    def _spoilt(self, data: bytes) -> bytes:
        if not self.errors:
            return data
        chance = self._chance
        return bytes(each ^ 1 << chance.randrange(8) if chance.random() < self.errors else each for each in data)
