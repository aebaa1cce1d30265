"""Edits to a YAML file that leave everything else as it is, to the byte: the text is cut at the places the parser marks, nothing is written anew."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9 ./_+()-]*")
_PLAIN_TEXT: Final = frozenset(("true", "false", "yes", "no", "null", "on", "off"))


class EditError(Exception):
    """The place to edit is not there."""


def scalar(text: str) -> str:
    """``text`` as a YAML scalar that is safe in block and flow style: plain where nothing can be misread, else in double quotes."""
    if _PLAIN.fullmatch(text) and text == text.strip() and text.lower() not in _PLAIN_TEXT:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(letter if letter.isprintable() else f"\\U{ord(letter):08X}" for letter in escaped) + '"'


def flow(entries: Mapping[str, str]) -> str:
    """A mapping in flow style."""
    return "{" + ", ".join(f"{name}: {scalar(value)}" for name, value in entries.items()) + "}"


@dataclass(slots=True)
class Editor:
    """A text and the edits to make to it. Every place is one of the text as it was."""

    text: str
    _edits: list[tuple[int, int, str]] = field(default_factory=list)

    def root(self) -> yaml.Node:
        """The parsed file. Raises EditError for an empty one."""
        node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        if node is None:
            raise EditError("an empty file")
        return node

    def set(self, mapping: yaml.MappingNode, key: str, value: str, after: str) -> None:
        """Give ``key`` a new value; where it is not there, put it behind ``after``, in the mapping's own style."""
        pair = pair_of(mapping, key)
        if pair is not None:
            self._edits.append((pair[1].start_mark.index, _end(pair[1]), scalar(value)))
            return
        neighbour = pair_of(mapping, after)
        if neighbour is None:
            raise EditError(f"no {after!r} to put {key!r} behind")
        at = _end(neighbour[1])
        if mapping.flow_style:
            self._edits.append((at, at, f", {key}: {scalar(value)}"))
            return
        line = self._line_end(at)
        self._edits.append((line, line, f"{self._newline}{' ' * mapping.start_mark.column}{key}: {scalar(value)}"))

    def append(self, sequence: yaml.SequenceNode, lines: list[str], in_flow: str) -> None:
        """Put an item behind the last one: its ``lines``, the first of which follows the dash, or ``in_flow`` where the list is in flow style."""
        at = _end(sequence.value[-1])
        if sequence.flow_style:
            self._edits.append((at, at, f", {in_flow}"))
            return
        margin = " " * sequence.start_mark.column
        item = [f"{margin}- {lines[0]}", *(f"{margin}  {line}" for line in lines[1:])]
        end = self._past_comments(self._line_end(at), sequence.start_mark.column)
        self._edits.append((end, end, "".join(self._newline + line for line in item)))

    def result(self) -> str:
        """The text with all edits made."""
        pieces, at = [], 0
        for start, end, new in sorted(
            self._edits, key=lambda edit: edit[0]
        ):  # of several at one place, the first asked for comes first
            pieces += [self.text[at:start], new]
            at = end
        return "".join([*pieces, self.text[at:]])

    @property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _line_end(self, at: int) -> int:
        """Where the line ends that holds the character before ``at``, comments on it included."""
        found = re.compile(r"\r?\n|\Z").search(self.text, at)
        return found.start() if found is not None else len(self.text)

    def _past_comments(self, at: int, column: int) -> int:
        """Past the comments that stand deeper than ``column``: they speak of the item before them."""
        deeper = re.compile(rf"(?:\r?\n[ ]*)*\r?\n[ ]{{{column + 1},}}#[^\r\n]*")
        while found := deeper.match(self.text, at):
            at = found.end()
        return at


def pair_of(mapping: yaml.Node, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value of an entry; None where it is not there."""
    if not isinstance(mapping, yaml.MappingNode):
        return None
    for name, value in mapping.value:
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            return name, value
    return None


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends: a block collection's mark lies behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    end = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        lines = node.end_mark.buffer
        if lines is not None:
            while end > node.start_mark.index and lines[end - 1] in "\r\n ":
                end -= 1
    return int(end)
