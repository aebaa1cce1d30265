"""A serial port with a card at it, Phoenix or Smartmouse style: TxD and RxD joined at I/O, RST on RTS or DTR, a crystal for the clock.

Protocol, PPS and blocks are our own (`character`), so the bench chooses the rate; a custom baud rate is clock * D / F. Time is the wall's: guard
times hold at least, waiting times are longer by what the operating system and the way to the port may take (``patience``). Stamps are taken where
characters are read: a character's beginning is worked out from them and never lies before the guard time of the one before it.

A UART neither sees nor gives the error signal of T=0 (ISO/IEC 7816-3:2006, 7.3). A character that comes with wrong parity is a damaged one: it ends
an answer to reset, and under T=1 its block is asked for again; under T=0, where the card was not told, the exchange ends by the waiting time.
Parity is known at local ports only, and not for the answer to reset of a card of the inverse convention before its TS has been read.

The operating class is what the adapter supplies. A cold reset takes the line that is not RST away and gives it back: adapters that feed on it lose
power then; at all others it is a reset like a warm one.

Longer than other files: sending, hearing and the port's faults share the times of one line.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from bench.engine import MonotonicEngine, Timer
from bench.iso7816.atr_values import Convention
from bench.iso7816.edges import swap
from bench.iso7816.line import CHARACTER_END_ETU, Burst, CardEnd
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.iso7816.rates import GUARD_ETU, INITIAL_WT_ETU, RATE_DEFAULT, TURNAROUND_T0_ETU, Rate
from bench.iso7816.t0 import T0Terminal
from bench.iso7816.t1_terminal import T1Terminal
from bench.readers.activation import Activated, Wishes
from bench.readers.character import CharacterReader
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.faults import Fault, fault_text
from bench.readers.serial_adapter import Chunk, PortSettings, SerialFound, SerialPort, attached
from bench.readers.serial_errors import SerialPortError, SerialTrouble
from bench.readers.serial_line import SerialLine, SerialOptions
from bench.readers.threads import DriverHungError

__all__ = ["SerialFound", "SerialOptions", "SerialReader", "attached"]

FINE_WAIT_NS: Final = 2_000_000
"""How much of a wait is left to the port's thread."""
_TS_INVERSE_AS_READ: Final = 0x03
"""3F of the inverse convention as a UART reads it (8.1)."""


class _Contacts(CardEnd):
    """The card as the activation sees it: its contacts are the port's lines. Characters go another way."""

    def __init__(self, reader: "SerialReader") -> None:
        self._reader = reader
        self.transmit = _nobody

    @property
    def etu(self) -> int:
        return self._reader.etu

    @property
    def signals(self) -> bool:
        return False

    def power_up(self, now: int, clock_hz: int, operating_class: str = "A") -> None:
        del now, clock_hz, operating_class
        self._reader.contacts(power=True, rst=True)

    def reset(self, now: int) -> None:
        del now
        self._reader.contacts(power=True, rst=True)

    def power_down(self, now: int) -> None:
        del now
        self._reader.contacts(power=False, rst=False)

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        raise NotImplementedError

    def signalled(self, burst: Burst, index: int) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class _Sending:
    """A burst on its way out."""

    burst: Burst
    at: int
    """How many of its characters have been handed to the port."""
    echoed: int = 0
    written_ns: int = 0
    """When the last write began; set in the port's thread."""
    patience: Timer | None = None


class SerialReader(CharacterReader):
    """One serial port, any that pyserial opens. Its blocking calls run in two threads of its own; ``close`` it from outside the engine."""

    engine: MonotonicEngine

    def __init__(
        self,
        engine: MonotonicEngine,
        url: str,
        clock_hz: int,
        ta1: int | None = None,
        options: SerialOptions | None = None,
    ) -> None:
        """``clock_hz`` is the adapter's crystal: 3 571 200 gives 9600 baud, 3 579 545 gives 9622."""
        super().__init__(engine, clock_hz, ta1)
        self.url = url
        self.options = options if options is not None else SerialOptions()
        self.on_fault: Callable[[str], None] = _nobody
        """Told, in an event, of what broke that no card can be blamed for, and what to do."""
        self.on_card: Callable[[bool], None] = _nobody
        """Told, in an event, when the detect line says that a card came or went."""
        self._line = SerialLine(engine, url, self.options, self)
        self.patience = engine.timebase.nanoseconds(self._line.patience_ns)
        self._contacts = _Contacts(self)
        self._echo = self.options.echo
        self._convention = Convention.DIRECT
        self._settings = self._settings_at(Rate(RATE_DEFAULT))
        self._sending: _Sending | None = None
        self._ts_heard = False
        self._last_sent = 0
        self._last_received = 0
        self._turned = False
        """The next character comes from the card, after one of ours."""

    # -- the contract --------------------------------------------------------------------------------------------------

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            level=ExchangeLevel.CHARACTER,
            rate=RateControl.SELECTABLE,
            protocols=(0, 1),
            classes=self.options.classes,
            clocks_hz=(self.clock_hz,),
            slots=1,
            resolution_ns=self.time_resolution_ns,
            stamped=StampedAt.UART,
            removal=self.options.detect != "none",
        )

    @property
    def time_resolution_ns(self) -> int:
        return self._line.resolution_ns

    @property
    def hung(self) -> str:
        return self._line.hung

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.power_down()
        self._power_done = done

        def opened() -> None:
            if self._power_done is not done:
                return
            if self._line.present is False:
                self._power_done = None
                done(PowerUp(b"", "absent"))
                return
            self._activate(done).cold()

        def failed(error: Exception) -> None:
            if self._power_done is done:
                self._power_done = None
                done(PowerUp(b"", self._explain(error)))

        self._line.open(self._settings, opened, failed)

    def close(self) -> bool:
        self.engine.call(self.power_down)
        return self._line.close()

    def _granted(self) -> Wishes:
        return replace(self.wishes, classes=self.options.classes)

    def _noticed(self) -> str:
        return "absent" if self._line.present is False else ""

    # -- contacts ------------------------------------------------------------------------------------------------------

    def card_here(self) -> CardEnd | None:
        return self._contacts

    def activation_reset(self) -> None:
        self._end_sending()
        self._ts_heard = self._turned = False
        self._convention = Convention.DIRECT
        self._last_received = self._last_sent = self.engine.now
        self._line.deafen()
        self._settings = self._settings_at(Rate(RATE_DEFAULT))
        self.contacts(power=self._powered, rst=False)

    def contacts(self, *, power: bool, rst: bool) -> None:
        """Have the port's lines switched: RST as it says (True is high), the other one on with the supply."""
        self._line.switch(power, rst, self._settings)

    def not_activated(self, why: str) -> None:
        if why.startswith("bad ATR"):
            baud = round(self.clock_hz / Rate(RATE_DEFAULT).etu_cycles)
            why = f"{why}; at {baud} baud, which fits a card clock of {self.clock_hz} Hz: see that it is this adapter's"
        super().not_activated(why)

    def activation_send(self, burst: Burst) -> None:
        settings = self._settings  # the parity of the card's convention
        self._line.job(f"setting {self.url} to 8{settings.parity}{settings.stop_bits}", lambda port: port.set(settings))
        super().activation_send(burst)

    def activated(self, result: Activated) -> None:
        # characters of 11 etu: T=1 with N = 255 (11.2)
        self._settings = self._settings_at(
            result.rate, single=result.protocol == 1 and result.atr.extra_guard_time == 255
        )
        settings = self._settings
        self._line.job(f"setting {self.url} to {settings.baud} baud", lambda port: port.set(settings))
        super().activated(result)

    def _settings_at(self, rate: Rate, *, single: bool = False) -> PortSettings:
        right = "E" if self._convention is Convention.DIRECT else "O"
        return PortSettings(
            round(self.clock_hz / rate.etu_cycles), right if self._line.parity else "N", 1 if single else 2
        )

    # -- out -----------------------------------------------------------------------------------------------------------

    def _to_card(self, burst: Burst) -> None:
        self._end_sending()
        sending = self._sending = _Sending(burst, 0)
        self._send_at(burst.start, sending)

    def _send_at(self, tick: int, sending: _Sending) -> None:
        """Short times are waited in the port's thread: the engine's loop wakes only every millisecond or so."""
        engine = self.engine
        if tick - engine.now > engine.timebase.nanoseconds(FINE_WAIT_NS):
            engine.at(tick - engine.timebase.nanoseconds(FINE_WAIT_NS), lambda: self._send_next(sending, tick))
        else:
            self._send_next(sending, tick)

    def _send_next(self, sending: _Sending, tick: int) -> None:
        """Hand the port, at ``tick``, what may follow without a pause: one character where the guard time is longer than the UART's own."""
        if sending is not self._sending:
            return
        burst = sending.burst
        in_one_go = burst.pitch <= self._character_etu * burst.etu
        count = len(burst.data) - sending.at if in_one_go else 1
        data = burst.data[sending.at : sending.at + count]
        sending.at += count
        if self._convention is Convention.INVERSE:
            data = bytes(map(swap, data))
        wait = max(0, tick - self.engine.now) + burst.pitch * count + self.patience
        if self._echo is not False:
            sending.patience = self.engine.after(wait, lambda: self._no_echo(sending))

        now_ns, until = time.monotonic_ns(), tick - self.engine.now
        not_before_ns = now_ns + self.engine.timebase.to_ns(until)

        def write(port: SerialPort) -> None:
            wait_ns = not_before_ns - time.monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            sending.written_ns = time.monotonic_ns()
            port.write(data)

        def written() -> None:
            if self._echo is False and sending.at < len(burst.data):
                self._send_at(self.engine.now + burst.pitch, sending)

        self._turned = True
        self._line.job(f"writing to {self.url}", write, written)

    @property
    def _character_etu(self) -> int:
        """How long a character of this UART is, in bits. What has no parity is no real line, and takes characters as they are to be."""
        return 10 + self._settings.stop_bits if self._line.parity else GUARD_ETU

    def _end_sending(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None and sending.patience is not None:
            sending.patience.cancel()

    def _take_echo(self, sending: _Sending, data: bytes, tick: int) -> bytes:
        """Take our own characters off what was read; gives what is left."""
        expected = sending.burst.data[sending.echoed : sending.at]
        count = min(len(expected), len(data))
        if not count:
            return data
        if data[:count] != expected[:count]:
            if self._echo is None:
                self._echo = False
                if sending.patience is not None:
                    sending.patience.cancel()
                return sending.burst.data[: sending.echoed] + data  # it was the card's own
            if sending.echoed:
                self._collided(expected[:count], data[:count])
            else:
                self._swallowed(sending, f"{data[:8].hex(' ').upper()} instead")
            return b""
        sending.echoed += count
        if sending.echoed == sending.at:
            if sending.patience is not None:
                sending.patience.cancel()
            burst = sending.burst
            if sending.echoed < len(burst.data):
                gap = burst.pitch - CHARACTER_END_ETU * burst.etu
                self._send_at(tick + gap, sending)
            else:
                ambiguous = self._echo is None and self._terminal is None
                if not ambiguous:  # the answer to a PPS request may be the request itself
                    self._echo = True
                self._left(tick - CHARACTER_END_ETU * burst.etu)
                if not ambiguous:
                    self._sending = None
                else:
                    self._wait_for_more(sending)
        return data[count:]

    def _wait_for_more(self, sending: _Sending) -> None:
        """Without echo the card's answer to PPS looks like one: if nothing more comes, that is what it was."""
        burst = sending.burst
        last_moment = burst.last + (INITIAL_WT_ETU - TURNAROUND_T0_ETU) * burst.etu + self.patience

        def decide() -> None:
            if sending is self._sending and self._echo is None:
                self._echo = False
                self._sending = None
                self._from_card(sending.burst.data, frozenset(), self.engine.now)

        sending.patience = self.engine.at(last_moment, decide)

    def _left(self, last: int) -> None:
        """The last character that was to be sent left at ``last``."""
        self._last_sent = last
        if self._terminal is not None:
            self._terminal.sent(last)

    def _no_echo(self, sending: _Sending) -> None:
        if sending is not self._sending or sending.echoed == sending.at:
            return
        if self._echo is None and not sending.echoed:
            self._echo = False
            self._sending = None if sending.at == len(sending.burst.data) else sending
            if self._sending is not None:
                self._send_next(sending, self.engine.now)
            return
        if sending.echoed or self._line.local:
            self._swallowed(sending, f"{sending.echoed} of them")
            return
        # nothing at all came back through a network: is there still somebody?
        what = f"asking the server of {self.url}"
        self._line.job(what, lambda port: port.ask_server(), lambda: self._heard_nothing(sending))

    def _heard_nothing(self, sending: _Sending) -> None:
        """The server answers, so it is the adapter that gave nothing back."""
        if sending is self._sending and not sending.echoed:
            self._swallowed(sending, "0 of them")

    def _swallowed(self, sending: _Sending, came: str) -> None:
        sent = sending.burst.data[:5].hex(" ").upper()
        what = f"of {sending.at} characters sent to {self.url} ({sent} …) came back {came}"
        self._broken(str(SerialPortError(SerialTrouble.NO_ECHO, what)))

    def _collided(self, sent: bytes, heard: bytes) -> None:
        self._fail_exchange(
            f"collision: {sent[:8].hex(' ').upper()} was sent, {heard[:8].hex(' ').upper()} was on the line: the card spoke out of turn, or another "
            f"device drives I/O of {self.url}"
        )

    # -- in ------------------------------------------------------------------------------------------------------------

    def characters_read(self, chunk: Chunk, stamp_ns: int) -> None:
        tick = self.engine.tick_of(stamp_ns)
        data, damaged = chunk.data, chunk.damaged
        if not self._ts_heard:
            self._ts_heard = True
            if data[0] == _TS_INVERSE_AS_READ:
                self._convention = Convention.INVERSE
                self._settings = self._settings_at(Rate(RATE_DEFAULT))
        if self._convention is Convention.INVERSE:
            data = bytes(map(swap, data))
            if self._terminal is None and self._activation is not None and self._sending is None:
                damaged = frozenset()  # read with the parity of the other convention
        sending = self._sending
        if sending is not None and self._echo is not False:
            rest = self._take_echo(sending, data, tick)
            dropped = len(data) - len(rest)
            damaged = frozenset(index - dropped for index in damaged if index >= dropped)
            data = rest
        if data:
            self._from_card(data, damaged, tick)

    def _from_card(self, data: bytes, damaged: frozenset[int], tick: int) -> None:
        sending = self._sending
        if sending is not None and self._echo is None and sending.echoed == len(sending.burst.data):
            self._echo = True
            self._end_sending()
        if sending is not None and self._echo is False:
            count = len(sending.burst.data)
            written = self.engine.tick_of(sending.written_ns) + (count - 1) * sending.burst.pitch
            self._left(min(written, tick - self._turnaround))
            self._sending = None
        self.receive(self._burst(data, tick), damaged)

    def _burst(self, data: bytes, tick: int) -> Burst:
        """Characters that had been read at ``tick``, as evenly spaced as they can have been."""
        etu = self.etu
        pitch = self._pitch
        end = tick - CHARACTER_END_ETU * etu
        floor = self._last_sent + self._turnaround if self._turned else self._last_received + pitch
        self._turned = False
        gaps = len(data) - 1
        start = max(floor, end - gaps * pitch)
        if gaps:
            pitch = min(pitch, max(0, (end - start) // gaps))
        self._last_received = start + gaps * pitch
        return Burst(data, start, pitch, etu)

    @property
    def _pitch(self) -> int:
        terminal = self._terminal
        return GUARD_ETU * self.etu if terminal is None else terminal.timing.pitch_to_terminal

    @property
    def _turnaround(self) -> int:
        """The least from our last character to the card's first."""
        terminal = self._terminal
        if isinstance(terminal, T0Terminal):
            return terminal.timing.turnaround
        return terminal.timing.bgt if isinstance(terminal, T1Terminal) else GUARD_ETU * self.etu

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def _broken(self, text: str) -> None:
        """The port, or the way to it: no card's fault."""
        self.on_fault(text)
        self._fail_exchange(text)

    def _fail_exchange(self, text: str) -> None:
        """What is under way ends; nothing goes on before the next reset."""
        self._end_sending()
        self._dead = text
        if self._power_done is not None:
            self.not_activated(text)
        elif self._done is not None:
            self._watch.cancel()
            now = self.engine.now
            self._finish(Answer(b"", now, now, error=text))

    def _explain(self, error: Exception) -> str:
        text = str(error)
        if not isinstance(error, DriverHungError):
            self.on_fault(text)
        return text

    def port_failed(self, error: Exception) -> None:
        if isinstance(error, DriverHungError):
            self._fail_exchange(str(error))
            return
        if isinstance(error, SerialPortError) and error.trouble is SerialTrouble.GONE:
            self._powered = False
            self._line.let_go()
        self._broken(str(error))

    def port_hangs(self, cause: str) -> None:
        self.on_fault(
            f"driver hangs: {cause}; the reader is out of use: unplug it or restart its server, then run again"
        )

    def card_moved(self, present: bool) -> None:
        if not present:
            self._powered = False
            if self._done is not None:
                self.on_fault(fault_text(Fault.ABSENT, f"the card was pulled from {self.url}", "put it back"))
            self._fail_exchange("absent")
        self.on_card(present)


def _nobody(_: object) -> None:
    pass
