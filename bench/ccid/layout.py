"""How a CCID message lies in bytes (CCID 1.1, 6): what both directions share."""

from struct import Struct
from typing import Final

from bench.ccid.codes import HEADER

HEADER_LAYOUT: Final = Struct("<BIBB3s")
"""bMessageType, dwLength, bSlot, bSeq, three bytes of the message's own."""
TWO_WORDS: Final = Struct("<II")
"""dwClockFrequency, dwDataRate."""


def pack_message(kind: int, slot: int, seq: int, own: bytes, data: bytes) -> bytes:
    """A message of any type; ``own`` are its bytes 7 to 9."""
    return HEADER_LAYOUT.pack(kind, len(data), slot, seq, own) + data


def message_length(head: bytes) -> int | None:
    """How many bytes the message that begins with ``head`` has in all; None while its header is not complete."""
    return HEADER + int.from_bytes(head[1:5], "little") if len(head) >= HEADER else None
