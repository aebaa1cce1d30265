"""APDUs over TPDUs of T=0 (ISO/IEC 7816-3:2006, 12.2): the terminal's side and the card's, as machines without I/O.

A case 4 command that a card answers with 9000 is taken as ended (12.2.5 lets a terminal fetch then, too: there is nothing to fetch from a card
that did not say 61xx, and libccid leaves it to the application as well).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.iso7816.apdu import (
    CHAINING_BIT,
    SHORT_DATA_MAX,
    CommandApdu,
    Ins,
    ResponseApdu,
    StatusWord,
    get_response,
    map_to_t0,
    parse_command,
)
from bench.iso7816.compact_tlv import CompactTag, parse_historical
from bench.iso7816.errors import ApduError, CompactTlvError
from bench.iso7816.t0 import Later, Reply

_FIRST_INTERINDUSTRY: Final = 0xF0
"""Classes 0X, in which b5 says that the command is not the last of its chain (ISO/IEC 7816-4, 5.4.1)."""


def chain_of(command: CommandApdu) -> list[bytes]:
    """The TPDUs of a command whose data go in a chain (ISO/IEC 7816-4, 5.3.3): class with b5 but for the last."""
    pieces = [command.data[at : at + SHORT_DATA_MAX] for at in range(0, len(command.data), SHORT_DATA_MAX)]
    last = len(pieces) - 1
    rest = command.header[1:4]
    return [
        bytes((command.cla | (CHAINING_BIT if index < last else 0),)) + rest + bytes((len(piece),)) + piece
        for index, piece in enumerate(pieces)
    ]


def takes_chains(historical_bytes: bytes) -> bool:
    """Whether a card says that it supports command chaining: third software function byte, b8 (ISO/IEC 7816-4, 12.1.1.8)."""
    try:
        historical = parse_historical(historical_bytes)
    except CompactTlvError:
        return False
    objects = () if historical is None else historical.objects
    return any(
        each.tag == CompactTag.CARD_CAPABILITIES and len(each.value) == 3 and each.value[2] & 0x80 for each in objects
    )


@dataclass(frozen=True, slots=True)
class Tpdu:
    """What the terminal sends next."""

    data: bytes


class ApduOverT0:
    """The terminal's side of one APDU. ``step`` gives the next TPDU, or the whole response when it is there."""

    def __init__(self, command: CommandApdu, *, chaining: bool = False) -> None:
        """``chaining``: the card takes command chaining, so data longer than one TPDU go as a chain rather than in ENVELOPEs."""
        self._cla = command.cla
        if chaining and len(command.data) > SHORT_DATA_MAX and command.cla & _FIRST_INTERINDUSTRY == 0:
            self._commands = chain_of(command)
            self._le = command.le
        else:
            mapping = map_to_t0(command)
            self._commands = [tpdu.header + tpdu.data for tpdu in mapping.commands]
            self._le = mapping.le
        self._at = 0
        self._data = bytearray()
        self._last = b""
        self._corrected = False

    def start(self) -> Tpdu:
        """The first TPDU."""
        return self._send(self._commands[0])

    def step(self, response: bytes) -> Tpdu | ResponseApdu:
        """The answer to the TPDU last given (data and status word)."""
        sw1, sw2 = response[-2], response[-1]
        self._data += response[:-2]
        sw = sw1 << 8 | sw2
        if self._at + 1 < len(self._commands):
            if sw != 0x9000:
                return ResponseApdu(bytes(self._data), sw)
            self._at += 1
            return self._send(self._commands[self._at])
        bare = len(response) == 2
        if sw1 == 0x6C and bare and not self._corrected:  # once: a card that goes on correcting itself would never end
            self._corrected = True
            return self._send(self._last[:4] + bytes((sw2,)))
        fetched = self._last[1] == Ins.GET_RESPONSE
        if sw1 == 0x61 and self._le is not None and len(self._data) < self._le and not (bare and fetched):
            self._corrected = False
            wanted = min(sw2 or 256, self._le - len(self._data), 256)
            return self._send(get_response(self._cla, wanted).header)
        return ResponseApdu(bytes(self._data), sw)

    def _send(self, tpdu: bytes) -> Tpdu:
        self._last = tpdu
        return Tpdu(tpdu)


Application = Callable[[CommandApdu, Callable[[ResponseApdu], None]], ResponseApdu | None]
"""What stands above: a command in; its answer out, or None and the answer later through the function given."""


class ApduInT0Card:
    """The card's side: puts TPDUs together to commands and hands responses out piece by piece."""

    LONGEST = 65_548
    """A command gathered from ENVELOPEs may not be longer (7816-3, 12.1.3: 4 + 3 + 65 535 + 3, and some air)."""

    def __init__(self, application: Application, *, chaining: bool = False) -> None:
        self.application = application
        self.chaining = chaining
        """Whether class 1X begins or goes on with a chain of commands; else it is a class like any other."""
        self._chain = b""
        """CLA (without b5), INS, P1, P2 of the chain under way."""
        self._gathered = bytearray()
        self._waiting = b""
        self._sw = 0x9000

    def reset(self) -> None:
        self._forget_chain()
        self._waiting = b""

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        """One TPDU of class 0X to 7X."""
        cla, ins, p1, p2, p3 = header
        if self._chain or (self.chaining and cla & _FIRST_INTERINDUSTRY == CHAINING_BIT):
            return self._link(header, data, later)
        if ins == Ins.GET_RESPONSE:
            return self._fetch(p3 or 256)
        self._waiting = b""
        if ins == Ins.ENVELOPE and p1 == p2 == 0:
            return self._envelope(data, later)
        self._gathered.clear()
        if data:
            command = CommandApdu(cla, ins, p1, p2, data, 256)
            return self._run(command, lambda response: self._announce(response), later)
        command = CommandApdu(cla, ins, p1, p2, b"", p3 or 256)
        return self._run(command, lambda response: self._direct(response, p3), later)

    def _link(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        """One command of a chain, which only the same CLA (b5 apart), INS, P1 and P2 go on with (5.3.3)."""
        cla = header[0] & ~CHAINING_BIT
        name = bytes((cla,)) + header[1:4]
        if self._chain and name != self._chain:
            self._forget_chain()
            return Reply(b"", StatusWord.LAST_COMMAND_OF_CHAIN_EXPECTED)
        if not self._chain:
            self._gathered.clear()
        self._waiting = b""
        if len(self._gathered) + len(data) > self.LONGEST:
            self._forget_chain()
            return Reply(b"", StatusWord.WRONG_LENGTH)
        self._gathered += data
        if header[0] & CHAINING_BIT:
            self._chain = name
            return Reply(b"", 0x9000)
        command = CommandApdu(cla, header[1], header[2], header[3], bytes(self._gathered), 256)
        self._forget_chain()
        return self._run(command, lambda response: self._announce(response), later)

    def _forget_chain(self) -> None:
        self._chain = b""
        self._gathered.clear()

    def _run(self, command: CommandApdu, shape: Callable[[ResponseApdu], Reply], later: Later) -> Reply | None:
        response = self.application(command, lambda answer: later(shape(answer)))
        return shape(response) if response is not None else None

    def _envelope(self, data: bytes, later: Later) -> Reply | None:
        if data:
            if len(self._gathered) + len(data) > self.LONGEST:
                self._gathered.clear()
                return Reply(b"", 0x6700)
            self._gathered += data
            return Reply(b"", 0x9000)
        whole = bytes(self._gathered)
        self._gathered.clear()
        try:
            command = parse_command(whole)
        except ApduError:
            return Reply(b"", 0x6700)
        return self._run(command, lambda response: self._announce(response), later)

    def _announce(self, response: ResponseApdu) -> Reply:
        if not response.data:
            return Reply(b"", response.sw)
        self._waiting = response.data
        self._sw = response.sw
        return Reply(b"", 0x6100 | (len(response.data) if len(response.data) < 256 else 0))

    def _direct(self, response: ResponseApdu, p3: int) -> Reply:
        size = len(response.data)
        if not size:
            return Reply(b"", response.sw)
        if size < (p3 or 256):
            return Reply(b"", 0x6C00 | size)
        if size == (p3 or 256):
            return Reply(response.data, response.sw)
        self._waiting = response.data[p3 or 256 :]
        self._sw = response.sw
        return Reply(response.data[: p3 or 256], 0x6100 | (len(self._waiting) if len(self._waiting) < 256 else 0))

    def _fetch(self, le: int) -> Reply:
        waiting = self._waiting
        if not waiting:
            return Reply(b"", 0x6985)
        if le > len(waiting):
            return Reply(b"", 0x6C00 | len(waiting))
        self._waiting = waiting[le:]
        if self._waiting:
            return Reply(waiting[:le], 0x6100 | (len(self._waiting) if len(self._waiting) < 256 else 0))
        return Reply(waiting[:le], self._sw)
