"""A slot at APDU level over the virtual line: the reader itself makes PPS and the TPDUs of T=0, or the blocks of T=1 (``bench.ccid.slot.Slot``).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench.ccid.codes import PowerSelect, SlotError
from bench.ccid.parameters import ProtocolParameters, T0Parameters, T1Parameters
from bench.ccid.slot import Done, RateAndClock, SlotAnswer, SlotRefusal
from bench.engine import Engine
from bench.iso7816.apdu import Ins, ResponseApdu, parse_command
from bench.iso7816.atr import parse_atr
from bench.iso7816.disturbance import Disturbance
from bench.iso7816.errors import ApduError
from bench.iso7816.line import CardEnd
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.rates import RATE_DEFAULT, Rate
from bench.iso7816.transport import ApduOverT0, Tpdu
from bench.readers.activation import Wishes
from bench.readers.software import SoftwareReader
from bench.readers.tpdu import CLASS_OF, SlotTraits
from bench.readers.tpdu_raw import error_of

ECHO: Final = 0xFF
"""Class byte of T0APDU: that of the command."""


class ApduSlot:
    """A Slot whose reader does everything. ``insert`` and ``remove`` are its hands."""

    def __init__(self, engine: Engine, traits: SlotTraits) -> None:
        self.engine = engine
        self.traits = traits
        self.on_card: Callable[[bool], None] = _nobody
        self.reader = SoftwareReader(engine, traits.clocks_hz[0], detects=True)
        self.clock_runs = True
        self._active = False
        self._protocol: int | None = None
        """What the host has asked for, where the card comes up in another one: taken at the next exchange."""
        self._class_get_response = self._class_envelope = ECHO
        self._done: Done | None = None

    # -- hands -----------------------------------------------------------------------------------------------------------

    def insert(self, card: CardEnd) -> None:
        """Put a card on the contacts, in the place of one that is there."""
        self.remove()
        self.reader.insert(card)
        self.on_card(True)

    def remove(self) -> CardEnd | None:
        """Take the card away. What is under way ends with ICC_MUTE."""
        done = self._done
        card = self.reader.card_here()
        if card is None:
            return None
        self.power_off()
        self.reader.remove()
        self.on_card(False)
        if done is not None:
            done(SlotAnswer(error=SlotError.ICC_MUTE, text="the card was taken away"))
        return card

    def disturb(self, disturbance: Disturbance | None) -> None:
        """What characters suffer on the line from now on."""
        self.reader.disturb(disturbance)

    # -- Slot --------------------------------------------------------------------------------------------------------------

    @property
    def present(self) -> bool:
        return self.reader.present

    @property
    def active(self) -> bool:
        return self._active

    @property
    def parameters(self) -> ProtocolParameters:
        reader = self.reader
        if not self._active or reader.atr is None:
            return T0Parameters()
        of = T1Parameters if reader.protocol == 1 else T0Parameters
        return of.of(reader.atr, reader.ta1)

    def power_on(self, select: PowerSelect, done: Done) -> None:
        self.power_off()
        if not self.present:
            done(SlotAnswer(error=SlotError.ICC_MUTE, text="no card"))
            return
        classes = CLASS_OF.get(select, self.traits.classes)
        if classes not in self.traits.classes:
            done(SlotAnswer(error=SlotError.BAD_FIELD_7, text=f"class {classes} is not supplied"))
            return
        self._done = done
        self.reader.wishes = Wishes(classes=classes)
        self.reader.power_up(self._up)

    def _up(self, result: PowerUp) -> None:
        """Up at the default rate. Where the card has a better one that this slot can do, it is reset and asked for it."""
        if result.error:
            self._finish(SlotAnswer(error=error_of(result.error), text=result.error))
            return
        atr = parse_atr(result.atr)
        reader = self.reader
        usable = atr.rate.baud(reader.clock_hz) <= self.traits.maximum_rate_bps
        if reader.wishes.ta1 is None and usable and atr.rate != Rate(RATE_DEFAULT) and atr.specific_mode is None:
            reader.wishes = replace(reader.wishes, ta1=atr.rate.ta1, fallback=True)
            reader.warm_reset(self._up)
            return
        self._active = True
        self._finish(SlotAnswer(result.atr))

    def power_off(self) -> None:
        self._done = None
        self._active = False
        self._protocol = None
        self._class_get_response = self._class_envelope = ECHO
        self.reader.power_down()

    def transfer(self, data: bytes, bwi: int, level: int, done: Done) -> None:
        del bwi, level  # the reader keeps the times itself
        if not self._active:
            done(SlotAnswer(error=SlotError.ICC_MUTE, text="the card is not active"))
            return
        self._done = done
        if self._protocol is None:
            self._exchange(data)
            return
        self.reader.wishes = replace(self.reader.wishes, protocol=self._protocol, fallback=False)
        self._protocol = None
        self.reader.warm_reset(lambda result: self._renegotiated(result, data))

    def _renegotiated(self, result: PowerUp, data: bytes) -> None:
        if result.error:
            self._active = False
            self._finish(SlotAnswer(error=SlotError.ICC_PROTOCOL_NOT_SUPPORTED, text=result.error))
        else:
            self._exchange(data)

    def _exchange(self, data: bytes) -> None:
        if self.reader.protocol == 1:
            self.reader.submit(data, lambda answer: self._finish(_answered(answer)))
            return
        try:
            apdu = ApduOverT0(parse_command(data))
        except ApduError as error:
            self._finish(SlotAnswer(error=SlotError.BAD_LENGTH, text=str(error)))
            return
        self._tpdu(data[:4], apdu, apdu.start())

    def _tpdu(self, own: bytes, apdu: ApduOverT0, tpdu: Tpdu) -> None:
        """``own`` is the host's own header, whose class stays."""

        def step(answer: Answer) -> None:
            if answer.error:
                self._finish(_answered(answer))
                return
            following = apdu.step(answer.response)
            if isinstance(following, ResponseApdu):
                self._finish(SlotAnswer(following.data + following.sw.to_bytes(2, "big")))
            else:
                self._tpdu(own, apdu, following)

        data = tpdu.data
        self.reader.submit(data if data[:4] == own else self._with_class(data), step)

    def _with_class(self, tpdu: bytes) -> bytes:
        wanted = {int(Ins.GET_RESPONSE): self._class_get_response, int(Ins.ENVELOPE): self._class_envelope}
        cla = wanted.get(tpdu[1], ECHO)
        return tpdu if cla == ECHO else bytes((cla,)) + tpdu[1:]

    def _finish(self, answer: SlotAnswer) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)

    def drop(self) -> None:
        """The exchange cannot be cut short on a line: the card is deactivated."""
        self.power_off()

    def set_parameters(self, parameters: ProtocolParameters) -> None:
        """The protocol is taken where the card offers it; rate and times are this reader's own business."""
        atr = self.reader.atr
        if not self._active or atr is None:
            return
        if parameters.protocol not in atr.protocols:
            raise SlotRefusal(SlotError.BAD_FIELD_7, f"the card does not offer T={parameters.protocol}")
        self._protocol = parameters.protocol if parameters.protocol != self.reader.protocol else None

    def reset_parameters(self) -> None:
        """They are always the card's own."""

    def set_class_bytes(self, get_response: int, envelope: int) -> None:
        self._class_get_response, self._class_envelope = get_response, envelope

    def clock(self, running: bool) -> None:
        del running
        raise SlotRefusal(SlotError.CMD_NOT_SUPPORTED, "CLK cannot be stopped")

    def set_rate_and_clock(self, wanted: RateAndClock) -> RateAndClock:
        del wanted
        raise SlotRefusal(SlotError.CMD_NOT_SUPPORTED, "this reader negotiates by itself")


def _answered(answer: Answer) -> SlotAnswer:
    if answer.error:
        return SlotAnswer(error=error_of(answer.error), text=answer.error)
    return SlotAnswer(answer.response)


def _nobody(_present: bool) -> None:
    pass
