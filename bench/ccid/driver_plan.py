"""What can be asked of a reader, worked out of its class descriptor (CCID 1.1, 5.1) and the lists it gives on the control pipe (5.3.2, 5.3.3).

Clocks in kHz as CCID has them, which makes a rate known to a thousandth: rates are compared with that in mind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.ccid.codes import PowerSelect
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.errors import CcidMessageError
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.rates import RATE_DEFAULT, Rate, all_rates

KHZ: Final = 1000
_TOLERANCE: Final = 500
"""Two rates are the same that differ by less than this part."""
SELECT_OF: Final = {"C": PowerSelect.V1_8, "B": PowerSelect.V3, "A": PowerSelect.V5}
"""Operating classes, the lowest voltage first."""


class RateBy(StrEnum):
    """How a rate comes into force."""

    HOST = "PPS made by the host"
    READER_PPS = "PPS made by the reader, as SetParameters says"
    READER = "the reader chooses"


@dataclass(frozen=True, slots=True)
class Plan:
    """A reader, as seen by whoever drives it."""

    descriptor: ClassDescriptor
    clocks_khz: tuple[int, ...] = ()
    """What GET_CLOCK_FREQUENCIES listed."""
    rates_bps: tuple[int, ...] = ()
    """What GET_DATA_RATES listed."""

    def has(self, feature: Feature) -> bool:
        """Whether the reader's descriptor says that it does this by itself."""
        return bool(self.descriptor.features & feature)

    @property
    def rate_by(self) -> RateBy:
        """Who brings the line to its rate."""
        if self.has(Feature.AUTO_NEGOTIATION):
            return RateBy.READER
        if self.has(Feature.AUTO_PPS):
            return RateBy.READER_PPS
        return RateBy.READER if self.descriptor.level is ExchangeLevel.APDU else RateBy.HOST

    @property
    def clocks(self) -> tuple[int, ...]:
        """Card clocks that can be asked for, kHz, the default first."""
        default = self.descriptor.default_clock_khz
        if self.has(Feature.AUTO_CLOCK):
            return (default,)
        others = self.clocks_khz or (self.descriptor.maximum_clock_khz,)
        return (default, *(each for each in dict.fromkeys(others) if each != default and each > 0))

    def rates(self, clock_khz: int) -> tuple[int, ...]:
        """Values of TA1 that the reader can be asked for at a clock; the default rate is always among them."""
        if self.rate_by is RateBy.READER:
            return ()
        clock_hz = clock_khz * KHZ
        found = [each.ta1 for each in all_rates() if clock_hz <= each.fmax_hz and self._drives(each, clock_hz)]
        return tuple(found) if RATE_DEFAULT in found else (RATE_DEFAULT, *found)

    def takes(self, ta1: int, clock_khz: int) -> bool:
        """Whether the reader drives its line at this rate."""
        return ta1 == RATE_DEFAULT or self._drives(Rate(ta1), clock_khz * KHZ)

    def _drives(self, rate: Rate, clock_hz: int) -> bool:
        if clock_hz <= 0:
            return False
        wanted = rate.baud(clock_hz)
        slack = wanted / _TOLERANCE
        if self.rates_bps:
            return any(abs(each - wanted) <= slack for each in self.rates_bps)
        return self.descriptor.data_rate_bps - slack <= wanted <= self.descriptor.maximum_rate_bps + slack

    def selects(self, classes: str) -> tuple[tuple[PowerSelect, str], ...]:
        """What to try on power-up: bPowerSelect and the class, the lowest voltage first. Class "": the reader chooses."""
        supplied = self.descriptor.classes
        wished = "".join(each for each in supplied if each in classes)
        automatic: tuple[tuple[PowerSelect, str], ...] = ((PowerSelect.AUTO, ""),)
        if self.has(Feature.AUTO_VOLTAGE) and (wished == supplied or not wished):
            return automatic
        found = tuple((select, name) for name, select in SELECT_OF.items() if name in wished)
        return found + automatic if self.has(Feature.AUTO_VOLTAGE) else found


def read_list(data: bytes, what: str) -> tuple[int, ...]:
    """Double words as GET_CLOCK_FREQUENCIES and GET_DATA_RATES give them. Raises CcidMessageError."""
    if len(data) % 4:
        raise CcidMessageError(what, len(data), f"{len(data)} bytes", "double words")
    words: Sequence[int] = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    return tuple(each for each in words if each)
