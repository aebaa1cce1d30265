"""What an APDU would take on the card's own contacts: pacing for transports that have no line (ISO/IEC 7816-3:2006, clauses 10 and 12.2).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from dataclasses import dataclass
from typing import Final

from bench.hop.limit import T0Limit
from bench.iso7816.apdu import parse_command
from bench.iso7816.errors import ApduError

SHORT: Final = 255
"""Bytes of data that one TPDU of T=0 carries to the card; 256 from it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Ticks an APDU takes as TPDUs of T=0: the shortest exchanges on that line, the card's declared time in each."""

    line: T0Limit

    def ticks(self, command: bytes, response: bytes) -> int:
        """From the command's first character to where the next command could begin. What is no APDU counts as a bare header."""
        line = self.line
        try:
            there = len(parse_command(command).data)
        except ApduError:
            return line.status()
        back = max(0, len(response) - 2)
        ticks = 0
        if there > SHORT:  # extended: the whole APDU travels in ENVELOPEs, and an empty one ends it
            ticks += sum(line.envelope(piece) for piece in _pieces(len(command), SHORT)) + line.status()
        elif there:
            ticks += line.envelope(there)
        if back:
            ticks += sum(line.fetch(piece) for piece in _pieces(back, SHORT + 1))
        return ticks or line.status()


def _pieces(length: int, most: int) -> list[int]:
    whole, rest = divmod(length, most)
    return [most] * whole + ([rest] if rest else [])
