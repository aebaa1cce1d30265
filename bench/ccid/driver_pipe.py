"""One slot's commands and their answers, without I/O: numbers, waiting, time extensions, abort, and finding back into step.

Everything here is a generator: it yields what is to be done next (a ``Step``) and is sent what came of that (``Heard``). Whoever runs it does the
transfers, and tells the time. Times are nanoseconds that never go back.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.ccid.codes import HEADER, Chain, ClassRequest, IccState, MessageType, SlotError
from bench.ccid.commands import ANSWERED_BY, Abort, Command, GetSlotStatus
from bench.ccid.driver_errors import AnswerError, CardError, SilentReaderError, Trouble, failure
from bench.ccid.errors import CcidMessageError
from bench.ccid.layout import HEADER_LAYOUT, message_length
from bench.ccid.messages import decode_response
from bench.ccid.responses import DataBlock, Response, SlotStatus, Status

MS: Final = 10**6
COMMAND_NS: Final = 5000 * MS
"""How long a reader may take for a command that needs no more of the card than a PPS (9600 etu at the default rate are a second)."""
BUSY_PAUSE_NS: Final = 50 * MS
BUSY_TIMES: Final = 40
"""A reader that says it is busy (with itself, mostly) is asked again for two seconds."""
EXTENSIONS_MAX: Final = 1000
"""Time extensions in one command; CCID sets no limit, and a card could hold the reader for ever."""
FINE: Final = Status(IccState.ACTIVE)
"""Carried out, on a card that has power."""
_XFR_BLOCK: Final = int(MessageType.XFR_BLOCK)
_DATA_BLOCK: Final = int(MessageType.DATA_BLOCK)
_HEADER: Final = HEADER_LAYOUT.pack
_ALL_WELL: Final = FINE.encode() + bytes((Chain.WHOLE,))
_BUSY: Final = (SlotError.BUSY_WITH_AUTO_SEQUENCE, SlotError.CMD_SLOT_BUSY)
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

        kind = make(self.slot, 0).type
        return (yield from self._carried(kind, lambda seq: make(self.slot, seq).encode(), limit_ns))

    def transfer(self, data: bytes, limit_ns: int, level: int = 0, bwi: int = 0) -> Steps[DataBlock]:
        """XfrBlock, as ``ask``. An answer without data of a slot without a card is a failure, whatever it says (QEMU 7's says that all is well)."""
        block = yield from self._carried(MessageType.XFR_BLOCK, self._xfr_block(data, level, bwi), limit_ns)
        return _with_card(block)

    def exchange(self, data: bytes, limit_ns: int, level: int = 0, bwi: int = 0) -> Steps[bytes]:
        """As ``transfer``, for data alone: where all is well, which nearly all exchanges are, in as few steps as may be."""
        slot, outstanding = self.slot, self._outstanding
        if slot in outstanding:
            yield from self.find_back()
        self._seq = seq = (self._seq + 1) & 0xFF
        outstanding[slot] = seq
        make = self._xfr_block(data, level, bwi)
        heard = yield Send(make(seq), limit_ns)
        self.sent_ns, self.at_ns = heard.sent_ns, heard.at_ns
        self.first_ns = self.first_ns or heard.sent_ns
        came = heard.data or b""
        length = len(came) - HEADER
        if length > 0 and came.startswith(_HEADER(_DATA_BLOCK, length, slot, seq, _ALL_WELL)):
            del outstanding[slot]
            return came[HEADER:]
        begun = self._answered(MessageType.XFR_BLOCK, seq, heard, limit_ns)
        return _with_card((yield from self._carried(MessageType.XFR_BLOCK, make, limit_ns, begun))).data

    def _xfr_block(self, data: bytes, level: int, bwi: int) -> Callable[[int], bytes]:
        own = bytes((bwi, level & 0xFF, level >> 8))
        return lambda seq: _HEADER(_XFR_BLOCK, len(data), self.slot, seq, own) + data

    def _carried(
        self,
        kind: MessageType,
        make: Callable[[int], bytes],
        limit_ns: int,
        begun: Steps[Response] | None = None,
    ) -> Steps[Response]:
        """``make`` gives the message with a number; ``begun``: it has gone out once, and something came."""
        if begun is None and self.slot in self._outstanding:
            yield from self.find_back()
        times = 0
        while True:
            if begun is None:
                seq = self._number()
                begun = self._once(kind, seq, make(seq), limit_ns)
            response = yield from begun
            begun = None
            status = response.status
            if status is FINE or status.ok:
                return response
            times += 1
            if times > BUSY_TIMES or status.error not in _BUSY:
                raise failure(kind.name, status.error, status.icc is IccState.ABSENT)
            yield Pause(BUSY_PAUSE_NS)

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

    def _once(self, kind: MessageType, seq: int, message: bytes, limit_ns: int) -> Steps[Response]:
        self._outstanding[self.slot] = seq
        heard = yield Send(message, limit_ns)
        self.sent_ns = heard.sent_ns
        self.first_ns = self.first_ns or heard.sent_ns
        return (yield from self._answered(kind, seq, heard, limit_ns))

    def _answered(self, kind: MessageType, seq: int, heard: Heard, limit_ns: int) -> Steps[Response]:
        """The answer to a command that has gone out; ``heard`` is what came first."""
        extensions = 0
        while True:
            self.at_ns = heard.at_ns
            if heard.data is None:
                raise SilentReaderError(kind.name, limit_ns)
            response = _decode(heard.data)
            if not self._mine(response, kind, seq):
                heard = yield Listen(limit_ns)
                continue
            if response.status is FINE or not response.status.extends:
                del self._outstanding[self.slot]
                return response
            extensions += 1
            self.extensions += 1
            if extensions > EXTENSIONS_MAX:
                raise CardError(Trouble.PROTOCOL, f"{extensions} time extensions in one exchange")
            heard = yield Listen(limit_ns * max(1, response.status.error))

    def _mine(self, response: Response, kind: MessageType, seq: int) -> bool:
        """Whether this answers the command; False for another slot's late answer. Raises AnswerError."""
        wanted = ANSWERED_BY[kind]
        if response.slot == self.slot and response.seq == seq and response.type is wanted:
            return True
        what = response.type.name
        if response.slot != self.slot:
            if self._outstanding.get(response.slot) == response.seq:
                return False
            raise AnswerError("garbled", what, 5, f"bSlot {response.slot:02X}", f"{self.slot:02X}")
        if response.seq != seq:
            raise AnswerError("garbled", what, 6, f"bSeq {response.seq:02X}", f"{seq:02X}")
        if response.status.ok:
            found = f"bMessageType {response.type:02X}"
            raise AnswerError("garbled", what, 0, found, f"{wanted:02X}, the answer to {kind.name}")
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


def _with_card(response: Response) -> DataBlock:
    assert isinstance(response, DataBlock)
    if not response.data and response.status.icc is IccState.ABSENT:
        raise CardError(Trouble.ABSENT)
    return response
