"""A card's declaration (implementation conformance statement): what its maker says it has, and where it deviates.

docs/declarations.md shows the format. What a declaration says is what ``needs`` of scenarios and ``applies`` of requirements are judged by. Nothing
is assumed of what it leaves out, but for the defaults named here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.files.document import Document, read
from bench.files.mistakes import FileError, Mistake
from bench.files.models import FileModel, check, expected
from bench.files.units import Count, HexBytes, Line, RequirementId, Size, Ta1, Truth

WHAT = "a declaration: a mapping with 'card', 'protocols' and 'stack'"

Protocol = Literal["T=0", "T=1"]
Stack = Literal["channel", "ip", "both", "none"]


class Deviation(FileModel):
    """One requirement, or several, that the card is declared not to meet, and why."""

    name: Annotated[Line, Field(description="a short name for it: small-mru")]
    requirements: Annotated[
        tuple[RequirementId, ...], Field(min_length=1, description="ids of the requirements that are not met")
    ]
    text: Annotated[Line, Field(description="what the card does instead, and why")]


class Declaration(FileModel):
    """A declaration as written. Lists are complete: what is not in them the card does not have."""

    card: Annotated[Line, Field(description="product and version")]
    vendor: Annotated[Line | None, Field(description="who makes it")] = None
    sample: Annotated[Line | None, Field(description="serial number or mark of the sample that was handed in")] = None
    atr: Annotated[HexBytes | None, Field(description="answer to a cold reset")] = None
    protocols: Annotated[
        tuple[Protocol, ...], Field(min_length=1, description="transmission protocols, the first one offered first")
    ]
    rates: Annotated[
        tuple[Ta1, ...], Field(min_length=1, description="rates it works at: F and D, coded as TA1 (11)")
    ] = (0x11,)
    classes: Annotated[
        tuple[Literal["A", "B", "C"], ...] | None,
        Field(description="operating classes it works in: A 5 V, B 3 V, C 1.8 V", min_length=1),
    ] = None
    mode: Annotated[
        Literal["negotiable", "specific", "specific-fixed"],
        Field(description="mode after a cold reset; specific may change at a warm reset, specific-fixed may not"),
    ] = "negotiable"
    ifsc: Annotated[Count | None, Field(le=254, description="T=1: longest information field it takes, in bytes")] = None
    edc: Annotated[Literal["LRC", "CRC"] | None, Field(description="T=1: error detection code")] = None
    extended: Annotated[Truth | None, Field(description="APDUs of extended length (Lc, Le) are taken")] = None
    chaining: Annotated[Truth | None, Field(description="commands in a chain (CLA b5) are taken")] = None
    files: Annotated[Line | None, Field(description="reference: it has the reference card's files (docs/card.md)")] = (
        None
    )
    applications: Annotated[
        tuple[Line, ...] | None,
        Field(description="applications it carries: echo, counter, web ... (docs/applications.md)"),
    ] = None
    stack: Annotated[Stack, Field(description="the stack it carries: channel, ip, both or none")]
    mtu: Annotated[Count | None, Field(description="largest packet in bytes", ge=32, le=1500)] = None
    memory: Annotated[Size | None, Field(description="memory for the stack: 2560 B, 16 KiB")] = None
    channels: Annotated[Count | None, Field(description="channels open at a time", le=255)] = None
    ports: Annotated[Count | None, Field(description="I/O ports: 2 where another card can follow it", le=2)] = None
    versions: Annotated[tuple[Literal["4", "6"], ...] | None, Field(description="IP: versions it speaks (4, 6)")] = None
    addressing: Annotated[
        tuple[Literal["numbered", "static", "pool", "ppp"], ...] | None,
        Field(description="IP: whence it can have its addresses"),
    ] = None
    transports: Annotated[
        tuple[Literal["tcp", "udp"], ...] | None, Field(description="transports its applications use (tcp, udp)")
    ] = None
    mru: Annotated[Count | None, Field(description="PPP: MRU it asks for", ge=68, le=1500)] = None
    takes: Annotated[
        Count | None, Field(description="PPP: longest information field it takes in any case", ge=68, le=1500)
    ] = None
    deviations: Annotated[tuple[Deviation, ...], Field(description="where it deviates, declared")] = ()
    notes: Annotated[str, Field(description="the maker's own notes")] = ""

    @model_validator(mode="after")
    def _whole(self) -> "Declaration":
        wanted = [] if self.stack == "none" else ["mtu", "ports"]
        if self.carries("channel"):
            wanted.append("channels")
        if self.carries("ip"):
            wanted += ["versions", "addressing"]
        if missing := [name for name in wanted if getattr(self, name) is None]:
            raise expected(f"{missing[0]!r}: {_description(missing[0])}", f"stack {self.stack} without {missing[0]!r}")
        names = [each.name for each in self.deviations]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise expected("a name of its own for each deviation", f"two deviations named {twice!r}")
        return self

    def carries(self, stack: str) -> bool:
        """Whether it carries this stack, channel or ip."""
        return self.stack in (stack, "both")

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks it carries."""
        return tuple(each for each in ("channel", "ip") if self.carries(each))

    def deviation(self, requirement: str) -> Deviation | None:
        """What is declared against this requirement, if anything."""
        return next((each for each in self.deviations if requirement in each.requirements), None)

    def declares(self) -> dict[str, object]:
        """What a scenario's ``needs`` are held against, by their names; nothing for what is not declared."""
        told: Mapping[str, object] = {
            "protocol": self.protocols,
            "stack": self.stacks,
            "mtu": self.mtu,
            "ports": self.ports,
            "channels": self.channels if self.carries("channel") else None,
            "files": self.files,
        }
        return {name: value for name, value in told.items() if value is not None}


def _description(name: str) -> str:
    return Declaration.model_fields[name].description or name


def read_declaration(path: Path) -> tuple[Declaration, Document]:
    """The declaration at ``path``, and where each of its values stands. Raises FileError with every mistake."""
    document = read(path, WHAT)
    mistakes: list[Mistake] = []
    model = check(Declaration, document.tree, document, mistakes)
    if model is None:
        raise FileError(mistakes)
    return model, document
