"""From what is attached to a rig file: a new one, or the lab's own with what is new put in.

A rig and a reader are matched by serial number, by-id path, address, and at last by the ATR of the card, where only one of each is left. Of a rig
that is matched only the reader's address and serial number are ever changed; notes, comments, order and everything else stay as they are, to the
byte. A reader that is not attached stays in the file, and is told.
"""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from bench.rig.inventory import Found, Interface
from bench.rig.inventory_match import match
from bench.rig.loader import parse_rig_file
from bench.rig.model import ReaderKind, RigFileModel, RigModel
from bench.rig.software import PLAIN
from bench.rig.yaml_edit import Editor, flow, pair_of, scalar

ADDRESS: Final = {Interface.PCSC: "name", Interface.USB: "device", Interface.SERIAL: "port"}
"""The field of a rig file that says where a reader of each kind is."""
HEADER: Final = """\
# Written by `cardbench rig scan`, which adds what is attached later and leaves everything else as it is. See docs/rigs.md.
"""


@dataclass(frozen=True, slots=True)
class Merged:
    """The rig file's new text, and what was done, for people."""

    text: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def new_file(found: Sequence[Found], station: str = "") -> Merged:
    """A rig file with one rig for each reader."""
    names: list[str] = []
    lines: list[str] = []
    for each in found:
        names.append(rig_name(each, names))
        first, *rest = rig_lines(each, names[-1])
        lines += [f"  - {first}", *(f"    {line}" for line in rest)]
    text = HEADER + f"station: {station or _station()}\nrigs:\n" + "".join(f"{line}\n" for line in lines)
    return Merged(text, tuple(names), (), ())


def merge(text: str, path: Path, found: Sequence[Found]) -> Merged:
    """``text``, the rig file at ``path``, with what is attached put in. Raises FileError where it has mistakes: it is then left alone."""
    file = parse_rig_file(text, path)
    pairs = _paired(file, found)
    editor = Editor(text)
    sequence = _rigs(editor)
    names = [rig.name for rig in file.rigs]
    changed, gone, remarks = [], [], []
    for rig, node in zip(file.rigs, sequence.value, strict=True):
        mate = pairs.get(rig.name)
        if mate is not None:
            changed += _update(editor, rig, node, mate)
            remarks += _other_card(rig, mate)
        elif rig.serve is None and rig.reader.kind is not ReaderKind.SOFTWARE and not _remote(rig):
            gone.append(f"{rig.name}: its reader is not attached ({_address(rig)}); kept")
    added = []
    taken = {id(each) for each in pairs.values()}
    for each in found:
        if id(each) not in taken:
            name = rig_name(each, names)
            names.append(name)
            added.append(name)
            editor.append(sequence, rig_lines(each, name), _flow_rig(each, name))
    new = editor.result()
    parse_rig_file(
        new, path
    )  # what we wrote must be what we read: a mistake here is ours, and the file stays as it was
    return Merged(new, tuple(added), tuple(changed), tuple(gone), tuple(remarks))


def rig_name(found: Found, taken: Sequence[str]) -> str:
    """A name for a new rig: the reader's own in the letters that names may have, with a number where it is taken."""
    own = re.sub(r"[^a-z0-9]+", "-", found.name.lower()).strip("-")
    words = own.split("-")[:4]
    base = "-".join([*words, str(found.interface)]) if own else str(found.interface)
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def rig_lines(found: Found, name: str) -> list[str]:
    """A new rig in block style. The card behind it is not known to speak the hop; that is for the lab to say."""
    where = f"found at {found.where}" + ("" if found.stable else "; its identity changes with the port")
    return [
        f"name: {name}",
        f"reader: {flow(_reader(found))}",
        f"cards: [{flow(_card(found))}]",
        f"notes: {scalar(where)}",
    ]


def _flow_rig(found: Found, name: str) -> str:
    return f"{{name: {name}, reader: {flow(_reader(found))}, cards: [{flow(_card(found))}]}}"


def _reader(found: Found) -> dict[str, str]:
    fields = {"kind": str(found.interface), ADDRESS[found.interface]: found.address}
    if found.serial:
        fields["serial"] = found.serial
    return fields


def _card(found: Found) -> dict[str, str]:
    return {"profile": PLAIN, "atr": found.atr.hex(" ").upper()} if found.atr else {"profile": PLAIN}


def _paired(file: RigFileModel, found: Sequence[Found]) -> dict[str, Found]:
    """Which reader each rig has. One reader may be in several rigs (other wiring, other cards)."""
    pairs = {}
    for rig in file.rigs:
        if rig.serve is None and rig.reader.kind is not ReaderKind.SOFTWARE:
            mate = match(rig.reader, found)
            if mate is not None:
                pairs[rig.name] = mate
    taken = {id(each) for each in pairs.values()}
    for rig in file.rigs:
        atr = rig.cards[0].atr if rig.cards else None
        if rig.name in pairs or atr is None or rig.serve is not None or rig.reader.serial is not None:
            continue
        free = [
            each
            for each in found
            if each.atr == atr and str(each.interface) == str(rig.reader.kind) and id(each) not in taken
        ]
        alike = [
            other.name
            for other in file.rigs
            if other.name not in pairs
            and other.reader.kind is rig.reader.kind
            and other.cards
            and other.cards[0].atr == atr
        ]
        if len(free) == 1 and alike == [rig.name]:
            pairs[rig.name] = free[0]
            taken.add(id(free[0]))
    return pairs


def _update(editor: Editor, rig: RigModel, node: yaml.Node, mate: Found) -> list[str]:
    """Bring the reader's address and serial number up to date; gives what was changed."""
    pair = pair_of(node, "reader")
    if pair is None or not isinstance(pair[1], yaml.MappingNode):
        return []
    reader, key = pair[1], ADDRESS[mate.interface]
    changed = []
    if not _still_leads(rig, mate):
        editor.set(reader, key, mate.address, "kind")
        changed.append(f"{rig.name}: {key} was {_address(rig)}, is {mate.address}")
    if mate.serial and rig.reader.serial is None:
        editor.set(reader, "serial", mate.serial, key)
        changed.append(f"{rig.name}: serial {mate.serial} put in")
    return changed


def _still_leads(rig: RigModel, mate: Found) -> bool:
    """Whether the address as written leads to the reader. A part of a PC/SC name does."""
    return match(rig.reader.model_copy(update={"serial": None}), [mate]) is not None


def _other_card(rig: RigModel, mate: Found) -> list[str]:
    named = rig.cards[0].atr if rig.cards else None
    if named is None or not mate.atr or named == mate.atr:
        return []
    return [
        f"{rig.name}: another card is in its reader, ATR {mate.atr.hex(' ').upper()}; the file keeps the one it names"
    ]


def _rigs(editor: Editor) -> yaml.SequenceNode:
    pair = pair_of(editor.root(), "rigs")
    assert pair is not None, "the file was read and checked before"
    assert isinstance(pair[1], yaml.SequenceNode), "the file was read and checked before"
    return pair[1]


def _remote(rig: RigModel) -> bool:
    """A port elsewhere in the network is not ours to look for."""
    return "://" in (rig.reader.port or "")


def _address(rig: RigModel) -> str:
    return rig.reader.name or rig.reader.device or rig.reader.port or ""


def _station() -> str:
    return re.sub(r"[^a-z0-9]+", "-", platform.node().lower()).strip("-") or "local"
