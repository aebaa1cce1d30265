"""The capture of a run: what its journals kept of commands, answers and packets, as one pcapng for Wireshark.

One interface for each hop and kind of packet. APDUs go to Wireshark's ``iso7816`` dissector, IP packets to IP, PPP frames to PPP; control packets
are USER0 and channel messages USER1, for ``cardbench.lua`` (docs/captures.md). Points follow each other in time in
the order of the tables, each beginning where the one before ended, the first at 1970, so the same points give the same bytes.
A packet's comment names scenario, point and step: ``baud-rate/throughput::ta1-96 step 2 transfer``.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from bench.observe import ATR, Direction
from bench.records.columns import EXCHANGES, PACKETS, STEPS
from bench.records.pcapng import Flow, LinkType, PcapngWriter, PduDirection, upper_pdu
from bench.records.reading import PointKey, RowId, RunRows
from bench.records.tables import Rows, as_rows

_IP_KINDS = frozenset(("ipv4", "ipv6"))
_APDU_LEVELS = frozenset(("character", "tpdu", "apdu"))
_APDU, _BLOCK = "apdu", "block"
_ATR_BEGINNINGS = (b"\x3b", b"\x3f")
_PPP = "ppp"
_SHORTEST_PPP = 6
"""A protocol, and the code, number and length of a control packet: of less Wireshark only says that it is malformed."""
_OWN = {"control": LinkType.USER0, "channel": LinkType.USER1}
"""What ``cardbench.lua`` dissects."""
_UNDISSECTED = "data"
"""Wireshark's dissector for anything."""


class _Interface(NamedTuple):
    hop: int
    kind: str

    @property
    def link_type(self) -> LinkType:
        if self.kind in _IP_KINDS:
            return LinkType.RAW_IP
        return _OWN.get(self.kind, LinkType.UPPER_PDU)


class _Captured(NamedTuple):
    """A packet of the capture. Sorted as it stands: by time, then by place, then command before answer. (A tuple: there may be millions.)"""

    time_ns: int
    place: int
    part: int
    interface: _Interface
    data: bytes
    flow: Flow
    note: str


@dataclass(slots=True)
class Span:
    """Where a step's packets are in the capture. Frames are numbered from 1, as Wireshark does."""

    scenario: str
    point: str
    step: int
    """0: before the first step, between steps, or after the last."""
    first: int
    last: int
    packets: int = 0
    """Fewer than from first to last where other steps' packets lie between."""


class Capture:
    """The capture being written. Hand it the runs in the order of their points."""

    def __init__(self, stream: BinaryIO) -> None:
        self._writer = PcapngWriter(stream)
        self._numbers: dict[_Interface, int] = {}
        self._begins_ns = 0
        self.packets = 0
        """How many packets there are."""
        self.spans: list[Span] = []
        """Where each step's packets are, in the order of points and steps."""

    def add(self, key: PointKey, strings: list[str], rows: RunRows, duration_ns: int) -> None:
        """Add what one run kept. ``strings`` are those of its journal."""
        if rows.payloads:
            steps = _Steps(strings, rows)
            captured = [*_exchanges(strings, rows), *_packets(strings, rows)]
            captured.sort()
            spans: dict[int, Span] = {}
            for number, packet in enumerate(captured, self.packets + 1):
                step = steps.at(packet.place)
                comment = f"{key.scenario}::{key.point}{step.text}{packet.note}"
                self._writer.packet(
                    self._number(packet.interface), self._begins_ns + packet.time_ns, packet.data, packet.flow, comment
                )
                span = spans.get(step.number)
                if span is None:
                    span = spans[step.number] = Span(key.scenario, key.point, step.number, number, number)
                span.last = number
                span.packets += 1
            self.packets += len(captured)
            self.spans += [spans[place] for place in sorted(spans)]
        self._begins_ns += duration_ns

    def _number(self, interface: _Interface) -> int:
        number = self._numbers.get(interface)
        if number is None:
            number = self._writer.interface(f"hop {interface.hop} {interface.kind}", interface.link_type)
            self._numbers[interface] = number
        return number


class _Step(NamedTuple):
    number: int
    text: str
    """As a comment says it, with a blank in front; empty where no step is under way."""


_NO_STEP = _Step(0, "")


class _Steps:
    """Which step was under way at a place of the point."""

    def __init__(self, strings: list[str], rows: RunRows) -> None:
        self._places = [-1]
        self._steps = [_NO_STEP]
        under_way: list[_Step] = []
        for row in as_rows(STEPS, rows):
            if row["began"]:
                under_way.append(_Step(int(row["index"]), f" step {row['index']} {strings[row['verb']]}"))
            elif under_way:
                under_way.pop()
            self._places.append(int(row["seq"]))
            self._steps.append(under_way[-1] if under_way else _NO_STEP)

    def at(self, place: int) -> _Step:
        return self._steps[bisect_right(self._places, place) - 1]


def _exchanges(strings: list[str], rows: RunRows) -> Iterator[_Captured]:
    table = as_rows(EXCHANGES, rows)
    names = ("seq", "hop", "level", "start_ns", "duration_ns", "count", "error")
    for place, hop, level, start, duration, count, error_number in zip(*_lists(table, names), strict=True):
        payload = rows.payloads.get(RowId(EXCHANGES.name, place))
        if payload is None:
            continue
        command, response = payload
        interface = _Interface(hop, _APDU if strings[level] in _APDU_LEVELS else _BLOCK)
        apdu = interface.kind == _APDU
        error = strings[error_number]
        note = f", {count} times" if count > 1 else ""
        why = f"{note}, {error}" if error else note
        if command:
            sent = _apdu(PduDirection.SENT, command) if apdu else upper_pdu(_UNDISSECTED, PduDirection.SENT, command)
            # An answer that never came leaves the command to carry the reason.
            yield _Captured(start, place, 0, interface, sent, Flow.OUTBOUND, note if response else why)
        if response:
            received = (
                _apdu(PduDirection.RECEIVED, response, command)
                if apdu
                else upper_pdu(_UNDISSECTED, PduDirection.RECEIVED, response)
            )
            yield _Captured(start + duration, place, 1, interface, received, Flow.INBOUND, why)


def _packets(strings: list[str], rows: RunRows) -> Iterator[_Captured]:
    table = as_rows(PACKETS, rows)
    names = ("seq", "hop", "kind", "time_ns", "direction", "node")
    for place, hop, kind, moment, direction, node in zip(*_lists(table, names), strict=True):
        payload = rows.payloads.get(RowId(PACKETS.name, place))
        if payload is None or not payload[0]:
            continue
        inbound = strings[direction] == Direction.IN
        note = f", into node {node}" if inbound else f", out of node {node}"
        flow = Flow.INBOUND if inbound else Flow.OUTBOUND
        interface = _Interface(hop, strings[kind])
        data = payload[0]
        if interface.kind == ATR:
            data, note = _apdu(PduDirection.RECEIVED, data), ", answer to reset"
        elif interface.link_type is LinkType.UPPER_PDU:
            way = PduDirection.RECEIVED if inbound else PduDirection.SENT
            readable = interface.kind == _PPP and len(data) >= _SHORTEST_PPP
            data = upper_pdu(_PPP if readable else _UNDISSECTED, way, data)
        yield _Captured(moment, place, 0, interface, data, flow, note)


def _lists(table: Rows, names: tuple[str, ...]) -> list[list[int]]:
    """The columns of these names as plain integers."""
    return [table[name].tolist() for name in names]


def _apdu(direction: PduDirection, data: bytes, command: bytes = b"") -> bytes:
    """A command or answer for Wireshark.

    Its ``iso7816`` dissector knows short lengths only, and takes for an ATR every answer that begins as one. What it would misread goes to ``data``.
    """
    if direction is PduDirection.SENT:
        readable = _short_command(data)
    else:
        begins_as_atr = data.startswith(_ATR_BEGINNINGS)
        readable = len(data) >= 2 and (not begins_as_atr if command else _whole_atr(data))
    return upper_pdu("iso7816" if readable else _UNDISSECTED, direction, data)


def _short_command(data: bytes) -> bool:
    """Whether a command is one of the short cases of ISO/IEC 7816-4, 5.1 (or a T=0 header, or its data behind it)."""
    if len(data) <= 5:
        return len(data) >= 4
    return len(data) in (5 + data[4], 6 + data[4]) and data[4] > 0


def _whole_atr(data: bytes) -> bool:
    """Whether what follows T0 is as long as T0 and the TDi say (ISO/IEC 7816-3, 8.2)."""
    if not data.startswith(_ATR_BEGINNINGS) or len(data) < 2:
        return False
    place = 1
    while data[place] & 0x80:
        place += (data[place] >> 4).bit_count()
        if place >= len(data):
            return False
    return len(data) - 1 - place - (data[place] >> 4).bit_count() - (data[1] & 0x0F) in (0, 1)
