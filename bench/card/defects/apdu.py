"""Cards whose ordinary commands are wrong: status words, classes, lengths, files (ISO/IEC 7816-4:2020). The files are the reference ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench.card.card import Card
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.card.files import CLA_ECHO, FileSystem
from bench.iso7816.apdu import CommandApdu, Ins, ResponseApdu, StatusWord

_SHORT: Final = 255
"""Bytes of a short command or answer, at most."""


def _instead(found: int, given: int) -> type[FileSystem]:
    """Files that answer ``given`` where ``found`` would be right."""

    class Instead(FileSystem):
        def execute(self, command: CommandApdu) -> ResponseApdu:
            answer = super().execute(command)
            return ResponseApdu(b"", StatusWord(given)) if answer.sw == found else answer

    return Instead


class _AnyClass(FileSystem):
    """What a class asks for beyond the instruction is not looked at."""

    def execute(self, command: CommandApdu) -> ResponseApdu:
        return super().execute(command if command.cla == CLA_ECHO else replace(command, cla=0))


class _NoWord(FileSystem):
    def execute(self, command: CommandApdu) -> ResponseApdu:
        answer = super().execute(command)
        return ResponseApdu(b"", 0x5000) if command.ins == 0x84 else answer


class _RefusesMore(FileSystem):
    """Where more is asked for than there is, nothing is given."""

    def _read(self, command: CommandApdu) -> ResponseApdu:
        answer = super()._read(command)
        short = command.le is not None and len(answer.data) < command.le
        return ResponseApdu(b"", StatusWord.WRONG_LENGTH) if short and answer.data else answer


class _WholeNames(FileSystem):
    def _select(self, command: CommandApdu) -> ResponseApdu:
        if command.p1 == 0x04 and all(each.name != command.data for each in self.applications):
            return ResponseApdu(b"", StatusWord.FILE_NOT_FOUND)
        return super()._select(command)


class _AnyName(FileSystem):
    def _select(self, command: CommandApdu) -> ResponseApdu:
        answer = super()._select(command)
        lost = command.p1 == 0x04 and answer.sw == StatusWord.FILE_NOT_FOUND
        return ResponseApdu(b"", StatusWord.OK) if lost else answer


class _ReadsNext(FileSystem):
    """Reads from the byte after the one that was asked for."""

    def _read(self, command: CommandApdu) -> ResponseApdu:
        return super()._read(replace(command, p2=command.p2 ^ 1))


class _ReadsNothing(FileSystem):
    def _read(self, command: CommandApdu) -> ResponseApdu:
        return replace(super()._read(command), data=b"")


class _UpdatesNothing(FileSystem):
    def _update(self, command: CommandApdu) -> ResponseApdu:
        """Says that it has written, and has not."""
        del command
        return ResponseApdu(b"", StatusWord.OK)


class _WritesOneMore(FileSystem):
    def _update(self, command: CommandApdu) -> ResponseApdu:
        return super()._update(replace(command, data=command.data + b"\xff"))


class _KeepsOld(FileSystem):
    def _update(self, command: CommandApdu) -> ResponseApdu:
        """Says that it has written."""
        return super()._update(replace(command, data=command.data[:-1] or command.data))


class _ChainLoses(FileSystem):
    """The last byte of what is longer than a short command is lost."""

    def execute(self, command: CommandApdu) -> ResponseApdu:
        answer = super().execute(command)
        return replace(answer, data=answer.data[:-1]) if len(answer.data) > _SHORT else answer


_METHODS: Final = {Ins.SELECT: "_select", Ins.READ_BINARY: "_read", Ins.UPDATE_BINARY: "_update"}


def _files(kind: type[FileSystem]) -> Callable[[Card], None]:
    def alter(card: Card) -> None:
        become(card.files, kind)
        for ins, method in _METHODS.items():
            card.files._commands[ins] = getattr(card.files, method)

    return alter


def _defect(name: str, text: str, requirement: str, kind: type[FileSystem]) -> Defect:
    return Defect(name, text, requirement, card=_files(kind), parks=True)


DEFECTS: Final = (
    _defect("class-answered-6d00", "answers an unknown class with 6D00", "APDU-CLA-1", _instead(0x6E00, 0x6D00)),
    _defect("class-bits-ignored", "executes commands that ask for what it lacks", "APDU-CLA-2", _AnyClass),
    _defect(
        "instruction-answered-6e00", "answers an unknown instruction with 6E00", "APDU-INS-1", _instead(0x6D00, 0x6E00)
    ),
    _defect("status-word-5000", "answers a command with 5000", "APDU-SW-1", _NoWord),
    _defect("length-answered-6a80", "answers a wrong length with 6A80", "APDU-LEN-1", _instead(0x6700, 0x6A80)),
    _defect("gives-nothing-of-less", "gives nothing where less is there than was asked for", "APDU-LE-1", _RefusesMore),
    _defect("unknown-file-selected", "finds files that are not there", "APDU-SELECT-1", _instead(0x6A82, 0x9000)),
    _defect("names-in-full-only", "finds an application by its whole name alone", "APDU-SELECT-2", _WholeNames),
    _defect("any-name-selected", "finds an application for every name", "APDU-SELECT-3", _AnyName),
    _defect("reads-beside", "reads from the byte beside the one that was asked for", "APDU-READ-1", _ReadsNext),
    _defect("writes-one-more", "writes a byte more than it is given", "APDU-UPDATE-1", _WritesOneMore),
    _defect("last-byte-not-written", "does not write the last byte it is given", "APDU-UPDATE-1", _KeepsOld),
    _defect("parameters-answered-9000", "takes parameters that make no sense", "APDU-P1P2-1", _instead(0x6A86, 0x9000)),
    _defect(
        "nothing-waits-9000",
        "answers 9000 to GET RESPONSE where nothing waits",
        "APDU-GET-RESPONSE-1",
        _instead(0x6985, 0x9000),
    ),
    _defect("long-answer-cut", "loses the last byte of a long answer", "APDU-CHAIN-1", _ChainLoses),
    _defect("wrong-length-taken", "answers 9000 to a wrong length", "APDU-LEN-1", _instead(0x6700, 0x9000)),
    _defect("lacking-answered-6e00", "answers 6E00 where it lacks a channel", "APDU-CLA-2", _instead(0x6881, 0x6E00)),
    _defect("unknown-file-6a86", "answers 6A86 where there is no file", "APDU-SELECT-1", _instead(0x6A82, 0x6A86)),
    _defect("reads-nothing", "reads nothing, and answers 9000", "APDU-READ-1", _ReadsNothing),
    _defect("updates-nothing", "writes nothing, and answers 9000", "APDU-UPDATE-1", _UpdatesNothing),
)
"""Every card whose ordinary commands are wrong."""
