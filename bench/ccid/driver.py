"""The host's side of CCID 1.1, one slot of one reader, without I/O: powering, rates, exchanges at every level.

Everything that talks is a generator of steps (``driver_pipe``). Under T=1 at TPDU and character level our own T=1 runs on top, at character level our
own T=0, too; short and extended APDU levels take what they are given. What an exchange has no use for (Escape, IccClock, T0APDU, Secure,
Mechanical) goes out as it is given (``command``).

Times are nanoseconds, lengths are bytes.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bench.ccid.codes import IccState, PowerSelect, SlotError
from bench.ccid.commands import (
    Command,
    GetParameters,
    GetSlotStatus,
    IccPowerOff,
    IccPowerOn,
    SetDataRateAndClock,
    SetParameters,
)
from bench.ccid.descriptor import Feature
from bench.ccid.driver_blocks import Waits
from bench.ccid.driver_errors import (
    AnswerError,
    CardError,
    DriverError,
    HardwareFailedError,
    RefusedError,
    Trouble,
    UnableError,
)
from bench.ccid.driver_levels import Apdus, BlocksT1, CharactersT0, Exchanged, Exchanger, TpduT0
from bench.ccid.driver_pipe import COMMAND_NS, MS, Numbers, Pause, SlotPipe, Steps
from bench.ccid.driver_plan import KHZ, Plan, RateBy
from bench.ccid.errors import CcidMessageError
from bench.ccid.messages import decode_notification
from bench.ccid.parameters import T0Parameters, T1Parameters
from bench.ccid.responses import DataBlock, DataRateAndClock, HardwareError, Parameters, Response, SlotChange
from bench.iso7816.atr import CLASSES, T15, Atr, AtrError, parse_atr
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.pps import Pps, evaluate, expected_length
from bench.iso7816.rates import RATE_DEFAULT, Rate
from bench.iso7816.t1_block import IFS_DEFAULT, INF_MAX

POWER_NS: Final = 15_000 * MS
"""A reader may try three classes, and wait for an answer to reset in each."""
CLASS_PAUSE_NS: Final = 10 * MS
"""Between two classes the contacts are without power at least this long (ISO/IEC 7816-3, 6.2.4)."""
SWITCH_NS: Final = 100 * MS
"""How long a reader may take to be sure that a card has left: its switch bounces."""
PPS_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What the bench wants of a card."""

    ta1: int | None = None
    protocol: int | None = None
    pps2: int | None = None
    pps3: int | None = None
    classes: str = "ABC"
    fallback: bool = False
    """After a PPS that failed, power up again and go on without one."""
    clock_khz: int | None = None
    ifsd: int = INF_MAX


@dataclass(frozen=True, slots=True)
class Powered:
    """A card that is up."""

    atr: bytes
    protocol: int
    ta1: int
    """F and D in use; 0 where the reader chose and does not tell."""
    clock_hz: int
    operating_class: str
    """Empty where the reader chose."""


class CcidDriver:
    """One slot. ``outstanding`` is shared by the slots of a reader."""

    def __init__(self, plan: Plan, slot: int = 0, outstanding: Numbers | None = None) -> None:
        if not 0 <= slot < plan.descriptor.slots:
            raise UnableError(f"slot {slot + 1}: the reader has {plan.descriptor.slots}")
        self.plan = plan
        self.pipe = SlotPipe(slot, outstanding if outstanding is not None else {})
        self.asked = Asked()
        self.up: Powered | None = None
        self.remarks: list[str] = []
        """What was wrong with answers that could be done without, since the last power-up began."""
        self._exchanger: Exchanger | None = None
        self._unsure = False
        """Rate in force not known before the first exchange."""
        self._clock_khz = plan.descriptor.default_clock_khz

    @property
    def level(self) -> ExchangeLevel:
        return self.plan.descriptor.level

    # -- power -----------------------------------------------------------------------------------------------------------

    def power_up(self) -> Steps[Powered]:
        """Cold reset in the lowest class that the card answers in, rate and protocol as asked. Raises DriverError."""
        self.remarks.clear()
        try:
            return (yield from self._power_up(self.asked))
        except CardError as error:
            if error.trouble is not Trouble.ABSENT and (yield from self._left()):
                raise CardError(Trouble.ABSENT) from None
            if not self.asked.fallback or error.trouble is not Trouble.PPS:
                raise
            plain = Asked(classes=self.asked.classes, clock_khz=self.asked.clock_khz, ifsd=self.asked.ifsd)
            return (yield from self._power_up(plain))

    def power_down(self) -> Steps[None]:
        """VCC off."""
        self.up = self._exchanger = None
        yield from self.pipe.ask(IccPowerOff)

    def status(self) -> Steps[IccState]:
        """Whether a card is there, and has power."""
        response = yield from self.pipe.ask(GetSlotStatus)
        return response.status.icc

    def command(self, make: Callable[[int, int], Command]) -> Steps[Response]:
        """Any message of the class, made of slot and number. What it changes of power or parameters its sender must know. Raises DriverError."""
        return (yield from self.pipe.ask(make, POWER_NS))

    def _power_up(self, asked: Asked) -> Steps[Powered]:
        first: DriverError | None = None
        selects = self.plan.selects(asked.classes)
        if not selects:
            supplied = self.plan.descriptor.classes
            raise UnableError(f"class: asked for {asked.classes or 'none'}, the reader supplies {supplied or 'none'}")
        clock_khz = self._clock(asked)
        for select, name in selects:
            yield from self.power_down()
            if clock_khz != self._clock_khz:  # the clock of an active card stays
                self._clock_khz = clock_khz = yield from self._drive(clock_khz, RATE_DEFAULT)
            if first is not None:
                yield Pause(CLASS_PAUSE_NS)
            try:
                block = yield from self.pipe.ask(power_on(select), POWER_NS)
                assert isinstance(block, DataBlock)
                atr = _atr(block.data)
                if name and not _class_fits(atr, name):
                    raise CardError(Trouble.CLASS, f"the card works in class {atr.classes}, this is {name}")
            except CardError as error:
                if error.trouble is Trouble.ABSENT:
                    raise
                first = first or error
                continue
            except RefusedError as error:
                if error.code != SlotError.BAD_FIELD_7:
                    raise
                first = first or error
                continue
            try:
                self.up = yield from self._settle(atr, block.data, name, clock_khz, asked)
            except (CardError, UnableError):
                yield from self.power_down()
                raise
            return self.up
        yield from self.power_down()
        assert first is not None
        raise first

    # -- rate and protocol ---------------------------------------------------------------------------------------------

    def _settle(self, atr: Atr, raw: bytes, name: str, clock_khz: int, asked: Asked) -> Steps[Powered]:
        """From the answer to reset to the first command."""
        protocol, ta1 = self._choose(atr, asked)
        rate_by = self.plan.rate_by
        if rate_by is RateBy.READER:
            protocol, ta1 = yield from self._observe(atr, protocol, asked)
        else:
            if rate_by is RateBy.HOST and atr.specific_mode is None:
                ta1 = yield from self._pps(atr, protocol, ta1, asked)
            protocol, ta1 = yield from self._set(atr, protocol, ta1)
            manual = not (self.plan.has(Feature.AUTO_RATE) and self.plan.has(Feature.AUTO_CLOCK))
            if manual and ta1 != RATE_DEFAULT:
                clock_khz = yield from self._drive(clock_khz, ta1)
        clock_hz = clock_khz * KHZ
        waits = Waits(atr, Rate(ta1 or RATE_DEFAULT), clock_hz)
        self._exchanger = yield from self._begin(waits, protocol, asked)
        self._unsure = rate_by is RateBy.READER_PPS
        return Powered(raw, protocol, ta1, clock_hz, name)

    def _clock(self, asked: Asked) -> int:
        """The card clock to go for, kHz. Raises UnableError."""
        clock = self.plan.descriptor.default_clock_khz if asked.clock_khz is None else asked.clock_khz
        if clock not in self.plan.clocks:
            known = ", ".join(map(str, self.plan.clocks))
            raise UnableError(f"clock: {clock} kHz is asked for, the reader has {known} kHz")
        return clock

    def _choose(self, atr: Atr, asked: Asked) -> tuple[int, int]:
        """Protocol and rate to go for. Raises CardError and UnableError."""
        descriptor = self.plan.descriptor
        mode = atr.specific_mode
        if mode is not None:
            if mode.implicit:
                raise CardError(Trouble.MODE, "specific mode with parameters that only the card knows (TA2 b5)")
            protocol, ta1 = mode.protocol, atr.ta1
        else:
            protocol = atr.first_protocol if asked.protocol is None else asked.protocol
            if asked.protocol is None and protocol not in descriptor.protocols:
                protocol = next((each for each in atr.protocols if each in descriptor.protocols), protocol)
            if protocol not in atr.protocols:
                offered = " and ".join(f"T={each}" for each in atr.protocols)
                raise CardError(Trouble.MISMATCH, f"T={protocol} is asked for, the card offers {offered}")
            ta1 = RATE_DEFAULT if asked.ta1 is None else asked.ta1
            if Rate(ta1).etu_cycles == Rate(RATE_DEFAULT).etu_cycles:
                ta1 = RATE_DEFAULT
        if protocol not in descriptor.protocols:
            has = " and ".join(f"T={each}" for each in descriptor.protocols) or "no protocol"
            raise UnableError(f"protocol: T={protocol} is to be used, the reader has {has}")
        clock = self._clock_khz
        if self.plan.rate_by is not RateBy.READER and not self.plan.takes(ta1, clock):
            rate = round(Rate(ta1).baud(clock * KHZ))
            raise UnableError(f"rate: TA1={ta1:02X} is {rate} bit/s at {clock} kHz, which the reader cannot drive")
        return protocol, ta1

    def _pps(self, atr: Atr, protocol: int, ta1: int, asked: Asked) -> Steps[int]:
        """PPS as raw characters, where anything is to differ from the defaults; gives the rate in force."""
        other = ta1 != RATE_DEFAULT
        if not (other or protocol != atr.first_protocol or asked.pps2 is not None or asked.pps3 is not None):
            return RATE_DEFAULT
        request = Pps(protocol, ta1 if other else None, asked.pps2, asked.pps3)
        characters = self.level is ExchangeLevel.CHARACTER
        try:
            block = yield from self.pipe.transfer(request.encode(), COMMAND_NS, PPS_MIN if characters else 0)
            answer = block.data
            if characters and len(answer) == PPS_MIN and (missing := expected_length(answer[1]) - PPS_MIN):
                answer += (yield from self.pipe.transfer(b"", COMMAND_NS, missing)).data
        except CardError as error:
            if error.trouble is Trouble.ABSENT:
                raise
            detail = "not answered" if error.trouble is Trouble.MUTE else str(error)
            raise CardError(Trouble.PPS, detail) from None
        result = evaluate(request, answer)
        if not result.outcome.successful:
            raise CardError(Trouble.PPS, result.detail)
        return result.rate.ta1

    def _set(self, atr: Atr, protocol: int, ta1: int) -> Steps[tuple[int, int]]:
        """SetParameters; gives protocol and rate as the reader confirms them."""
        wanted = T1Parameters.of(atr, ta1) if protocol == 1 else T0Parameters.of(atr, ta1)
        response = yield from self.pipe.ask(lambda slot, seq: SetParameters.of(slot, seq, wanted))
        assert isinstance(response, Parameters)
        got = response.parameters
        if got.protocol != protocol:
            raise AnswerError("garbled", "PARAMETERS", 9, f"bProtocolNum {got.protocol:02X}", f"{protocol:02X}")
        return got.protocol, got.ta1

    def _observe(self, atr: Atr, protocol: int, asked: Asked) -> Steps[tuple[int, int]]:
        """Protocol and rate that the reader chose; told the protocol where another one is wanted."""
        got = yield from self._get()
        if asked.protocol is not None and got is not None and got.protocol != protocol:
            wanted = T1Parameters.of(atr, got.ta1) if protocol == 1 else T0Parameters.of(atr, got.ta1)
            with contextlib.suppress(RefusedError):  # then what it chose stays
                yield from self.pipe.ask(lambda slot, seq: SetParameters.of(slot, seq, wanted))
            got = yield from self._get()
        if got is None:
            return protocol, 0
        if asked.protocol is not None and got.protocol != asked.protocol:
            raise UnableError(f"protocol: T={asked.protocol} is asked for, the reader chose T={got.protocol}")
        return got.protocol, got.ta1

    def _get(self) -> Steps[T0Parameters | T1Parameters | None]:
        """GetParameters; None where the reader does not know, or what it says is none (QEMU 7's: dwLength 0 and 7 bytes).

        A reader that chooses for itself is of use without, its rate is unknown then; what it said is among the ``remarks``.
        """
        try:
            response = yield from self.pipe.ask(GetParameters)
            assert isinstance(response, Parameters)
            return response.parameters
        except RefusedError:
            return None
        except AnswerError as error:
            self.remarks.append(str(error))
            yield from self.pipe.find_back()
            return None

    def _drive(self, clock_khz: int, ta1: int) -> Steps[int]:
        """Clock and rate set by hand; gives the clock that came of it."""
        bps = round(Rate(ta1).baud(clock_khz * KHZ))
        response = yield from self.pipe.ask(lambda slot, seq: SetDataRateAndClock(slot, seq, clock_khz, bps))
        assert isinstance(response, DataRateAndClock)
        return response.clock_khz or clock_khz

    def _begin(self, waits: Waits, protocol: int, asked: Asked) -> Steps[Exchanger]:
        """What carries commands at this level; T=1 of our own tells the card how long our information fields are."""
        if self.level is ExchangeLevel.APDU:
            return Apdus(self.pipe, waits, self.plan.descriptor)
        characters = self.level is ExchangeLevel.CHARACTER
        if protocol == 0:
            return CharactersT0(self.pipe, waits) if characters else TpduT0(self.pipe, waits)
        blocks = BlocksT1(self.pipe, waits, characters)
        ifsd = min(asked.ifsd, self.plan.descriptor.maximum_ifsd, INF_MAX)
        if self.plan.has(Feature.AUTO_IFSD):
            blocks.announced(ifsd)
        elif ifsd > 0 and ifsd != IFS_DEFAULT:
            yield from blocks.announce(ifsd)
        return blocks

    # -- exchanges -----------------------------------------------------------------------------------------------------

    def exchange(self, command: bytes, now_ns: int) -> Steps[Exchanged]:
        """One command: an APDU under T=1 or at APDU level, else a TPDU. Raises ReaderError; what the card did wrong is in the outcome."""
        if self._exchanger is None:
            raise UnableError("the card has no power: power it up first")
        self.pipe.first_ns = 0
        try:
            exchanged = yield from self._exchanger.exchange(command, now_ns)
        except CardError as error:
            exchanged = Exchanged(b"", self.pipe.first_ns or now_ns, self.pipe.at_ns, error=str(error))
        if exchanged.error and exchanged.error != Trouble.ABSENT and (yield from self._left()):
            exchanged.error = str(Trouble.ABSENT)
        if self._unsure:
            self._unsure = False
            yield from self._look_again()
        return exchanged

    def _left(self) -> Steps[bool]:
        """Whether a card that went wrong has been pulled: contacts part before the switch tells. Looked at twice before the card is blamed."""
        for pause in (0, SWITCH_NS):
            if pause:
                yield Pause(pause)
            try:
                if (yield from self.status()) is IccState.ABSENT:
                    return True
            except CardError as error:
                return error.trouble is Trouble.ABSENT
            except RefusedError:
                return False
        return False

    def _look_again(self) -> Steps[None]:
        """A reader that makes the PPS itself may make it with the first exchange: what came of it."""
        got = yield from self._get()
        if got is not None and self.up is not None and got.protocol == self.up.protocol:
            self.up = replace(self.up, ta1=got.ta1)


def power_on(select: PowerSelect) -> Callable[[int, int], IccPowerOn]:
    """IccPowerOn with a voltage."""
    return lambda slot, seq: IccPowerOn(slot, seq, select)


def _atr(data: bytes) -> Atr:
    try:
        return parse_atr(data)
    except AtrError as error:
        raise CardError(Trouble.BAD_ATR, str(error)) from None


def _class_fits(atr: Atr, name: str) -> bool:
    """Whether the card names the class it is in; one that names none takes what it is given (ISO/IEC 7816-3, 8.3)."""
    named = any(group.protocol == T15 and group.index > 2 and group.ta is not None for group in atr.groups)
    return not named or name in CLASSES.get(atr.class_indicator, "")


def notified(data: bytes, slot: int) -> SlotChange | None:
    """What a message of the interrupt pipe says of a slot; None where it concerns others. Raises HardwareFailedError and AnswerError."""
    try:
        notice = decode_notification(data)
    except CcidMessageError as error:
        raise AnswerError.of(error, data, 2) from None
    if isinstance(notice, HardwareError):
        if notice.slot != slot:
            return None
        detail = "overcurrent" if notice.code == 1 else f"code {notice.code:02X}"
        raise HardwareFailedError(f"command {notice.seq:02X}", detail)
    if slot >= len(notice.slots):
        return None
    change = notice.slots[slot]
    return change if change.changed else None
