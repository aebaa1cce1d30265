"""A PC/SC reader: whatever pcscd drives, as a TerminalPort at APDU level.

PC/SC cannot choose a baud rate, a clock or a voltage (the driver does), so ``ta1`` and ``clock_hz`` are 0: unknown. Its time stamps are taken in the
reader's thread right around SCardTransmit: they include the way to pcscd, the driver and the bus.
Left out so far: control codes (NAD, features), observing the rate.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.engine import MonotonicEngine
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.readers import pcsc_adapter
from bench.readers.pcsc_adapter import Connection, Context, Reset, Transmitted
from bench.readers.pcsc_errors import PcscCode, PcscError, PcscMissingError, Trouble
from bench.readers.threads import DriverHungError, DriverThread

TIME_RESOLUTION_NS: Final = 1000
"""What a time stamp of this path resolves: the monotonic clock's own resolution and the two Python calls around SCardTransmit."""
CARD_SLICE_MS: Final = 250
"""How long one look for a card lasts: the longest that powering down may have to wait for."""
PULLED_GRACE_MS: Final = 500
"""How long after a failed exchange pcscd may take to see that the card is gone (it looks every 400 ms)."""

BROKEN: Final = frozenset({Trouble.ABSENT, Trouble.READER, Trouble.DAEMON, Trouble.DENIED, Trouble.RESET})
"""Troubles that are never the card's doing. (SHARING is waited out; the rest may be a card that does not answer.)"""


@dataclass(frozen=True, slots=True)
class DriverLimits:
    """How long a driver call may take before the reader is given up, in seconds."""

    power: float = 10.0
    transmit: float = 60.0
    close: float = 3.0


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
    ) -> None:
        self.engine = engine
        self.name = name
        """The reader's name, or a part of it that only it has."""
        self.exclusive = exclusive
        self.fetches_itself = fetches_itself
        self.limits = limits if limits is not None else DriverLimits()
        self.protocol = 0
        self.ta1 = 0
        self.clock_hz = 0
        self.on_fault: Callable[[str], None] = _nobody
        """Told, in an event, of what broke that no card can be blamed for. Every time; the first is the cause."""
        self.diagnose: Callable[[], str] = str
        """Asked, in the reader's thread, after an error: a cause that whoever runs the other end knows of, or nothing."""
        self._level = level
        self._thread = DriverThread(engine, name, self._hung)
        self._epoch = 0
        """Counts power-downs: what was asked for before one is not answered after it."""
        self._context: Context | None = None
        self._connection: Connection | None = None

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
        epoch = self._epoch

        def powered(status: pcsc_adapter.CardStatus) -> None:
            if epoch == self._epoch:
                self.protocol = status.protocol
                done(PowerUp(status.atr))

        def failed(error: Exception) -> None:
            if epoch == self._epoch:
                done(PowerUp(b"", self._explain(error, powering=True)))

        what = f"connecting to the card in {self.name!r}"
        self._thread.submit(what, self._connect, powered, failed, _ns(self.limits.power))

    def power_down(self) -> None:
        self._epoch += 1
        what = f"powering down the card in {self.name!r}"
        self._thread.submit(what, self._disconnect, _nobody, _nobody, _ns(self.limits.power))

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        epoch = self._epoch
        begun = self.engine.now

        def carried(result: Transmitted) -> None:
            if epoch == self._epoch:
                engine = self.engine
                done(Answer(result.response, engine.tick_of(result.start_ns), engine.tick_of(result.end_ns)))

        def failed(error: Exception) -> None:
            if epoch == self._epoch:
                text = self._explain(error, powering=False)
                done(Answer(b"", begun, self.engine.now, error=text))

        what = f"SCardTransmit of {command[:5].hex(' ').upper()} at {self.name!r}"
        self._thread.submit(what, lambda: self._carry(command), carried, failed, _ns(self.limits.transmit))

    def close(self) -> bool:
        """Let go of card and pcscd. False where a driver call does not return, so that its thread was abandoned."""
        self.engine.call(self._leave)
        return self._thread.close(self.limits.close)

    def _leave(self) -> None:
        self._epoch += 1
        self._thread.submit("letting go of pcscd", self._release, _nobody, _nobody, _ns(self.limits.power))

    # -- in the reader's thread ----------------------------------------------------------------------------------------

    def _connect(self) -> pcsc_adapter.CardStatus:
        try:
            if self._connection is None:
                if self._context is None:
                    self._context = pcsc_adapter.establish()
                reader = self._find(self._context)
                self._await_card(self._context, reader)
                self._connection = self._context.connect(reader, exclusive=self.exclusive)
            self._connection.reset(Reset.COLD)
            return self._connection.status()
        except (PcscError, PcscMissingError) as error:
            raise self._known(error) from None

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

    def _carry(self, command: bytes) -> Transmitted:
        connection = self._connection
        if connection is None:
            raise PcscError("SCardTransmit", PcscCode.SCARD_W_UNPOWERED_CARD, self.name)
        try:
            return connection.transmit(command)
        except PcscError as error:
            raise self._known(error) from None

    def _known(self, error: PcscError | PcscMissingError) -> Exception:
        """What is behind an error: a cause known elsewhere, a card that was pulled, or the error itself."""
        if cause := self.diagnose():
            self._release()
            return _BrokenError(cause)
        if isinstance(error, PcscMissingError):
            return error
        if error.trouble is Trouble.EXCHANGE and self._pulled():
            error = PcscError(error.call, PcscCode.SCARD_W_REMOVED_CARD, self.name)
        if error.trouble in (Trouble.DAEMON, Trouble.READER):
            self._release()
        elif error.trouble is Trouble.ABSENT:
            self._disconnect()
        return error

    def _pulled(self) -> bool:
        """Whether pcscd sees the card gone, now or at its next look."""
        context, connection = self._context, self._connection
        if context is None or connection is None:
            return False
        try:
            state = context.state(connection.reader)
            if state.present:
                state = context.state(connection.reader, state, PULLED_GRACE_MS)
        except PcscError:
            return False
        return not state.present

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(PcscError):  # the card or pcscd is gone: there is nothing to let go of
                connection.disconnect(Reset.COLD)

    def _release(self) -> None:
        self._disconnect()
        context, self._context = self._context, None
        if context is not None:
            context.release()

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
        self.on_fault(f"driver hangs: {cause}; the reader is out of use: unplug it or restart pcscd, then run again")


class _BrokenError(Exception):
    """What ``diagnose`` said."""


def _ns(seconds: float) -> int:
    return round(seconds * 10**9)


def _nobody(_: object) -> None:
    pass
