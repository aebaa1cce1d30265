"""Readers and cards that come and go, as pcscd tells of them (SCardGetStatusChange), in a thread of its own with a context of its own.

A wait is cut into slices, so that the watch ends by itself even where cancelling came a moment too early; where pcscd froze, the thread is left
behind and counted among the abandoned ones until it comes back.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.readers import pcsc_adapter, threads
from bench.readers.pcsc_adapter import Context, ReaderState
from bench.readers.pcsc_errors import PcscError, PcscMissingError, Trouble

SLICE_MS: Final = 1000
CANCEL_AGAIN_S: Final = 0.05


class Seen(StrEnum):
    """What was seen of a reader."""

    READER_CAME = "reader came"
    READER_WENT = "reader went"
    CARD_CAME = "card came"
    CARD_WENT = "card went"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One thing that was seen."""

    reader: str
    seen: Seen
    at_start: bool = False
    """It did not happen, it was so when the watch began."""


class PcscWatch:
    """Watches all readers from ``start`` to ``stop``."""

    def __init__(self, tell: Callable[[WatchEvent], None], ended: Callable[[Exception], None]) -> None:
        self._tell = tell
        """Called in the watch's thread."""
        self._ended = ended
        """Called in the watch's thread where pcscd is gone; nothing is watched any more."""
        self._thread = threading.Thread(target=self._main, name="pcscd's readers", daemon=True)
        self._context: Context | None = None
        self._stopping = False

    def start(self) -> "PcscWatch":
        self._thread.start()
        return self

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def leave(self) -> None:
        """Tell the thread to end; it does so within a slice, at once where ``cancel`` gets through."""
        self._stopping = True

    def cancel(self, limit_s: float) -> None:
        """End the wait under way. Blocks where pcscd does not answer, so call it where that does no harm."""
        self.leave()
        for _ in range(round(limit_s / CANCEL_AGAIN_S)):
            context = self._context
            if context is not None:
                context.cancel()
            self._thread.join(CANCEL_AGAIN_S)  # it may have been about to wait: then this came too early
            if not self._thread.is_alive():
                return

    def join(self, limit_s: float) -> bool:
        """Wait until the thread has ended. False where it hangs in pcscd: it is then abandoned."""
        self.leave()
        if self._thread.ident is None:
            return True
        self._thread.join(limit_s)
        if self._thread.is_alive():
            threads.abandon(self, f"pcscd's readers: SCardGetStatusChange has not returned for {limit_s:.0f} s")
            if not self._thread.is_alive():
                threads.returned(self)
        return not self._thread.is_alive()

    def stop(self, limit_s: float) -> bool:
        """``cancel`` and ``join``: for whoever may block."""
        self.cancel(limit_s)
        return self.join(limit_s)

    def _main(self) -> None:
        try:
            context = pcsc_adapter.establish()
            try:
                self._context = context
                self._watch(context)
            finally:
                self._context = None
                context.release()
        except (PcscError, PcscMissingError) as error:
            if not self._stopping:
                self._ended(error)
        finally:
            threads.returned(self)

    def _watch(self, context: Context) -> None:
        known: dict[str, ReaderState] = {}
        first = True
        while not self._stopping:
            known = self._listed(context, known, first)
            first = False
            states = known
            with contextlib.suppress(_Gone):
                states = _wait(context, known)
            for name, state in states.items():
                if state.known and state.present != known[name].present:
                    self._tell(WatchEvent(name, Seen.CARD_CAME if state.present else Seen.CARD_WENT))
            known = {name: state for name, state in states.items() if state.known}
            for name in states.keys() - known.keys():
                self._tell(WatchEvent(name, Seen.READER_WENT))

    def _listed(self, context: Context, known: dict[str, ReaderState], first: bool) -> dict[str, ReaderState]:
        """The readers there are, told of where they are others than before."""
        names = context.readers()
        for name in known.keys() - set(names):
            self._tell(WatchEvent(name, Seen.READER_WENT))
        states: dict[str, ReaderState] = {}
        for name in names:
            if name in known:
                states[name] = known[name]
                continue
            with contextlib.suppress(_Gone):
                states[name] = _state(context, name)
                self._tell(WatchEvent(name, Seen.READER_CAME, first))
                if states[name].present:
                    self._tell(WatchEvent(name, Seen.CARD_CAME, first))
        return states


class _Gone(Exception):  # noqa: N818 - told as an event, never as an error
    """A reader went while it was asked for."""


def _wait(context: Context, known: dict[str, ReaderState]) -> dict[str, ReaderState]:
    try:
        return context.watch(known, SLICE_MS)
    except PcscError as error:
        raise _gone_or(error) from None


def _state(context: Context, name: str) -> ReaderState:
    try:
        return context.state(name)
    except PcscError as error:
        raise _gone_or(error) from None


def _gone_or(error: PcscError) -> Exception:
    return _Gone() if error.trouble is Trouble.READER else error
