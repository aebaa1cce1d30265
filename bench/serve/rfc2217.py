"""A serial port over TCP: Telnet with the COM-PORT option (RFC 854, RFC 2217), the server's side, as a protocol without I/O.

Served are baud rate, parity, stop bits, RTS, DTR, the modem state and purging. There is no flow control and no break; a character has eight bits.
What a client asks for beyond that is answered with what holds, as RFC 2217 has it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Final

from bench.serve.uart import Parity, UartSettings

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
ACCEPTED: Final = frozenset({BINARY, SUPPRESS_GO_AHEAD, COM_PORT})
TO_CLIENT: Final = 100
"""Added to a command's number when the server speaks."""
SUBNEGOTIATION_MOST: Final = 256
BAUD_MOST: Final = 20_000_000
"""No card clock gives more."""


class Command(IntEnum):
    """Of the COM-PORT option (RFC 2217, section 3)."""

    SIGNATURE = 0
    SET_BAUDRATE = 1
    SET_DATASIZE = 2
    SET_PARITY = 3
    SET_STOPSIZE = 4
    SET_CONTROL = 5
    NOTIFY_LINESTATE = 6
    NOTIFY_MODEMSTATE = 7
    FLOWCONTROL_SUSPEND = 8
    FLOWCONTROL_RESUME = 9
    SET_LINESTATE_MASK = 10
    SET_MODEMSTATE_MASK = 11
    PURGE_DATA = 12


class Control(IntEnum):
    """Values of SET-CONTROL."""

    FLOW_REQUEST = 0
    FLOW_NONE = 1
    BREAK_REQUEST = 4
    BREAK_OFF = 6
    DTR_REQUEST = 7
    DTR_ON = 8
    DTR_OFF = 9
    RTS_REQUEST = 10
    RTS_ON = 11
    RTS_OFF = 12
    INBOUND_REQUEST = 13
    INBOUND_NONE = 14


class ModemState(IntFlag):
    """The lines a client sees, and which of them have changed."""

    CTS_CHANGED = 1
    DSR_CHANGED = 2
    CD_CHANGED = 8
    CTS = 16
    DSR = 32
    CD = 128


PARITIES: Final = {1: Parity.NONE, 2: Parity.ODD, 3: Parity.EVEN, 4: Parity.MARK, 5: Parity.SPACE}
STOP_BITS: Final = {1: 1, 2: 2, 3: 2}
"""One and a half stop bits are served as two."""
PRESENT: Final = ModemState.CTS | ModemState.DSR | ModemState.CD


@dataclass(frozen=True, slots=True)
class Data:
    """Characters to be sent."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """The port is set anew."""

    settings: UartSettings


@dataclass(frozen=True, slots=True)
class Lines:
    """RTS and DTR are now like this; True is on."""

    rts: bool
    dtr: bool


@dataclass(frozen=True, slots=True)
class Purge:
    """What waits to be read, or to be sent, is to be dropped."""

    receive: bool
    transmit: bool


Event = Data | Settings | Lines | Purge


class Rfc2217Server:
    """One connection. ``feed`` gives what the client asks of the port, in order; ``reply`` collects what it is to be sent."""

    def __init__(self) -> None:
        self.reply = bytearray()
        self.settings = UartSettings()
        self.rts = True
        self.dtr = True
        """As after opening a port."""
        self.suspended = False
        """The client wants no data for now."""
        self.com_port = False
        """The client has agreed to the COM-PORT option."""
        self._state = ModemState(0)
        self._mask = 0xFF
        self._buffer = bytearray()
        self._negotiation: int | None = None
        self._sub: bytearray | None = None
        self._escaped = False
        self._said: set[tuple[int, int]] = set()
        for verb, option in ((WILL, BINARY), (DO, BINARY), (WILL, SUPPRESS_GO_AHEAD), (DO, COM_PORT)):
            self._say(verb, option)

    def data(self, data: bytes) -> bytes:
        """Characters for the client as they travel."""
        return data.replace(b"\xff", b"\xff\xff")

    def modem_state(self, state: ModemState) -> None:
        """The lines towards the client are now like this (changes are worked out here)."""
        changed = (state ^ self._state) & PRESENT
        self._state = state
        if changed and self.com_port:
            self._notify(changed)

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the client wants; whatever makes no sense is left out."""
        for byte in data:
            if self._negotiation is not None:
                verb, self._negotiation = self._negotiation, None
                yield from self._characters()
                self._negotiate(verb, byte)
            elif self._escaped:
                self._escaped = False
                yield from self._command(byte)
            elif byte == IAC:
                self._escaped = True
            else:
                self._take(byte)
        yield from self._characters()

    # -- Telnet ----------------------------------------------------------------------------------------------------------------

    def _take(self, byte: int) -> None:
        if self._sub is None:
            self._buffer.append(byte)
        elif len(self._sub) < SUBNEGOTIATION_MOST:
            self._sub.append(byte)

    def _characters(self) -> Iterator[Event]:
        if self._buffer:
            yield Data(bytes(self._buffer))
            self._buffer.clear()

    def _command(self, byte: int) -> Iterator[Event]:
        if byte == IAC:
            self._take(IAC)
        elif byte in (DO, DONT, WILL, WONT):
            self._negotiation = byte
        elif byte == SB:
            yield from self._characters()
            self._sub = bytearray()
        elif byte == SE and self._sub is not None:
            sub, self._sub = bytes(self._sub), None
            if len(sub) >= 2 and sub[0] == COM_PORT:
                yield from self._com_port(sub[1], sub[2:])

    def _negotiate(self, verb: int, option: int) -> None:
        """Agree to what is known, once; refuse the rest."""
        if verb in (DONT, WONT):
            return
        if option not in ACCEPTED:
            self._say(WONT if verb == DO else DONT, option, always=True)
            return
        self._say(WILL if verb == DO else DO, option)
        if option == COM_PORT and not self.com_port:
            self.com_port = True
            self._notify(ModemState(0))

    def _say(self, verb: int, option: int, *, always: bool = False) -> None:
        if always or (verb, option) not in self._said:
            self._said.add((verb, option))
            self.reply += bytes((IAC, verb, option))

    # -- the COM-PORT option ---------------------------------------------------------------------------------------------------

    def _com_port(self, command: int, value: bytes) -> Iterator[Event]:
        match command:
            case Command.SET_BAUDRATE if len(value) == 4:
                yield from self._baud(int.from_bytes(value, "big"))
            case Command.SET_DATASIZE:
                self._answer(command, b"\x08")
            case Command.SET_PARITY if len(value) == 1:
                if value[0] in PARITIES:
                    yield from self._set(replace(self.settings, parity=PARITIES[value[0]]))
                holds = next(code for code, parity in PARITIES.items() if parity is self.settings.parity)
                self._answer(command, bytes((holds,)))
            case Command.SET_STOPSIZE if len(value) == 1:
                if value[0] in STOP_BITS:
                    yield from self._set(replace(self.settings, stop_bits=STOP_BITS[value[0]]))
                self._answer(command, bytes((self.settings.stop_bits,)))
            case Command.SET_CONTROL if len(value) == 1:
                yield from self._control(value[0])
            case Command.PURGE_DATA if len(value) == 1 and 1 <= value[0] <= 3:
                yield Purge(receive=bool(value[0] & 1), transmit=bool(value[0] & 2))
                self._answer(command, value)
            case Command.SET_MODEMSTATE_MASK | Command.SET_LINESTATE_MASK if len(value) == 1:
                if command == Command.SET_MODEMSTATE_MASK:
                    self._mask = value[0]
                self._answer(command, value)
            case Command.NOTIFY_MODEMSTATE:
                self._notify(ModemState(0))
            case Command.FLOWCONTROL_SUSPEND | Command.FLOWCONTROL_RESUME:
                self.suspended = command == Command.FLOWCONTROL_SUSPEND
            case Command.SIGNATURE if not value:
                self._answer(command, b"cardbench")
            case _:
                pass

    def _baud(self, baud: int) -> Iterator[Event]:
        if 0 < baud <= BAUD_MOST:
            yield from self._set(replace(self.settings, baud=baud))
        self._answer(Command.SET_BAUDRATE, self.settings.baud.to_bytes(4, "big"))

    def _set(self, settings: UartSettings) -> Iterator[Event]:
        if settings != self.settings:
            self.settings = settings
            yield Settings(settings)

    def _control(self, value: int) -> Iterator[Event]:
        if value in (Control.RTS_ON, Control.RTS_OFF):
            self.rts = value == Control.RTS_ON
            yield Lines(self.rts, self.dtr)
        elif value in (Control.DTR_ON, Control.DTR_OFF):
            self.dtr = value == Control.DTR_ON
            yield Lines(self.rts, self.dtr)
        if value <= 3 or value >= 17:
            holds = Control.FLOW_NONE
        elif value <= Control.BREAK_OFF:
            holds = Control.BREAK_OFF
        elif value <= Control.DTR_OFF:
            holds = Control.DTR_ON if self.dtr else Control.DTR_OFF
        elif value <= Control.RTS_OFF:
            holds = Control.RTS_ON if self.rts else Control.RTS_OFF
        else:
            holds = Control.INBOUND_NONE
        self._answer(Command.SET_CONTROL, bytes((holds,)))

    def _notify(self, changed: ModemState) -> None:
        bits = 0
        for line, bit in (
            (ModemState.CTS, ModemState.CTS_CHANGED),
            (ModemState.DSR, ModemState.DSR_CHANGED),
            (ModemState.CD, ModemState.CD_CHANGED),
        ):
            bits |= bit if changed & line else 0
        if not changed or (self._state | bits | changed) & self._mask:
            self._answer(Command.NOTIFY_MODEMSTATE, bytes(((self._state | bits) & self._mask,)))

    def _answer(self, command: int, value: bytes) -> None:
        body = bytes((COM_PORT, command + TO_CLIENT)) + self.data(value)
        self.reply += bytes((IAC, SB)) + body + bytes((IAC, SE))
