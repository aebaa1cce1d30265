"""The regular execution model: a small file system after ISO/IEC 7816-4 (SELECT, READ BINARY, UPDATE BINARY) and one command of our own.

`A0 EC 00 00` ECHO gives back its data: a case 4 command of any length, for witnesses and for the laws of the hop. Selection is by file identifier
(P1 = 00, 02) or by application identifier (P1 = 04). Files are transparent; the file control information is the template 6F with
80 (size), 82 (descriptor) and 83 (identifier) or 84 (name).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.iso7816.apdu import CommandApdu, Ins, ResponseApdu, StatusWord

INS_ECHO: Final = 0xEC
CLA_ECHO: Final = 0xA0
MASTER_FILE: Final = 0x3F00
INDEX_FILE: Final = 0x1001
NOTE_FILE: Final = 0x1002
NOTE_SIZE: Final = 256

INCOMING: Final = frozenset(
    {
        Ins.SELECT,
        Ins.UPDATE_BINARY,
        Ins.ENVELOPE,
        0x20,  # VERIFY
        0x0E,  # ERASE BINARY
        0xD0,  # WRITE BINARY
        0xD2,  # WRITE RECORD
        0xDC,  # UPDATE RECORD
        0xDA,  # PUT DATA
        0xE2,  # APPEND RECORD
        0x82,  # EXTERNAL AUTHENTICATE
        0x88,  # INTERNAL AUTHENTICATE
        0x22,  # MANAGE SECURITY ENVIRONMENT
        0x2A,  # PERFORM SECURITY OPERATION
        INS_ECHO,
    }
)
"""Instructions whose P3 counts data to the card under T=0 (ISO/IEC 7816-4, table 4.2 as far as it is served or plausible)."""


@dataclass(slots=True)
class TransparentFile:
    """An elementary file: bytes that can be read and, where it is so marked, updated."""

    content: bytearray
    writable: bool = True


@dataclass(slots=True)
class DedicatedFile:
    """A directory: the master file, or an application with a name (AID)."""

    name: bytes = b""
    files: dict[int, TransparentFile] = field(default_factory=dict)


def reference_files(identity: bytes) -> dict[int, TransparentFile]:
    """The reference card's files: EF.ICCID (2FE2), a scratch file of 1024 bytes (0001), a text to read (0002), and the web server's (1001, 1002)."""
    text = b"cardbench reference card: an IP smart card after T. Lamotte, Gemplus, 2001.\r\n"
    return {
        0x2FE2: TransparentFile(bytearray(identity.ljust(10, b"\xff")[:10]), writable=False),
        0x0001: TransparentFile(bytearray(1024)),
        0x0002: TransparentFile(bytearray(text), writable=False),
        INDEX_FILE: TransparentFile(bytearray(_INDEX.encode())),
        NOTE_FILE: TransparentFile(bytearray(NOTE_SIZE)),
    }


_INDEX: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>cardbench reference card</title>
<h1>A web server on a smart card</h1>
<p>This page is file 1001 of the card: UPDATE BINARY changes it.</p>
<ul>
<li><a href="/files/0002">file 0002</a>, as it is
<li><a href="/note">a note</a> that the card keeps in file 1002
</ul>
</html>
"""


def reference_application() -> DedicatedFile:
    """The reference card's one application, of the proprietary category: F0 "CARDBENCH", with a text (0003)."""
    return DedicatedFile(b"\xf0CARDBENCH", {0x0003: TransparentFile(bytearray(b"aid"), writable=False)})


class FileSystem:
    """Answers commands of the ordinary model. Files keep their content over resets; the selection does not."""

    def __init__(self, master: DedicatedFile, applications: tuple[DedicatedFile, ...] = ()) -> None:
        self.master = master
        self.applications = applications
        self._directory = master
        self._current: TransparentFile | None = None
        self._commands: dict[int, Callable[[CommandApdu], ResponseApdu]] = {
            Ins.SELECT: self._select,
            Ins.READ_BINARY: self._read,
            Ins.UPDATE_BINARY: self._update,
            Ins.GET_RESPONSE: _nothing_waits,
        }

    def content(self, identifier: int) -> bytes | None:
        """What is in an elementary file of the master file, for the card's own applications; None where there is no such file."""
        found = self.master.files.get(identifier)
        return None if found is None else bytes(found.content)

    def replace(self, identifier: int, content: bytes) -> bool:
        """Write an elementary file of the master file whole, the rest of it zero. False where it does not fit or may not be written."""
        found = self.master.files.get(identifier)
        if found is None or not found.writable or len(content) > len(found.content):
            return False
        found.content[:] = content.ljust(len(found.content), b"\x00")
        return True

    def reset(self) -> None:
        """The card was reset: the master file is selected."""
        self._directory = self.master
        self._current = None

    def execute(self, command: CommandApdu) -> ResponseApdu:
        """Answer one command."""
        if command.cla == CLA_ECHO and command.ins == INS_ECHO:
            return ResponseApdu(command.data, StatusWord.OK)
        if command.cla != 0x00:
            return _sw(_lacking(command.cla))
        handler = self._commands.get(command.ins)
        return handler(command) if handler is not None else _sw(StatusWord.INS_NOT_SUPPORTED)

    def _select(self, command: CommandApdu) -> ResponseApdu:
        data = command.data
        if command.p2 & 0xF3 or command.p1 not in (0x00, 0x02, 0x04):
            return _sw(StatusWord.INCORRECT_P1_P2)
        if command.p1 == 0x04:
            for application in self.applications:
                if data and application.name.startswith(data):
                    self._directory, self._current = application, None
                    return self._selected(command, _information(application.name, None, 0x84))
            return _sw(StatusWord.FILE_NOT_FOUND)
        if len(data) not in (0, 2):
            return _sw(StatusWord.WRONG_LENGTH)
        identifier = int.from_bytes(data, "big") if data else MASTER_FILE
        if identifier == MASTER_FILE and command.p1 == 0x00:
            self._directory, self._current = self.master, None
            return self._selected(command, _information(MASTER_FILE.to_bytes(2, "big"), None, 0x83))
        found = self._directory.files.get(identifier)
        if found is None:
            return _sw(StatusWord.FILE_NOT_FOUND)
        self._current = found
        return self._selected(command, _information(data, len(found.content), 0x83))

    @staticmethod
    def _selected(command: CommandApdu, information: bytes) -> ResponseApdu:
        wanted = command.p2 & 0x0C == 0x00 and command.le is not None
        return ResponseApdu(information if wanted else b"", StatusWord.OK)

    def _read(self, command: CommandApdu) -> ResponseApdu:
        if command.data or command.le is None:
            return _sw(StatusWord.WRONG_LENGTH)
        if command.p1 & 0x80:
            return _sw(StatusWord.INCORRECT_P1_P2)
        if self._current is None:
            return _sw(StatusWord.NO_CURRENT_FILE)
        offset = command.p1 << 8 | command.p2
        if offset >= len(self._current.content):
            return _sw(StatusWord.WRONG_P1_P2)
        data = bytes(self._current.content[offset : offset + command.le])
        return ResponseApdu(data, StatusWord.OK)

    def _update(self, command: CommandApdu) -> ResponseApdu:
        if not command.data:
            return _sw(StatusWord.WRONG_LENGTH)
        if command.p1 & 0x80:
            return _sw(StatusWord.INCORRECT_P1_P2)
        if self._current is None:
            return _sw(StatusWord.NO_CURRENT_FILE)
        if not self._current.writable:
            return _sw(StatusWord.SECURITY_STATUS_NOT_SATISFIED)
        offset = command.p1 << 8 | command.p2
        end = offset + len(command.data)
        if offset >= len(self._current.content):
            return _sw(StatusWord.WRONG_P1_P2)
        if end > len(self._current.content):
            return _sw(StatusWord.NOT_ENOUGH_MEMORY)
        self._current.content[offset:end] = command.data
        return _sw(StatusWord.OK)


def _nothing_waits(_: CommandApdu) -> ResponseApdu:
    """Over T=0 what waits is fetched before a command comes here; elsewhere nothing ever waits."""
    return _sw(StatusWord.CONDITIONS_NOT_SATISFIED)


def _information(name: bytes, size: int | None, tag: int) -> bytes:
    body = b"" if size is None else b"\x80\x02" + size.to_bytes(2, "big")
    body += b"\x82\x01" + (b"\x38" if size is None else b"\x01")
    body += bytes((tag, len(name))) + name
    return bytes((0x6F, len(body))) + body


def _lacking(cla: int) -> StatusWord:
    """What a class asks for that this card lacks (ISO/IEC 7816-4, 5.4.1): 0X and 4X to 7X are interindustry, 2X and 3X reserved."""
    further = cla & 0xC0 == 0x40
    if cla & 0xE0 and not further:
        return StatusWord.CLA_NOT_SUPPORTED
    if cla & (0x20 if further else 0x0C):
        return StatusWord.SECURE_MESSAGING_NOT_SUPPORTED
    if further or cla & 0x03:
        return StatusWord.LOGICAL_CHANNEL_NOT_SUPPORTED
    return StatusWord.CHAINING_NOT_SUPPORTED


def _sw(word: StatusWord) -> ResponseApdu:
    return ResponseApdu(b"", word)
