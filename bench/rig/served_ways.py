"""The ways in which a served chain is offered: one class each, all alike to the process that serves (``bench.rig.served``)."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from bench.ccid.codes import PowerSelect
from bench.ccid.slot import SlotAnswer
from bench.rig.given import DEFAULT_CLOCK_HZ
from bench.rig.served_chain import ServedChain
from bench.serve.gempc import Model, ServedGempc
from bench.serve.gempc_loop import GempcLoop, Pty
from bench.serve.rfc2217_loop import Rfc2217Loop
from bench.serve.tty import PtyLoop
from bench.serve.uart import Pacing, ServedUart
from bench.serve.uart_loop import UartLoop
from bench.serve.usb_reader import ServedUsbReader
from bench.serve.usbip_loop import UsbipLoop
from bench.serve.usbredir_loop import UsbredirLoop
from bench.serve.vpcd import ServedCard, VpcdLoop, connect
from bench.serve.vscard import ServedContacts, VscardLoop
from bench.serve.vscard import connect as vscard_connect

POWER_NS: Final = 5 * 10**9
"""How long a card may take to answer to a reset that nobody waits for."""
C = TypeVar("C", contravariant=True)


class Loop(Protocol[C]):
    """What serves cards of some form in the caller's thread."""

    on_asked: Callable[[], None]

    @property
    def ended(self) -> bool:
        """Nobody is left to serve."""

    @property
    def address(self) -> str:
        """Where a reader finds the card; empty where the loop was told where to go."""

    def replace(self, served: C, /) -> None: ...

    def pull(self) -> None: ...

    def insert(self) -> None: ...

    def watch(self, file: int, readable: Callable[[], None], /) -> None: ...

    def run(self, stop: Callable[[], bool], /) -> None: ...


S = TypeVar("S")
R = TypeVar("R", ServedGempc, ServedUsbReader)


class StandIn(Protocol[R]):
    """A loop that can put a reader in the place of another unseen."""

    served: R

    def replace(self, served: R, /, *, unseen: bool = ...) -> None: ...


class Offer(Generic[S]):
    """One place where a first card is offered, from the first chain on."""

    clocks: ClassVar[tuple[int, ...]] = ()
    """Card clocks that it has of its own, beside the one a chain is given: every chain's timebase must have room for them."""

    def __init__(self, where: str, level: str) -> None:
        self.where = where
        """Where to go, or where to be found: each way reads it in its own manner."""
        self.level = level
        """The exchange level of what stands for a reader, where that can be chosen."""
        self.on_asked: Callable[[], None] = _nothing
        """Called whenever somebody has asked the card or its reader something."""
        self._loop: Loop[S] | None = None

    @property
    def loop(self) -> Loop[S]:
        """There once a chain was put."""
        assert self._loop is not None, "nothing has been put yet"
        return self._loop

    @property
    def address(self) -> str:
        """Where a reader finds it; empty where it was told where to go."""
        return self.loop.address

    @property
    def ended(self) -> str:
        """Empty, or why nobody is served any more."""
        return f"whoever was served at {self.where} has gone" if self._loop is not None and self._loop.ended else ""

    def put(self, chain: ServedChain) -> None:
        """Put a fresh chain in the place of the one before. Raises OSError where the place cannot be reached."""
        served = self._form(chain)
        if self._loop is None:
            self._loop = self._begin(served)
            self._loop.on_asked = lambda: self.on_asked()
        else:
            self._loop.replace(served)

    def pull(self) -> None:
        """Take the first card away."""
        self.loop.pull()

    def insert(self) -> None:
        """Put it back. Raises OSError."""
        self.loop.insert()

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` whenever there is something to read at this descriptor."""
        self.loop.watch(file, readable)

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` holds or nobody is left to serve."""
        self.loop.run(stop)

    # -- for who inherits --------------------------------------------------------------------------------------------------

    def _form(self, chain: ServedChain) -> S:
        """The first card as this way takes it."""
        raise NotImplementedError

    def _begin(self, served: S) -> Loop[S]:
        """The loop, with its first card. Raises OSError."""
        raise NotImplementedError


class VpcdOffer(Offer[ServedCard]):
    """To vpcd, at HOST:PORT: whole APDUs."""

    def _form(self, chain: ServedChain) -> ServedCard:
        return chain.whole_apdus()

    def _begin(self, served: ServedCard) -> VpcdLoop:
        return VpcdLoop(self._connect, served)

    def _connect(self) -> socket.socket:
        host, _, port = self.where.rpartition(":")
        return connect(host or "127.0.0.1", int(port))


class UartOffer(Offer[ServedUart]):
    """The card's contacts behind a serial port."""

    def _form(self, chain: ServedChain) -> ServedUart:
        pacing = Pacing.LINE if chain.paced else Pacing.AT_ONCE
        return ServedUart(chain.end, chain.engine, chain.given.clock_hz, pacing)


class Rfc2217Offer(UartOffer):
    """A serial port over TCP; listens at HOST:PORT, or at any free port of this machine."""

    def _begin(self, served: ServedUart) -> UartLoop:
        host, _, port = self.where.rpartition(":")
        return Rfc2217Loop(served, host or "127.0.0.1", int(port or 0))


class PtyOffer(UartOffer):
    """A pseudo-terminal, to which a link is made where it is to be found."""

    def _begin(self, served: ServedUart) -> UartLoop:
        return PtyLoop(served, Path(self.where) if self.where else None)


class ReaderOffer(Offer[R]):
    """A CCID reader of ours with the card in its first slot. It keeps its clocks whatever a chain is given: a host asks for them once."""

    clocks: ClassVar[tuple[int, ...]] = (DEFAULT_CLOCK_HZ,)

    def put(self, chain: ServedChain) -> None:
        """Unseen: a driver looks only every so often, and whoever gives the orders knows whether that matters."""
        if self._loop is None:
            super().put(chain)
            return
        loop = self._stands()
        powered = loop.served.slots[0].active
        served = self._form(chain)
        loop.replace(served, unseen=True)
        if powered:  # as far as its host knows
            slot = served.slots[0]
            slot.power_on(PowerSelect.V5, _answered)
            served.slaved.reach(lambda: slot.active, served.slaved.engine.timebase.nanoseconds(POWER_NS), keep=True)

    def _stands(self) -> "StandIn[R]":
        """The loop, which can put a reader in the place of another unseen."""
        raise NotImplementedError


class GempcOffer(ReaderOffer[ServedGempc]):
    """A serial CCID reader on a pty, to which a link is made where it is to be found."""

    model: ClassVar[Model] = Model.TWIN

    def _form(self, chain: ServedChain) -> ServedGempc:
        return ServedGempc(chain.engine, [chain.end], self.model, self.clocks[0], paced=chain.paced)

    def _begin(self, served: ServedGempc) -> GempcLoop:
        return GempcLoop(Pty(Path(self.where)), served)

    def _stands(self) -> GempcLoop:
        assert isinstance(self.loop, GempcLoop)
        return self.loop


class SimProOffer(GempcOffer):
    """The same with two slots, one of them empty."""

    model = Model.SIM_PRO


class UsbOffer(ReaderOffer[ServedUsbReader]):
    """A USB reader."""

    clocks: ClassVar[tuple[int, ...]] = (DEFAULT_CLOCK_HZ, 1_000_000, 5_000_000)

    def _form(self, chain: ServedChain) -> ServedUsbReader:
        return ServedUsbReader(chain.engine, [chain.end], form=self.level, clocks_hz=self.clocks, paced=chain.paced)


class UsbredirOffer(UsbOffer):
    """At a socket, for QEMU."""

    def _begin(self, served: ServedUsbReader) -> UsbredirLoop:
        return UsbredirLoop(Path(self.where), served)

    def _stands(self) -> UsbredirLoop:
        assert isinstance(self.loop, UsbredirLoop)
        return self.loop


class UsbipOffer(UsbOffer):
    """At a port of this machine's own kernel."""

    def _begin(self, served: ServedUsbReader) -> UsbipLoop:
        return UsbipLoop(served)

    def _stands(self) -> UsbipLoop:
        assert isinstance(self.loop, UsbipLoop)
        return self.loop


class VscardOffer(Offer[ServedContacts]):
    """In the reader that QEMU itself has, at its character device."""

    def _form(self, chain: ServedChain) -> ServedContacts:
        return ServedContacts(chain.engine, chain.end, chain.atr, chain.given.clock_hz, paced=chain.paced)

    def _begin(self, served: ServedContacts) -> VscardLoop:
        return VscardLoop(vscard_connect(self.where), served)


def _answered(_answer: SlotAnswer) -> None:
    pass


def _nothing() -> None:
    pass


AnyOffer = Offer[ServedCard] | Offer[ServedUart] | Offer[ServedGempc] | Offer[ServedUsbReader] | Offer[ServedContacts]
OFFERS: Final[dict[str, Callable[[str, str], AnyOffer]]] = {
    "vpcd": VpcdOffer,
    "gempc-twin": GempcOffer,
    "gempc-simpro": SimProOffer,
    "rfc2217": Rfc2217Offer,
    "pty": PtyOffer,
    "usbredir": UsbredirOffer,
    "usbip": UsbipOffer,
    "vscard": VscardOffer,
}
"""By way: made with an address and a level."""
