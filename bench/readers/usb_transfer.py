"""One libusb transfer that is posted and waited for (libusb 1.0, asynchronous I/O), by ctypes: pyusb has none, and waits for each transfer by itself.

With it the answer's transfer lies ready before the command goes out, and no wait arms a timer in the kernel. A wait that is over leaves the transfer
where it is: nothing that the reader says later is lost.
"""

import ctypes
import errno
import time
from typing import Final

COMPLETED, ERROR, TIMED_OUT, CANCELLED, STALL, NO_DEVICE, OVERFLOW = range(7)
"""enum libusb_transfer_status."""
BULK: Final = 2
"""LIBUSB_TRANSFER_TYPE_BULK."""
ERRNO_OF_STATUS: Final = {STALL: errno.EPIPE, NO_DEVICE: errno.ENODEV, OVERFLOW: errno.EOVERFLOW}
ERRNO_OF_ERROR: Final = {-3: errno.EACCES, -4: errno.ENODEV, -6: errno.EBUSY, -9: errno.EPIPE, -11: errno.ENOMEM}
"""enum libusb_error, as far as submitting gives one."""
CANCEL_MS: Final = 1000


class _Timeval(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long))


class _Transfer(ctypes.Structure):
    """struct libusb_transfer, without packets of isochronous transfers."""


_Callback = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Transfer))
_Transfer._fields_ = (
    ("handle", ctypes.c_void_p),
    ("flags", ctypes.c_uint8),
    ("endpoint", ctypes.c_uint8),
    ("kind", ctypes.c_uint8),
    ("timeout", ctypes.c_uint),
    ("status", ctypes.c_int),
    ("length", ctypes.c_int),
    ("actual_length", ctypes.c_int),
    ("callback", _Callback),
    ("user_data", ctypes.c_void_p),
    ("buffer", ctypes.c_void_p),
    ("iso_packets", ctypes.c_int),
)


class TransferError(Exception):
    """A transfer could not be posted, or did not complete; ``number`` is an errno."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"errno {number}")


class Library:
    """libusb by its file name: the same that pyusb has loaded, with prototypes of our own."""

    def __init__(self, name: str) -> None:
        library = ctypes.CDLL(name)
        pointer = ctypes.POINTER(_Transfer)
        self.alloc = library.libusb_alloc_transfer
        self.alloc.argtypes, self.alloc.restype = (ctypes.c_int,), pointer
        self.free = library.libusb_free_transfer
        self.free.argtypes, self.free.restype = (pointer,), None
        self.submit = library.libusb_submit_transfer
        self.submit.argtypes = (pointer,)
        self.cancel = library.libusb_cancel_transfer
        self.cancel.argtypes = (pointer,)
        self.events = library.libusb_handle_events_timeout_completed
        self.events.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Timeval), ctypes.POINTER(ctypes.c_int))


class Posted:
    """One bulk transfer, used again and again. One thread at a time."""

    def __init__(self, library: Library, context: int, handle: int, endpoint: int, size: int) -> None:
        self.size = size
        self.pending = False
        """Posted, and not seen to have ended."""
        self._library = library
        self._context = context
        self._buffer = (ctypes.c_ubyte * size)()
        self._view = memoryview(self._buffer).cast("B")
        self._over = ctypes.c_int(1)
        self._over_at = ctypes.byref(self._over)
        self._callback = _Callback(self._ended)
        self._pointer = library.alloc(0)
        transfer = self._pointer.contents
        transfer.handle = handle
        transfer.endpoint = endpoint
        transfer.kind = BULK
        transfer.callback = self._callback
        transfer.buffer = ctypes.addressof(self._buffer)
        self._transfer = transfer

    def _ended(self, _transfer: object) -> None:
        self._over.value = 1

    def _is_over(self) -> bool:
        return self._over.value != 0

    def post(self, data: bytes | None = None) -> None:
        """Post it: with ``data`` to go out, or to take what comes in. Raises TransferError."""
        if data is None:
            self._transfer.length = self.size
        else:
            self._view[: len(data)] = data
            self._transfer.length = len(data)
        self._over.value = 0
        code = self._library.submit(self._pointer)
        if code:
            self._over.value = 1
            raise TransferError(ERRNO_OF_ERROR.get(code, errno.EIO))
        self.pending = True

    def wait(self, limit_ms: int) -> bool:
        """Whether it has ended within ``limit_ms``; otherwise it stays posted."""
        if self._is_over():
            return True
        end = time.monotonic() + limit_ms / 1000
        left = limit_ms / 1000
        while left > 0:
            part = _Timeval(int(left), int(left % 1 * 1e6))
            self._library.events(self._context, ctypes.byref(part), self._over_at)
            if self._is_over():
                return True
            left = end - time.monotonic()
        return False

    def taken(self) -> bytes:
        """What came in, or the piece that went out, after ``wait`` was True. Raises TransferError."""
        self.pending = False
        transfer = self._transfer
        if transfer.status != COMPLETED:
            raise TransferError(ERRNO_OF_STATUS.get(transfer.status, errno.EIO))
        return self._view[: transfer.actual_length].tobytes()

    def count(self) -> int:
        """How many bytes went, after ``wait`` was True. Raises TransferError."""
        self.pending = False
        if self._transfer.status != COMPLETED:
            raise TransferError(ERRNO_OF_STATUS.get(self._transfer.status, errno.EIO))
        return int(self._transfer.actual_length)

    def drop(self) -> None:
        """Take it back, if it is posted."""
        if self.pending:
            self._library.cancel(self._pointer)
            self.pending = not self.wait(CANCEL_MS)

    def close(self) -> None:
        """Let go of it. One that the kernel does not give back is left to it."""
        self.drop()
        if not self.pending:
            self._library.free(self._pointer)
