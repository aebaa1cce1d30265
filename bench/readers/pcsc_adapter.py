"""pyscard behind types: the one module that imports ``smartcard``, and only when a PC/SC reader is used.

Every call here blocks, for as long as the driver likes: use it from a reader's own thread. One ``Context`` belongs to one thread at a time.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any, Final

from bench.readers.pcsc_attributes import Attribute
from bench.readers.pcsc_errors import PcscCode, PcscError, PcscMissingError

PNP: Final = "\\\\?PnP?\\Notification"
"""The name under which pcscd tells that readers came or went."""
SOCKET_VARIABLE: Final = "PCSCLITE_CSOCK_NAME"
"""Where libpcsclite looks for pcscd. It reads this once, at the process's first context."""


class Reset(Enum):
    """How a connection treats the card."""

    LEAVE = "SCARD_LEAVE_CARD"
    WARM = "SCARD_RESET_CARD"
    COLD = "SCARD_UNPOWER_CARD"


@dataclass(frozen=True, slots=True)
class CardStatus:
    """What a connection is to: the answer to reset, and 0 or 1 for T=0 or T=1."""

    atr: bytes
    protocol: int


@dataclass(frozen=True, slots=True)
class ReaderState:
    """What pcscd says of a reader."""

    present: bool
    mute: bool
    in_use: bool
    atr: bytes
    raw: int
    """For asking for the next change."""
    known: bool = True
    """False: pcscd does not know this reader (any more), or it does not work."""


@dataclass(slots=True)
class Transmitted:
    """A response, and readings of ``time.monotonic_ns`` right before and right after the driver call. (One an exchange: not frozen, which costs.)"""

    response: bytes
    start_ns: int
    end_ns: int


SOCKET_DEFAULT: Final = "/run/pcscd/pcscd.comm"
_NO_ATTRIBUTE: Final = frozenset(
    {
        PcscCode.SCARD_E_UNSUPPORTED_FEATURE,
        PcscCode.SCARD_E_NOT_TRANSACTED,
        PcscCode.SCARD_E_INVALID_PARAMETER,
        PcscCode.SCARD_E_INSUFFICIENT_BUFFER,
    }
)
_lock = threading.Lock()
_library: Any = None
_socket_in_use: str | None = None


def use_socket(path: str) -> None:
    """Talk to the pcscd whose socket is at ``path``. Raises PcscMissingError where this process has talked to another one before."""
    with _lock:
        if _socket_in_use is not None and _socket_in_use != path:
            raise PcscMissingError(
                f"this process already uses the pcscd at {_socket_in_use or 'its usual place'}, and libpcsclite looks only once: "
                "use a process of its own for the other one"
            )
        os.environ[SOCKET_VARIABLE] = path


def establish() -> "Context":
    """A context. Raises PcscError (mostly: pcscd does not run) and PcscMissingError (pyscard is not installed)."""
    global _socket_in_use
    library = _load()
    with _lock:
        _socket_in_use = os.environ.get(SOCKET_VARIABLE, "")
    code, handle = library.SCardEstablishContext(library.SCARD_SCOPE_SYSTEM)
    if code & 0xFFFF_FFFF == PcscCode.SCARD_E_NO_SERVICE and (refused := _refused()):
        raise PcscError("SCardEstablishContext", PcscCode.SCARD_W_SECURITY_VIOLATION, detail=refused)
    _check("SCardEstablishContext", code)
    return Context(library, handle)


def _refused() -> str:
    """Why pcscd seems not to run: its socket is there, and this user may not open it. Empty where that is not so."""
    path = os.environ.get(SOCKET_VARIABLE) or SOCKET_DEFAULT
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except PermissionError:
            return f"this user may not open {path}"
        except OSError:
            return ""
    return ""


def _load() -> Any:
    global _library
    with _lock:
        if _library is None:
            try:
                _library = import_module("smartcard.scard")
            except ImportError as error:
                raise PcscMissingError(
                    "pyscard is not installed, so no PC/SC reader can be used: pip install 'cardbench[pcsc]' "
                    f"(building it needs gcc and libpcsclite-dev; in a clone: make setup-pcsc). {error}"
                ) from error
        return _library


def _check(call: str, code: int, reader: str = "", detail: str = "") -> None:
    if code & 0xFFFF_FFFF != PcscCode.SCARD_S_SUCCESS:
        raise PcscError(call, code, reader, detail)


class Context:
    """A connection to pcscd."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def readers(self) -> tuple[str, ...]:
        """Names of all readers, none if there are none."""
        code, names = self._library.SCardListReaders(self._handle, [])
        if code & 0xFFFF_FFFF == PcscCode.SCARD_E_NO_READERS_AVAILABLE:
            return ()
        _check("SCardListReaders", code)
        return tuple(str(name) for name in names)

    def state(self, reader: str, known: ReaderState | None = None, wait_ms: int = 0) -> ReaderState:
        """The reader's state; with ``known``, as soon as it differs from that, or after ``wait_ms`` as it is."""
        library = self._library
        before = known.raw if known is not None else library.SCARD_STATE_UNAWARE
        code, states = library.SCardGetStatusChange(self._handle, wait_ms, [(reader, before)])
        if code & 0xFFFF_FFFF == PcscCode.SCARD_E_TIMEOUT and known is not None:
            return known
        _check("SCardGetStatusChange", code, reader)
        _, event, atr = states[0]
        state = self._state(event, atr)
        if not state.known:
            raise PcscError("SCardGetStatusChange", PcscCode.SCARD_E_READER_UNAVAILABLE, reader)
        return state

    def _state(self, event: int, atr: Sequence[int]) -> ReaderState:
        library = self._library
        return ReaderState(
            bool(event & library.SCARD_STATE_PRESENT),
            bool(event & library.SCARD_STATE_MUTE),
            bool(event & library.SCARD_STATE_INUSE),
            bytes(atr),
            event & ~library.SCARD_STATE_CHANGED,
            not event & (library.SCARD_STATE_UNKNOWN | library.SCARD_STATE_UNAVAILABLE),
        )

    def watch(self, known: Mapping[str, ReaderState], wait_ms: int) -> dict[str, ReaderState]:
        """Wait until one of these readers is in another state than ``known``, readers come or go, ``cancel`` is called, or the time is over; gives
        the states then. Raises PcscError where a reader has gone, too: list them anew.
        """
        library = self._library
        asked = [(name, state.raw) for name, state in known.items()]
        code, states = library.SCardGetStatusChange(self._handle, wait_ms, [*asked, (PNP, 0)])
        if code & 0xFFFF_FFFF in (PcscCode.SCARD_E_TIMEOUT, PcscCode.SCARD_E_CANCELLED):
            return dict(known)
        _check("SCardGetStatusChange", code)
        return {name: self._state(event, atr) for name, event, atr in states if name != PNP}

    def cancel(self) -> None:
        """End a ``watch`` that another thread waits in. It talks to pcscd, so it may block where that does not answer."""
        self._library.SCardCancel(self._handle)

    def connect(self, reader: str, *, exclusive: bool, protocols: Sequence[int] = (0, 1)) -> "Connection":
        """Connect to the card in ``reader`` with one of ``protocols`` (0 and 1 for T=0 and T=1), as its ATR says."""
        library = self._library
        wanted = 0
        for protocol in protocols:
            wanted |= library.SCARD_PROTOCOL_T1 if protocol else library.SCARD_PROTOCOL_T0
        share = library.SCARD_SHARE_EXCLUSIVE if exclusive else library.SCARD_SHARE_SHARED
        code, handle, active = library.SCardConnect(self._handle, reader, share, wanted)
        _check("SCardConnect", code, reader)
        return Connection(library, handle, reader, share, wanted, active, tuple(protocols))

    def connect_direct(self, reader: str) -> "Connection":
        """Connect to the reader itself, card or not, for control codes and attributes; nobody else may use it meanwhile."""
        library = self._library
        code, handle, active = library.SCardConnect(self._handle, reader, library.SCARD_SHARE_DIRECT, 0)
        _check("SCardConnect", code, reader)
        return Connection(library, handle, reader, library.SCARD_SHARE_DIRECT, 0, active)

    def release(self) -> None:
        """Let go of pcscd. Errors are of no use to anyone here."""
        self._library.SCardReleaseContext(self._handle)


class Connection:
    """A connection to a card."""

    def __init__(
        self,
        library: Any,
        handle: Any,
        reader: str,
        share: int,
        wanted: int,
        active: int,
        protocols: tuple[int, ...] = (),
    ) -> None:
        self.reader = reader
        self.protocols = protocols
        """Those that were asked for."""
        self._library = library
        self._handle = handle
        self._share = share
        self._wanted = wanted
        self._transmit: Callable[[Any, int, list[int]], tuple[int, list[int]]] = library.SCardTransmit
        self._use(active)

    def _use(self, active: int) -> None:
        library = self._library
        self.protocol = 1 if active == library.SCARD_PROTOCOL_T1 else 0
        self._pci = library.SCARD_PCI_T1 if self.protocol else library.SCARD_PCI_T0

    def reset(self, how: Reset) -> None:
        """Reset the card, warm or cold, and agree on a protocol anew."""
        library = self._library
        code, active = library.SCardReconnect(self._handle, self._share, self._wanted, getattr(library, how.value))
        _check("SCardReconnect", code, self.reader)
        self._use(active)

    def status(self) -> CardStatus:
        """ATR and protocol."""
        code, _, _, _, atr = self._library.SCardStatus(self._handle)
        _check("SCardStatus", code, self.reader)
        return CardStatus(bytes(atr), self.protocol)

    def transmit(self, command: bytes) -> Transmitted:
        """Carry one command APDU (or T=0 TPDU, as the driver takes it)."""
        octets = list(command)
        start = time.monotonic_ns()
        code, response = self._transmit(self._handle, self._pci, octets)
        end = time.monotonic_ns()
        if code:
            raise PcscError("SCardTransmit", code, self.reader)
        return Transmitted(bytes(response), start, end)

    def control(self, code: int, data: bytes) -> Transmitted:
        """Hand a control code and its data to the driver. Raises PcscError, mostly where the driver does not know the code."""
        start = time.monotonic_ns()
        result, response = self._library.SCardControl(self._handle, code, list(data))
        end = time.monotonic_ns()
        _check("SCardControl", result, self.reader)
        return Transmitted(bytes(response), start, end)

    def attribute(self, tag: Attribute) -> bytes:
        """An attribute of the reader, empty where the driver has none. Raises PcscError where card, reader or pcscd went meanwhile."""
        code, value = self._library.SCardGetAttrib(self._handle, int(tag))
        if code & 0xFFFF_FFFF in _NO_ATTRIBUTE:
            return b""
        _check("SCardGetAttrib", code, self.reader)
        return bytes(value)

    def disconnect(self, how: Reset) -> None:
        """Let go of the card. Raises PcscError."""
        _check("SCardDisconnect", self._library.SCardDisconnect(self._handle, getattr(self._library, how.value)))
