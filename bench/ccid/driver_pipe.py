"""One slot's commands and their answers, without I/O: numbers, waiting, time extensions, abort, and finding back into step.

Everything here is a generator: it yields what is to be done next (a ``Step``) and is sent what came of that (``Heard``). Whoever runs it does the
transfers, and tells the time. Times are nanoseconds that never go back.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.ccid.codes import ClassRequest, IccState, SlotError
from bench.ccid.driver_errors import AnswerError, CardError, SilentReaderError, Trouble, failure
from bench.ccid.errors import CcidMessageError
from bench.ccid.messages import (
    ANSWERED_BY,
    Abort,
    Command,
    GetSlotStatus,
    Response,
    SlotStatus,
    decode_response,
    message_length,
)

MS: Final = 10**6
COMMAND_NS: Final = 5000 * MS
"""How long a reader may take for a command that needs no more of the card than a PPS (9600 etu at the default rate are a second)."""
BUSY_PAUSE_NS: Final = 50 * MS
BUSY_TIMES: Final = 40
"""A reader that says it is busy (with itself, mostly) is asked again for two seconds."""
EXTENSIONS_MAX: Final = 1000
"""Time extensions in one command; CCID sets no limit, and a card could hold the reader for ever."""
STALE_MAX: Final = 32
"""Answers dropped on the way back into step."""


@dataclass(frozen=True, slots=True)
class Send:
    """Put this on bulk OUT, and hear what bulk IN brings within ``limit_ns``."""

    message: bytes
    limit_ns: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Hear what bulk IN brings within ``limit_ns``: the same command is still being answered."""

    limit_ns: int


@dataclass(frozen=True, slots=True)
class Request:
    """A class request on the control pipe: ``length`` bytes in, or none out."""

    request: ClassRequest
    value: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    ns: int


Step = Send | Listen | Request | Pause


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a step."""

    data: bytes | None
    """One whole message, or what there was of one; None: nothing came in time (of a request: it was stalled)."""
    at_ns: int
    sent_ns: int = 0
    """Of a ``Send``: right before the transfer."""


T = TypeVar("T")
Steps = Generator[Step, Heard, T]
Numbers = dict[int, int]
"""Slot -> bSeq of a command whose answer has not come: shared by the slots of one reader, which share its pipes."""


class SlotPipe:
    """Commands of one slot. ``outstanding`` is the reader's, of all its slots."""

    def __init__(self, slot: int, outstanding: Numbers) -> None:
        self.slot = slot
        self.sent_ns = 0
        """Right before the last command went out."""
        self.first_ns = 0
        """Right before the first one since this was last set to 0."""
        self.at_ns = 0
        """Right after the last answer came in."""
        self.extensions = 0
        """Time extensions, all in all."""
        self._outstanding = outstanding
        self._seq = 0

    def ask(self, make: Callable[[int, int], Command], limit_ns: int = COMMAND_NS) -> Steps[Response]:
        """Carry out a command (``make`` gets slot and number). Raises DriverError for everything but an answer that says ok."""
        if self.slot in self._outstanding:
            yield from self.find_back()
        for _ in range(BUSY_TIMES):
            command = make(self.slot, self._number())
            response = yield from self._once(command, limit_ns)
            status = response.status
            if status.ok:
                return response
            if status.error not in (SlotError.BUSY_WITH_AUTO_SEQUENCE, SlotError.CMD_SLOT_BUSY):
                break
            yield Pause(BUSY_PAUSE_NS)
        raise failure(command.type.name, status.error, status.icc is IccState.ABSENT)

    def find_back(self) -> Steps[None]:
        """Into step again after a command that was not answered, or not properly: ABORT on both pipes, then a question only its answer fits.

        Raises SilentReaderError where the reader does not answer even that.
        """
        seq = self._outstanding.get(self.slot)
        if seq is not None:
            yield Request(ClassRequest.ABORT, self.slot | seq << 8)  # a reader may stall it: then the message must do
            yield from self._drop_until(Abort(self.slot, seq))
        yield from self._drop_until(GetSlotStatus(self.slot, self._number()))
        self._outstanding.pop(self.slot, None)

    def _number(self) -> int:
        self._seq = (self._seq + 1) & 0xFF
        return self._seq

    def _once(self, command: Command, limit_ns: int) -> Steps[Response]:
        self._outstanding[self.slot] = command.seq
        heard = yield Send(command.encode(), limit_ns)
        self.sent_ns = heard.sent_ns
        self.first_ns = self.first_ns or heard.sent_ns
        extensions = 0
        while True:
            self.at_ns = heard.at_ns
            if heard.data is None:
                raise SilentReaderError(command.type.name, limit_ns)
            response = _decode(heard.data)
            if not self._mine(response, command):
                heard = yield Listen(limit_ns)
                continue
            if not response.status.extends:
                del self._outstanding[self.slot]
                return response
            extensions += 1
            self.extensions += 1
            if extensions > EXTENSIONS_MAX:
                raise CardError(Trouble.PROTOCOL, f"{extensions} time extensions in one exchange")
            heard = yield Listen(limit_ns * max(1, response.status.error))

    def _mine(self, response: Response, command: Command) -> bool:
        """Whether this answers ``command``; False for another slot's late answer. Raises AnswerError."""
        what = response.type.name
        if response.slot != self.slot:
            if self._outstanding.get(response.slot) == response.seq:
                return False
            raise AnswerError("garbled", what, 5, f"bSlot {response.slot:02X}", f"{self.slot:02X}")
        if response.seq != command.seq:
            raise AnswerError("garbled", what, 6, f"bSeq {response.seq:02X}", f"{command.seq:02X}")
        wanted = ANSWERED_BY[command.type]
        if response.type is not wanted and response.status.ok:
            kind = f"bMessageType {response.type:02X}"
            raise AnswerError("garbled", what, 0, kind, f"{wanted:02X}, the answer to {command.type.name}")
        return True

    def _drop_until(self, command: Command) -> Steps[None]:
        """Send, and drop what comes until the SlotStatus with the command's number."""
        heard = yield Send(command.encode(), COMMAND_NS)
        for _ in range(STALE_MAX):
            if heard.data is None:
                break
            try:
                response = decode_response(heard.data)
            except CcidMessageError:
                response = None
            if isinstance(response, SlotStatus) and (response.slot, response.seq) == (command.slot, command.seq):
                return
            heard = yield Listen(COMMAND_NS)
        raise SilentReaderError(command.type.name, COMMAND_NS)


def _decode(message: bytes) -> Response:
    try:
        return decode_response(message)
    except CcidMessageError as error:
        raise AnswerError.of(error, message, message_length(message)) from None
