"""CCID firmware behind a serial port, as Gemalto's readers have it and libccid's serial driver speaks it: frames, models, and a reader in real time.

A frame is SYNC, ACK, the CCID message, and the exclusive-or of all before it; SYNC, NAK and their exclusive-or ask for it again. The GemPC Twin
repeats each command frame before it answers. Card movements go as two bytes of NotifySlotChange before the next answer, once the host has asked for
them, and for the first slot alone: the driver reads no more. Left out: the rates of the port itself (a pty has none), and the APDU mode of the GemPC
Twin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import xor
from typing import Final

from bench.ccid.codes import HEADER, MessageType
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.firmware import CcidFirmware, FirmwareTraits
from bench.ccid.messages import message_length
from bench.engine import VirtualEngine
from bench.iso7816.line import CardEnd
from bench.readers.tpdu import SlotTraits, TpduSlot
from bench.serve.slaved import LEAP_MOST_NS, SlavedEngine

SYNC: Final = 0x03
ACK: Final = 0x06
NAK: Final = 0x15
NAK_FRAME: Final = bytes((SYNC, NAK, SYNC ^ NAK))
TIME_REQUEST: Final = b"\xff"
"""Between frames: the host is to wait on."""
STATUS_AT: Final = 7
COMMAND_STATE: Final = 0xC0
TIME_EXTENSION: Final = 0x80
PAUSE_NS: Final = 100 * 10**6
"""Silence within a frame after which it is given up: its sender has gone."""
MAXIMUM_MESSAGE: Final = 271
DEFAULT_CLOCK_HZ: Final = 4_000_000
PRESENT, ABSENT = 0x03, 0x02
"""The slot's two bits of NotifySlotChange: changed, and there or not."""


@dataclass(frozen=True, slots=True)
class GempcModel:
    """One kind of reader."""

    name: str
    """As reader.conf has it after the device: ``/dev/pts/7:GemPCTwin``."""
    slots: int
    echo: bool
    firmware: bytes
    """What it calls itself."""
    maximum_rate_bps: int


class Model(Enum):
    """The readers that can be stood for."""

    TWIN = GempcModel("GemPCTwin", 1, True, b"GemTwin-V2.10-GF01", 344_086)
    SIM_PRO = GempcModel("GemCoreSIMPro", 2, False, b"GemCore-SIM-Pro-V2.00", 500_000)
    POS_PRO = GempcModel("GemCorePOSPro", 5, False, b"GemCore-POS-Pro-V2.00", 500_000)


MODELS: Final = {"twin": Model.TWIN, "simpro": Model.SIM_PRO, "pospro": Model.POS_PRO}


def encode_frame(message: bytes) -> bytes:
    """A CCID message as a frame."""
    body = bytes((SYNC, ACK)) + message
    return body + bytes((reduce(xor, body),))


class Frames:
    """Cuts what comes in at the port into frames."""

    def __init__(self, longest: int = MAXIMUM_MESSAGE) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._last_ns = 0

    def feed(self, data: bytes, now_ns: int) -> list[bytes | None]:
        """The messages of the frames that are whole now; None for one to be asked for again. Noise between frames is skipped."""
        if self._buffer and now_ns - self._last_ns > PAUSE_NS:
            self._buffer.clear()
        self._last_ns = now_ns
        self._buffer += data
        found: list[bytes | None] = []
        while (frame := self._cut()) is not None:
            sound = not reduce(xor, frame)
            found.append(frame[2:-1] if sound else None)
        return found

    def _cut(self) -> bytes | None:
        """The next frame, or None while there is no whole one."""
        buffer = self._buffer
        begin = buffer.find(bytes((SYNC, ACK)))
        while begin >= 0:
            del buffer[:begin]
            length = message_length(bytes(buffer[2 : 2 + HEADER]))
            if length is None:
                return None
            if length <= self._longest:
                if len(buffer) < length + 3:
                    return None
                frame = bytes(buffer[: length + 3])
                del buffer[: length + 3]
                return frame
            begin = buffer.find(bytes((SYNC, ACK)), 1)  # no message is so long: this was no beginning
        keep = 1 if buffer.endswith(bytes((SYNC,))) else 0
        del buffer[: len(buffer) - keep]
        return None


@dataclass(frozen=True, slots=True)
class Due:
    """Bytes for the port, and the engine's time at which they exist."""

    data: bytes
    tick: int


class ServedGempc:
    """One reader with software cards in it, in the world's time: bytes in, bytes out, each stamped max(engine, wall)."""

    def __init__(
        self,
        engine: VirtualEngine,
        cards: Sequence[CardEnd | None],
        model: Model = Model.TWIN,
        clock_hz: int = DEFAULT_CLOCK_HZ,
        *,
        paced: bool = False,
    ) -> None:
        """``cards``: what is in the slots from the first on; fewer leave the rest empty. ``clock_hz`` must be a clock of the engine's timebase."""
        self.model = model.value
        self.paced = paced
        self.slaved = SlavedEngine(engine)
        self.held: list[Due] = []
        """What is to be sent, in order."""
        self.on_asked: Callable[[bytes], None] = _nobody
        """Told of each command, when it has been taken."""
        self._notifies = False
        self._moved = b""
        self._frames = Frames()
        traits = SlotTraits((clock_hz,), maximum_rate_bps=self.model.maximum_rate_bps)
        self.slots = [TpduSlot(engine, traits) for _ in range(self.model.slots)]
        self.firmware = CcidFirmware(
            engine, self.slots, FirmwareTraits(self._descriptor(clock_hz), control_pipe=False, escape=self._escape)
        )
        self.firmware.on_message = self._answer
        self.firmware.on_interrupt = self._movement
        self._cards = list(cards) + [None] * (self.model.slots - len(cards))
        self._leap_most = engine.timebase.nanoseconds(LEAP_MOST_NS)
        for slot, card in enumerate(self._cards):
            if card is not None:
                self.insert(slot)

    def _descriptor(self, clock_hz: int) -> ClassDescriptor:
        return ClassDescriptor(
            slots=self.model.slots,
            default_clock_khz=clock_hz // 1000,
            maximum_clock_khz=clock_hz // 1000,
            data_rate_bps=clock_hz // 372,
            maximum_rate_bps=self.model.maximum_rate_bps,
            features=Feature.TPDU | Feature.NAD | Feature.AUTO_CLOCK | Feature.AUTO_RATE,
            maximum_message=MAXIMUM_MESSAGE,
        )

    # -- hands ---------------------------------------------------------------------------------------------------------------

    def pull(self, slot: int = 0) -> None:
        """Take the card out of a slot. The driver is told, and sees it at its next poll."""
        self.slaved.follow()
        self.slots[slot].remove()

    def insert(self, slot: int = 0, card: CardEnd | None = None) -> None:
        """Put ``card``, or the one that was there, into a slot. Raises ValueError where there is none."""
        self._cards[slot] = card = card or self._cards[slot]
        if card is None:
            raise ValueError(f"no card was ever in slot {slot}: say which one goes there")
        if self.slots[slot].line.card is not card:
            self.slaved.follow()
            self.slots[slot].insert(card)

    def off(self) -> None:
        """The reader is gone: every card loses power."""
        self.firmware.reset()
        self.held.clear()

    def succeed(self, before: "ServedGempc") -> None:
        """Stand in the place of ``before``: what its host has told it holds on. Raises ValueError for another model."""
        if before.model is not self.model:
            raise ValueError(f"a {self.model.name} in the place of a {before.model.name}: the driver would not know")
        self._notifies = before._notifies

    # -- the port --------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """What came in at the port. What goes out is in ``held``."""
        for message in self._frames.feed(data, self.slaved.clock()):
            now = self.slaved.follow()
            if message is None:
                self.held.append(Due(NAK_FRAME, now))
                continue
            if self.model.echo:
                self.held.append(Due(encode_frame(message), now))
            self.firmware.receive(message)
            if self.firmware.busy:
                self.slaved.reach(lambda: not self.firmware.busy, self._leap_most, keep=not self.paced)
            self.on_asked(message)

    def take_due(self) -> bytes:
        """What may go out now."""
        held = self.held
        if not held:
            return b""
        wall = self.slaved.wall if self.paced else 0
        count = sum(1 for due in held if due.tick <= wall) if self.paced else len(held)
        data = b"".join(due.data for due in held[:count])
        del held[:count]
        return data

    def sleep(self, longest: float) -> float:
        """Seconds until there is something to do or to send, at most ``longest``."""
        longest = self.slaved.sleep(longest)
        return min(longest, self.slaved.seconds_until(self.held[0].tick)) if self.held else longest

    def _answer(self, message: bytes) -> None:
        if self.model.echo and message[STATUS_AT] & COMMAND_STATE == TIME_EXTENSION:
            # after such a message libccid waits for another echo, and takes the answer for that: a byte of 80 or more says the same
            self.held.append(Due(TIME_REQUEST, self.slaved.engine.now))
            return
        moved, self._moved = self._moved, b""
        self.held.append(Due(moved + encode_frame(message), self.slaved.engine.now))

    def _movement(self, message: bytes) -> None:
        first = message[1] & 0x03
        if self._notifies and first in (PRESENT, ABSENT) and message[0] == MessageType.NOTIFY_SLOT_CHANGE:
            self._moved = bytes((MessageType.NOTIFY_SLOT_CHANGE, first))

    def _escape(self, _slot: int, data: bytes) -> bytes | None:
        """02: the firmware's name; 01 01 n: card movements are notified (n = 1) or not."""
        if data == b"\x02":
            return self.model.firmware
        if len(data) == 3 and data[:2] == b"\x01\x01":
            self._notifies = bool(data[2])
            return b"\x00"
        return None


def _nobody(_command: bytes) -> None:
    pass
