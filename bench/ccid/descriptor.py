"""The class descriptor of a CCID interface, 54 bytes (CCID 1.1, 5.1)."""

from dataclasses import dataclass
from enum import IntFlag
from struct import Struct
from typing import Final

from bench.ccid.errors import CcidMessageError
from bench.iso7816.port import ExchangeLevel

LENGTH: Final = 0x36
TYPE: Final = 0x21
INTERFACE_CLASS: Final = 0x0B
_LAYOUT: Final = Struct("<BBHBBIIIBIIBIIIIIBBHBB")
_LEVELS: Final = 0x070000
MESSAGE_HEADER: Final = 10


class Feature(IntFlag):
    """dwFeatures. Exactly one of the levels is set, or none: character level."""

    AUTO_PARAMETERS = 0x02
    """Automatic parameter configuration based on the ATR."""
    AUTO_ACTIVATION = 0x04
    """Automatic activation of the card on insertion."""
    AUTO_VOLTAGE = 0x08
    AUTO_CLOCK = 0x10
    """Card clock changed by itself, according to the parameters."""
    AUTO_RATE = 0x20
    """Data rate changed by itself, according to the parameters."""
    AUTO_NEGOTIATION = 0x40
    """Parameters negotiated by itself: proprietary algorithms."""
    AUTO_PPS = 0x80
    CLOCK_STOP = 0x100
    NAD = 0x200
    """NAD other than 00 taken (T=1)."""
    AUTO_IFSD = 0x400
    """The first S(IFS request) made by itself."""
    TPDU = 0x010000
    SHORT_APDU = 0x020000
    EXTENDED_APDU = 0x040000
    WAKE_UP = 0x100000


class Voltage(IntFlag):
    """bVoltageSupport."""

    V5 = 1
    V3 = 2
    V1_8 = 4


CLASS_VOLTAGES: Final = {"A": Voltage.V5, "B": Voltage.V3, "C": Voltage.V1_8}
"""Operating classes of ISO/IEC 7816-3, 5.1.3."""


@dataclass(frozen=True, slots=True)
class ClassDescriptor:
    """What a reader says it can do. Clocks in kHz, rates in bit/s."""

    slots: int = 1
    voltages: Voltage = Voltage.V5 | Voltage.V3 | Voltage.V1_8
    protocols: tuple[int, ...] = (0, 1)
    default_clock_khz: int = 3571
    maximum_clock_khz: int = 3571
    clocks: int = 0
    """How many clocks GET_CLOCK_FREQUENCIES lists; 0: none, or those between the default and the maximum."""
    data_rate_bps: int = 9600
    maximum_rate_bps: int = 115_200
    rates: int = 0
    """How many rates GET_DATA_RATES lists; 0: all between the default and the maximum."""
    maximum_ifsd: int = 254
    features: Feature = Feature.TPDU
    maximum_message: int = 271
    """dwMaxCCIDMessageLength: header and data."""
    class_get_response: int = 0xFF
    class_envelope: int = 0xFF
    lcd_layout: int = 0
    pin_support: int = 0
    busy_slots: int = 1
    synch_protocols: int = 0
    mechanical: int = 0
    version: int = 0x0110

    @property
    def level(self) -> ExchangeLevel:
        """What it takes as one exchange; ``extended`` tells the two levels of APDU apart."""
        if self.features & (Feature.SHORT_APDU | Feature.EXTENDED_APDU):
            return ExchangeLevel.APDU
        return ExchangeLevel.TPDU if self.features & Feature.TPDU else ExchangeLevel.CHARACTER

    @property
    def extended(self) -> bool:
        """Whether it takes extended APDUs, in as many messages as they need."""
        return bool(self.features & Feature.EXTENDED_APDU)

    @property
    def classes(self) -> str:
        """Operating classes it can supply."""
        return "".join(name for name, voltage in CLASS_VOLTAGES.items() if self.voltages & voltage)

    @property
    def longest_data(self) -> int:
        """Bytes of data in its longest message."""
        return self.maximum_message - MESSAGE_HEADER

    def encode(self) -> bytes:
        protocols = sum(1 << number for number in self.protocols)
        return _LAYOUT.pack(
            LENGTH,
            TYPE,
            self.version,
            self.slots - 1,
            self.voltages,
            protocols,
            self.default_clock_khz,
            self.maximum_clock_khz,
            self.clocks,
            self.data_rate_bps,
            self.maximum_rate_bps,
            self.rates,
            self.maximum_ifsd,
            self.synch_protocols,
            self.mechanical,
            self.features,
            self.maximum_message,
            self.class_get_response,
            self.class_envelope,
            self.lcd_layout,
            self.pin_support,
            self.busy_slots,
        )


def decode_descriptor(data: bytes) -> ClassDescriptor:
    """Read a class descriptor. Raises CcidMessageError; features and voltages nobody has defined are kept as they are.

    Long because the descriptor is: a line for every field, there and back.
    """

    def need(right: bool, offset: int, found: str, expected: str) -> None:
        if not right:
            raise CcidMessageError("CCID class descriptor", offset, found, expected)

    need(len(data) == LENGTH, min(len(data), LENGTH), f"{len(data)} bytes", str(LENGTH))
    (
        length,
        kind,
        version,
        last_slot,
        voltages,
        protocols,
        default_clock,
        maximum_clock,
        clocks,
        rate,
        maximum_rate,
        rates,
        maximum_ifsd,
        synch_protocols,
        mechanical,
        features,
        maximum_message,
        class_get_response,
        class_envelope,
        lcd_layout,
        pin_support,
        busy_slots,
    ) = _LAYOUT.unpack(data)
    need(length == LENGTH, 0, f"bLength {length:02X}", f"{LENGTH:02X}")
    need(kind == TYPE, 1, f"bDescriptorType {kind:02X}", f"{TYPE:02X}")
    need((features & _LEVELS).bit_count() <= 1, 40, f"dwFeatures {features:08X}", "at most one exchange level")
    need(maximum_message > MESSAGE_HEADER, 44, f"dwMaxCCIDMessageLength {maximum_message}", "more than a header's 10")
    return ClassDescriptor(
        slots=last_slot + 1,
        voltages=Voltage(voltages),
        protocols=tuple(number for number in range(32) if protocols >> number & 1),
        default_clock_khz=default_clock,
        maximum_clock_khz=maximum_clock,
        clocks=clocks,
        data_rate_bps=rate,
        maximum_rate_bps=maximum_rate,
        rates=rates,
        maximum_ifsd=maximum_ifsd,
        features=Feature(features),
        maximum_message=maximum_message,
        class_get_response=class_get_response,
        class_envelope=class_envelope,
        lcd_layout=lcd_layout,
        pin_support=pin_support,
        busy_slots=busy_slots,
        synch_protocols=synch_protocols,
        mechanical=mechanical,
        version=version,
    )
