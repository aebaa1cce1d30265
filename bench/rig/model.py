"""The rig file: a station's rigs, each one reader with the cards behind it.

Readers are described here and opened elsewhere (``bench.rig.build``). Only the software reader makes cards: as many as a scenario asks for.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator, PrivateAttr, WithJsonSchema, model_validator

from bench.engine import Timebase
from bench.files.models import FileModel, expected
from bench.files.units import Count, Duration, HexBytes, Line, Number, Span, Truth, Whole
from bench.rig.calibration import Calibration
from bench.rig.declaration import Declaration
from bench.rig.given import Given


def _name(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        return value
    raise expected("a name of lower-case letters, digits and '-'")


Name = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"})]


class ReaderKind(StrEnum):
    """How the bench reaches the first card."""

    SOFTWARE = "software"
    PCSC = "pcsc"
    SERIAL = "serial"
    USB = "usb"


class ReaderModel(FileModel):
    """The reader of a rig."""

    kind: Annotated[ReaderKind, Field(description="software (the virtual wire), pcsc, serial or usb")]
    name: Annotated[Line | None, Field(description="pcsc: the reader's name or a part of it that only it has")] = None
    port: Annotated[Line | None, Field(description="serial: a device or a URL such as rfc2217://rack-2:4001")] = None
    device: Annotated[Line | None, Field(description="usb: vendor:product[:serial number] in hexadecimal")] = None
    slot: Annotated[Count, Field(description="usb: slot of the reader, from 1")] = 1
    clock_hz: Annotated[Count | None, Field(description="card clock in Hz, where the scenario cannot choose it")] = None
    reset: Annotated[Literal["rts", "dtr"], Field(description="serial: the line that drives RST")] = "rts"
    reset_inverted: Annotated[Truth, Field(description="serial: RST is low while the line is off")] = False
    detect: Annotated[
        Literal["none", "cts", "dsr", "dcd", "ri"],
        Field(description="serial: the line that tells whether a card is there"),
    ] = "none"
    detect_inverted: Annotated[Truth, Field(description="serial: the detect line is on while no card is there")] = False
    echo: Annotated[Truth, Field(description="serial: TxD and RxD share I/O, so that what is sent comes back")] = True
    parity: Annotated[
        Literal["even", "none"], Field(description="serial: the port's parity; none where it cannot do parity (a pty)")
    ] = "even"
    serial: Annotated[
        Line | None, Field(description="the reader's serial number, by which `rig scan` and locks know it again")
    ] = None
    access: Annotated[
        Literal["shared", "exclusive"], Field(description="pcsc: whether others may use the card meanwhile")
    ] = "shared"
    patience: Annotated[
        Duration, Field(description="pcsc, usb: how long a driver call may take before the reader is given up")
    ] = Span(60 * 10**9)

    @model_validator(mode="after")
    def _has_address(self) -> "ReaderModel":
        wanted = {ReaderKind.PCSC: "name", ReaderKind.SERIAL: "port", ReaderKind.USB: "device"}
        for kind, field in wanted.items():
            if self.kind is kind and getattr(self, field) is None:
                raise expected(f"'{field}': where the {kind} reader is", f"a {kind} reader without '{field}'")
            if self.kind is not kind and getattr(self, field) is not None:
                raise expected(f"no '{field}', which is for kind {kind}", f"'{field}' at a {self.kind} reader")
        return self


class Wires(FileModel):
    """Which contacts the cards of a chain share, and how the absence of a card is noticed."""

    vcc: Annotated[Literal["shared", "per-card"], Field(description="supply")] = "per-card"
    clk: Annotated[Literal["shared", "per-card"], Field(description="clock")] = "shared"
    rst: Annotated[Literal["shared", "per-card"], Field(description="reset")] = "per-card"
    detect: Annotated[Literal["polls", "switch"], Field(description="absence is noticed by polls or by a switch")] = (
        "polls"
    )


class PollPeriod(FileModel):
    """The poll period, which backs off from the first to the longest while the line is idle."""

    first: Annotated[Number, Field(gt=0, description="shortest period in ms")] = 1.0
    longest: Annotated[Number, Field(gt=0, description="longest period in ms")] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> "PollPeriod":
        if self.longest < self.first:
            raise expected("a longest period that is not shorter than the first")
        return self


class IdentityModel(FileModel):
    """What tells one card from all others with its ATR: the answer to harmless commands, such as reading its serial number."""

    apdus: Annotated[
        tuple[HexBytes, ...], Field(min_length=1, description="commands, in order; the last one's data counts")
    ]
    answer: Annotated[HexBytes, Field(description="the data that only this card answers, in hexadecimal")]


class CardModel(FileModel):
    """One card of a rig."""

    profile: Annotated[Line, Field(description="profile of the card: reference, or the lab's name for it")] = (
        "reference"
    )
    ram: Annotated[Line | None, Field(description="memory profile, for software cards")] = None
    stack: Annotated[
        Literal["channel", "ip", "both"],
        Field(description="the stack that a card of the lab's own carries; a served one has that of the scenario"),
    ] = "channel"
    declares: Annotated[Line | None, Field(description="the card's declaration, a file beside the rig file")] = None
    atr: Annotated[HexBytes | None, Field(description="the ATR by which the card is known")] = None
    identity: Annotated[
        IdentityModel | None, Field(description="what only this card answers: tells it from others with the same ATR")
    ] = None


class GuardModel(FileModel):
    """What may be done to the first card of a real rig. Where the rig file does not say it: nothing that changes the card."""

    write_budget: Annotated[
        Whole, Field(description="writes to the card's memory over all runs together; 0: no scenario may write")
    ] = 0
    allow_pin: Annotated[
        Truth,
        Field(description="true: VERIFY, CHANGE REFERENCE DATA and other commands with a retry counter may be sent"),
    ] = False


class HandsModel(FileModel):
    """Who or what moves cards: commands, else an operator at the terminal, where the rig file says so."""

    pull: Annotated[Line | None, Field(description="command that takes the card out, or its reader off the bus")] = None
    insert: Annotated[Line | None, Field(description="command that puts it back")] = None
    move: Annotated[Line | None, Field(description="command that puts it into the other reader, or back ({to})")] = None
    operator: Annotated[Truth, Field(description="true: whoever sits at the terminal is asked")] = False
    within: Annotated[Duration, Field(description="how long a command or the operator may take")] = Span(60 * 10**9)


class ServeWay(StrEnum):
    """How the bench offers a card of its own to a real driver."""

    VPCD = "vpcd"
    GEMPC_TWIN = "gempc-twin"
    GEMPC_SIMPRO = "gempc-simpro"
    RFC2217 = "rfc2217"
    PTY = "pty"
    USBREDIR = "usbredir"
    USBIP = "usbip"
    VSCARD = "vscard"


WAYS: Final[Mapping[ServeWay, tuple[ReaderKind, ...]]] = MappingProxyType(
    {
        ServeWay.VPCD: (ReaderKind.PCSC,),
        ServeWay.GEMPC_TWIN: (ReaderKind.PCSC,),
        ServeWay.GEMPC_SIMPRO: (ReaderKind.PCSC,),
        ServeWay.RFC2217: (ReaderKind.SERIAL,),
        ServeWay.PTY: (ReaderKind.SERIAL,),
        ServeWay.USBREDIR: (ReaderKind.USB, ReaderKind.PCSC),
        ServeWay.USBIP: (ReaderKind.USB, ReaderKind.PCSC),
        ServeWay.VSCARD: (ReaderKind.USB, ReaderKind.PCSC),
    }
)
"""The kinds of reader that each way reaches."""


class Serve(FileModel):
    """Tells the bench to start its own reference card and serve it to the rig's reader, for as long as the run lasts."""

    way: Annotated[
        ServeWay,
        Field(
            description="vpcd: to a private pcscd; gempc-twin, gempc-simpro: to its serial CCID driver; rfc2217, pty: as a serial port; "
            "usbredir, usbip: as a USB reader; vscard: in QEMU's reader"
        ),
    ]
    orders: Annotated[
        Line | None,
        Field(
            description="where the process that serves takes its orders, if it is not this bench's own: virtio:NAME, a port of the guest"
        ),
    ] = None
    level: Annotated[
        Literal["character", "tpdu", "apdu"],
        Field(description="gempc and usb: the exchange level of the served reader"),
    ] = "tpdu"


class RigModel(FileModel):
    """One rig: a reader and the cards behind it."""

    name: Annotated[Name, Field(description="name of the rig")]
    reader: Annotated[ReaderModel, Field(description="the reader")]
    wires: Annotated[Wires, Field(description="how the chain is wired")] = Wires()
    poll_ms: Annotated[PollPeriod, Field(description="poll period in ms")] = PollPeriod()
    cards: Annotated[
        tuple[CardModel, ...],
        Field(description="the cards from the host outward; a software rig makes as many as a scenario asks"),
    ] = ()
    serve: Annotated[Serve | None, Field(description="start and serve the reference card for this reader")] = None
    protocol: Annotated[
        Literal["T=0", "T=1"] | None,
        Field(description="the protocol for every point that does not fix one itself; T=0 where it is not given"),
    ] = None
    guard: Annotated[GuardModel, Field(description="what scenarios may do to the card")] = GuardModel()
    hands: Annotated[HandsModel | None, Field(description="who or what moves the cards of a real rig")] = None
    notes: Annotated[str, Field(description="the lab's own notes")] = ""
    _calibrations: tuple[Calibration, ...] = PrivateAttr(())
    _declarations: tuple[Declaration | None, ...] = PrivateAttr(())

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """What the file beside the rig file holds of this rig, put there by the loader."""
        return self._calibrations

    def calibrated(self, calibrations: tuple[Calibration, ...]) -> "RigModel":
        """The same rig with its calibrations."""
        model = self.model_copy()
        model._calibrations = calibrations
        return model

    @property
    def declarations(self) -> tuple[Declaration | None, ...]:
        """The cards' declarations from the host outward, None for a card without one; put there by the loader."""
        return self._declarations

    def declared(self, declarations: tuple[Declaration | None, ...]) -> "RigModel":
        """The same rig with its cards' declarations."""
        model = self.model_copy()
        model._declarations = declarations
        return model

    @property
    def real(self) -> bool:
        """Whether the rig runs in real time, on a driver that is not ours: only a scenario's `real` points run there."""
        return self.reader.kind is not ReaderKind.SOFTWARE

    def conditions(self, given: Given) -> Given:
        """What a point is given on this rig: its own conditions, and the rig's protocol where it names none."""
        if self.protocol is None or "protocol" in given.model_fields_set:
            return given
        return given.model_copy(update={"protocol": self.protocol})

    def timebase(self, given: Given) -> Timebase:
        """The timebase of a point on this rig: cycles and tenths of an etu of its clocks, and nanoseconds, are whole ticks."""
        own = () if self.reader.clock_hz is None else (self.reader.clock_hz,)
        return Timebase.for_clocks(given.clock_hz, *own)

    @model_validator(mode="after")
    def _has_cards(self) -> "RigModel":
        if self.real and not self.cards:
            raise expected("'cards': what is behind the reader", f"a {self.reader.kind} rig without cards")
        if self.serve is not None and self.reader.kind not in (able := WAYS[self.serve.way]):
            raise expected(
                f"kind {' or '.join(able)} for a card served by {self.serve.way}",
                f"'serve' at a {self.reader.kind} reader",
            )
        return self


class RigFileModel(FileModel):
    """A rig file as written."""

    station: Annotated[Name, Field(description="name of the station (results are filed under it)")]
    rigs: Annotated[tuple[RigModel, ...], Field(min_length=1, description="the station's rigs")]

    @model_validator(mode="after")
    def _names_differ(self) -> "RigFileModel":
        names = [rig.name for rig in self.rigs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise expected("a name of its own for each rig", f"two rigs named {twice!r}")
        return self
