"""A PC/SC reader: whatever pcscd drives, as a Reader.

PC/SC cannot choose a baud rate, a clock or a voltage: the driver does. Where the driver tells the rate (``bench.readers.pcsc_attributes``) it is
observed, else ``ta1`` and ``clock_hz`` are 0: unknown. Time stamps are taken in the reader's thread right around SCardTransmit: they include the
way to pcscd, the driver and the bus.

Longer than other files: a reader is its state, and every call of the driver may end it.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.engine import MonotonicEngine
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.readers import pcsc_adapter
from bench.readers.activation import Wishes
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.faults import STATUS_WORD_SIZE, Fault, fault_text
from bench.readers.pcsc_adapter import CardStatus, Connection, Context, Reset, Transmitted
from bench.readers.pcsc_attributes import Attribute, Attributes, Observed, read_attributes, read_observed
from bench.readers.pcsc_errors import PcscCode, PcscError, PcscMissingError, Trouble
from bench.readers.pcsc_features import (
    GET_FEATURE_REQUEST,
    NODE_ADDRESS,
    Feature,
    FeatureError,
    Features,
    nad_was_set,
    parse_features,
    parse_properties,
    set_nad_command,
)
from bench.readers.pcsc_watch import PcscWatch, Seen, WatchEvent
from bench.readers.threads import DriverHungError, DriverThread, Job

T = TypeVar("T")

TIME_RESOLUTION_NS: Final = 1000
"""What a time stamp of this path resolves: the monotonic clock's own resolution and the two Python calls around SCardTransmit."""
CARD_SLICE_MS: Final = 250
"""How long one look for a card lasts: the longest that powering down may have to wait for."""
PULLED_GRACE_MS: Final = 500
"""How long after a failed exchange pcscd may take to see that the card is gone (it looks every 400 ms)."""
SETTLED_S: Final = 0.05
"""How long a card is left alone that has just come. pcsc-lite 1.9.9 tells of it before it counts it as powered and unused (src/eventhandler.c,
POWER_STATE_POWERED): who connects in between has the power taken away later, in the middle of whatever is under way."""

BROKEN: Final = frozenset({Trouble.ABSENT, Trouble.READER, Trouble.DAEMON, Trouble.DENIED, Trouble.RESET})
"""Troubles that are never the card's doing. (SHARING is waited out; the rest may be a card that does not answer.)"""


@dataclass(frozen=True, slots=True)
class DriverLimits:
    """How long a driver call may take before the reader is given up, in seconds."""

    power: float = 10.0
    transmit: float = 60.0
    close: float = 3.0

    @classmethod
    def within(cls, seconds: float) -> "DriverLimits":
        """The usual limits, none longer than that."""
        usual = cls()
        return cls(min(usual.power, seconds), seconds, min(usual.close, seconds))


def find_reader(names: Sequence[str], wanted: str) -> str:
    """The one reader whose name is ``wanted``, or contains it. Raises ValueError that says which there are."""
    if wanted in names:
        return wanted
    found = [name for name in names if wanted in name]
    if len(found) == 1:
        return found[0]
    there = ", ".join(map(repr, names)) or "none"
    if found:
        raise ValueError(f"{len(found)} readers match {wanted!r}: name one of {', '.join(map(repr, found))}")
    raise ValueError(f"no reader matches {wanted!r}; pcscd lists: {there}")


class PcscReader:
    """One reader known to pcscd. Its blocking calls run in a thread of its own; ``close`` it from outside the engine."""

    time_resolution_ns = TIME_RESOLUTION_NS

    def __init__(
        self,
        engine: MonotonicEngine,
        name: str,
        *,
        exclusive: bool = False,
        level: ExchangeLevel | None = None,
        fetches_itself: bool = False,
        limits: DriverLimits | None = None,
        power_with: Reset = Reset.COLD,
        leave_with: Reset = Reset.COLD,
    ) -> None:
        self.engine = engine
        self.name = name
        """The reader's name, or a part of it that only it has."""
        self.exclusive = exclusive
        self.fetches_itself = fetches_itself
        self.limits = limits if limits is not None else DriverLimits()
        self.transmit_ns = _ns(self.limits.transmit)
        self.power_with = power_with
        """What ``power_up`` does to a card that is up already: cold or warm reset, or taking it as it stands."""
        self.leave_with = leave_with
        """What ``power_down`` and ``close`` do to it."""
        self.wishes = Wishes()
        """Of these PC/SC can grant ``protocol`` alone."""
        self.protocol = 0
        self.ta1 = 0
        self.clock_hz = 0
        self.on_fault: Callable[[str], None] = _nobody
        """Told, in an event, of what broke that no card can be blamed for. Every time; the first is the cause."""
        self.diagnose: Callable[[], str] = str
        """Asked, in the reader's thread, after an error: a cause that whoever runs the other end knows of, or nothing."""
        self._level = level
        self._thread = DriverThread(engine, name, self._hung)
        self.epoch = 0
        """Counts power-downs: what was asked for before one is not answered after it."""
        self._context: Context | None = None
        self._connection: Connection | None = None
        self._no_rate = False
        """The driver has said once that it does not tell the rate."""
        self._watch: PcscWatch | None = None
        self._on_card: Callable[[bool], None] = _nobody

    @property
    def abilities(self) -> Abilities:
        """Rate and clock are observed where the driver tells them, which is known once a card is up."""
        return Abilities(
            self.level,
            RateControl.OBSERVED if self.ta1 else RateControl.UNKNOWN,
            (0, 1),
            "",
            (self.clock_hz,) if self.clock_hz else (),
            1,
            TIME_RESOLUTION_NS,
            StampedAt.DRIVER,
            removal=True,
        )

    @property
    def on_card(self) -> Callable[[bool], None]:
        """Told, in an event, when a card came (True) or went. pcscd is watched from when this is set, in a thread of its own."""
        return self._on_card

    @on_card.setter
    def on_card(self, told: Callable[[bool], None]) -> None:
        self._on_card = told
        if self._watch is None:
            self._watch = PcscWatch(self._seen, self._watch_ended).start()

    @property
    def level(self) -> ExchangeLevel:
        """As configured; else T=1 takes APDUs, and T=0 what most drivers make of it: TPDUs, GET RESPONSE left to us."""
        if self._level is not None:
            return self._level
        return ExchangeLevel.APDU if self.protocol == 1 else ExchangeLevel.TPDU

    @property
    def hung(self) -> str:
        """Empty, or the driver call that did not return: the reader is out of use."""
        return self._thread.hung

    # -- TerminalPort --------------------------------------------------------------------------------------------------

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self._power(f"connecting to the card in {self.name!r}", self.power_with, done)

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        """RST alone, as far as the driver does what SCARD_RESET_CARD asks."""
        self.epoch += 1
        self._power(f"resetting the card in {self.name!r}", Reset.WARM, done)

    def _power(self, what: str, how: Reset, done: Callable[[PowerUp], None]) -> None:
        epoch = self.epoch
        wanted = (0, 1) if self.wishes.protocol is None else (self.wishes.protocol,)

        def powered(up: _Up) -> None:
            if epoch == self.epoch:
                self.protocol = up.status.protocol
                self.ta1, self.clock_hz = up.observed.ta1, up.observed.clock_hz
                done(PowerUp(up.status.atr))

        def failed(error: Exception) -> None:
            if epoch == self.epoch:
                done(PowerUp(b"", self._explain(error, powering=True)))

        self._thread.submit(what, lambda: self._connect(how, wanted), powered, failed, _ns(self.limits.power))

    def power_down(self) -> None:
        self.epoch += 1
        what = f"powering down the card in {self.name!r}"
        self._thread.submit(what, self._disconnect, _nobody, _nobody, _ns(self.limits.power))

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        self._thread.put(_Exchange(self, command, done))

    def answered(self, exchange: "_Exchange") -> None:
        """An exchange has been carried: an event."""
        if exchange.epoch == self.epoch:
            result, tick_of = exchange.result, self.engine.tick_of
            exchange.done(Answer(result.response, tick_of(result.start_ns), tick_of(result.end_ns)))

    def not_answered(self, exchange: "_Exchange", error: Exception) -> None:
        """An exchange has failed: an event."""
        if exchange.epoch == self.epoch:
            text = self._explain(error, powering=False)
            engine = self.engine
            exchange.done(Answer(b"", engine.tick_of(exchange.asked_ns), engine.now, error=text))

    def close(self) -> bool:
        """Let go of card and pcscd. False where a driver call does not return, so that its thread was abandoned."""
        self.engine.call(self._leave)
        closed = self._thread.close(self.limits.close)
        watch = self._watch
        return (watch is None or watch.join(self.limits.close)) and closed

    def _leave(self) -> None:
        self.epoch += 1
        watch, limit_s = self._watch, self.limits.close
        if watch is not None:
            watch.leave()
            what = "ending the watch on pcscd's readers"
            self._thread.submit(what, lambda: watch.cancel(limit_s), _nobody, _nobody, _ns(self.limits.power))
        self._thread.submit("letting go of pcscd", self._release, _nobody, _nobody, _ns(self.limits.power))

    # -- beside exchanges: control codes, features, attributes ---------------------------------------------------------

    def control(self, code: int, data: bytes, done: Callable[[Answer], None]) -> None:
        """Hand a control code to the driver (SCardControl), through the card's connection or, where there is none, past any card.

        What the driver refuses is no fault of the reader: ``Answer.error`` tells.
        """
        begun = self.engine.now

        def carried(result: Transmitted) -> None:
            tick_of = self.engine.tick_of
            done(Answer(result.response, tick_of(result.start_ns), tick_of(result.end_ns)))

        def failed(error: Exception) -> None:
            done(Answer(b"", begun, self.engine.now, error=str(error)))

        what = f"SCardControl {code:08X} at {self.name!r}"
        work = self._beside(lambda connection: connection.control(code, data))
        self._thread.submit(what, work, carried, failed, _ns(self.limits.transmit))

    def set_nad(self, nad: int, done: Callable[[str], None]) -> None:
        """Have the driver put ``nad`` into its T=1 blocks; ``done`` gets the reason where it does not. Raises ValueError outside a byte."""

        def answered(answer: Answer) -> None:
            if nad_was_set(answer.response):
                done("")
            else:
                found = answer.error or f"it answers {answer.response.hex(' ').upper() or 'nothing'}"
                done(f"the driver sets no NAD (libccid does from 1.6.0 on, at TPDU-level readers): {found}")

        self.control(NODE_ADDRESS, set_nad_command(nad), answered)

    def features(self, done: Callable[[Features], None]) -> None:
        """The driver's list of features and properties; with ``error`` where it gives none."""
        work = self._beside(_read_features)
        self._thread.submit(
            f"asking {self.name!r} for its features",
            work,
            done,
            lambda error: done(Features(error=str(error))),
            _ns(self.limits.power),
        )

    def attributes(self, done: Callable[[Attributes], None]) -> None:
        """What the driver tells of the reader; with ``error`` where it cannot be asked."""
        work = self._beside(lambda connection: read_attributes(connection.attribute))
        self._thread.submit(
            f"asking {self.name!r} for its attributes",
            work,
            done,
            lambda error: done(Attributes(error=str(error))),
            _ns(self.limits.power),
        )

    # -- in the reader's thread ----------------------------------------------------------------------------------------

    def _beside(self, work: Callable[[Connection], T]) -> Callable[[], T]:
        """``work`` on the card's connection, or on one to the reader alone that lasts as long as the work."""

        def run() -> T:
            if self._connection is not None:
                return work(self._connection)
            context = self._established()
            connection = context.connect_direct(self._find(context))
            try:
                return work(connection)
            finally:
                with contextlib.suppress(PcscError):
                    connection.disconnect(Reset.LEAVE)

        return run

    def _established(self) -> Context:
        if self._context is None:
            self._context = pcsc_adapter.establish()
        return self._context

    def _connect(self, how: Reset, protocols: tuple[int, ...]) -> "_Up":
        try:
            connection = self._connection
            if connection is not None and connection.protocols != protocols:
                self._disconnect()
                connection = None
            context = self._established()
            reader = self._find(context) if connection is None else connection.reader
            # pcscd powers a card anew when it sees that it came: to be there before it would lose what the first commands did
            self._await_card(context, reader)
            if connection is None:
                connection = context.connect(reader, exclusive=self.exclusive, protocols=protocols)
                self._connection = connection
            if how is not Reset.LEAVE:
                connection.reset(how)
            return _Up(connection.status(), self._observed(connection))
        except (PcscError, PcscMissingError) as error:
            raise self._known(error) from None

    def _observed(self, connection: Connection) -> Observed:
        """The rate, where the driver tells it; one that has not done so once is not asked again."""
        if self._no_rate:
            return Observed()
        if not connection.attribute(Attribute.CURRENT_F):
            self._no_rate = True
            return Observed()
        return read_observed(connection.attribute)

    def _find(self, context: Context) -> str:
        try:
            return find_reader(context.readers(), self.name)
        except ValueError as error:
            raise PcscError("SCardListReaders", PcscCode.SCARD_E_UNKNOWN_READER, self.name, str(error)) from None

    def _await_card(self, context: Context, reader: str) -> None:
        state = context.state(reader)
        if not state.present:
            state = context.state(reader, state, CARD_SLICE_MS)
            if not state.present:
                raise PcscError("SCardGetStatusChange", PcscCode.SCARD_E_NO_SMARTCARD, reader)
            time.sleep(SETTLED_S)

    def carry(self, command: bytes) -> Transmitted:
        """One exchange, in the reader's thread. Raises what ``not_answered`` explains."""
        connection = self._connection
        if connection is None:
            raise PcscError("SCardTransmit", PcscCode.SCARD_W_UNPOWERED_CARD, self.name)
        try:
            result = connection.transmit(command)
            if len(result.response) < STATUS_WORD_SIZE and self._pulled():  # vpcd calls that a success
                raise PcscError("SCardTransmit", PcscCode.SCARD_W_REMOVED_CARD, connection.reader)
        except PcscError as error:
            raise self._known(error) from None
        return result

    def _known(self, error: PcscError | PcscMissingError) -> Exception:
        """What is behind an error: a cause known elsewhere, a card that was pulled, or the error itself."""
        if cause := self.diagnose():
            self._release()
            return _BrokenError(cause)
        if isinstance(error, PcscMissingError):
            return error
        if error.trouble in (Trouble.EXCHANGE, Trouble.MUTE) and self._pulled():
            error = PcscError(error.call, PcscCode.SCARD_W_REMOVED_CARD, self.name)
        if error.trouble in (Trouble.DAEMON, Trouble.READER):
            self._release()
        elif error.trouble is Trouble.ABSENT:
            self._disconnect()
        return error

    def _pulled(self) -> bool:
        """Whether pcscd sees the card gone, now or at its next look."""
        context, connection = self._context, self._connection
        if context is None:
            return False
        try:
            reader = connection.reader if connection is not None else self._find(context)
            state = context.state(reader)
            if state.present:
                state = context.state(reader, state, PULLED_GRACE_MS)
        except PcscError:
            return False
        return not state.present

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(PcscError):  # the card or pcscd is gone: there is nothing to let go of
                connection.disconnect(self.leave_with)

    def _release(self) -> None:
        self._disconnect()
        context, self._context = self._context, None
        if context is not None:
            context.release()

    # -- the watch, in its own thread ------------------------------------------------------------------------------------

    def _seen(self, event: WatchEvent) -> None:
        if event.at_start or self.name not in event.reader:
            return
        if event.seen in (Seen.CARD_CAME, Seen.CARD_WENT):
            came = event.seen is Seen.CARD_CAME
            self.engine.post(lambda: self._on_card(came))
        elif event.seen is Seen.READER_WENT:
            gone = PcscError("SCardGetStatusChange", PcscCode.SCARD_E_READER_UNAVAILABLE, event.reader)
            text = self.diagnose() or str(gone)
            self.engine.post(lambda: self.on_fault(text))

    def _watch_ended(self, error: Exception) -> None:
        text = self.diagnose() or str(error)
        self.engine.post(lambda: self.on_fault(text))

    # -- telling -------------------------------------------------------------------------------------------------------

    def _explain(self, error: Exception, *, powering: bool) -> str:
        """An error as PowerUp and Answer say it; what is no card's fault goes to ``on_fault`` too."""
        text = str(error)
        if isinstance(error, DriverHungError):
            return text  # told once already, by ``_hung``
        if not isinstance(error, PcscError):
            self.on_fault(text)
            return text
        trouble = error.trouble
        if trouble in BROKEN and not (powering and trouble is Trouble.ABSENT):
            self.on_fault(text)
        if not powering and trouble is Trouble.ABSENT:
            return "absent"
        if powering and trouble is Trouble.MUTE:
            return "mute"
        return text

    def _hung(self, cause: str) -> None:
        do = "the reader is out of use: unplug it or restart pcscd, then run again"
        self.on_fault(fault_text(Fault.FROZEN, cause, do))


class _Exchange(Job):
    """One SCardTransmit."""

    __slots__ = ("asked_ns", "command", "done", "epoch", "reader", "result")

    def __init__(self, reader: PcscReader, command: bytes, done: Callable[[Answer], None]) -> None:
        super().__init__(reader.transmit_ns)
        self.reader = reader
        self.command = command
        self.done = done
        self.epoch = reader.epoch
        self.asked_ns = time.monotonic_ns()

    def what(self) -> str:
        return f"SCardTransmit of {self.command[:5].hex(' ').upper()} at {self.reader.name!r}"

    def work(self) -> None:
        self.result = self.reader.carry(self.command)

    def told(self) -> None:
        self.reader.answered(self)

    def failed(self, error: Exception) -> None:
        self.reader.not_answered(self, error)


@dataclass(frozen=True, slots=True)
class _Up:
    """A card that is up."""

    status: CardStatus
    observed: Observed


def _read_features(connection: Connection) -> Features:
    answer = connection.control(GET_FEATURE_REQUEST, b"").response
    try:
        codes = parse_features(answer)
        found = Features(codes)
        listed = found.code(Feature.GET_TLV_PROPERTIES)
        return found if listed is None else Features(codes, parse_properties(connection.control(listed, b"").response))
    except FeatureError as error:
        return Features(error=str(error))


class _BrokenError(Exception):
    """What ``diagnose`` said."""


def _ns(seconds: float) -> int:
    return round(seconds * 10**9)


def _nobody(_: object) -> None:
    pass
