"""YAML (1.1, as PyYAML reads it) with every scalar as text and the position of everything.

A status word such as ``9000`` or ``6E00`` must survive, so nothing is resolved to a number, a date or a truth value. The file is never trusted: its
size, depth and number of nodes are limited, and anchors, aliases, tags, several documents and duplicate keys are refused. The tree is built from
the parser's events without recursion, so that no nesting exhausts the stack.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, TypeAlias

import yaml

from bench.files.mistakes import FileError, Mistake, Position, quoted

Tree: TypeAlias = str | list["Tree"] | dict[str, "Tree"]
Place: TypeAlias = tuple[str | int, ...]
"""The way from the top of a document to one of its nodes: keys and list indices (from 0)."""

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_NODES = 20_000

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_TAB = re.compile(r"^ *\t", re.MULTILINE)
_TOP = Position(1, 1)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's tree, and where each of its nodes stands."""

    path: Path
    tree: Tree
    values: Mapping[Place, Position]
    keys: Mapping[Place, Position]
    quotes: Mapping[Place, int] = field(default_factory=dict)
    """Of texts that stand on one line: how many characters (a quote) there are before their first."""

    def position(self, place: Place, *, key: bool = False) -> Position:
        """Where the node at ``place`` (or its key) stands; where there is none, its nearest parent."""
        while place:
            found = self.keys.get(place) if key else self.values.get(place)
            if found is not None:
                return found
            key = False
            place = place[:-1]
        return self.values.get((), _TOP)

    def at(self, place: Place) -> Tree | None:
        """The node at ``place``, or None."""
        node: Tree | None = self.tree
        for step in place:
            match node, step:
                case dict(), str():
                    node = node.get(step)
                case list(), int() if step < len(node):
                    node = node[step]
                case _:
                    return None
        return node

    def mistake(self, place: Place, found: str, expected: str, *, key: bool = False, offset: int = 0) -> Mistake:
        """A mistake at a place of this file; ``key``: at the name of the field instead of its value; ``offset``: so many characters into its text."""
        position = self.position(place, key=key)
        if offset and place in self.quotes:
            position = replace(position, column=position.column + self.quotes[place] + offset)
        return Mistake(self.path, position, found, expected)


def read(path: Path, what: str) -> Document:
    """Read a YAML file whose top is a mapping. ``what`` says what the file should be ("a scenario with ..."). Raises FileError."""
    return parse(_text(path, what), path, what)


def parse(text: str, path: Path, what: str) -> Document:
    """The same for text at hand; ``path`` is only named in mistakes."""
    if odd := _CONTROL.search(text):
        _refuse(path, _position(text, odd.start()), f"the control character U+{ord(odd[0]):04X}", "printable text")
    if tab := _TAB.search(text):
        _refuse(path, _position(text, tab.end() - 1), "a tab character in the indentation", "blanks")
    builder = _Builder(path)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else _TOP
        context = f" ({error.context})" if error.context else ""
        builder.refuse(position, (error.problem or "something that is not YAML") + context, "valid YAML")
    except yaml.YAMLError as error:
        builder.refuse(_TOP, str(error).splitlines()[0], "valid YAML")
    if builder.mistakes:
        raise FileError(builder.mistakes)
    if builder.root is None or builder.root == "":
        _refuse(path, _TOP, "an empty file", what)
    if not isinstance(builder.root, dict):
        found = "a list" if isinstance(builder.root, list) else f"the text {quoted(builder.root)}"
        _refuse(path, builder.values[()], found, what)
    return Document(path, builder.root, builder.values, builder.keys, builder.quotes)


def _text(path: Path, what: str) -> str:
    try:
        # Opened without waiting: a pipe that nobody writes to would hold us for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                _refuse(path, _TOP, "a pipe or device, which is no regular file", what)
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        _refuse(path, _TOP, f"a file that cannot be read ({error.strerror})", what)
    if len(raw) > MAX_BYTES:
        _refuse(path, _TOP, f"a file of more than {MAX_BYTES // 1024} KiB", "a smaller one")
    if b"\0" in raw:
        _refuse(path, _byte_position(raw, raw.index(b"\0")), "binary data", "text in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"the byte 0x{raw[error.start]:02X}, which is not UTF-8"
        _refuse(path, _byte_position(raw, error.start), found, "text in UTF-8")


def _byte_position(raw: bytes, offset: int) -> Position:
    before = raw[:offset].decode("utf-8-sig", errors="replace")
    return _position(before, len(before))


def _position(text: str, offset: int) -> Position:
    line = text.count("\n", 0, offset)
    return Position(line + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1)


def _refuse(path: Path, position: Position, found: str, expected: str) -> NoReturn:
    raise FileError([Mistake(path, position, found, expected)])


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    node: list[Tree] | dict[str, Tree]
    place: Place
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """Makes the tree from the parser's events."""

    path: Path
    root: Tree | None = None
    values: dict[Place, Position] = field(default_factory=dict)
    keys: dict[Place, Position] = field(default_factory=dict)
    quotes: dict[Place, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    nodes: int = 0

    def note(self, position: Position, found: str, expected: str) -> None:
        self.mistakes.append(Mistake(self.path, position, found, expected))

    def refuse(self, position: Position, found: str, expected: str) -> NoReturn:
        self.note(position, found, expected)
        raise FileError(self.mistakes)

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                if self.root is not None:
                    self.refuse(_start(event), "a second document", "one document a file")
            case yaml.AliasEvent():
                self.refuse(_start(event), f"the alias *{event.anchor}", "the value itself, written out")
            case yaml.ScalarEvent():
                self._properties(event)
                self._scalar(str(event.value), _start(event), _quote(event))
            case yaml.SequenceStartEvent():
                self._properties(event)
                self._open([], _start(event))
            case yaml.MappingStartEvent():
                self._properties(event)
                self._open({}, _start(event))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self.stack.pop()
            case _:
                pass

    def _properties(self, event: yaml.NodeEvent) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.refuse(_start(event), f"more than {MAX_NODES} values", "a smaller file")
        if event.anchor is not None:
            self.refuse(_start(event), f"the anchor &{event.anchor}", "no anchors: write each value out")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.refuse(_start(event), f"the tag {quoted(str(tag))}", "no tags: every value is text")

    def _scalar(self, text: str, position: Position, quote: int | None) -> None:
        top = self.stack[-1] if self.stack else None
        if top is None or not isinstance(top.node, dict) or top.key is not None:
            place = self._put(text, position)
            if quote is not None:
                self.quotes[place] = quote
            return
        if text in top.node:
            earlier = self.keys[(*top.place, text)]
            self.note(position, f"the key {quoted(text)} again (first in line {earlier.line})", "each key once")
        top.key = text
        self.keys[(*top.place, text)] = position

    def _open(self, node: list[Tree] | dict[str, Tree], position: Position) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.node, dict) and top.key is None:
            what = "a list" if isinstance(node, list) else "a mapping"
            self.refuse(position, f"{what} as a key", "a name (quote a text that begins with a brace)")
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(position, f"more than {MAX_DEPTH} levels of nesting", "a flatter file")
        place = self._put(node, position)
        self.stack.append(_Frame(node, place))

    def _put(self, node: Tree, position: Position) -> Place:
        if not self.stack:
            self.root = node
            self.values[()] = position
            return ()
        top = self.stack[-1]
        if isinstance(top.node, list):
            place: Place = (*top.place, len(top.node))
            top.node.append(node)
        else:
            assert top.key is not None
            place = (*top.place, top.key)
            top.node[top.key] = node
            top.key = None
        self.values[place] = position
        return place


def _start(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark is not None else _TOP


def _quote(event: yaml.ScalarEvent) -> int | None:
    """Characters before a text's first one, None where it does not stand on one line."""
    start, end = event.start_mark, event.end_mark
    if start is None or end is None or start.line != end.line:
        return None
    return 1 if event.style in ("'", '"') else 0
