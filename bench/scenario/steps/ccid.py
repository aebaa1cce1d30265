"""A USB reader spoken to by hand, CCID message by CCID message (USB CCID rev. 1.10): a judge does not ask the codec it judges.

On a rig of the bench's own the reader is the bench's: the first card is taken off its line and put into a reader of the form that is asked for. Every
answer is held to the header's rules (6.2): it is of the type that belongs to the command, bears its slot and sequence number, and dwLength counts
its data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.ccid.firmware import CcidFirmware
from bench.files.units import HexByte
from bench.readers.tpdu import TpduSlot
from bench.readers.tpdu_apdu import ApduSlot
from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Step
from bench.scenario.steps.support import wait
from bench.scenario.units import Count, Duration, HexBytes, Span, Truth, Whole
from bench.serve.usb_reader import reader_of

NOTE: Final = "ccid reader"
HEADER: Final = 10
DATA_BLOCK, SLOT_STATUS, PARAMETERS, ESCAPED, RATE = 0x80, 0x81, 0x82, 0x83, 0x84
COMMANDS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "power-on": (0x62, DATA_BLOCK),
        "power-off": (0x63, SLOT_STATUS),
        "slot-status": (0x65, SLOT_STATUS),
        "transfer": (0x6F, DATA_BLOCK),
        "get-parameters": (0x6C, PARAMETERS),
        "reset-parameters": (0x6D, PARAMETERS),
        "set-parameters": (0x61, PARAMETERS),
        "escape": (0x6B, ESCAPED),
        "clock": (0x6E, SLOT_STATUS),
        "class-bytes": (0x6A, SLOT_STATUS),
        "secure": (0x69, DATA_BLOCK),
        "mechanical": (0x71, SLOT_STATUS),
        "abort": (0x72, SLOT_STATUS),
        "set-rate": (0x73, RATE),
        "unknown": (0x7E, SLOT_STATUS),
    }
)
"""By name: bMessageType, and that of its answer (6.1, table 6.1-1)."""
ICC: Final = ("active", "inactive", "absent")
STATUS: Final = ("ok", "failed", "extension")
DESCRIPTOR_LENGTH: Final = 0x36

CommandName = Literal[
    "power-on",
    "power-off",
    "slot-status",
    "transfer",
    "get-parameters",
    "reset-parameters",
    "set-parameters",
    "escape",
    "clock",
    "class-bytes",
    "secure",
    "mechanical",
    "abort",
    "set-rate",
    "unknown",
]


@dataclass(slots=True)
class HeldReader:
    """The reader, and what it said that no step has looked at yet."""

    firmware: CcidFirmware
    slot: TpduSlot | ApduSlot
    said: list[bytes] = field(default_factory=list)
    noticed: list[bytes] = field(default_factory=list)
    seq: int = 0
    extensions: int = 0


class CcidReader(Step):
    """Puts the first card into a USB reader, and holds its class descriptor to the CCID specification, 5.1.

    Example:
        - ccid_reader: {form: tpdu}
    """

    verb: ClassVar[str] = "ccid_reader"

    form: Annotated[
        Literal["character", "tpdu", "short-apdu", "apdu"], Field(description="exchange level of the reader")
    ] = "tpdu"
    card: Annotated[Truth, Field(description="false: the slot stays empty")] = True

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("a reader is spoken to by hand on rigs of the bench's own only")
        slots, firmware = context.engine.call(
            lambda: reader_of(context.engine, self.form, (context.point.given.clock_hz,), 1)
        )
        held = HeldReader(firmware, slots[0])
        firmware.on_message, firmware.on_interrupt = held.said.append, held.noticed.append
        context.notes[NOTE] = held
        place = chain.places[0]
        context.engine.call(place.reader.remove)
        if self.card:
            context.engine.call(lambda: held.slot.insert(place.end))
        held.noticed.clear()
        self._descriptor(context, firmware.traits.descriptor.encode())

    def _descriptor(self, context: StepContext, descriptor: bytes) -> None:
        def number(offset: int) -> int:
            return int.from_bytes(descriptor[offset : offset + 4], "little")

        if len(descriptor) != DESCRIPTOR_LENGTH or descriptor[:2] != b"\x36\x21":
            context.fail(
                f"the class descriptor begins {descriptor[:2].hex(' ').upper()} and has {len(descriptor)} bytes"
            )
        level = number(40) >> 16 & 0x7
        if level not in (0, 1, 2, 4):
            context.fail(f"dwFeatures {number(40):08X} names more than one exchange level")
        if number(44) < HEADER + 261:
            context.fail(f"dwMaxCCIDMessageLength is {number(44)}: no TPDU of 261 bytes fits (5.1)")
        if not descriptor[5] & 0x7 or not number(6) & 0x3:
            context.fail("the class descriptor names no voltage or no protocol")
        if number(14) < number(10) or number(23) < number(19):
            context.fail("the class descriptor's maximum of clock or data rate is below its default")


class Ccid(Step):
    """Sends one CCID message and judges its answer. Put `ccid_reader` before it.

    Example:
        - ccid: {send: power-on, icc: active}
        - ccid: {send: transfer, data: 00 A4 00 0C 02 3F 00, answer: 90 00}
        - ccid: {send: slot-status, slot: 1, status: failed, error: "05"}
    """

    verb: ClassVar[str] = "ccid"

    send: Annotated[CommandName, Field(description="the command, PC_to_RDR")]
    slot: Annotated[Whole, Field(le=255, description="bSlot")] = 0
    fields: Annotated[HexBytes, Field(description="bytes 7 to 9 of the header", min_length=3, max_length=3)] = bytes(3)
    data: Annotated[HexBytes, Field(description="abData")] = b""
    length: Annotated[Whole | None, Field(description="dwLength, where it is to be wrong")] = None
    alone: Annotated[
        Truth, Field(description="false: its answer is not waited for; a later `ccid_answer` takes it")
    ] = True
    control: Annotated[Truth, Field(description="true: the ABORT request goes over the control pipe first")] = False
    status: Annotated[Literal["ok", "failed"], Field(description="bmCommandStatus expected")] = "ok"
    error: Annotated[HexByte | None, Field(description="bError expected, where it failed")] = None
    icc: Annotated[Literal["active", "inactive", "absent"] | None, Field(description="bmICCStatus expected")] = None
    answer: Annotated[HexBytes | None, Field(description="data expected, byte for byte")] = None
    atr: Annotated[Truth, Field(description="true: the data are the card's answer to reset")] = False
    extensions: Annotated[Count | None, Field(description="times at least that more time is asked for meanwhile")] = (
        None
    )
    within: Annotated[Duration, Field(description="how long the answer may take")] = Span(10 * 10**9)

    def run(self, context: StepContext) -> None:
        held = context.note(NOTE, HeldReader)
        number, kind = COMMANDS[self.send]
        length = len(self.data) if self.length is None else self.length
        seq = held.seq = (held.seq + 1) & 0xFF
        message = bytes((number,)) + length.to_bytes(4, "little") + bytes((self.slot, seq)) + self.fields + self.data
        if self.control:
            context.engine.call(lambda: held.firmware.control_abort(self.slot, seq))
        context.engine.call(lambda: held.firmware.receive(message))
        if not self.alone:
            return
        found = answered(context, held, seq, kind, self.slot, self.within)
        self._judge(context, found, held)

    def _judge(self, context: StepContext, found: bytes, held: HeldReader) -> None:
        told = STATUS[found[7] >> 6]
        what = f"{self.send} was answered {found[:HEADER].hex(' ').upper()}"
        if told != self.status:
            context.fail(f"{what}: the command {told}, bError {found[8]:02X}; expected {self.status}")
        if self.error is not None and found[8] != self.error:
            context.fail(f"{what}: bError {found[8]:02X}, expected {self.error:02X}")
        if self.icc is not None and ICC[found[7] & 3] != self.icc:
            context.fail(f"{what}: the card is told as {ICC[found[7] & 3]}, expected {self.icc}")
        data = found[HEADER:]
        wanted = context.rig.chain.cards[0].profile.atr if self.atr and context.rig.chain is not None else self.answer
        if wanted is not None and data != wanted:
            context.fail(f"{what} with {data.hex(' ').upper() or 'no data'}, expected {wanted.hex(' ').upper()}")
        if self.extensions is not None and held.extensions < self.extensions:
            context.fail(
                f"{self.send} asked {held.extensions} times for more time, expected {self.extensions} at least"
            )


class CcidAnswer(Step):
    """Takes the answer to the message before the last, which was not waited for.

    Example:
        - ccid_answer: {of: transfer, status: failed, error: FF}
    """

    verb: ClassVar[str] = "ccid_answer"

    of: Annotated[CommandName, Field(description="the command")]
    status: Annotated[Literal["ok", "failed"], Field(description="bmCommandStatus expected")] = "ok"
    error: Annotated[HexByte | None, Field(description="bError expected, where it failed")] = None
    back: Annotated[Count, Field(description="how many messages before the last one sent it was")] = 1
    within: Annotated[Duration, Field(description="how long the answer may take")] = Span(10 * 10**9)

    def run(self, context: StepContext) -> None:
        held = context.note(NOTE, HeldReader)
        seq = (held.seq - self.back) & 0xFF
        found = answered(context, held, seq, COMMANDS[self.of][1], 0, self.within)
        if STATUS[found[7] >> 6] != self.status or (self.error is not None and found[8] != self.error):
            context.fail(f"{self.of} was answered {found[:HEADER].hex(' ').upper()}, expected {self.status}")


class CcidCard(Step):
    """Takes the card out of the slot or puts it back, and holds what the interrupt pipe says of it (6.3.1).

    Example:
        - ccid_card: {move: pull, notice: 50 02}
    """

    verb: ClassVar[str] = "ccid_card"

    move: Annotated[Literal["pull", "insert"], Field(description="what hands do")]
    notice: Annotated[HexBytes, Field(description="RDR_to_PC_NotifySlotChange expected")]

    def run(self, context: StepContext) -> None:
        held = context.note(NOTE, HeldReader)
        chain = context.rig.chain
        assert chain is not None, "there is no reader by hand without"
        end = chain.places[0].end
        context.engine.call(held.slot.remove if self.move == "pull" else lambda: held.slot.insert(end))
        wait(context, lambda: bool(held.noticed))
        found, held.noticed[:] = list(held.noticed), []
        if found != [self.notice]:
            told = ", ".join(each.hex(" ").upper() for each in found) or "nothing"
            context.fail(
                f"after the card's {self.move} the reader noticed {told}, expected {self.notice.hex(' ').upper()}"
            )


def answered(context: StepContext, held: HeldReader, seq: int, kind: int, slot: int, within: Span) -> bytes:
    """The final answer to the message with this number, its header held to 6.2. The point fails where there is none."""
    held.extensions = 0

    def final() -> bytes | None:
        for each in list(held.said):
            if len(each) < HEADER:
                context.fail(f"the reader said {each.hex(' ').upper()}: a message has a header of {HEADER} bytes")
            if each[6] != seq:
                continue
            held.said.remove(each)
            if each[7] >> 6 != STATUS.index("extension"):
                return each
            held.extensions += 1
        return None

    found: list[bytes] = []

    def come() -> bool:
        if not found and (message := final()) is not None:
            found.append(message)
        return bool(found)

    if not wait(context, come, within):
        others = ", ".join(each.hex(" ").upper() for each in held.said[:3])
        context.fail(f"message {seq} was not answered within {within}" + (f"; others came: {others}" if others else ""))
    (message,) = found
    length = int.from_bytes(message[1:5], "little")
    if message[0] != kind or message[5] != slot or length != len(message) - HEADER:
        shown = message[:HEADER].hex(" ").upper()
        context.fail(
            f"the answer {shown} and {len(message) - HEADER} bytes: expected type {kind:02X}, slot {slot}, dwLength right"
        )
    return message
