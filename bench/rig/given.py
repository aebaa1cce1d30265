"""What a point is given to run on, and what it needs of the card and the rig."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from bench.card.pps_behaviour import PpsBehaviour
from bench.files.models import FileModel
from bench.files.units import Count, Duration, HexByte, Line, Number, Signed, Span, Ta1, Truth, Whole

OperatingClasses = Literal["A", "B", "C", "AB", "BC", "AC", "ABC"]
"""Of ISO/IEC 7816-3: A 5 V, B 3 V, C 1.8 V."""

DEFAULT_CLOCK_HZ = 3_571_200
"""The clock at which TA1 = 11 is exactly 9600 baud."""


class Given(FileModel):
    """The conditions of a point; a sweep over one of these names overrides it."""

    cards: Annotated[Count, Field(le=254, description="cards in the chain, from the host outward")] = 1
    ta1: Annotated[Ta1, Field(description="F and D to negotiate, coded as TA1")] = 0x11
    clock_hz: Annotated[Count, Field(description="card clock in Hz", le=20_000_000)] = DEFAULT_CLOCK_HZ
    mtu: Annotated[Count, Field(description="largest packet in bytes", ge=32, le=1500)] = 256
    stack: Annotated[Literal["channel", "ip", "both"], Field(description="the stack the card carries")] = "channel"
    addressing: Annotated[
        Literal["numbered", "static", "pool", "ppp"] | None,
        Field(description="IP: whence cards have their addresses (numbered: from the chain's prefix and their number)"),
    ] = None
    mru: Annotated[Count | None, Field(description="PPP: MRU the card asks for (1500)", ge=68, le=1500)] = None
    takes: Annotated[
        Count | None,
        Field(description="PPP: longest information field the card takes in any case (1500)", ge=68, le=1500),
    ] = None
    pool: Annotated[
        Count | None, Field(description="IP: addresses of each version in the host's pool (64)", le=4096)
    ] = None
    names: Annotated[
        Line | None,
        Field(
            description="IP: the names that cards claim, from the host outward, separated by blanks (card-1 card-2 ...)"
        ),
    ] = None
    uplink_latency: Annotated[Duration | None, Field(description="IP: latency of the host's uplink, one way (0)")] = (
        None
    )
    uplink_jitter: Annotated[
        Duration | None, Field(description="IP: what chance adds to that latency, at most (0)")
    ] = None
    uplink_bandwidth: Annotated[
        Count | None, Field(description="IP: bits a second of the uplink, each way (without bound)")
    ] = None
    uplink_loss: Annotated[
        Number | None, Field(description="IP: probability that a packet is lost on the uplink", ge=0, le=1)
    ] = None
    uplink_duplication: Annotated[
        Number | None, Field(description="IP: probability that a packet comes twice over the uplink", ge=0, le=1)
    ] = None
    uplink_mtu: Annotated[Count | None, Field(description="IP: MTU of the uplink in bytes (1500)", ge=576, le=9000)] = (
        None
    )
    protocol: Annotated[Literal["T=0", "T=1"], Field(description="transmission protocol")] = "T=0"
    offers: Annotated[
        Literal["T=0", "T=1", "both"] | None,
        Field(description="protocols in the card's ATR, T=0 first where it offers both; by default only the one used"),
    ] = None
    ifsc: Annotated[
        Count | None, Field(description="T=1: longest information field the card takes, in bytes (254)", le=254)
    ] = None
    edc: Annotated[Literal["LRC", "CRC"] | None, Field(description="T=1: error detection code of the card (LRC)")] = (
        None
    )
    profile: Annotated[Line, Field(description="profile of the reference card (memory, channels, applications)")] = (
        "reference"
    )
    card_time: Annotated[Duration, Field(description="time the card takes for each command before it answers")] = Span(
        0
    )
    poll: Annotated[Duration | None, Field(description="longest poll period; the rig's own where it is not given")] = (
        None
    )
    wi: Annotated[Count | None, Field(description="WI of the card's ATR (TC2): waiting time of T=0", le=255)] = None
    extra_guard_time: Annotated[Whole | None, Field(description="N of the card's ATR (TC1), in etu", le=255)] = None
    voltage: Annotated[
        OperatingClasses | None, Field(description="operating classes the reader supplies, the lowest tried first")
    ] = None
    classes: Annotated[
        Literal["A", "B", "C", "AB", "BC", "ABC"] | None,
        Field(description="operating classes of the card, named in its ATR; in others it is mute"),
    ] = None
    mode: Annotated[
        Literal["negotiable", "specific", "specific-fixed", "implicit"] | None,
        Field(
            description="mode after a cold reset; specific may change at a warm one, implicit is specific with parameters that only the card knows"
        ),
    ] = None
    pps: Annotated[PpsBehaviour | None, Field(description="what the card makes of a PPS request")] = None
    pps2: Annotated[HexByte | None, Field(description="PPS2 that the terminal proposes")] = None
    pps3: Annotated[HexByte | None, Field(description="PPS3 that the terminal proposes")] = None
    pps_fallback: Annotated[
        Truth | None, Field(description="true: after a PPS that failed the terminal goes on at the default rate")
    ] = None
    nulls: Annotated[Whole | None, Field(description="NULL bytes the card sends before each procedure byte")] = None
    wtxs: Annotated[
        Whole | None, Field(description="S(WTX request) blocks the card sends before each answer over T=1")
    ] = None
    noise: Annotated[
        Number | None, Field(description="probability that an etu of a character is inverted, both ways", ge=0, le=0.5)
    ] = None
    noise_length: Annotated[
        Count | None,
        Field(description="noise comes in bursts of so many etu: `noise` is then how often one begins", le=100_000),
    ] = None
    mismatch_ppm: Annotated[
        Signed | None,
        Field(
            description="how much longer an etu of the terminal's UART is than the clock it supplies says, in parts per million",
            ge=-200_000,
            le=200_000,
        ),
    ] = None
    jitter: Annotated[Duration | None, Field(description="largest displacement of an edge, either way")] = None
    defect: Annotated[Line | None, Field(description="a defect of the first card, by its name (software rigs)")] = None

    @property
    def disturbed(self) -> bool:
        """Whether characters may arrive as anything but what was sent."""
        wrong_rate = self.pps in (PpsBehaviour.NOT_SWITCHED, PpsBehaviour.SWITCHED_ANYWAY)
        return bool(self.noise or self.mismatch_ppm or (self.jitter is not None and self.jitter.ns) or wrong_rate)

    def texts(self) -> dict[str, str]:
        """Every condition that holds, as text with its unit: what reports show and draw against."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {name: str(value) for name, value in values.items()}


class Needs(FileModel):
    """What the card and the rig must declare for a scenario to apply; anything else is not applicable, with the reason."""

    stack: Annotated[str | None, Field(description="a stack the card must carry: channel or ip")] = None
    protocol: Annotated[Literal["T=0", "T=1"] | None, Field(description="a protocol the card must offer")] = None
    channels: Annotated[Count | None, Field(description="channels each card must have, at least")] = None
    ports: Annotated[Count | None, Field(description="I/O ports each card must have, at least")] = None
    cards: Annotated[Count | None, Field(description="cards the rig must have, at least")] = None
    mtu: Annotated[Count | None, Field(description="MTU in bytes the card must accept, at least")] = None
    rate: Annotated[Truth | None, Field(description="true: the rig must be able to choose the rate")] = None
    removable: Annotated[Truth | None, Field(description="true: cards must be removable without hands")] = None
    faults: Annotated[Truth | None, Field(description="true: the rig must be able to cut exchanges")] = None
    files: Annotated[
        Line | None, Field(description="reference: the first card must hold the reference card's files (docs/card.md)")
    ] = None
    writes: Annotated[
        Count | None,
        Field(description="writes to the first card's memory that a point makes, at most; a real rig must permit them"),
    ] = None
    pin: Annotated[
        Truth | None,
        Field(description="true: commands with a retry counter are sent (VERIFY); a real rig must permit them"),
    ] = None
    level: Annotated[
        Literal["edge", "character", "block", "tpdu", "apdu"] | None,
        Field(description="the level at which the reader must show exchanges, or a finer one"),
    ] = None

    def missing(self, declares: Mapping[str, object]) -> str:
        """The first need that ``declares`` does not meet, as a reason; empty where all are met.

        Numbers are met by the same or more, levels by the same or a finer one, everything else by the same or by a collection that holds it.
        """
        for name, wanted in self.model_dump(exclude_none=True).items():
            if wanted is False:
                continue
            if name not in declares:
                return f"needs {name} {_text(wanted)}, of which card and rig declare nothing"
            have = declares[name]
            if not _meets(name, have, wanted):
                return f"needs {name} {_text(wanted)}, declared is {_text(have)}"
        return ""


_LEVELS = ("edge", "character", "block", "tpdu", "apdu")


def _meets(name: str, have: object, wanted: object) -> bool:
    if name == "level":
        return str(have) in _LEVELS and _LEVELS.index(str(have)) <= _LEVELS.index(str(wanted))
    if isinstance(have, frozenset | set | tuple | list):
        return wanted in have
    if isinstance(have, bool) or isinstance(wanted, bool):
        return have is wanted
    if isinstance(have, int) and isinstance(wanted, int):
        return have >= wanted
    return have == wanted


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset | set | tuple | list):
        return " ".join(sorted(map(str, value))) or "none"
    return str(value)
