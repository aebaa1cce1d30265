"""Command and response APDUs as values (ISO/IEC 7816-3:2006, 12.1; 7816-4:2013, clause 5); their mapping to T=0 (12.2).

A command APDU is one of seven cases: 1, and 2, 3, 4 in short (S) or extended (E) length. Which of them it is follows
from the values; `extended` asks for extended fields where short ones would do, and is set by itself where they would
not. `le` is Ne, the most data the command may return: None for none, 256 for a short field of 00, 65536 for an extended
field of 0000.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from bench.iso7816.errors import ApduError

SHORT_DATA_MAX: Final = 255
SHORT_LE_MAX: Final = 256
EXTENDED_DATA_MAX: Final = 65_535
EXTENDED_LE_MAX: Final = 65_536
HEADER_SIZE: Final = 4
CHAINING_BIT: Final = 0x10
"""CLA bit 5: more commands of the chain follow (7816-4, 5.3.3)."""

_CLAUSE = "ISO/IEC 7816-3, 12.1"


class Case(Enum):
    """The seven cases of a command APDU (12.1.3)."""

    CASE_1 = "1"
    CASE_2S = "2S"
    CASE_3S = "3S"
    CASE_4S = "4S"
    CASE_2E = "2E"
    CASE_3E = "3E"
    CASE_4E = "4E"

    @property
    def has_data(self) -> bool:
        """Whether the command carries data."""
        return self.value[0] in "34"

    @property
    def extended(self) -> bool:
        """Whether the length fields are extended."""
        return self.value.endswith("E")


class Ins(IntEnum):
    """Instructions that the bench and its reference card use (7816-4, 5.5)."""

    MANAGE_CHANNEL = 0x70
    EXTERNAL_AUTHENTICATE = 0x82
    GET_CHALLENGE = 0x84
    INTERNAL_AUTHENTICATE = 0x88
    VERIFY = 0x20
    SELECT = 0xA4
    READ_BINARY = 0xB0
    READ_RECORD = 0xB2
    GET_RESPONSE = 0xC0
    ENVELOPE = 0xC2
    GET_DATA = 0xCA
    WRITE_BINARY = 0xD0
    UPDATE_BINARY = 0xD6
    PUT_DATA = 0xDA
    UPDATE_RECORD = 0xDC


def ins_is_valid(ins: int) -> bool:
    """Whether an instruction byte may be used: 6X and 9X would be taken for SW1 (7816-3, 10.3.2)."""
    return ins >> 4 not in (0x6, 0x9)


@dataclass(frozen=True, slots=True)
class CommandApdu:
    """A command APDU. `le` is Ne in bytes (None: no data expected back).

    `extended` becomes True by itself when the lengths need it, so equal commands compare equal. Raises ApduError when a
    field does not fit. INS is not judged here, so that a bench can send what a card must refuse.
    """

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int | None = None
    extended: bool = False

    def __post_init__(self) -> None:
        for name, value in (("CLA", self.cla), ("INS", self.ins), ("P1", self.p1), ("P2", self.p2)):
            if not 0 <= value <= 0xFF:
                raise ApduError(f"{name} is one byte, not {value} ({_CLAUSE})")
        if len(self.data) > EXTENDED_DATA_MAX:
            raise ApduError(
                f"{len(self.data)} data bytes; an extended Lc holds at most {EXTENDED_DATA_MAX} ({_CLAUSE})"
            )
        if self.le is not None and not 1 <= self.le <= EXTENDED_LE_MAX:
            raise ApduError(f"Ne of {self.le}; it is 1 to {EXTENDED_LE_MAX}, or None for no data back ({_CLAUSE})")
        if self.extended and not self.data and self.le is None:
            raise ApduError(f"case 1 has no length field that could be extended ({_CLAUSE})")
        if len(self.data) > SHORT_DATA_MAX or (self.le or 0) > SHORT_LE_MAX:
            object.__setattr__(self, "extended", True)

    @property
    def header(self) -> bytes:
        """CLA INS P1 P2."""
        return bytes([self.cla, self.ins, self.p1, self.p2])

    @property
    def case(self) -> Case:
        """Which of the seven cases this is."""
        if not self.data and self.le is None:
            return Case.CASE_1
        number = "2" if not self.data else "3" if self.le is None else "4"
        return Case(number + ("E" if self.extended else "S"))

    def encode(self) -> bytes:
        """The bytes of the command APDU, 4 to 65 544."""
        case = self.case
        if case is Case.CASE_1:
            return self.header
        if not case.extended:
            lc = bytes([len(self.data)]) if case.has_data else b""
            le = b"" if self.le is None else bytes([self.le & 0xFF])
            return self.header + lc + self.data + le
        lc = len(self.data).to_bytes(2, "big") if case.has_data else b""
        le = b"" if self.le is None else (self.le & 0xFFFF).to_bytes(2, "big")
        return self.header + b"\x00" + lc + self.data + le


def parse_command(data: bytes) -> CommandApdu:
    """Read a command APDU (the decoding conventions of 12.1.3). Raises ApduError that says which length is wrong."""
    if len(data) < HEADER_SIZE:
        raise ApduError(f"{len(data)} bytes; a command APDU has at least CLA INS P1 P2 ({_CLAUSE})")
    cla, ins, p1, p2 = data[:HEADER_SIZE]
    body = data[HEADER_SIZE:]
    payload, le, extended = _parse_body(body)
    return CommandApdu(cla, ins, p1, p2, payload, le, extended)


def _parse_body(body: bytes) -> tuple[bytes, int | None, bool]:
    """Data, Ne and whether the fields are extended."""
    if not body:
        return b"", None, False
    if len(body) == 1:
        return b"", body[0] or SHORT_LE_MAX, False
    if body[0] != 0:
        lc = body[0]
        if len(body) == 1 + lc:
            return body[1:], None, False
        if len(body) == 2 + lc:
            return body[1:-1], body[-1] or SHORT_LE_MAX, False
        raise ApduError(f"Lc={lc:02X} announces {lc} data bytes, {len(body) - 1} bytes follow ({_CLAUSE})")
    if len(body) == 2:
        raise ApduError(f"byte 5 is 00, so an extended length of two bytes follows, but one byte is left ({_CLAUSE})")
    number = int.from_bytes(body[1:3], "big")
    if len(body) == 3:
        return b"", number or EXTENDED_LE_MAX, True
    if number == 0:
        raise ApduError(f"extended Lc is 0000, but {len(body) - 3} bytes follow ({_CLAUSE})")
    if len(body) == 3 + number:
        return body[3:], None, True
    if len(body) == 5 + number:
        return body[3:-2], int.from_bytes(body[-2:], "big") or EXTENDED_LE_MAX, True
    raise ApduError(f"extended Lc={number:04X} announces {number} data bytes, {len(body) - 3} bytes follow ({_CLAUSE})")


@dataclass(frozen=True, slots=True)
class ResponseApdu:
    """A response APDU: data and status word. Raises ApduError for a status word that is not two bytes."""

    data: bytes
    sw: int

    def __post_init__(self) -> None:
        if not 0 <= self.sw <= 0xFFFF:
            raise ApduError(f"the status word is two bytes, not {self.sw} ({_CLAUSE})")
        if len(self.data) > EXTENDED_LE_MAX:
            raise ApduError(f"{len(self.data)} response data bytes; at most {EXTENDED_LE_MAX} ({_CLAUSE})")

    @property
    def sw1(self) -> int:
        """First status byte."""
        return self.sw >> 8

    @property
    def sw2(self) -> int:
        """Second status byte."""
        return self.sw & 0xFF

    @property
    def ok(self) -> bool:
        """Normal processing: 9000 or 61xx."""
        return self.sw == StatusWord.OK or self.sw1 == SW1_MORE

    def encode(self) -> bytes:
        """Data, then SW1 SW2."""
        return self.data + self.sw.to_bytes(2, "big")


def parse_response(data: bytes) -> ResponseApdu:
    """Read a response APDU. Raises ApduError when it is shorter than its status word."""
    if len(data) < 2:
        raise ApduError(f"{len(data)} bytes; a response APDU ends in SW1 SW2 ({_CLAUSE})")
    return ResponseApdu(data[:-2], int.from_bytes(data[-2:], "big"))


# --- T=0 (12.2) ------------------------------------------------------------------------------------------------------


class Transport(Enum):
    """How a command APDU travels as T=0 TPDUs (12.2); `value` is the clause."""

    P3_ZERO = "12.2.2"
    P3_LE = "12.2.3"
    P3_LC = "12.2.4"
    P3_LC_THEN_GET_RESPONSE = "12.2.5"
    P3_ZERO_THEN_GET_RESPONSE = "12.2.6"
    ENVELOPE = "12.2.7"
    ENVELOPE_THEN_GET_RESPONSE = "12.2.8"


@dataclass(frozen=True, slots=True)
class T0Command:
    """A command TPDU of T=0: header CLA INS P1 P2 P3, and the data sent after procedure bytes.

    With `data` empty, P3 counts bytes from the card (00: 256), or nothing at all in case 1; with data, bytes to the
    card.
    """

    header: bytes
    data: bytes = b""

    def __post_init__(self) -> None:
        if len(self.header) != HEADER_SIZE + 1:
            raise ApduError(f"a T=0 header has 5 bytes, not {len(self.header)} (ISO/IEC 7816-3, 10.3.2)")
        if self.data and len(self.data) != self.header[4]:
            raise ApduError(f"P3={self.header[4]:02X}, but {len(self.data)} data bytes (ISO/IEC 7816-3, 10.3.2)")


@dataclass(frozen=True, slots=True)
class T0Mapping:
    """The TPDUs that carry a command, in order, and what fetches its answer.

    `le` is how many response bytes are wanted in all (None: none, 256 or 65536 for "up to"). The terminal sends
    `commands` one after the other; a `61xx` or, for case 4, `9000` is followed by `get_response`, and `6Cxx` by the
    same header with P3 = xx.
    """

    transport: Transport
    commands: tuple[T0Command, ...]
    le: int | None


def map_to_t0(command: CommandApdu, *, segment: int = SHORT_DATA_MAX) -> T0Mapping:
    """The T=0 TPDUs for a command APDU. `segment` is the most data one ENVELOPE carries (1 to 255).

    Extended fields that a short one could hold are mapped as the short case, as 12.2.6 to 12.2.8 say. Extended commands
    with more than 255 data bytes go as the series of ENVELOPEs of 12.2.7, of class 0X (`transport_class`), ended by an
    ENVELOPE without data.
    """
    if not 1 <= segment <= SHORT_DATA_MAX:
        raise ApduError(f"ENVELOPE segments of {segment} bytes; a TPDU carries 1 to {SHORT_DATA_MAX}")
    header, data, le = command.header, command.data, command.le
    if len(data) > SHORT_DATA_MAX:
        whole = command.encode()
        cuts = [whole[at : at + segment] for at in range(0, len(whole), segment)]
        envelopes = tuple(_envelope(command.cla, cut) for cut in cuts)
        transport = Transport.ENVELOPE if le is None else Transport.ENVELOPE_THEN_GET_RESPONSE
        return T0Mapping(transport, (*envelopes, _envelope(command.cla, b"")), le)
    if data:
        transport = Transport.P3_LC if le is None else Transport.P3_LC_THEN_GET_RESPONSE
        return T0Mapping(transport, (T0Command(header + bytes([len(data)]), data),), le)
    if le is None:
        return T0Mapping(Transport.P3_ZERO, (T0Command(header + b"\x00"),), None)
    if le <= SHORT_LE_MAX:
        return T0Mapping(Transport.P3_LE, (T0Command(header + bytes([le & 0xFF])),), le)
    return T0Mapping(Transport.P3_ZERO_THEN_GET_RESPONSE, (T0Command(header + b"\x00"),), le)


def transport_class(cla: int) -> int:
    """The class of an ENVELOPE or GET RESPONSE for a command of class `cla`: 0X on the same logical channel.

    Channels 0 to 3 sit in bits 2 and 1, channels 4 to 19 in the low half of classes 4X to 7X (7816-4, 5.4.1). Chaining
    and secure messaging belong to the command inside, not to its transport.
    """
    return 0x40 | cla & 0x0F if cla & 0xC0 == 0x40 else cla & 0x03


def _envelope(cla: int, data: bytes) -> T0Command:
    return T0Command(bytes([transport_class(cla), Ins.ENVELOPE, 0, 0, len(data)]), data)


def get_response(cla: int, available: int) -> T0Command:
    """GET RESPONSE for `available` bytes (1 to 256) on the logical channel of `cla` (class 0X)."""
    if not 1 <= available <= SHORT_LE_MAX:
        raise ApduError(f"GET RESPONSE for {available} bytes; P3 encodes 1 to {SHORT_LE_MAX}")
    return T0Command(bytes([transport_class(cla), Ins.GET_RESPONSE, 0, 0, available & 0xFF]))


# --- status words (7816-4, 5.6) --------------------------------------------------------------------------------------

SW1_MORE: Final = 0x61
"""SW2 more bytes are available (00: 256 or more)."""
SW1_WRONG_LE: Final = 0x6C
"""Wrong Le; SW2 is the exact number of available bytes (00: 256)."""


class StatusWord(IntEnum):
    """Status words with a fixed meaning (7816-4, tables 5 and 6)."""

    OK = 0x9000
    WARNING = 0x6200
    DATA_CORRUPTED = 0x6281
    END_OF_FILE = 0x6282
    FILE_DEACTIVATED = 0x6283
    FILE_CONTROL_FORMAT = 0x6284
    FILE_TERMINATED = 0x6285
    WARNING_CHANGED = 0x6300
    FILE_FILLED = 0x6381
    EXECUTION_ERROR = 0x6400
    MEMORY_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    CLA_FUNCTION_NOT_SUPPORTED = 0x6800
    LOGICAL_CHANNEL_NOT_SUPPORTED = 0x6881
    SECURE_MESSAGING_NOT_SUPPORTED = 0x6882
    LAST_COMMAND_OF_CHAIN_EXPECTED = 0x6883
    CHAINING_NOT_SUPPORTED = 0x6884
    COMMAND_NOT_ALLOWED = 0x6900
    COMMAND_INCOMPATIBLE_WITH_FILE = 0x6981
    SECURITY_STATUS_NOT_SATISFIED = 0x6982
    AUTHENTICATION_BLOCKED = 0x6983
    REFERENCE_DATA_NOT_USABLE = 0x6984
    CONDITIONS_NOT_SATISFIED = 0x6985
    NO_CURRENT_FILE = 0x6986
    WRONG_PARAMETERS = 0x6A00
    WRONG_DATA = 0x6A80
    FUNCTION_NOT_SUPPORTED = 0x6A81
    FILE_NOT_FOUND = 0x6A82
    RECORD_NOT_FOUND = 0x6A83
    NOT_ENOUGH_MEMORY = 0x6A84
    NC_INCONSISTENT_WITH_TLV = 0x6A85
    INCORRECT_P1_P2 = 0x6A86
    NC_INCONSISTENT_WITH_P1_P2 = 0x6A87
    REFERENCED_DATA_NOT_FOUND = 0x6A88
    FILE_ALREADY_EXISTS = 0x6A89
    DF_NAME_ALREADY_EXISTS = 0x6A8A
    WRONG_P1_P2 = 0x6B00
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00
    NO_PRECISE_DIAGNOSIS = 0x6F00


_SW1_MEANING: Final = {
    0x61: "normal processing, {n} response bytes are available",
    0x62: "warning, non-volatile memory unchanged",
    0x63: "warning, non-volatile memory may have changed",
    0x64: "execution error, non-volatile memory unchanged",
    0x65: "execution error, non-volatile memory may have changed",
    0x66: "execution error, security related",
    0x67: "wrong length",
    0x68: "function in CLA not supported",
    0x69: "command not allowed",
    0x6A: "wrong parameters P1-P2",
    0x6B: "wrong parameters P1-P2",
    0x6C: "wrong Le field, {n} response bytes are available",
    0x6D: "instruction not supported or invalid",
    0x6E: "class not supported",
    0x6F: "no precise diagnosis",
    0x90: "normal processing",
    0x91: "normal processing, a proactive command of {n} bytes is pending (ETSI TS 102 221)",
}


def explain_sw(sw: int) -> str:
    """What a status word says, in words (7816-4, 5.6)."""
    sw1, sw2 = sw >> 8, sw & 0xFF
    if sw1 == 0x63 and sw2 >> 4 == 0xC:
        return f"warning, counter at {sw2 & 0xF}"
    general = _SW1_MEANING.get(sw1)
    try:
        name = StatusWord(sw).name.lower().replace("_", " ")
    except ValueError:
        if general is not None:
            return general.format(n=sw2 or 256)
        return "invalid: SW1 is 6X (except 60) or 9X" if sw1 == 0x60 or sw1 >> 4 not in (6, 9) else "proprietary"
    return "normal processing" if sw == StatusWord.OK else f"{general}: {name}"
