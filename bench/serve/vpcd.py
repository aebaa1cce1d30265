"""The card side of vpcd, the virtual smart card reader of the vsmartcard project, as a protocol without I/O and as a loop over its socket.

vpcd listens; the card connects. Each message is a length of two bytes (big-endian) and that many bytes: one control byte (0 power off, 1 power on,
2 reset, 4 give the ATR) or a command APDU. Only the ATR and APDUs are answered, in the same form. vpcd sends length and body in two writes: without
TCP_QUICKACK set anew before every receive, Nagle's algorithm and the delayed acknowledgement make each APDU take 44 ms.
"""

import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from bench.engine import VirtualEngine
from bench.serve.loop import ServeLoop, acknowledge_at_once, received, send_whole
from bench.serve.pace import Pace
from bench.serve.slaved import LEAP_MOST_NS, SlavedEngine

DEFAULT_PORT: Final = 35_963
MAX_MESSAGE: Final = 0xFFFF
NO_DIAGNOSIS: Final = b"\x6f\x00"


class Control(IntEnum):
    """A message of one byte."""

    POWER_OFF = 0
    POWER_ON = 1
    RESET = 2
    ATR = 4


CONTROLS: Final = frozenset(int(control) for control in Control)


class VpcdMessages:
    """Cuts what the socket gives into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Empty ones are left out: they ask for nothing."""
        buffer = self._buffer
        buffer += data
        messages = []
        while len(buffer) >= 2:
            length = buffer[0] << 8 | buffer[1]
            if len(buffer) < 2 + length:
                break
            if length:
                messages.append(bytes(buffer[2 : 2 + length]))
            del buffer[: 2 + length]
        return messages


def encode(message: bytes) -> bytes:
    """A message with its length before it. Raises ValueError above 65535 bytes, which vpcd cannot take."""
    if len(message) > MAX_MESSAGE:
        raise ValueError(f"an answer of {len(message)} bytes: vpcd takes at most {MAX_MESSAGE}")
    return len(message).to_bytes(2, "big") + message


class ApduCard(Protocol):
    """What can be served: ``bench.card.Card`` is one."""

    def power(self, on: bool) -> None:
        """VCC; on again without off in between is a reset."""

    def apdu(self, command: bytes) -> bytes:
        """Answer an APDU. Must not raise."""


@dataclass(frozen=True, slots=True)
class Due:
    """An answer, and the engine's time at which it exists."""

    message: bytes
    tick: int


class ServedCard:
    """One card in the world's time: messages in, answers out, each stamped max(engine, wall)."""

    def __init__(self, card: ApduCard, atr: bytes, engine: VirtualEngine, pace: Pace, paced: bool) -> None:
        self.card = card
        self.atr = atr
        self.slaved = SlavedEngine(engine)
        self.pace = pace
        self.paced = paced
        self.powered = False
        self._leap_most = engine.timebase.nanoseconds(LEAP_MOST_NS)
        self._owed: tuple[bytes, bytes] | None = None

    def message(self, message: bytes) -> Due | None:
        """React to one message of vpcd; gives the answer where it wants one. Call ``settle`` once it has been sent."""
        self.settle()
        now = self.slaved.follow()
        if len(message) == 1 and message[0] in CONTROLS:
            return self._control(message[0], now)
        if not self.powered:
            return Due(NO_DIAGNOSIS, now)
        response = self.card.apdu(message)
        if len(response) > MAX_MESSAGE:
            response = NO_DIAGNOSIS
        if self.paced:
            return Due(response, self.slaved.ahead(self.pace.ticks(message, response)))
        self._owed = message, response
        return Due(response, now)

    def settle(self) -> None:
        """Let the card's time catch up with what an unpaced exchange takes on its line: after the answer, which nobody should have to wait for."""
        owed, self._owed = self._owed, None
        if owed is not None:
            self.slaved.leap(min(self.pace.ticks(*owed), self._leap_most))

    def _control(self, control: int, now: int) -> Due | None:
        if control == Control.ATR:
            return Due(self.atr, now)
        if control == Control.POWER_OFF:
            self.off()
        elif control == Control.POWER_ON:
            self.off()
            self._on()
        elif control == Control.RESET:
            self._on()
        return None

    def off(self) -> None:
        """Take power away (vpcd asks for it, or has gone)."""
        if self.powered:
            self.powered = False
            self.card.power(False)

    def _on(self) -> None:
        self.powered = True
        self.card.power(True)


class VpcdLoop(ServeLoop):
    """Serves one card over one connection, until vpcd closes that or it breaks."""

    def __init__(self, connect: Callable[[], socket.socket], served: ServedCard) -> None:
        """``connect`` gives a connection to vpcd, for the first time at once. Raises what it raises (OSError)."""
        super().__init__()
        self.connect = connect
        self.connection: socket.socket | None = None
        self.served = served
        self._messages = VpcdMessages()
        self._held: list[Due] = []
        self.insert()

    def replace(self, served: ServedCard) -> None:
        """Put another card in the place of this one; it is without power until vpcd gives it some. Raises OSError after ``pull``, as ``insert``."""
        self.served.off()
        self._held.clear()
        self.served = served
        if self.connection is None:
            self.insert()

    def pull(self) -> None:
        """Take the card out of the reader: vpcd sees its connection closed."""
        connection, self.connection = self.connection, None
        self.served.off()
        self._held.clear()
        if connection is not None:
            self._selector.unregister(connection)
            connection.close()

    def insert(self) -> None:
        """Put it back. Raises OSError where vpcd is not to be reached."""
        self.pull()
        self.connection = connection = self.connect()
        self._messages = VpcdMessages()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, self._readable)

    def close(self) -> None:
        """The connection stays: it is of whoever made it."""
        self.served.off()
        super().close()

    def _sleep(self) -> float:
        slaved = self.served.slaved
        sleep = slaved.sleep(self.idle_s)
        return min(sleep, slaved.seconds_until(self._held[0].tick)) if self._held else sleep

    def _follow(self) -> None:
        self.served.slaved.follow()
        self._send_due()

    def _send_due(self) -> None:
        held = self._held
        while held and (not self.served.paced or self.served.slaved.wall >= held[0].tick):
            self._send(held.pop(0).message)

    def _readable(self) -> None:
        connection = self.connection
        if connection is None:
            return  # pulled by what else was to be read in the same turn
        acknowledge_at_once(connection)
        data = received(connection)
        if data is None:
            return
        if not data:
            self.ended = True
            return
        self.on_asked()
        for message in self._messages.feed(data):
            due = self.served.message(message)
            if due is not None:
                self._held.append(due)
        self._send_due()
        self.served.settle()

    def _send(self, message: bytes) -> None:
        connection = self.connection
        if connection is None:
            return
        try:
            send_whole(connection, encode(message))
        except OSError:
            self.ended = True


def connect(host: str, port: int, timeout_s: float = 5) -> socket.socket:
    """Connect to vpcd at ``host``:``port``. Raises OSError."""
    return socket.create_connection((host, port), timeout_s)
