"""A USB device of ours in the world's time, whatever carries it to a host; and a reader with software cards in it as such a device.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.ccid.codes import HEADER
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.firmware import CcidFirmware, FirmwareTraits
from bench.ccid.usb_ccid import BULK_IN, BULK_OUT, IDENTITY, INTERRUPT_IN, CcidFunction
from bench.ccid.usb_descriptors import DeviceIdentity
from bench.ccid.usb_device import Transfer, UsbDevice
from bench.engine import Engine, VirtualEngine
from bench.iso7816.line import CardEnd
from bench.iso7816.port import ExchangeLevel
from bench.readers.tpdu import SlotTraits, TpduSlot
from bench.readers.tpdu_apdu import ApduSlot
from bench.serve.slaved import LEAP_MOST_NS, SlavedEngine

UNSEEN_NS: Final = 10**9
"""How long a card that stands in for another stays out where the host does not look."""
MAXIMUM_RATE_BPS: Final = 1_000_000
DEFAULT_CLOCK_HZ: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class ReaderForm:
    """One exchange level, as dwFeatures and dwMaxCCIDMessageLength tell it."""

    level: ExchangeLevel
    features: Feature
    maximum_message: int


_CHOSEN_BY_HOST: Final = Feature.NAD | Feature.AUTO_CLOCK | Feature.AUTO_RATE
_BY_ITSELF: Final = (
    Feature.AUTO_PARAMETERS | Feature.AUTO_CLOCK | Feature.AUTO_RATE | Feature.AUTO_PPS | Feature.AUTO_IFSD
)
FORMS: Final = {
    "character": ReaderForm(ExchangeLevel.CHARACTER, _CHOSEN_BY_HOST, 271),
    "tpdu": ReaderForm(ExchangeLevel.TPDU, _CHOSEN_BY_HOST | Feature.TPDU, 271),
    "short-apdu": ReaderForm(ExchangeLevel.APDU, _BY_ITSELF | Feature.SHORT_APDU, 271),
    "apdu": ReaderForm(ExchangeLevel.APDU, _BY_ITSELF | Feature.EXTENDED_APDU, 2058),
}
"""By the word that chooses it."""


class CarrierError(Exception):
    """The other side does not speak the carrier's protocol; the connection is of no use any more."""


class ServedUsb:
    """A device whose engine is slaved to the wall. A carrier hands it the host's transfers and calls ``turn`` when ``sleep`` is over."""

    def __init__(self, engine: VirtualEngine, device: UsbDevice) -> None:
        self.device = device
        self.slaved = SlavedEngine(engine)
        self.on_asked: Callable[[], None] = _nothing
        """Told of each transfer that carries data to the device."""

    def submit(self, transfer: Transfer) -> None:
        """A transfer of the host, stamped max(engine, wall)."""
        self.slaved.follow()
        self.device.submit(transfer)
        self.settle()
        if transfer.data:
            self.on_asked()

    def cancel(self, transfer: Transfer) -> bool:
        self.slaved.follow()
        return self.device.cancel(transfer)

    def reset(self) -> None:
        """A bus reset, or the cable is out."""
        self.slaved.follow()
        self.device.reset()

    def turn(self) -> None:
        """Do what is due."""
        self.slaved.follow()

    def sleep(self, longest: float) -> float:
        """Seconds until there is something to do, at most ``longest``."""
        return self.slaved.sleep(longest)

    def settle(self) -> None:
        """For who inherits: what follows a transfer."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A message for the host, and the engine's time at which it exists."""

    message: bytes
    tick: int


class ServedUsbReader(ServedUsb):
    """A CCID reader with software cards in it. Unpaced it runs ahead to each answer; paced the answer waits for the wall."""

    def __init__(
        self,
        engine: VirtualEngine,
        cards: Sequence[CardEnd | None],
        *,
        form: str = "tpdu",
        clocks_hz: Sequence[int] = (DEFAULT_CLOCK_HZ,),
        paced: bool = False,
        identity: DeviceIdentity = IDENTITY,
        interrupt: bool = True,
    ) -> None:
        """A slot for each of ``cards``, None leaving it empty. ``form`` is one of FORMS; ``clocks_hz`` are clocks of the engine's timebase."""
        self.slots, self.firmware = reader_of(engine, form, clocks_hz, len(cards))
        self.form = form
        self.paced = paced
        function = CcidFunction(self.firmware, speed=identity.speed, interrupt=interrupt)
        super().__init__(engine, UsbDevice(identity, [function]))
        self._say = self.firmware.on_message
        self._held: list[_Due] = []
        self.firmware.on_message = self._answered
        self._cards = list(cards)
        self._leap_most = engine.timebase.nanoseconds(LEAP_MOST_NS)
        self._then: Callable[[], None] | None = None
        """What to do when the host has seen that no card is there."""
        for number, card in enumerate(cards):
            if card is not None:
                self.insert(number)

    # -- hands -------------------------------------------------------------------------------------------------------------

    def pull(self, slot: int = 0) -> None:
        """Take the card out of a slot."""
        self._then = None
        self.slaved.follow()
        self.slots[slot].remove()

    def insert(self, slot: int = 0, card: CardEnd | None = None) -> None:
        """Put ``card``, or the one that was there, into a slot. Raises ValueError where there is none."""
        self._cards[slot] = card = card or self._cards[slot]
        if card is None:
            raise ValueError(f"no card was ever in slot {slot}: say which one goes there")
        self.slaved.follow()
        self._put(slot)

    def succeed(self, before: "ServedUsbReader", *, unseen: bool = False) -> None:
        """Stand in the place of ``before``: the host keeps its device, sees the old card go, and once it has seen that, the new one come.

        ``unseen``: the old card has lost its power, as far as the host can tell; only its next answer to reset is another's. An answer that the host
        has not fetched yet is still fetched: a driver that is left without takes the reader for broken.
        """
        for due in before._held:
            before._say(due.message)
        waiting = before.device.withdraw()
        answers = before.device.unfetched(BULK_IN)
        configured = before.device.configuration
        before.reset()
        if configured and unseen:
            self.slaved.follow()
            self.device.set_configuration(configured)
            self.device.take_back(INTERRUPT_IN)
        elif configured:
            self.pull()
            self.device.set_configuration(configured)
            self._then = lambda: self._put(0)
            self.slaved.engine.after(self.slaved.engine.timebase.nanoseconds(UNSEEN_NS), self._seen)
        self.device.refill(BULK_IN, answers)
        for transfer in waiting:
            self.device.submit(transfer)

    # -- time --------------------------------------------------------------------------------------------------------------

    def submit(self, transfer: Transfer) -> None:
        absent = not self.slots[0].present
        super().submit(transfer)
        if absent and transfer.endpoint == BULK_OUT and len(transfer.data) >= HEADER and self._then is not None:
            self._seen()

    def settle(self) -> None:
        if self.firmware.busy and not self.paced:  # paced, what has not happened yet can still be cut short by a hand
            self.slaved.reach(lambda: not self.firmware.busy, self._leap_most, keep=True)

    def turn(self) -> None:
        super().turn()
        wall = self.slaved.wall
        while self._held and self._held[0].tick <= wall:
            self._say(self._held.pop(0).message)

    def sleep(self, longest: float) -> float:
        longest = super().sleep(longest)
        return min(longest, self.slaved.seconds_until(self._held[0].tick)) if self._held else longest

    def reset(self) -> None:
        self._held.clear()
        super().reset()

    def _answered(self, message: bytes) -> None:
        now = self.slaved.engine.now
        if self._held or (self.paced and now > self.slaved.wall):
            self._held.append(_Due(message, now))
        else:
            self._say(message)

    def _put(self, slot: int) -> None:
        card = self._cards[slot]
        if card is not None and not self.slots[slot].present:
            self.slots[slot].insert(card)

    def _seen(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()


def reader_of(
    engine: Engine, form: str, clocks_hz: Sequence[int], slots: int
) -> "tuple[list[TpduSlot | ApduSlot], CcidFirmware]":
    """The slots of a reader of this form, all empty, and its firmware, on any engine."""
    shape = FORMS[form]
    traits = SlotTraits(
        tuple(clocks_hz),
        maximum_rate_bps=MAXIMUM_RATE_BPS,
        level=shape.level,
        auto_parameters=bool(shape.features & Feature.AUTO_PARAMETERS),
        auto_pps=bool(shape.features & Feature.AUTO_PPS),
    )
    slot = ApduSlot if shape.level is ExchangeLevel.APDU else TpduSlot
    made = [slot(engine, traits) for _ in range(slots)]
    return made, CcidFirmware(engine, made, _traits(shape, clocks_hz, slots))


def _traits(shape: ReaderForm, clocks_hz: Sequence[int], slots: int) -> FirmwareTraits:
    khz = tuple(clock // 1000 for clock in clocks_hz)
    return FirmwareTraits(
        ClassDescriptor(
            slots=slots,
            default_clock_khz=khz[0],
            maximum_clock_khz=max(khz),
            data_rate_bps=clocks_hz[0] // 372,
            maximum_rate_bps=MAXIMUM_RATE_BPS,
            features=shape.features,
            maximum_message=shape.maximum_message,
            busy_slots=slots,
            clocks=len(khz) if len(khz) > 1 else 0,
        ),
        clocks_khz=khz if len(khz) > 1 else (),
    )


def _nothing() -> None:
    pass
