"""The code tables of CCID 1.1: message types, slot status, errors (clauses 6.1 to 6.3)."""

from enum import IntEnum
from typing import Final

HEADER: Final = 10
"""bMessageType, dwLength, bSlot, bSeq, three bytes of the message's own."""


class MessageType(IntEnum):
    """bMessageType of a message on the bulk or interrupt pipes."""

    SET_PARAMETERS = 0x61
    ICC_POWER_ON = 0x62
    ICC_POWER_OFF = 0x63
    GET_SLOT_STATUS = 0x65
    SECURE = 0x69
    T0_APDU = 0x6A
    ESCAPE = 0x6B
    GET_PARAMETERS = 0x6C
    RESET_PARAMETERS = 0x6D
    ICC_CLOCK = 0x6E
    XFR_BLOCK = 0x6F
    MECHANICAL = 0x71
    ABORT = 0x72
    SET_DATA_RATE_AND_CLOCK = 0x73
    DATA_BLOCK = 0x80
    SLOT_STATUS = 0x81
    PARAMETERS = 0x82
    ESCAPE_ANSWER = 0x83
    DATA_RATE_AND_CLOCK = 0x84
    NOTIFY_SLOT_CHANGE = 0x50
    HARDWARE_ERROR = 0x51


class ClassRequest(IntEnum):
    """bRequest on the control pipe (5.3)."""

    ABORT = 0x01
    """wValue: bSlot in the low byte, bSeq in the high one."""
    GET_CLOCK_FREQUENCIES = 0x02
    GET_DATA_RATES = 0x03


class IccState(IntEnum):
    """bmICCStatus (6.2.6)."""

    ACTIVE = 0
    INACTIVE = 1
    ABSENT = 2


class CommandState(IntEnum):
    """bmCommandStatus (6.2.6)."""

    OK = 0
    FAILED = 1
    TIME_EXTENSION = 2


class ClockState(IntEnum):
    """bClockStatus (6.2.2)."""

    RUNNING = 0
    STOPPED_LOW = 1
    STOPPED_HIGH = 2
    STOPPED = 3


class PowerSelect(IntEnum):
    """bPowerSelect (6.1.1)."""

    AUTO = 0
    V5 = 1
    V3 = 2
    V1_8 = 3


class ClockCommand(IntEnum):
    """bClockCommand (6.1.9)."""

    RESTART = 0
    STOP = 1


class Mechanics(IntEnum):
    """bFunction of Mechanical (6.1.12)."""

    ACCEPT = 1
    EJECT = 2
    CAPTURE = 3
    LOCK = 4
    UNLOCK = 5


class Chain(IntEnum):
    """bChainParameter of a response, wLevelParameter of a command at extended APDU level (6.1.4, 6.2.1)."""

    WHOLE = 0x00
    BEGINS = 0x01
    ENDS = 0x02
    CONTINUES = 0x03
    NEXT = 0x10
    """Empty: the other side is to go on."""


class SlotError(IntEnum):
    """bError where the command failed (6.2.6). 1 to 127 is the offset of the field that cannot be taken."""

    CMD_NOT_SUPPORTED = 0x00
    BAD_LENGTH = 0x01
    BAD_SLOT = 0x05
    BAD_FIELD_7 = 0x07
    """bPowerSelect, bProtocolNum, bBWI, bClockCommand, bmChanges, bFunction."""
    BAD_FIELD_8 = 0x08
    """wLevelParameter."""
    BAD_DATA = 0x0A
    """The first byte of abData."""
    CMD_SLOT_BUSY = 0xE0
    PIN_CANCELLED = 0xEF
    PIN_TIMEOUT = 0xF0
    BUSY_WITH_AUTO_SEQUENCE = 0xF2
    DEACTIVATED_PROTOCOL = 0xF3
    PROCEDURE_BYTE_CONFLICT = 0xF4
    ICC_CLASS_NOT_SUPPORTED = 0xF5
    ICC_PROTOCOL_NOT_SUPPORTED = 0xF6
    BAD_ATR_TCK = 0xF7
    BAD_ATR_TS = 0xF8
    HW_ERROR = 0xFB
    XFR_OVERRUN = 0xFC
    XFR_PARITY_ERROR = 0xFD
    ICC_MUTE = 0xFE
    CMD_ABORTED = 0xFF


def error_text(code: int) -> str:
    """A bError for people."""
    if code in SlotError.__members__.values():
        return f"{SlotError(code).name} ({code:02X})"
    if 1 <= code <= 0x7F:
        return f"bad field at offset {code}"
    return f"bError {code:02X}"
