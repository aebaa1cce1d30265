"""The APDU channel as a socket port (docs/gateway.md): ordinary APDUs to the first card, open from the answer to reset on, beside all sockets.

Two forms, told apart by the first byte of a connection. **Frames**, for programs: four bytes of length (big-endian, the first is 00) and as many
bytes of APDU; an empty frame asks for the answer to reset. **Lines**, for people: an APDU in hexadecimal, blanks as one likes; ``atr`` asks for
the answer to reset. Answers come in the form of the question: data and status word. An empty frame says that there was none; a line says why.

One visitor at a time has the card, so that a SELECT and what follows it belong together; others wait in line. Who has no whole APDU for long while
others wait has to go, bytes of one or not.
"""

import binascii
from collections import deque
from collections.abc import Callable
from typing import Final

from bench.channels.message import Cause
from bench.hop.terminal_link import ApduOutcome
from bench.host.uplink import Connection, Listener, Pending, Uplink, Wait
from bench.iso7816.apdu import CommandApdu, parse_command
from bench.iso7816.errors import ApduError

LONGEST_APDU: Final = 4 + 3 + 65_535 + 2
"""Header, extended Lc, data, extended Le (ISO/IEC 7816-3:2006, 12.1)."""
LONGEST_LINE: Final = 3 * LONGEST_APDU
IDLE_NS: Final = 10 * 10**9
"""How long after its last answer a visitor may take for its next whole APDU while others wait."""
READ_NS: Final = 30 * 10**9
"""How long a visitor may take to read an answer."""
CHUNK: Final = 4096
FRAME_HEADER: Final = 4

Submit = Callable[[CommandApdu, Callable[[ApduOutcome], None]], None]


class ApduPort:
    """Listens while the card is powered: tell it with ``powered``."""

    def __init__(self, wait: Wait, uplink: Uplink, port: int, submit: Submit, atr: Callable[[], bytes]) -> None:
        self.wait = wait
        self.submit = submit
        self.atr = atr
        self.carried = 0
        """APDUs answered."""
        self.listener: Listener | None = None
        self.on_change: Callable[[], None] = _nothing
        self._uplink = uplink
        self._port = port
        self._line: deque[_Visitor] = deque()
        """Who waits, the first of them being served."""
        self._idle: Pending | None = None

    def powered(self, on: bool) -> None:
        """The first card has answered to reset, or is gone. Raises UplinkError where the port is not to be had."""
        if on and self.listener is None:
            self.listener = self._uplink.listen(self._port, False, self._arrived)
            self._port = self.listener.port  # the same one again, where the uplink chose it
            self.on_change()
        elif not on:
            self.close()

    def close(self) -> None:
        """Stop listening; who is there is told by a reset."""
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.close()
            self.on_change()
        for visitor in list(self._line):
            visitor.drop(Cause.NOT_REACHABLE)

    # -- turns -------------------------------------------------------------------------------------------------------------

    def serves(self, visitor: "_Visitor") -> bool:
        """Whether it is this visitor's turn."""
        return bool(self._line) and self._line[0] is visitor

    def busy(self) -> None:
        """An APDU of the visitor being served begins or is answered, or another one's turn begins: its time counts from now."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if len(self._line) > 1 and not self._line[0].running:
            self._idle = self.wait(IDLE_NS, self._too_long)

    def left(self, visitor: "_Visitor") -> None:
        """Gone, or as good as gone."""
        if visitor not in self._line:
            return
        first = self.serves(visitor)
        self._line.remove(visitor)
        if first:
            self.busy()
        if first and self._line:
            self._line[0].next()

    def _arrived(self, connection: Connection) -> None:
        visitor = _Visitor(self, connection)
        connection.visitor = visitor
        self._line.append(visitor)
        visitor.ask()
        if self._idle is None:
            self.busy()

    def _too_long(self) -> None:
        self._idle = None
        if len(self._line) > 1:
            self._line[0].drop(Cause.SERVICE_ERROR)


class _Visitor:
    """One connection: cuts what comes into APDUs, has them carried one by one."""

    def __init__(self, port: ApduPort, connection: Connection) -> None:
        self.port = port
        self.connection = connection
        self.running = False
        """An APDU of this visitor is under way."""
        self._heard = bytearray()
        self._wanted = 0
        self._looked = 0
        """How much of it is known to hold no end of line."""
        self._frames: bool | None = None
        self._answer = b""
        self._ended = False
        self._gone = False
        self._last = False
        """Nothing after the answer that is being written."""
        self._reading: Pending | None = None

    # -- the connection's visitor --------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """It is, since it arrived."""

    def data(self, data: bytes) -> None:
        self._heard += data
        self._wanted -= len(data)
        if self.port.serves(self):
            self.next()
        # Others have said enough: they are read on when it is their turn.

    def writable(self) -> None:
        if self._answer and not self._gone and self.connection.send(self._answer):
            self._answer = b""
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None
            self.next()

    def ended(self) -> None:
        self._ended = True
        if self.port.serves(self):
            self.next()

    def gone(self, cause: Cause) -> None:
        del cause
        self._leave()

    # -- one APDU after the other --------------------------------------------------------------------------------------------

    def next(self) -> None:
        """Go on, where it is this visitor's turn and nothing of it is under way."""
        while not (self.running or self._answer or self._gone) and self.port.serves(self):
            if self._last:
                self.drop(Cause.NONE)
                return
            if self._frames is None and self._heard:
                self._frames = self._heard[0] == 0
            if not (self._frame() if self._frames else self._text()):
                break
        if self.running or self._answer or self._gone or not self.port.serves(self):
            return
        if self._ended:
            self.drop(Cause.NONE)
        else:
            self.ask()

    def ask(self) -> None:
        """Have as much read as may wait here."""
        count, self._wanted = CHUNK - self._wanted, CHUNK
        if count > 0:
            self.connection.want(count)

    def drop(self, cause: Cause) -> None:
        """Close; with a cause, by a reset."""
        if not self._gone:
            self._leave()
            self.connection.close(cause)

    def _leave(self) -> None:
        self._gone = True
        self._answer = b""
        self._heard.clear()
        if self._reading is not None:
            self._reading.cancel()
        self.port.left(self)

    def _frame(self) -> bool:
        """Take a frame off what was heard, and see to it; False where none is whole."""
        heard = self._heard
        if len(heard) < FRAME_HEADER:
            return False
        length = int.from_bytes(heard[:FRAME_HEADER], "big")
        if length > LONGEST_APDU:
            self.drop(Cause.SERVICE_ERROR)  # no APDU is that long: what follows cannot be told apart
            return False
        if len(heard) < FRAME_HEADER + length:
            return False
        command = bytes(heard[FRAME_HEADER : FRAME_HEADER + length])
        del heard[: FRAME_HEADER + length]
        if command:
            self._carry(command)
        else:
            self._say(self.port.atr())
            self.port.busy()
        return True

    def _text(self) -> bool:
        """The same for a line."""
        heard = self._heard
        end = heard.find(b"\n", self._looked)
        if end < 0:
            self._looked = len(heard)
            if len(heard) > LONGEST_LINE:
                self._last = True
                self._complain(f"a line of more than {LONGEST_LINE} characters is no APDU")
                return True
            if not (self._ended and heard):
                return False
            end = len(heard)  # the last line may go without its end
        line = bytes(heard[:end]).strip()
        del heard[: end + 1]
        self._looked = 0
        if not line:
            return bool(heard)
        if line.lower() == b"atr":
            self._say(self.port.atr())
            self.port.busy()
            return True
        try:
            self._carry(binascii.unhexlify(b"".join(line.split())))
        except (binascii.Error, ValueError):
            self._complain("expected an APDU in hexadecimal, or atr")
        return True

    def _carry(self, command: bytes) -> None:
        try:
            parsed = parse_command(command)
        except ApduError as error:
            if self._frames:
                self._say(b"\x67\x00")
            else:
                self._complain(str(error))
            return
        self.running = True
        self.port.busy()
        self.port.submit(parsed, self._carried)

    def _carried(self, outcome: ApduOutcome) -> None:
        self.running = False
        if self._gone:
            return
        if outcome.response is None:
            if self._frames:
                self._say(b"")
            else:
                self._complain(outcome.error)
        else:
            self.port.carried += 1
            self._say(outcome.response.encode())
        self.port.busy()
        self.next()

    def _say(self, answer: bytes) -> None:
        if self._frames:
            self._write(len(answer).to_bytes(FRAME_HEADER, "big") + answer)
        else:
            self._write(answer.hex().upper().encode() + b"\r\n")

    def _complain(self, reason: str) -> None:
        self._write(b"error: " + reason.encode("ascii", "replace") + b"\r\n")

    def _write(self, data: bytes) -> None:
        if self.connection.send(data):
            return
        self._answer = data
        self._reading = self.port.wait(READ_NS, lambda: self.drop(Cause.SERVICE_ERROR))


def _nothing() -> None:
    pass
