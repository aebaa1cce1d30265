"""What PC/SC says when something goes wrong, as a table: what happened, what to do (pcsc-lite's pcsclite.h; PC/SC part 5).

::

    PcscError           a PC/SC call failed; ``trouble`` sorts it
    PcscMissingError    pyscard or the PC/SC library is not installed
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class PcscCode(IntEnum):
    """Return codes of PC/SC that need an answer of their own."""

    SCARD_S_SUCCESS = 0
    SCARD_E_CANCELLED = 0x80100002
    SCARD_E_INVALID_HANDLE = 0x80100003
    SCARD_E_INVALID_PARAMETER = 0x80100004
    SCARD_E_INSUFFICIENT_BUFFER = 0x80100008
    SCARD_E_TIMEOUT = 0x8010000A
    SCARD_E_SHARING_VIOLATION = 0x8010000B
    SCARD_E_NO_SMARTCARD = 0x8010000C
    SCARD_E_UNKNOWN_READER = 0x80100009
    SCARD_E_PROTO_MISMATCH = 0x8010000F
    SCARD_F_COMM_ERROR = 0x80100013
    SCARD_E_NOT_TRANSACTED = 0x80100016
    SCARD_E_READER_UNAVAILABLE = 0x80100017
    SCARD_E_NO_SERVICE = 0x8010001D
    SCARD_E_SERVICE_STOPPED = 0x8010001E
    SCARD_E_UNSUPPORTED_FEATURE = 0x8010001F
    SCARD_E_NO_READERS_AVAILABLE = 0x8010002E
    SCARD_W_UNSUPPORTED_CARD = 0x80100065
    SCARD_W_UNRESPONSIVE_CARD = 0x80100066
    SCARD_W_UNPOWERED_CARD = 0x80100067
    SCARD_W_RESET_CARD = 0x80100068
    SCARD_W_REMOVED_CARD = 0x80100069
    SCARD_W_SECURITY_VIOLATION = 0x8010006A


class Trouble(StrEnum):
    """What kind of thing went wrong, which is what decides how to go on."""

    ABSENT = "absent"
    """The card is not in the reader (any more)."""
    MUTE = "mute"
    """The card is there and does not answer."""
    READER = "reader gone"
    DAEMON = "pcscd gone"
    SHARING = "device busy"
    RESET = "reset by another program"
    DENIED = "permission denied"
    PROTOCOL = "protocol mismatch"
    EXCHANGE = "exchange failed"
    """The driver could not carry the exchange; a card that was pulled shows like this at first."""
    OTHER = "unexpected"


@dataclass(frozen=True, slots=True)
class Advice:
    """One row of the table."""

    trouble: Trouble
    what: str
    do: str


_RESTART: Final = "start it again (systemctl restart pcscd.socket, or pcscd -f to see what it says)"
_GONE: Final = Advice(Trouble.DAEMON, "pcscd does not run or has ended", _RESTART)
_ABSENT: Final = Advice(Trouble.ABSENT, "no card is in the reader", "put the card in, contacts first")
_READER: Final = Advice(Trouble.READER, "the reader is not there", "plug it in and see whether pcscd lists it")
_MUTE: Final = Advice(
    Trouble.MUTE, "the card gives no usable answer to reset", "clean its contacts; try another reader"
)

ADVICE: Final[Mapping[PcscCode, Advice]] = MappingProxyType(
    {
        PcscCode.SCARD_E_NO_SERVICE: _GONE,
        PcscCode.SCARD_E_SERVICE_STOPPED: _GONE,
        PcscCode.SCARD_F_COMM_ERROR: _GONE,
        PcscCode.SCARD_E_INVALID_HANDLE: Advice(
            Trouble.DAEMON, "pcscd no longer knows this connection: it was started anew", "power the card again"
        ),
        PcscCode.SCARD_E_NO_SMARTCARD: _ABSENT,
        PcscCode.SCARD_W_REMOVED_CARD: Advice(Trouble.ABSENT, "the card was pulled", "put it back"),
        PcscCode.SCARD_E_UNKNOWN_READER: _READER,
        PcscCode.SCARD_E_READER_UNAVAILABLE: _READER,
        PcscCode.SCARD_E_NO_READERS_AVAILABLE: _READER,
        PcscCode.SCARD_E_SHARING_VIOLATION: Advice(
            Trouble.SHARING,
            "another program holds the card",
            "end that program, or use 'access: shared' where it shares too",
        ),
        PcscCode.SCARD_W_RESET_CARD: Advice(
            Trouble.RESET,
            "another program has reset the card",
            "keep other programs off, or use 'access: exclusive'",
        ),
        PcscCode.SCARD_W_SECURITY_VIOLATION: Advice(
            Trouble.DENIED, "pcscd refuses this user", "run as root or let polkit allow it (org.debian.pcsc-lite)"
        ),
        PcscCode.SCARD_E_PROTO_MISMATCH: Advice(
            Trouble.PROTOCOL, "the card offers none of the protocols asked for", "look at its ATR: cardbench atr"
        ),
        PcscCode.SCARD_W_UNRESPONSIVE_CARD: _MUTE,
        PcscCode.SCARD_W_UNPOWERED_CARD: _MUTE,
        PcscCode.SCARD_W_UNSUPPORTED_CARD: _MUTE,
        PcscCode.SCARD_E_NOT_TRANSACTED: Advice(
            Trouble.EXCHANGE, "the driver could not carry the exchange", "see what pcscd says: pcscd -f --debug --apdu"
        ),
        PcscCode.SCARD_E_TIMEOUT: Advice(Trouble.EXCHANGE, "the driver gave up waiting", "power the card again"),
    }
)
_UNKNOWN: Final = Advice(Trouble.OTHER, "an unexpected PC/SC error", "see what pcscd says: pcscd -f --debug --apdu")


class PcscError(Exception):
    """A PC/SC call failed. The text says what happened, at which reader, and what to do."""

    def __init__(self, call: str, code: int, reader: str = "", detail: str = "") -> None:
        self.call = call
        self.code = code & 0xFFFF_FFFF
        try:
            known = PcscCode(self.code)
            name, advice = known.name, ADVICE.get(known, _UNKNOWN)
        except ValueError:
            name, advice = f"{self.code:08X}", _UNKNOWN
        self.trouble = advice.trouble
        where = f" ({reader})" if reader else ""
        found = f"; {detail}" if detail else ""
        super().__init__(f"{advice.trouble}: {advice.what}{where}{found}; {advice.do} [{call}: {name}]")


class PcscMissingError(Exception):
    """PC/SC cannot be used from here at all. The text says what to install."""
