"""The reader of a real rig: opened by its kind, asked what it can do, told what a point wants of it. Drivers are imported only where one is used."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from bench.engine import MonotonicEngine
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.rates import RATE_DEFAULT
from bench.readers.contract import Abilities, RateControl, Reader
from bench.readers.pcsc import DriverLimits, PcscReader
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import DEFAULT_CLOCK_HZ, Given, Needs
from bench.rig.model import ReaderKind, RigModel, ServeWay
from bench.rig.served_reader import ServedReader
from bench.rig.software import wishes_of

NO_RATE: Final = "PC/SC cannot choose a baud rate; the rate is only observed"
NO_CLOCK: Final = "PC/SC cannot choose the card clock"
NO_PROTOCOL: Final = "vpcd carries whole APDUs and knows no transmission protocol: points over T=1 need another path"
COARSE: Final = "PC/SC shows commands and answers, no characters and no blocks"
NO_FAULTS: Final = "exchanges cannot be cut behind a real driver"
SERVED_LIMITS: Final = DriverLimits(power=5.0, transmit=8.0, close=3.0)
"""A card of our own answers at once, so that a driver call of a few seconds means that something hangs."""
CLASSES: Final = "A"
"""What is asked for where neither point nor reader says more: 5 V."""


def refusal(model: RigModel, given: Given) -> str:
    """Why the point does not apply to this kind of rig, as far as that is known before anything is opened; else empty."""
    if given.mismatch_ppm or given.noise or (given.jitter is not None and given.jitter.ns):
        return "characters can be disturbed only on a rig of the bench's own"
    if model.reader.kind is not ReaderKind.PCSC:
        return ""
    if given.ta1 != RATE_DEFAULT:
        return NO_RATE
    if given.clock_hz != DEFAULT_CLOCK_HZ:
        return NO_CLOCK
    if model.serve is not None and model.serve.way is ServeWay.VPCD and given.protocol != "T=0":
        return NO_PROTOCOL
    if given.voltage is not None or given.pps2 is not None or given.pps3 is not None:
        return "PC/SC chooses neither voltage nor PPS parameters: the driver does"
    return ""


def unmet(model: RigModel, needs: Needs) -> str:
    """What the point needs and no reader of this kind has, as far as that is known before anything is opened; else empty.

    So a card that is odd where nobody could see it is not shown to a driver at all.
    """
    seen = Needs(level=needs.level).missing({"level": "tpdu"})
    return f"needs level {needs.level}: {COARSE}" if seen and model.reader.kind is ReaderKind.PCSC else ""


def open_reader(model: RigModel, given: Given, engine: MonotonicEngine, served: ServedReader | None) -> Reader:
    """The rig's reader, nothing powered yet. Raises RigError where it cannot be opened."""
    return _OPENERS[model.reader.kind](model, given, engine, served)


def wish(reader: Reader, given: Given) -> None:
    """Tell the reader what the point wants of the next card. Raises RigNotAble for what it cannot do."""
    abilities = reader.abilities
    if reason := beyond(abilities, given):
        raise RigNotAble(reason)
    wishes = wishes_of(given)
    fixed = "protocol" in given.model_fields_set
    reader.wishes = replace(
        wishes,
        ta1=wishes.ta1 if abilities.rate is RateControl.SELECTABLE else None,
        protocol=wishes.protocol if fixed else None,
        classes=given.voltage or abilities.classes or CLASSES,
    )


def beyond(abilities: Abilities, given: Given) -> str:
    """What the point asks and the reader cannot do, as a reason; empty where it can do all."""
    if given.ta1 != RATE_DEFAULT:
        if abilities.rate is not RateControl.SELECTABLE:
            return f"this reader cannot choose a baud rate; the rate is {abilities.rate}"
        if abilities.rates and given.ta1 not in abilities.rates:
            told = " ".join(f"{each:02X}" for each in abilities.rates)
            return f"this reader's rates, as TA1, are {told}: not {given.ta1:02X}"
    if given.clock_hz not in (DEFAULT_CLOCK_HZ, *abilities.clocks_hz):
        told = " ".join(f"{each}" for each in abilities.clocks_hz) or "not known"
        return f"this reader cannot choose the card clock: it is {told} Hz, the point asks for {given.clock_hz}"
    number = int(given.protocol[-1])
    if "protocol" in given.model_fields_set and number not in abilities.protocols:
        return f"this reader does not speak {given.protocol}"
    if given.voltage is not None and abilities.classes and not set(given.voltage) <= set(abilities.classes):
        return f"this reader supplies class {abilities.classes}, the point asks for {given.voltage}"
    return ""


def declared(abilities: Abilities) -> dict[str, object]:
    """What the path allows, to be held against ``needs``; a "no" with its reason is what a point that needs it is told."""
    selectable = abilities.rate is RateControl.SELECTABLE
    return {
        "level": str(abilities.level),
        "rate": True if selectable else f"no ({NO_RATE})",
        "faults": f"no ({NO_FAULTS})",
    }


def _pcsc(model: RigModel, given: Given, engine: MonotonicEngine, served: ServedReader | None) -> Reader:
    del given
    name = model.reader.name
    assert name is not None, "the rig model sees to it that a pcsc reader has a name"
    whole = model.serve is not None and model.serve.way is ServeWay.VPCD
    limits = SERVED_LIMITS if served is not None else DriverLimits.within(model.reader.patience.ns / 1e9)
    level = ExchangeLevel.APDU if whole else None
    exclusive = model.reader.access == "exclusive"
    reader = PcscReader(engine, name, exclusive=exclusive, level=level, limits=limits)
    if served is not None:
        reader.diagnose = served.diagnose
    return reader


def _serial(model: RigModel, given: Given, engine: MonotonicEngine, served: ServedReader | None) -> Reader:
    from bench.readers.serial import SerialOptions, SerialReader

    reader = model.reader
    port = served.address if served is not None else reader.port
    assert port, "the rig model sees to it that a serial reader has a port"
    options = SerialOptions(
        reset=reader.reset,
        reset_inverted=reader.reset_inverted,
        detect=reader.detect,
        detect_inverted=reader.detect_inverted,
        echo=reader.echo,
        parity=reader.parity,
    )
    return SerialReader(engine, port, card_clock(model, given), options=options)


def card_clock(model: RigModel, given: Given) -> int:
    """The card clock of a serial rig: its crystal; a served card has any that the point asks for."""
    return model.reader.clock_hz or given.clock_hz


def _usb(model: RigModel, given: Given, engine: MonotonicEngine, served: ServedReader | None) -> Reader:
    from bench.readers.usb import UsbReader
    from bench.readers.usb_errors import UsbError

    del served
    reader = model.reader
    assert reader.device is not None, "the rig model sees to it that a usb reader has a device"
    device = reader.device
    if reader.serial is not None and device.count(":") == 1:
        device = f"{device}:{reader.serial}"
    clock = reader.clock_hz or (given.clock_hz if given.clock_hz != DEFAULT_CLOCK_HZ else None)
    try:
        return UsbReader(engine, device, reader.slot, clock_hz=clock)
    except (UsbError, ValueError) as error:
        raise RigError(f"rig {model.name}: {error}") from error


_Opener = Callable[[RigModel, Given, MonotonicEngine, ServedReader | None], Reader]
_OPENERS: Final[Mapping[ReaderKind, _Opener]] = MappingProxyType(
    {ReaderKind.PCSC: _pcsc, ReaderKind.SERIAL: _serial, ReaderKind.USB: _usb}
)
