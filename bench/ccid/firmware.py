"""The reader's side of CCID 1.1: a machine without I/O. Messages of bulk OUT go in, messages of bulk IN and of the interrupt pipe come out.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.ccid.descriptor import ClassDescriptor
from bench.ccid.slot import Slot
from bench.engine import Engine


def _no_escape(_slot: int, _data: bytes) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True)
class FirmwareTraits:
    """What kind of reader it is."""

    descriptor: ClassDescriptor = field(default_factory=ClassDescriptor)
    clocks_khz: tuple[int, ...] = ()
    """What GET_CLOCK_FREQUENCIES lists."""
    rates_bps: tuple[int, ...] = ()
    """What GET_DATA_RATES lists."""
    extension_ms: int = 500
    """How often the host is told, while a card works, that more time is needed."""
    escape: Callable[[int, bytes], bytes | None] = _no_escape
    """The manufacturer's own commands: slot and data in, answer out; None for what it does not know."""


class CcidFirmware:
    """One reader. ``receive`` takes one PC_to_RDR message, whole."""

    def __init__(self, engine: Engine, slots: Sequence[Slot], traits: FirmwareTraits) -> None:
        self.engine = engine
        self.slots = slots
        self.traits = traits
        self.on_message: Callable[[bytes], None] = _nobody
        """Told of each RDR_to_PC message, for bulk IN; may be called before ``receive`` returns."""
        self.on_interrupt: Callable[[bytes], None] = _nobody
        """Told of each NotifySlotChange and HardwareError, for interrupt IN."""

    def receive(self, message: bytes) -> None:
        """One message of bulk OUT. Whatever it is, it is answered."""
        raise NotImplementedError

    def control_abort(self, slot: int, seq: int) -> bool:
        """The ABORT request of the control pipe; False where it is to be stalled (no such slot)."""
        raise NotImplementedError

    def clock_frequencies(self) -> bytes:
        """The answer to GET_CLOCK_FREQUENCIES; empty where it is to be stalled."""
        raise NotImplementedError

    def data_rates(self) -> bytes:
        """The answer to GET_DATA_RATES; empty where it is to be stalled."""
        raise NotImplementedError

    def slot_change(self) -> bytes:
        """NotifySlotChange as it is now, for a host that has just begun to listen: cards present count as changed."""
        raise NotImplementedError

    def reset(self) -> None:
        """A bus reset, or the port was opened anew: every card loses power, nothing under way is answered."""
        raise NotImplementedError


def _nobody(_message: bytes) -> None:
    pass
