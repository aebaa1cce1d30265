"""A USB reader without pcscd in between: CCID messages straight to its pipes, so that rate, clock and protocol are the bench's choice.

What is said is ``bench.ccid.driver``'s business; this gives it a thread, time stamps and names for what breaks. Time stamps are taken right before
the first bulk transfer of an exchange and right after its last.

Longer than other files: a reader is its state, and every call of the driver may end it.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from bench.ccid.commands import Command
from bench.ccid.descriptor import ClassDescriptor, decode_descriptor
from bench.ccid.driver import Asked, CcidDriver, Powered, notified
from bench.ccid.driver_errors import CardError, Trouble, UnableError
from bench.ccid.driver_levels import Exchanged
from bench.ccid.driver_plan import KHZ, Plan, RateBy
from bench.ccid.errors import CcidError
from bench.ccid.responses import Response
from bench.engine import MonotonicEngine
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.readers.activation import Wishes
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.faults import Fault, broken_answer, fault_text
from bench.readers.threads import DriverHungError, DriverThread, Job
from bench.readers.usb_errors import UsbError, serial_number
from bench.readers.usb_link import Pipes, UsbLink

R = TypeVar("R")

TIME_RESOLUTION_NS: Final = 125_000
"""A microframe: what the time of a transfer resolves."""
INTERRUPT_MS: Final = 250
"""How long one look at the interrupt pipe lasts: the longest that closing may have to wait for it."""
THREAD_GRACE_S: Final = 10.0
"""A driver call is hung when it has not come back so long after it should have given up by itself."""


@dataclass(frozen=True, slots=True)
class UsbLimits:
    """How long things may take before the reader is given up, in seconds."""

    power: float = 60.0
    transmit: float = 120.0
    close: float = 5.0


@dataclass(frozen=True, slots=True)
class UsbWanted:
    """``vendor:product[:serial]``, numbers in hexadecimal."""

    vendor: int
    product: int
    serial: str = ""

    @classmethod
    def parse(cls, text: str) -> "UsbWanted":
        """Raises ValueError that says what is expected."""
        match = re.fullmatch(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+))?", text)
        if match is None:
            raise ValueError(
                f"USB device {text!r}: expected vendor:product or vendor:product:serial, such as 08e6:3437"
            )
        return cls(int(match[1], 16), int(match[2], 16), match[3] or "")

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x}" + (f":{self.serial}" if self.serial else "")


@dataclass(frozen=True, slots=True)
class UsbPlace:
    """A reader that is attached: what it is, and how to open it."""

    descriptor: ClassDescriptor
    has_interrupts: bool
    key: str
    """The same for all slots of one reader, and another once it has been plugged in again."""
    open: Callable[[], Pipes]


Finder = Callable[[UsbWanted], UsbPlace]
"""Finds a reader; raises UsbError where it is not there, or not usable."""


def find(wanted: UsbWanted) -> UsbPlace:
    """The attached reader. Raises UsbError: none, several, no CCID reader, damaged descriptor."""
    from bench.readers import usb_adapter

    there = usb_adapter.devices()
    found = [each for each in there if (each.vendor, each.product) == (wanted.vendor, wanted.product)]
    if wanted.serial:
        found = [each for each in found if serial_number(each.path) == wanted.serial]
    if not found:
        known = ", ".join(f"{each.vendor:04x}:{each.product:04x} at {each.path}" for each in there) or "none"
        raise UsbError(Fault.READER, f"no USB reader {wanted} is attached (there are: {known})", "plug it in")
    if len(found) > 1:
        serials = ", ".join(filter(None, (serial_number(each.path) for each in found))) or "none of them has one"
        raise UsbError(
            Fault.OTHER, f"{len(found)} USB readers are {wanted}", f"name one by its serial number ({serials})"
        )
    device = found[0]
    interface = device.interface
    if interface.protocol or not interface.bulk_in or not interface.bulk_out:
        raise UsbError(
            Fault.OTHER,
            f"{wanted} is no CCID reader (bInterfaceProtocol {interface.protocol})",
            "use it with kind: pcsc",
        )
    try:
        descriptor = decode_descriptor(interface.class_descriptor)
    except CcidError as error:
        raise UsbError(Fault.GARBLED, f"{wanted}: {error}", "another firmware, or another reader") from None
    key = f"{device.bus}:{device.address}:{interface.number}"
    return UsbPlace(
        descriptor,
        interface.interrupt_in != 0,
        key,
        lambda: usb_adapter.OpenUsb(device, descriptor.maximum_message),
    )


class _Links:
    """Open readers of this process, shared by their slots."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[UsbLink, int]] = {}

    def take(self, place: UsbPlace) -> UsbLink:
        with self._lock:
            link, users = self._open.get(place.key, (None, 0))
            if link is None:
                link = UsbLink(place.open(), place.has_interrupts)
            self._open[place.key] = (link, users + 1)
            return link

    def give_back(self, place: UsbPlace) -> None:
        with self._lock:
            link, users = self._open[place.key]
            if users > 1:
                self._open[place.key] = (link, users - 1)
                return
            del self._open[place.key]
            link.close()


_links: Final = _Links()


def abilities_of(plan: Plan, has_interrupts: bool, clock_khz: int = 0) -> Abilities:
    """What a reader's descriptor and lists promise, at a card clock (0: its default one)."""
    descriptor = plan.descriptor
    chosen = plan.rate_by is not RateBy.READER
    return Abilities(
        descriptor.level,
        RateControl.SELECTABLE if chosen else RateControl.OBSERVED,
        tuple(number for number in descriptor.protocols if number in (0, 1)),
        descriptor.classes,
        tuple(KHZ * each for each in plan.clocks),
        descriptor.slots,
        TIME_RESOLUTION_NS,
        StampedAt.TRANSFER,
        removal=has_interrupts,
        rates=plan.rates(clock_khz or descriptor.default_clock_khz) if chosen else (),
    )


class UsbReader:
    """One slot of a USB reader. Its blocking calls run in threads of its own; ``close`` it from outside the engine."""

    time_resolution_ns = TIME_RESOLUTION_NS

    def __init__(
        self,
        engine: MonotonicEngine,
        device: str,
        slot: int = 1,
        *,
        clock_hz: int | None = None,
        limits: UsbLimits | None = None,
        finder: Finder = find,
    ) -> None:
        """``device`` is ``vendor:product[:serial]``, ``slot`` counts from 1, ``clock_hz`` is the card clock to ask for.

        Looks for the reader, without opening it. Raises ValueError for what is no such name, UsbError where it is not there.
        """
        self.engine = engine
        self.wanted = UsbWanted.parse(device)
        self.slot = slot
        self.wishes = Wishes(classes="ABC")
        self.limits = limits if limits is not None else UsbLimits()
        self.on_fault: Callable[[str], None] = _nobody
        self.on_card: Callable[[bool], None] = _nobody
        self._clock_khz = clock_hz // KHZ if clock_hz else None
        self._finder = finder
        self._place = finder(self.wanted)
        self._plan = Plan(self._place.descriptor)
        self._level = self._place.descriptor.level
        self._link: UsbLink | None = None
        self._driver: CcidDriver | None = None
        self._up: Powered | None = None
        name = f"{self.wanted} slot {slot}"
        self.transmit_ns = _ns(self.limits.transmit)
        self._thread = DriverThread(engine, name, self._hung)
        self._ears = DriverThread(engine, f"{name} notifications", self._hung)
        self._listens = False
        self._closing = False
        self.epoch = 0
        """Counts power-downs: what was asked for before one is not answered after it."""
        self._given_up = threading.Event()
        """Set while whatever is under way is to end: nobody waits for it."""

    # -- Reader --------------------------------------------------------------------------------------------------------

    @property
    def abilities(self) -> Abilities:
        """Lists of clocks and rates are there once the reader has been opened. A reader that chooses the rate may not tell it once a card is up."""
        promised = abilities_of(self._plan, self._place.has_interrupts, self._clock_khz or 0)
        if self._up is not None and promised.rate is RateControl.OBSERVED and not self._up.ta1:
            return replace(promised, rate=RateControl.UNKNOWN)
        return promised

    @property
    def level(self) -> ExchangeLevel:
        return self._level

    @property
    def fetches_itself(self) -> bool:
        """A reader at APDU level fetches over T=0."""
        return self.level is ExchangeLevel.APDU and self.protocol == 0

    @property
    def protocol(self) -> int:
        return self._up.protocol if self._up is not None else 0

    @property
    def ta1(self) -> int:
        return self._up.ta1 if self._up is not None else 0

    @property
    def clock_hz(self) -> int:
        return self._up.clock_hz if self._up is not None else KHZ * self._plan.descriptor.default_clock_khz

    @property
    def operating_class(self) -> str:
        """The class the card was powered in; empty where the reader chose."""
        return self._up.operating_class if self._up is not None else ""

    @property
    def hung(self) -> str:
        return self._thread.hung or self._ears.hung

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        epoch = self.epoch
        wishes = self.wishes
        asked = Asked(
            wishes.ta1,
            wishes.protocol,
            wishes.pps2,
            wishes.pps3,
            wishes.classes,
            wishes.fallback,
            self._clock_khz,
        )

        def powered(up: Powered) -> None:
            self._listen()
            if epoch == self.epoch:
                self._up = up
                done(PowerUp(up.atr))

        def failed(error: Exception) -> None:
            self._listen()
            if epoch == self.epoch:
                done(PowerUp(b"", self._explain(error, powering=True)))

        what = f"powering the card at {self.wanted}"
        self._thread.submit(what, lambda: self._power_up(asked), powered, failed, _ns(self.limits.power))

    def power_down(self) -> None:
        self.epoch += 1
        self._up = None
        self._given_up.set()
        what = f"powering down the card at {self.wanted}"
        self._thread.submit(what, self._power_down, _nobody, _nobody, _ns(self.limits.power))

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        self._thread.put(_Exchange(self, command, done))

    def command(self, make: Callable[[int, int], Command], done: Callable[[Response | None, str], None]) -> None:
        """Any message, such as ``lambda slot, seq: IccClock(slot, seq, ClockCommand.STOP)``; ``done`` gets what came, or None and why."""
        epoch = self.epoch

        def answered(response: Response) -> None:
            if epoch == self.epoch:
                done(response, "")

        def failed(error: Exception) -> None:
            if epoch == self.epoch:
                done(None, self._explain(error, powering=True))

        what = f"a command to {self.wanted}"
        self._thread.submit(what, lambda: self._command(make), answered, failed, _ns(self.limits.power))

    def close(self) -> bool:
        self.engine.call(self._leave)
        ears = self._ears.close(self.limits.close)
        return self._thread.close(self.limits.close) and ears

    # -- in the reader's thread ----------------------------------------------------------------------------------------

    def _power_up(self, asked: Asked) -> Powered:
        link, driver = self._opened()
        driver.asked = asked
        return self._told(lambda: link.run(driver.power_up(), self._given_up, self.limits.power))

    def _power_down(self) -> None:
        self._given_up.clear()
        link, driver = self._link, self._driver
        if link is not None and driver is not None:
            self._told(lambda: link.run(driver.power_down(), self._given_up, self.limits.power))

    def _command(self, make: Callable[[int, int], Command]) -> Response:
        link, driver = self._opened()
        return self._told(lambda: link.run(driver.command(make), self._given_up, self.limits.power))

    def carry(self, command: bytes) -> Exchanged:
        """One exchange. Blocks. Raises what the driver and the pipes raise."""
        link, driver = self._link, self._driver
        if link is None or driver is None:
            raise UnableError("the card has no power: power it up first")
        steps = driver.exchange(command, time.monotonic_ns())
        try:
            return link.run(steps, self._given_up, self.limits.transmit)
        except UsbError as error:
            self._let_go_of_gone(error)
            raise

    def _opened(self) -> tuple[UsbLink, CcidDriver]:
        """The reader, opened where it is not; found again where it was unplugged."""
        if self._link is not None and self._driver is not None:
            return self._link, self._driver
        place = self._finder(self.wanted)
        link = _links.take(place)
        try:
            plan = link.lists(place.descriptor)
            driver = CcidDriver(plan, self.slot - 1, link.outstanding)
        except BaseException:
            _links.give_back(place)
            raise
        self._place, self._plan, self._link, self._driver = place, plan, link, driver
        self._level = place.descriptor.level
        link.subscribe(id(self))
        return link, driver

    def _told(self, work: Callable[[], R]) -> R:
        """Do it; a reader that has gone is let go of, so that the next power-up looks for it."""
        try:
            return work()
        except UsbError as error:
            self._let_go_of_gone(error)
            raise

    def _let_go_of_gone(self, error: UsbError) -> None:
        if error.fault is Fault.READER:
            self._release()

    def _release(self) -> None:
        link, self._link, self._driver = self._link, None, None
        if link is not None:
            link.unsubscribe(id(self))
            _links.give_back(self._place)

    # -- the interrupt pipe --------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Go on listening, while there is something to listen to."""
        link = self._link
        if self._listens or link is None or not link.has_interrupts or self._closing:
            return
        self._listens = True
        what = f"waiting for notifications of {self.wanted}"
        limit = _ns(INTERRUPT_MS / 1000)
        self._ears.submit(what, lambda: link.notification(id(self), INTERRUPT_MS), self._noticed, self._deaf, limit)

    def _noticed(self, message: bytes | None) -> None:
        self._listens = False
        if message is not None:
            try:
                change = notified(message, self.slot - 1)
            except CcidError as error:
                self.on_fault(str(error))
            else:
                if change is not None:
                    self.on_card(change.present)
        self._listen()

    def _deaf(self, error: Exception) -> None:
        """The interrupt pipe broke: with the reader itself, mostly."""
        self._listens = False
        if self._closing or isinstance(error, DriverHungError):
            return
        if isinstance(error, UsbError) and error.fault is Fault.READER:
            self.on_fault(str(error))
            self.on_card(False)
            self._thread.submit("letting go of the reader", self._release, _nobody, _nobody, _ns(self.limits.power))

    # -- exchanges that have ended: events -----------------------------------------------------------------------------

    def answered(self, job: "_Exchange") -> None:
        """One came back."""
        if job.epoch == self.epoch:
            self._up = self._driver.up if self._driver is not None else None
            job.done(self._answer(job.command, job.result))

    def not_answered(self, job: "_Exchange", error: Exception) -> None:
        """One raised, or was given up."""
        if job.epoch == self.epoch:
            job.done(Answer(b"", job.asked, self.engine.now, error=self._explain(error, powering=False)))

    # -- telling -------------------------------------------------------------------------------------------------------

    def _answer(self, command: bytes, result: Exchanged) -> Answer:
        tick_of = self.engine.tick_of
        error = result.error
        if error == Trouble.ABSENT:
            self.on_fault(fault_text(Fault.ABSENT, f"the card was pulled from {self.wanted}", "put it back"))
        elif not error:
            error = broken_answer(command, result.response, self.level, self.protocol)
            if error:
                self.on_fault(error)
        response = b"" if error else result.response
        start, end = tick_of(result.start_ns), tick_of(result.end_ns)
        # no characters: those of our blocks were counted, not seen, so that the line's time is not what is left of the exchange's
        return Answer(response, start, end, retries=result.retries, error=error)

    def _explain(self, error: Exception, *, powering: bool) -> str:
        """An error as PowerUp and Answer say it; what is no card's fault goes to ``on_fault`` too."""
        text = str(error)
        if isinstance(error, DriverHungError | UnableError | CardError):
            return text  # told by ``_hung``; the abilities' business; the card's
        if not isinstance(error, UsbError | CcidError):
            doing = "powering" if powering else "exchanging"
            text = fault_text(Fault.OTHER, f"{doing} at {self.wanted}: {type(error).__name__}: {error}", "report this")
        self.on_fault(text)
        return text

    def _hung(self, cause: str) -> None:
        self.on_fault(fault_text(Fault.FROZEN, cause, "the reader is out of use: unplug it, then run again"))

    def _leave(self) -> None:
        self.epoch += 1
        self._closing = True
        self._up = None
        self._given_up.set()
        self._thread.submit("letting go of the reader", self._let_go, _nobody, _nobody, _ns(self.limits.power))

    def _let_go(self) -> None:
        try:
            self._power_down()
        finally:
            self._release()


class _Exchange(Job):
    """One command."""

    __slots__ = ("asked", "command", "done", "epoch", "reader", "result")

    def __init__(self, reader: UsbReader, command: bytes, done: Callable[[Answer], None]) -> None:
        super().__init__(reader.transmit_ns)
        self.reader = reader
        self.command = command
        self.done = done
        self.epoch = reader.epoch
        self.asked = reader.engine.now

    def what(self) -> str:
        return f"an exchange at {self.reader.wanted} slot {self.reader.slot}"

    def work(self) -> None:
        self.result = self.reader.carry(self.command)

    def told(self) -> None:
        self.reader.answered(self)

    def failed(self, error: Exception) -> None:
        self.reader.not_answered(self, error)


def _ns(seconds: float) -> int:
    return round((seconds + THREAD_GRACE_S) * 10**9)


def _nobody(_: object) -> None:
    pass
