"""Historical bytes of the ATR: category indicator, COMPACT-TLV data objects, status indicator.

ISO/IEC 7816-4:2013, 12.1.1 (2005: 8.1.1). Category 00: data objects, then a status indicator of three bytes. Category
10: a DIR data reference. Category 80: data objects only, the status indicator being one of them (tag 8, one to three
bytes). 81 to 8F are reserved, all others proprietary. A COMPACT-TLV data object is one byte (tag number in the high
half, length in the low half) and its value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from bench.iso7816.errors import CompactTlvError

STATUS_INDICATOR_SIZE = 3

PCSC_STORAGE_CARD = bytes.fromhex("80 4F 0C A0 00 00 03 06")
"""How readers begin the historical bytes they invent for contactless storage cards (PC/SC part 3, 3.1.3.2.3.2).

4F 0C is the application identifier as BER-TLV, where COMPACT-TLV would say FC: it is read as what it means.
"""


class Category(Enum):
    """What the category indicator byte T1 says about the rest."""

    STATUS_AFTER_TLV = "COMPACT-TLV data objects followed by a status indicator of three bytes"
    DIR_REFERENCE = "DIR data reference"
    TLV = "COMPACT-TLV data objects, the status indicator among them if there is one"
    RESERVED = "reserved for future use"
    PROPRIETARY = "proprietary"

    @staticmethod
    def of(t1: int) -> Category:
        """The category that a first historical byte indicates."""
        if t1 == 0x00:
            return Category.STATUS_AFTER_TLV
        if t1 == 0x10:
            return Category.DIR_REFERENCE
        if t1 == 0x80:
            return Category.TLV
        return Category.RESERVED if 0x81 <= t1 <= 0x8F else Category.PROPRIETARY


class CompactTag(IntEnum):
    """Tag numbers with an interindustry meaning in historical bytes (the BER-TLV tag is 4X)."""

    COUNTRY_CODE = 0x1
    ISSUER_IDENTIFICATION_NUMBER = 0x2
    CARD_SERVICE_DATA = 0x3
    INITIAL_ACCESS_DATA = 0x4
    CARD_ISSUER_DATA = 0x5
    PRE_ISSUING_DATA = 0x6
    CARD_CAPABILITIES = 0x7
    STATUS_INDICATOR = 0x8
    APPLICATION_IDENTIFIER = 0xF


@dataclass(frozen=True, slots=True)
class DataObject:
    """One COMPACT-TLV data object. `position` is the 1-based number of its tag among the historical bytes."""

    tag: int
    value: bytes
    position: int

    @property
    def name(self) -> str:
        """The interindustry name of the tag, or `tag X` where it has none."""
        try:
            return CompactTag(self.tag).name.lower().replace("_", " ")
        except ValueError:
            return f"tag {self.tag:X}"

    def encode(self) -> bytes:
        """Tag, length and value. Raises CompactTlvError when either does not fit in half a byte."""
        if not 0 <= self.tag <= 0xF:
            raise CompactTlvError(self.position, f"tag {self.tag:X} does not fit in half a byte")
        if len(self.value) > 0xF:
            raise CompactTlvError(self.position, f"{len(self.value)} value bytes; a data object holds at most 15")
        return bytes([self.tag << 4 | len(self.value)]) + self.value


@dataclass(frozen=True, slots=True)
class StatusIndicator:
    """Life cycle status and status word, each present or not (12.1.1.11)."""

    lcs: int | None
    sw: int | None


@dataclass(frozen=True, slots=True)
class HistoricalBytes:
    """Decoded historical bytes. `objects` is empty for categories that hold none, `raw` is everything as it came."""

    raw: bytes
    category: Category
    objects: tuple[DataObject, ...]
    status: StatusIndicator | None


def parse_historical(raw: bytes) -> HistoricalBytes | None:
    """Decode historical bytes; None when there are none.

    Raises CompactTlvError when a data object runs past the end, when category 00 leaves no room for its status
    indicator, and when a status indicator has a length other than 1, 2 or 3.
    """
    if not raw:
        return None
    category = Category.of(raw[0])
    if category is Category.STATUS_AFTER_TLV:
        if len(raw) < 1 + STATUS_INDICATOR_SIZE:
            raise CompactTlvError(
                1, f"category 00 promises a status indicator of 3 bytes at the end, {len(raw) - 1} follow"
            )
        tail = raw[-STATUS_INDICATOR_SIZE:]
        objects = _objects(raw[:-STATUS_INDICATOR_SIZE])
        return HistoricalBytes(raw, category, objects, StatusIndicator(tail[0], int.from_bytes(tail[1:], "big")))
    if raw.startswith(PCSC_STORAGE_CARD) and len(raw) == 3 + raw[2]:
        objects = (DataObject(CompactTag.APPLICATION_IDENTIFIER, raw[3:], 2),)
        return HistoricalBytes(raw, category, objects, None)
    if category is Category.TLV:
        objects = _objects(raw)
        return HistoricalBytes(raw, category, objects, _status_among(objects))
    return HistoricalBytes(raw, category, (), None)


def _objects(raw: bytes) -> tuple[DataObject, ...]:
    found: list[DataObject] = []
    at = 1
    while at < len(raw):
        tag, length = raw[at] >> 4, raw[at] & 0xF
        value = raw[at + 1 : at + 1 + length]
        if len(value) < length:
            raise CompactTlvError(
                at + 1, f"data object {raw[at]:02X} announces {length} value bytes, {len(value)} are left"
            )
        found.append(DataObject(tag, value, at + 1))
        at += 1 + length
    return tuple(found)


def _status_among(objects: tuple[DataObject, ...]) -> StatusIndicator | None:
    for item in objects:
        if item.tag == CompactTag.STATUS_INDICATOR:
            value = item.value
            if len(value) == 1:
                return StatusIndicator(value[0], None)
            if len(value) == 2:
                return StatusIndicator(None, int.from_bytes(value, "big"))
            if len(value) == 3:
                return StatusIndicator(value[0], int.from_bytes(value[1:], "big"))
            raise CompactTlvError(item.position, f"status indicator of {len(value)} bytes; it has 1, 2 or 3")
    return None


def build_historical(objects: tuple[DataObject, ...], status: StatusIndicator | None = None) -> bytes:
    """Historical bytes of category 80: the data objects, then a status indicator object if one is given.

    Raises CompactTlvError when they exceed the 15 bytes an ATR has room for, or when the status indicator is empty.
    """
    body = b"".join(item.encode() for item in objects)
    if status is not None:
        value = b"" if status.lcs is None else bytes([status.lcs])
        value += b"" if status.sw is None else status.sw.to_bytes(2, "big")
        if not value:
            raise CompactTlvError(len(body) + 2, "an empty status indicator; give a life cycle status or a status word")
        body += DataObject(CompactTag.STATUS_INDICATOR, value, len(body) + 2).encode()
    raw = b"\x80" + body
    if len(raw) > 0xF:
        raise CompactTlvError(16, f"{len(raw)} historical bytes; T0 can announce at most 15")
    return raw
