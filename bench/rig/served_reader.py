"""A reader with the bench's own card in it: the served chain in a process of its own, and where the reader is behind PC/SC a private pcscd.

One for each process of the bench, kept from point to point; only the cards are made anew.
"""

import atexit
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.readers import pcsc_adapter
from bench.readers.pcsc import SETTLED_S, find_reader
from bench.readers.pcsc_adapter import Context, ReaderState
from bench.readers.pcsc_errors import PcscError, PcscMissingError, Trouble
from bench.rig.errors import RigError
from bench.rig.model import ReaderKind, RigModel, Serve, ServeWay
from bench.rig.orders import ServeOrder
from bench.rig.pcscd import Driver, PrivatePcscd
from bench.rig.served_process import NOTICE_S, SEEN_WITHIN_S, Orderly, ServedElsewhere, ServedProcess

LISTED_WITHIN_S: Final = 30.0
"""A driver greets its reader before pcscd lists it; on an emulated machine that takes a while."""
LOOKS_EVERY_S: Final = 0.5
"""pcscd looks every 400 ms. After a failed exchange it takes the card for absent sooner, and for there again only after a look that missed it."""
GEMPC: Final = {ServeWay.GEMPC_TWIN: "GemPCTwin", ServeWay.GEMPC_SIMPRO: "GemCoreSIMPro"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What has to run for a rig: while it is the same, daemon and process go on from point to point."""

    serve: Serve
    kind: ReaderKind

    @classmethod
    def of(cls, model: RigModel) -> "Setting":
        assert model.serve is not None, "only a rig with 'serve' has a served reader"
        return cls(model.serve, model.reader.kind)

    @property
    def pcsc(self) -> bool:
        return self.kind is ReaderKind.PCSC


class ServedReader:
    """The daemon and the process, mended where they have ended since."""

    def __init__(self) -> None:
        self.daemon = PrivatePcscd()
        self.cards: Orderly | None = None
        self._setting: Setting | None = None

    @property
    def address(self) -> str:
        """Where a serial reader finds the card: a device or a URL."""
        return self.cards.address if self.cards is not None else ""

    def fresh(self, order: ServeOrder, model: RigModel) -> bytes:
        """A fresh chain behind the rig's reader, seen by it; gives its answer to reset. Raises RigError and RigNotAble."""
        setting = Setting.of(model)
        if setting != self._setting:
            self.stop()
            self._setting = setting
        try:
            if setting.pcsc:
                pcsc_adapter.use_socket(str(self.daemon.socket))
                return self._behind_pcscd(setting, order, model.reader.name or "")
            return self._cards(setting, "").serve(order)
        except (PcscError, PcscMissingError) as error:
            raise RigError(f"the served card: {error}") from error

    def pull(self, card: int) -> None:
        """Take a card of the chain off its hop. Raises RigError.

        A first card behind pcscd stays away until pcscd has looked, as one that hands move does: one that is back sooner is not seen to be back.
        """
        self._there().pull(card)
        if card == 1 and self._setting is not None and self._setting.pcsc:
            time.sleep(LOOKS_EVERY_S)

    def insert(self, card: int) -> None:
        """Put it back."""
        self._there().insert(card)

    def diagnose(self) -> str:
        """What has ended of what this reader is made of, empty where all runs. Any thread may ask."""
        limit = time.monotonic() + NOTICE_S
        while True:
            cards = self.cards
            cause = self.daemon.ended() or (cards.ended() if cards is not None else "")
            if cause or time.monotonic() >= limit:
                return cause and f"{cause}; the next point starts it anew"
            time.sleep(0.005)

    def stop(self) -> None:
        """End both; the next fresh chain starts them anew."""
        self._stop_cards()
        self.daemon.stop()

    def close(self) -> None:
        """End both and leave nothing behind."""
        self._stop_cards()
        self.daemon.remove()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _behind_pcscd(self, setting: Setting, order: ServeOrder, reader: str) -> bytes:
        daemon, way = self.daemon, setting.serve.way
        if way is ServeWay.VPCD:  # the card connects to the daemon
            if not daemon.running:
                self._stop_cards()
                daemon.start()
            cards = self._cards(setting, f"127.0.0.1:{daemon.port}")
            atr = cards.serve(order)
            cards.wait_seen()
        else:  # the daemon opens the reader that the card is in
            cards = self._cards(setting, str(daemon.directory / "reader"))
            atr = cards.serve(order)
            driver = Driver.serial(cards.address, GEMPC[way]) if way in GEMPC else Driver.usb()
            if not daemon.running or daemon.driver != driver:
                daemon.start(driver)
        context = pcsc_adapter.establish()
        try:
            if way is ServeWay.VPCD:
                _await(context, _listed(context, reader), lambda state: state.present, SEEN_WITHIN_S)
            else:
                self._show(context, _listed(context, reader), atr)
        finally:
            context.release()
        return atr

    def _show(self, context: Context, reader: str, atr: bytes) -> None:
        """Have pcscd know the card in the reader for the one that is there now: where it still knows another, that one goes first."""

        def known(state: ReaderState) -> bool:
            return state.present and state.atr == atr

        if known(_await(context, reader, lambda _state: True, SEEN_WITHIN_S)):
            return
        self.pull(1)
        _await(context, reader, lambda state: not state.present, SEEN_WITHIN_S)
        self._there().insert(1)
        _await(context, reader, lambda state: known(state) or state.mute, SEEN_WITHIN_S)

    def _cards(self, setting: Setting, where: str) -> Orderly:
        """The process that serves, started where it does not run."""
        if self.cards is None or self.cards.ended():
            self._stop_cards()
            if setting.serve.orders is not None:
                self.cards = ServedElsewhere(setting.serve.orders)
            else:
                self.daemon.directory.mkdir(exist_ok=True)
                self.cards = ServedProcess(
                    setting.serve.way, where, self.daemon.directory / "card.log", level=setting.serve.level
                )
        return self.cards

    def _there(self) -> Orderly:
        if self.cards is None:
            raise RigError("no card is served: nothing can be pulled or inserted")
        return self.cards

    def _stop_cards(self) -> None:
        cards, self.cards = self.cards, None
        if cards is not None:
            cards.stop()


def _await(context: Context, reader: str, wanted: Callable[[ReaderState], bool], within_s: float) -> ReaderState:
    """Wait until pcscd says of the reader what is wanted; one just taken in may leave and come once more. Raises RigError and PcscError."""
    limit = time.monotonic() + within_s
    state: ReaderState | None = None
    while True:
        left_ms = round((limit - time.monotonic()) * 1000)
        try:
            state = context.state(reader) if state is None else context.state(reader, state, max(0, left_ms))
        except PcscError as error:
            if error.trouble is not Trouble.READER or left_ms <= 0:
                raise
            state = None
            time.sleep(SETTLED_S)
            continue
        if wanted(state):
            return state
        if left_ms <= 0:
            raise RigError(f"pcscd did not see the served card in {reader!r} come or go within {within_s:.0f} s")
        time.sleep(SETTLED_S)


def _listed(context: Context, wanted: str) -> str:
    """The reader, once pcscd lists it. Raises RigError."""
    limit = time.monotonic() + LISTED_WITHIN_S
    while True:
        try:
            return find_reader(context.readers(), wanted)
        except ValueError as error:
            if time.monotonic() > limit:
                raise RigError(f"the served reader: {error}") from None
        time.sleep(0.02)


_owned: ServedReader | None = None


def served_reader() -> ServedReader:
    """This process's served reader, made at the first call and ended with the process."""
    global _owned
    if _owned is None:
        _owned = ServedReader()
        atexit.register(close_served_reader)
    return _owned


def close_served_reader() -> None:
    """End this process's served reader, if there is one."""
    global _owned
    owned, _owned = _owned, None
    if owned is not None:
        owned.close()
