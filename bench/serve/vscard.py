"""The card side of QEMU's passed-through smart card (``-device ccid-card-passthru``): QEMU's own CCID reader, ``usb-ccid``, has it on its contacts.

The protocol is VSCard of libcacard: a header of type, reader and length (four bytes each, big-endian), then the payload. The card connects
to QEMU's character device (AF_UNIX or TCP), both sides introduce themselves, the card names its reader, and puts itself in by its answer to reset.

What QEMU's reader is: T=0 at TPDU level, one slot, rate and voltage its own choice. It does not pass power on or off to the card: only a card that is
taken out and put in again is reset. It drops answers of more than 374 bytes.
"""

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from bench.ccid.codes import PowerSelect
from bench.ccid.slot import SlotAnswer
from bench.engine import VirtualEngine
from bench.iso7816.line import CardEnd
from bench.readers.tpdu import SlotTraits, TpduSlot
from bench.serve.loop import ServeLoop, received, send_whole
from bench.serve.slaved import LEAP_MOST_NS, SlavedEngine

MAGIC: Final = b"VSCD"
VERSION: Final = 2
"""0.0.2: eleven, eleven and ten bits."""
NO_READER: Final = 0xFFFF_FFFF
READER: Final = 0
LONGEST: Final = 65_536
"""No payload is longer: an APDU, or less."""
NAME: Final = b"cardbench"
_HEADER: Final = Struct(">III")


class Kind(IntEnum):
    """Type of a message."""

    INIT = 1
    ERROR = 2
    READER_ADD = 3
    READER_REMOVE = 4
    ATR = 5
    CARD_REMOVE = 6
    APDU = 7
    FLUSH = 8
    FLUSH_COMPLETE = 9


class Code(IntEnum):
    """What an ERROR says; the first one is none."""

    SUCCESS = 0
    GENERAL_ERROR = 1
    CANNOT_ADD_MORE_READERS = 2
    CARD_ALREADY_INSERTED = 3


class VscardError(Exception):
    """What came is not the VSCard protocol, or the other side refused."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    kind: int
    reader: int = READER
    payload: bytes = b""

    def encode(self) -> bytes:
        return _HEADER.pack(self.kind, self.reader, len(self.payload)) + self.payload


def init() -> Message:
    """How either side introduces itself: the magic word as it is, the version, no capabilities."""
    return Message(Kind.INIT, NO_READER, MAGIC + VERSION.to_bytes(4, "big") + bytes(4))


class Messages:
    """Cuts what the socket gives into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. Raises VscardError for a length that cannot be: nothing after it can be trusted."""
        buffer = self._buffer
        buffer += data
        found = []
        while len(buffer) >= _HEADER.size:
            kind, reader, length = _HEADER.unpack_from(buffer)
            if length > LONGEST:
                raise VscardError(f"message of type {kind}: length {length}; expected {LONGEST} at most")
            end = _HEADER.size + length
            if len(buffer) < end:
                break
            found.append(Message(kind, reader, bytes(buffer[_HEADER.size : end])))
            del buffer[:end]
        return found


@dataclass(frozen=True, slots=True)
class Due:
    """An answer, and the engine's time at which it exists."""

    message: Message
    tick: int


class ServedContacts:
    """A software card on a terminal that makes its TPDUs, in the world's time."""

    def __init__(self, engine: VirtualEngine, card: CardEnd, atr: bytes, clock_hz: int, *, paced: bool = False) -> None:
        """``clock_hz`` must be a clock of the engine's timebase."""
        self.atr = atr
        self.paced = paced
        self.slaved = SlavedEngine(engine)
        self.held: list[Due] = []
        """What is to be sent, in order."""
        traits = SlotTraits((clock_hz,), maximum_rate_bps=clock_hz, auto_parameters=True, auto_pps=True)
        self._slot = TpduSlot(engine, traits)
        self._card = card
        self._leap_most = engine.timebase.nanoseconds(LEAP_MOST_NS)
        self._up = ""
        """Why the card has no power, or nothing."""

    def on(self) -> str:
        """Put the card in and power it; gives what went wrong, or nothing."""
        self.slaved.follow()
        self._up = "did not answer to reset"
        self._slot.insert(self._card)

        def answered(answer: SlotAnswer) -> None:
            self._up = answer.text or f"error {answer.error:02X}" if answer.error is not None else ""

        self._slot.power_on(PowerSelect.V5, answered)
        self._reach(lambda: self._up != "did not answer to reset")
        return self._up

    def off(self) -> None:
        """Take the card out: it loses power, and what was on its way is lost."""
        self.held.clear()
        self._slot.remove()
        self._up = "is not in the reader"

    def command(self, data: bytes) -> None:
        """A TPDU for the card; what goes out is in ``held`` when the answer exists."""
        now = self.slaved.follow()
        if self._up or len(data) < 4:
            self.held.append(Due(_error(), now))
            return
        answered = False

        def done(answer: SlotAnswer) -> None:
            nonlocal answered
            answered = True
            message = Message(Kind.APDU, READER, answer.data) if answer.error is None else _error()
            self.held.append(Due(message, self.slaved.engine.now))

        self._slot.transfer(data, 0, 0, done)
        self._reach(lambda: answered)

    def take_due(self) -> bytes:
        """What may go out now."""
        wall = self.slaved.wall if self.paced else 0
        data = b""
        while self.held and (not self.paced or self.held[0].tick <= wall):
            data += self.held.pop(0).message.encode()
        return data

    def sleep(self, longest: float) -> float:
        """Seconds until there is something to do or to send, at most ``longest``."""
        longest = self.slaved.sleep(longest)
        return min(longest, self.slaved.seconds_until(self.held[0].tick)) if self.held else longest

    def _reach(self, done: Callable[[], bool]) -> None:
        self.slaved.reach(done, self._leap_most, keep=not self.paced)


def _error() -> Message:
    return Message(Kind.ERROR, READER, int(Code.GENERAL_ERROR).to_bytes(4, "big"))


class VscardLoop(ServeLoop):
    """Serves one card to one QEMU, until that closes the connection or it breaks."""

    def __init__(self, connection: socket.socket, served: ServedContacts) -> None:
        """Introduces itself and puts the card in. ``connection`` is connected to QEMU's character device."""
        super().__init__()
        self.connection = connection
        self.served = served
        self.trouble = ""
        """Empty, or what QEMU refused, or sent that is none of the protocol."""
        self._messages = Messages()
        self._in = False
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, self._readable)
        self._send(init().encode() + Message(Kind.READER_ADD, NO_READER, NAME).encode())
        self.insert()

    def replace(self, served: ServedContacts) -> None:
        """Put another card in the place of this one."""
        self.pull()
        self.served = served
        self.insert()

    def pull(self) -> None:
        """Take the card out of QEMU's reader."""
        self.served.off()
        if self._in:
            self._in = False
            self._send(Message(Kind.CARD_REMOVE).encode())

    def insert(self) -> None:
        """Put it in, after a reset; a card that does not answer to that stays out, and ``trouble`` says so."""
        if self._in:
            return
        why = self.served.on()
        if why:
            self.trouble = f"the card {why}"
            return
        self._in = True
        self._send(Message(Kind.ATR, READER, self.served.atr).encode())

    def close(self) -> None:
        """The connection stays: it is of whoever made it."""
        self.served.off()
        super().close()

    def _sleep(self) -> float:
        return self.served.sleep(self.idle_s)

    def _follow(self) -> None:
        self.served.slaved.follow()
        self._send(self.served.take_due())

    def _readable(self) -> None:
        data = received(self.connection)
        if data is None:
            return
        try:
            messages = self._messages.feed(data)
        except VscardError as error:
            self.trouble = str(error)
            data = b""
            messages = []
        if not data:
            self.ended = True
            return
        for message in messages:
            self._take(message)
        self._send(self.served.take_due())

    def _take(self, message: Message) -> None:
        match message.kind:
            case Kind.APDU:
                self.on_asked()
                self.served.command(message.payload)
            case Kind.INIT:
                if message.payload[:4] != MAGIC:
                    self.trouble = f"QEMU introduces itself with {message.payload[:4]!r}; expected {MAGIC!r}"
            case Kind.ERROR:
                code = int.from_bytes(message.payload[:4], "big")
                if code != Code.SUCCESS:
                    name = Code(code).name if code in Code.__members__.values() else str(code)
                    self.trouble = f"QEMU refuses: {name}; see what QEMU says on its standard error"
            case Kind.FLUSH:
                self._send(Message(Kind.FLUSH_COMPLETE).encode())
            case Kind.READER_REMOVE:
                self.ended = True
            case _:
                self.trouble = f"QEMU sent a message of type {message.kind}, which a card does not know"

    def _send(self, data: bytes) -> None:
        if not data:
            return
        try:
            send_whole(self.connection, data)
        except OSError:
            self.ended = True


def connect(where: str, timeout_s: float = 5) -> socket.socket:
    """Connect to QEMU's character device: a path (AF_UNIX), or HOST:PORT. Raises OSError, ValueError for what is neither."""
    if "/" in where:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout_s)
            connection.connect(where)
        except OSError:
            with contextlib.suppress(OSError):
                connection.close()
            raise
        return connection
    host, _, port = where.rpartition(":")
    if not port.isdecimal():
        raise ValueError(f"{where!r}: expected the path of a socket, or HOST:PORT")
    return socket.create_connection((host or "127.0.0.1", int(port)), timeout_s)
