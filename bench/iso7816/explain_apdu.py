"""A command APDU explained: fields, case, lengths, and the TPDUs that carry it over T=0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.iso7816.apdu import CommandApdu, Ins, T0Mapping, ins_is_valid, map_to_t0, parse_command
from bench.iso7816.explain import ByteNote, table, to_hex

_SHOWN_BYTES = 16
_SHOWN_TPDUS = 6


@dataclass(frozen=True, slots=True)
class ApduExplanation:
    """A command APDU taken apart. `nc` and `ne` are the data bytes it carries and may get back; `tpdus` is for T=0."""

    apdu: str
    case: str
    nc: int
    ne: int
    fields: tuple[ByteNote, ...]
    transport: str
    tpdus: tuple[str, ...]
    warnings: tuple[str, ...]

    def text(self) -> str:
        """For people."""
        title = f"command APDU, case {self.case}: {self.nc} data bytes to the card, at most {self.ne} back"
        rows = [(str(n.position), n.name, n.value, n.meaning, n.clause) for n in self.fields]
        shown = [f"  {tpdu}" for tpdu in self.tpdus[:_SHOWN_TPDUS]]
        if len(self.tpdus) > _SHOWN_TPDUS:
            shown.append(f"  … {len(self.tpdus) - _SHOWN_TPDUS} more")
        parts = [title, table(rows), "\n".join([f"over T=0 (ISO/IEC 7816-3, {self.transport})", *shown])]
        if self.warnings:
            parts.append("\n".join(f"WARNING {warning}" for warning in self.warnings))
        return "\n\n".join(parts)


def explain_apdu(data: bytes) -> ApduExplanation:
    """Explain the bytes of a command APDU. Raises ApduError when their lengths do not fit together."""
    command = parse_command(data)
    mapping = map_to_t0(command)
    return ApduExplanation(
        apdu=to_hex(data),
        case=command.case.value,
        nc=len(command.data),
        ne=command.le or 0,
        fields=tuple(_fields(command)),
        transport=mapping.transport.value,
        tpdus=tuple(_tpdus(mapping)),
        warnings=tuple(_warnings(command)),
    )


def _fields(command: CommandApdu) -> Iterator[ByteNote]:
    yield ByteNote(1, "CLA", f"{command.cla:02X}", explain_cla(command.cla), "7816-4, 5.4.1")
    yield ByteNote(2, "INS", f"{command.ins:02X}", explain_ins(command.ins), "7816-4, 5.4.2")
    yield ByteNote(3, "P1", f"{command.p1:02X}", "parameter", "")
    yield ByteNote(4, "P2", f"{command.p2:02X}", "parameter", "")
    at = 5
    size = 1
    if command.case.extended:
        yield ByteNote(at, "ext", "00", "lengths that follow have two bytes", "7816-3, 12.1.3")
        at, size = 6, 2
    if command.data:
        length = len(command.data)
        lc = length.to_bytes(size, "big")
        yield ByteNote(at, "Lc", to_hex(lc), f"{length} data bytes follow", "7816-3, 12.1.3")
        yield ByteNote(at + size, "data", _shortened(command.data), "", "")
        at += size + length
    if command.le is not None:
        le = command.le % (1 << 8 * size)
        meaning = f"at most {command.le} bytes are expected back"
        yield ByteNote(at, "Le", to_hex(le.to_bytes(size, "big")), meaning, "7816-3, 12.1.3")


def _shortened(data: bytes) -> str:
    return to_hex(data) if len(data) <= _SHOWN_BYTES else f"{to_hex(data[:_SHOWN_BYTES])} …"


def explain_cla(cla: int) -> str:
    """What the class byte says (7816-4, 5.4.1)."""
    if cla == 0xFF:
        return "invalid: FF begins a PPS request"
    if cla & 0x80:
        return "proprietary class"
    chain = "more commands of the chain follow" if cla & 0x10 else "last or only command of a chain"
    if cla & 0xE0 == 0:
        secure = (
            "no secure messaging",
            "proprietary secure messaging",
            "secure messaging, header not processed",
            "secure messaging, header authenticated",
        )[cla >> 2 & 3]
        return f"interindustry; {chain}; {secure}; logical channel {cla & 3}"
    if cla & 0x40:
        secure = "secure messaging, header not processed" if cla & 0x20 else "no secure messaging"
        return f"further interindustry; {chain}; {secure}; logical channel {4 + (cla & 0xF)}"
    return "reserved for future use"


def explain_ins(ins: int) -> str:
    """The instruction's name, where the bench knows it (7816-4, 5.4.2)."""
    if not ins_is_valid(ins):
        return "invalid: 6X and 9X would be taken for SW1"
    try:
        return Ins(ins).name.replace("_", " ")
    except ValueError:
        return "not among the instructions the bench uses"


def _tpdus(mapping: T0Mapping) -> Iterator[str]:
    for tpdu in mapping.commands:
        yield to_hex(tpdu.header) + (f" | {_shortened(tpdu.data)}" if tpdu.data else "")


def _warnings(command: CommandApdu) -> Iterator[str]:
    if command.cla == 0xFF:
        yield "CLA FF is invalid (ISO/IEC 7816-4, 5.4.1): the card would take it for a PPS request"
    if not ins_is_valid(command.ins):
        yield f"INS {command.ins:02X} is invalid (ISO/IEC 7816-3, 10.3.2): procedure bytes 6X and 9X mean SW1"
