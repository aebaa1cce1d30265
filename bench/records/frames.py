"""The framing of a journal: how records lie in the file, and how a file is walked.

    file    = magic (8 bytes), format version (2), schema digest (8), CRC32 of the 18 bytes (4); then frames
    frame   = kind (1 byte), length of the payload (4), payload, CRC32 of all before it in the frame (4)

All integers are little-endian. Kinds:

    1       STRING  number (4), the text in UTF-8: defines a string, before its first use
    2       POINT   number of the run (4), scenario (4) and point (4) as string numbers, wall time it began (8, ns): one run of a point begins
    3       BYTES   number of the run (4), place (4), lengths of the payload fields (4 each), their bytes: payload handed in later
    16 + k  a row of table k of ``bench.records.columns``: number of the run (4), place in its point (4), the columns, then, where the table
            has payload, its fields' lengths (4 each). With bit 7 of the kind set the payload's bytes follow
    The row of the table ``verdicts`` is the final frame of its point.

A frame is written by one ``write``, so a killed process leaves whole frames and at most one torn one, at the end. A frame that is torn *and
followed by whole ones* is damage, which no kill causes, and an error.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.records.columns import TABLES, VERDICTS, Table, schema_digest
from bench.records.errors import JournalError

MAGIC = b"\x89CBJ\r\n\x1a\n"
"""As PNG's: shows damage done by text-mode copying at once."""
VERSION = 1

STRING = 1
POINT = 2
BYTES = 3
ROWS = 16
WITH_PAYLOAD = 0x80

HEADER = struct.Struct("<BI")
CRC = struct.Struct("<I")
STRING_BODY = struct.Struct("<I")
POINT_BODY = struct.Struct("<IIIQ")
ROW_BODY = struct.Struct("<II")
"""What a row begins with: number of the run, place in its point. BYTES begins so, too."""
OVERHEAD = HEADER.size + CRC.size


def _row_struct(table: Table) -> struct.Struct:
    columns = "".join(column.kind.code for column in table.columns)
    return struct.Struct(f"<BIII{columns}{'I' * len(table.payload)}")


ROW_STRUCTS = {table.name: _row_struct(table) for table in TABLES}
"""The layout of each table's row, from the frame's kind to the lengths of its payload fields."""


def _shortest() -> dict[int, int]:
    shortest = {STRING: STRING_BODY.size, POINT: POINT_BODY.size, BYTES: ROW_BODY.size}
    for number, table in enumerate(TABLES):
        size = ROW_STRUCTS[table.name].size - HEADER.size
        shortest[ROWS + number] = size
        if table.payload:
            shortest[ROWS + number + WITH_PAYLOAD] = size
    return shortest


SHORTEST = _shortest()
"""Every kind of frame there is, and the shortest payload it can have."""

FINAL = ROWS + TABLES.index(VERDICTS)


def file_head() -> bytes:
    """What every journal of this version and schema begins with."""
    head = MAGIC + struct.pack("<H", VERSION) + schema_digest()
    return head + CRC.pack(zlib.crc32(head))


HEAD_SIZE = len(file_head())


def frame(kind: int, body: bytes) -> bytes:
    """One frame, ready to be written."""
    head = HEADER.pack(kind, len(body)) + body
    return head + CRC.pack(zlib.crc32(head))


class Extent(NamedTuple):
    """One frame in a file: where it begins, its kind, and where the next one begins."""

    offset: int
    kind: int
    end: int


def check_head(path: Path, data: bytes | memoryview) -> bool:
    """Whether the file is a journal that this version reads. False: its process was killed while it wrote the head, so nothing is lost."""
    head = bytes(data[:HEAD_SIZE])
    expected = file_head()
    if head == expected:
        return True
    if len(head) < HEAD_SIZE and expected.startswith(head):
        return False
    if not head.startswith(MAGIC):
        raise JournalError(
            path, 0, f"not a journal of cardbench (it begins with {head[:8].hex(' ') or 'nothing'})", _MOVE_AWAY
        )
    version = int.from_bytes(head[8:10], "little")
    if version != VERSION:
        raise JournalError(
            path,
            len(MAGIC),
            f"a journal of format {version}, this cardbench reads format {VERSION}",
            "close the run with the cardbench that began it, or start a new run",
        )
    if CRC.pack(zlib.crc32(head[:-4])) != head[-4:]:
        raise JournalError(path, len(MAGIC) + 2, "the journal's head is damaged", _START_OVER)
    raise JournalError(
        path,
        len(MAGIC) + 2,
        "a journal whose tables have other columns than this cardbench's",
        "close the run with the cardbench that began it, or start a new run",
    )


def walk(path: Path, data: memoryview) -> Iterator[Extent]:
    """Every whole frame of a journal, in order, each checked. Ends before a torn tail; raises ``JournalError`` on damage anywhere else."""
    size = len(data)
    unpack, unpack_crc, crc_of, overhead, header = (
        HEADER.unpack_from,
        CRC.unpack_from,
        zlib.crc32,
        OVERHEAD,
        HEADER.size,
    )
    offset = HEAD_SIZE
    while size - offset >= overhead:
        kind, length = unpack(data, offset)
        body_end = offset + header + length
        end = body_end + 4
        if end > size or crc_of(data[offset:body_end]) != unpack_crc(data, body_end)[0]:
            break
        least = SHORTEST.get(kind)
        if least is None or length < least:
            what = f"of unknown kind {kind}" if least is None else f"of kind {kind} and only {length} bytes"
            raise JournalError(path, offset, f"a frame {what}", _START_OVER)
        yield Extent(offset, kind, end)
        offset = end
    later = _whole_frame_after(data, offset)
    if later is not None:
        raise JournalError(
            path, offset, f"a damaged frame, with whole ones after it (the next at byte {later})", _START_OVER
        )


def walk_checked(data: memoryview, begin: int, end: int) -> Iterator[Extent]:
    """The frames between two places that ``walk`` has found to be frames' ends."""
    unpack, overhead = HEADER.unpack_from, OVERHEAD
    offset = begin
    while offset < end:
        kind, length = unpack(data, offset)
        following = offset + overhead + length
        yield Extent(offset, kind, following)
        offset = following


def _whole_frame_after(data: memoryview, offset: int) -> int | None:
    """Where the first whole frame behind the broken one at ``offset`` begins."""
    rest = bytes(data[offset + 1 :]).rstrip(b"\0")  # blocks a power failure left empty
    for place in range(len(rest)):
        if rest[place] not in SHORTEST or len(rest) - place < HEADER.size:
            continue
        begin = offset + 1 + place
        end = begin + HEADER.size + int(HEADER.unpack_from(rest, place)[1])
        if end + 4 <= len(data) and zlib.crc32(data[begin:end]) == int.from_bytes(data[end : end + 4], "little"):
            return begin
    return None


def string_of(data: memoryview, extent: Extent) -> str:
    """The text that a STRING frame defines."""
    return str(data[extent.offset + HEADER.size + STRING_BODY.size : extent.end - CRC.size], "utf-8")


def payload_of(table: Table, data: memoryview, extent: Extent) -> tuple[bytes, ...]:
    """The payload fields of a row that carries them, or of the BYTES frame that belongs to it."""
    count = len(table.payload)
    if extent.kind == BYTES:
        begin = extent.offset + HEADER.size + ROW_BODY.size
    else:
        begin = extent.offset + ROW_STRUCTS[table.name].size - 4 * count
    lengths = struct.unpack_from(f"<{count}I", data, begin)
    begin += 4 * count
    parts = []
    for length in lengths:
        parts.append(bytes(data[begin : begin + length]))
        begin += length
    return tuple(parts)


_MOVE_AWAY = "move the file out of the run's directory"
_START_OVER = "the disk or a copy damaged it: restore the file, or move it away and let --resume run its points again"
