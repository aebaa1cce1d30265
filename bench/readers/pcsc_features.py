"""Control codes: what a PC/SC reader offers beyond exchanges (PC/SC part 10, 2.2 to 2.6), and the node address byte of libccid.

SCardControl with ``GET_FEATURE_REQUEST`` gives a list of tags, each with a control code of the reader's own (big-endian, whatever the host);
``Feature.GET_TLV_PROPERTIES`` is a list of properties (little-endian). Escape hands bytes to the reader's firmware: libccid lets that through only
where its DRIVER_OPTIONS have bit 0.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


def control_code(code: int) -> int:
    """SCARD_CTL_CODE as pcsc-lite counts."""
    return 0x4200_0000 + code


GET_FEATURE_REQUEST: Final = control_code(3400)
ESCAPE: Final = control_code(1)
"""IOCTL_SMARTCARD_VENDOR_IFD_EXCHANGE."""
NODE_ADDRESS: Final = control_code(3600)
"""Set and get NAD at TPDU-level readers: libccid from 1.6.0 on."""
_SET_NAD: Final = bytes((0x3E, 0x00, 0x01))
_SET_NAD_DONE: Final = _SET_NAD + b"\x00"
_GET_NAD: Final = bytes((0x3F, 0x00, 0x00))
_GET_NAD_DONE: Final = bytes((0x3F, 0x00, 0x02, 0x00))
_FEATURE_SIZE: Final = 6


class Feature(IntEnum):
    """Tags of the feature list (part 10, 2.3)."""

    VERIFY_PIN_START = 0x01
    VERIFY_PIN_FINISH = 0x02
    MODIFY_PIN_START = 0x03
    MODIFY_PIN_FINISH = 0x04
    GET_KEY_PRESSED = 0x05
    VERIFY_PIN_DIRECT = 0x06
    MODIFY_PIN_DIRECT = 0x07
    MCT_READER_DIRECT = 0x08
    MCT_UNIVERSAL = 0x09
    IFD_PIN_PROPERTIES = 0x0A
    ABORT = 0x0B
    SET_SPE_MESSAGE = 0x0C
    VERIFY_PIN_DIRECT_APP_ID = 0x0D
    MODIFY_PIN_DIRECT_APP_ID = 0x0E
    WRITE_DISPLAY = 0x0F
    GET_KEY = 0x10
    IFD_DISPLAY_PROPERTIES = 0x11
    GET_TLV_PROPERTIES = 0x12
    CCID_ESC_COMMAND = 0x13


class Property(IntEnum):
    """Tags of the property list (part 10, 2.6.14)."""

    LCD_LAYOUT = 0x01
    ENTRY_VALIDATION_CONDITION = 0x02
    TIMEOUT_2 = 0x03
    LCD_MAX_CHARACTERS = 0x04
    LCD_MAX_LINES = 0x05
    MIN_PIN_SIZE = 0x06
    MAX_PIN_SIZE = 0x07
    FIRMWARE_ID = 0x08
    PPDU_SUPPORT = 0x09
    MAX_APDU_DATA_SIZE = 0x0A
    ID_VENDOR = 0x0B
    ID_PRODUCT = 0x0C


@dataclass(frozen=True, slots=True)
class FeatureCode:
    """One entry of the feature list: its tag, known or not, and the code to give to SCardControl."""

    tag: int
    code: int


@dataclass(frozen=True, slots=True)
class Properties:
    """What a reader says of itself; None where it says nothing."""

    vendor: int | None = None
    product: int | None = None
    max_apdu_data: int | None = None
    """0: short APDUs only."""
    firmware: str = ""
    ppdu: int | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """The feature list, and the properties where the list offers them."""

    codes: tuple[FeatureCode, ...] = ()
    properties: Properties = Properties()
    error: str = ""
    """Why there is no list."""

    def code(self, feature: Feature) -> int | None:
        """The control code of a feature, None where the reader does not offer it."""
        return next((each.code for each in self.codes if each.tag == feature), None)


class FeatureError(ValueError):
    """A reader's list is not made as part 10 says. The text says where."""


def parse_features(data: bytes) -> tuple[FeatureCode, ...]:
    """The feature list. Raises FeatureError."""
    found = []
    for at in range(0, len(data), _FEATURE_SIZE):
        record = data[at : at + _FEATURE_SIZE]
        if len(record) != _FEATURE_SIZE or record[1] != 4:
            raise FeatureError(f"feature list: no tag, length 4 and code at byte {at}: {record.hex(' ').upper()}")
        found.append(FeatureCode(record[0], int.from_bytes(record[2:], "big")))
    return tuple(found)


def parse_properties(data: bytes) -> Properties:
    """The property list. Raises FeatureError."""
    values: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        length = data[at + 1] if at + 1 < len(data) else 0
        value = data[at + 2 : at + 2 + length]
        if at + 1 >= len(data) or len(value) != length:
            raise FeatureError(f"property list: the {len(data)} bytes end inside the property at byte {at}")
        values.setdefault(data[at], value)
        at += 2 + length

    def number(tag: Property) -> int | None:
        return int.from_bytes(values[tag], "little") if tag in values else None

    firmware = values.get(Property.FIRMWARE_ID, b"").decode("ascii", "replace").strip("\0 ")
    return Properties(
        number(Property.ID_VENDOR),
        number(Property.ID_PRODUCT),
        number(Property.MAX_APDU_DATA_SIZE),
        firmware,
        number(Property.PPDU_SUPPORT),
    )


def set_nad_command(nad: int) -> bytes:
    """What to send to ``NODE_ADDRESS`` so that T=1 blocks carry ``nad``. Raises ValueError outside a byte."""
    return _SET_NAD + bytes((nad,))


def nad_was_set(response: bytes) -> bool:
    """Whether that was done."""
    return response == _SET_NAD_DONE


def get_nad_command() -> bytes:
    """What to send to ``NODE_ADDRESS`` to hear which NAD is used."""
    return _GET_NAD


def nad_in(response: bytes) -> int | None:
    """The NAD of that answer, None where it tells none."""
    return response[4] if len(response) == 5 and response[:4] == _GET_NAD_DONE else None
