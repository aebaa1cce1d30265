"""What a reference card is made of: its answer to reset, its rates, its memory, its applications."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from bench.card.communication import Communication, System
from bench.card.contacts import ContactTraits
from bench.card.ip_profile import IpProfile
from bench.card.pps_behaviour import PpsBehaviour
from bench.card.tasks import Program
from bench.iso7816.atr import GlobalParameters, SpecificMode, T1Parameters, build_atr
from bench.iso7816.atr_values import Edc
from bench.iso7816.rates import GUARD_ETU, RATE_DEFAULT, cwt_etu
from bench.iso7816.t1_block import IFS_DEFAULT, INF_MAX

Application = Callable[[Communication, System], Program]
"""A program of the card, written against the four calls."""


@dataclass(frozen=True, slots=True)
class MemoryPreset:
    """A budget of fast-access memory and what the channel stack makes of it (facts of 1998 to 2001 chips: docs/card.md)."""

    ram: int
    mtu: int
    channels: int
    window: int
    buffer: int
    """Bytes each hop may hold for packets under way, each direction: what is refused with 6A84 would pass this."""
    applications: tuple[str, ...]
    """Names of the applications it has room for (empty: all): each serving one takes a channel to listen and one for each visitor."""
    datagrams: bool = False
    """Whether the channel stack has the services over UDP, too."""


MEMORY: Final[Mapping[str, MemoryPreset]] = MappingProxyType(
    {
        "2000": MemoryPreset(ram=1024, mtu=128, channels=2, window=2, buffer=256, applications=("echo",)),
        "2001-gemplus": MemoryPreset(
            ram=2560, mtu=256, channels=4, window=2, buffer=512, applications=("echo", "counter")
        ),
        "modern": MemoryPreset(ram=16384, mtu=1280, channels=32, window=8, buffer=8192, applications=()),
        "large": MemoryPreset(
            ram=262144, mtu=1280, channels=128, window=8, buffer=65536, applications=(), datagrams=True
        ),
    }
)


@dataclass(frozen=True, slots=True)
class CardProfile:
    """One card."""

    identity: bytes
    """Serial number, 0 to 16 bytes."""
    ta1: int = RATE_DEFAULT
    """The fastest rate it takes, as its ATR says; it accepts every rate of the sweep range."""
    wi: int | None = None
    extra_guard_time: int | None = None
    mtu: int = 1280
    channels: int = 32
    window: int = 8
    """Messages each channel may have under way to the card."""
    buffer: int = 65_536
    """Bytes each hop may hold for packets under way, each direction."""
    card_time_ns: int = 0
    """What the card takes for each command beyond the mandatory times."""
    atr_delay_cycles: int = 1000
    ports: int = 2
    hop: bool = True
    """False: a plain ISO/IEC 7816-4 card that knows nothing of the hop."""
    applications: tuple[tuple[str, Application], ...] = ()
    protocols: tuple[int, ...] = (0,)
    """Transmission protocols that its ATR offers, the first one first."""
    ifsc: int = INF_MAX
    """T=1: the longest information field it takes."""
    edc: Edc = Edc.LRC
    """T=1: its error detection code."""
    classes: str = ""
    """Operating classes (of A, B, C) that it names in its ATR and answers in; empty: it names none and answers in all."""
    specific: SpecificMode | None = None
    """Specific mode after a cold reset; after a warm one too, unless it can change."""
    chaining: bool = False
    """Whether it takes commands in a chain (CLA b5), and says so."""
    pps: PpsBehaviour = PpsBehaviour.SOUND
    nulls: int = 0
    """NULL bytes before every other procedure byte."""
    wtxs: int = 0
    """S(WTX request) blocks before each answer over T=1."""
    channel_stack: bool = True
    """Whether it carries the channel stack."""
    ip: IpProfile | None = None
    """What its IP stack is given; None: it carries none."""
    ip_applications: tuple[tuple[str, Application], ...] = ()
    """Applications that run on the IP stack alone, beside those that run on either."""

    @property
    def atr(self) -> bytes:
        """The answer to a cold reset. Historical bytes: COMPACT-TLV, card capabilities: extended Lc and Le yes, command chaining as said."""
        return self._atr(self.specific)

    @property
    def traits(self) -> ContactTraits:
        """What it is like at its contacts."""
        warm = self._atr(None) if self.specific is not None and self.specific.can_change else b""
        return ContactTraits(warm, self.classes or "ABC", self.pps, self.nulls, self.wtxs)

    def _atr(self, specific: SpecificMode | None) -> bytes:
        ta1 = None if self.ta1 == RATE_DEFAULT else self.ta1
        third = b"\xc0" if self.chaining else b"\x40"
        historical = bytes.fromhex("80 73 80 01") + third + (b"\x52IP" if self.hop else b"")
        indicator = sum(1 << "ABC".index(each) for each in self.classes)
        return build_atr(
            protocols=self.protocols,
            ta1=ta1,
            extra_guard_time=self.extra_guard_time,
            wi=self.wi,
            historical_bytes=historical,
            specific_mode=specific,
            t1=self._t1 if 1 in self.protocols else None,
            t15=GlobalParameters(class_indicator=indicator) if indicator else None,
        )

    @property
    def _t1(self) -> T1Parameters:
        """BWI 4 (1.6 s at 3.57 MHz), and the usual CWI 5, or the first one that has room for the extra guard time (11.4.3)."""
        pitch = GUARD_ETU + (self.extra_guard_time or 0) % 255
        cwi = next(each for each in range(5, 16) if cwt_etu(each) >= pitch)
        edc = None if self.edc is Edc.LRC else self.edc
        return T1Parameters(None if self.ifsc == IFS_DEFAULT else self.ifsc, 4 << 4 | cwi, edc)

    def with_memory(self, preset: str) -> "CardProfile":
        """The same card with a preset's memory. Raises KeyError for an unknown one."""
        memory = MEMORY[preset]
        wanted = memory.applications
        applications = tuple(each for each in self.applications if not wanted or each[0] in wanted)
        over_ip = self.ip_applications if not wanted else ()
        if memory.datagrams:
            applications, over_ip = applications + over_ip, ()
        return replace(
            self,
            mtu=memory.mtu,
            channels=memory.channels,
            window=memory.window,
            buffer=memory.buffer,
            applications=applications,
            ip=None if self.ip is None else self.ip.with_memory(preset),
            ip_applications=over_ip,
        )
