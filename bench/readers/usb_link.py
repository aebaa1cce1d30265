"""The pipes of one USB reader, as CCID uses them: messages rather than transfers, one conversation at a time, notifications for every slot.

Readers of several slots have one pair of bulk pipes: slots of one reader share a ``UsbLink``. Everything here blocks; it runs in readers' threads.
"""

import threading
import time
from collections import deque
from typing import Final, Protocol

from bench.ccid.codes import ClassRequest
from bench.ccid.descriptor import ClassDescriptor
from bench.ccid.driver_errors import SilentReaderError
from bench.ccid.driver_pipe import Heard, Listen, Numbers, Pause, Request, Send, Step, Steps, T
from bench.ccid.driver_plan import Plan, read_list
from bench.ccid.layout import message_length

MS: Final = 10**6
WRITE_MS: Final = 3000
SLICE_MS: Final = 500
"""A wait for an answer is cut into slices, between which it can be given up."""
QUIET_S: Final = 0.1
CLOSE_S: Final = 3.0
LIST_MAX: Final = 256 * 4


class Pipes(Protocol):
    """What ``usb_adapter.OpenUsb`` has, and a test's own in its place. Raises UsbError."""

    def write(self, data: bytes, timeout_ms: int) -> bool: ...

    def read(self, timeout_ms: int) -> bytes | None: ...

    def ends(self, chunk: bytes) -> bool: ...

    def interrupt(self, timeout_ms: int) -> bytes | None: ...

    def request(self, request: ClassRequest, value: int, length: int) -> bytes | None: ...

    def close(self) -> None: ...


class GivenUp(Exception):  # noqa: N818 - no error: nobody waits for the answer any more
    """The exchange was dropped while it was under way."""


class UsbLink:
    """One open reader."""

    def __init__(self, pipes: Pipes, has_interrupts: bool) -> None:
        self.pipes = pipes
        self.has_interrupts = has_interrupts
        self.outstanding: Numbers = {}
        self._talking = threading.Lock()
        self._listening = threading.Lock()
        self._subscribers: dict[int, deque[bytes]] = {}
        self._closed = False
        self._talked = 0.0
        """When the last conversation ended."""

    def lists(self, descriptor: ClassDescriptor) -> Plan:
        """What the reader lists on its control pipe. Raises UsbError and CcidMessageError."""
        clocks = rates = b""
        if descriptor.clocks:
            clocks = self.pipes.request(ClassRequest.GET_CLOCK_FREQUENCIES, 0, LIST_MAX) or b""
        if descriptor.rates:
            rates = self.pipes.request(ClassRequest.GET_DATA_RATES, 0, LIST_MAX) or b""
        return Plan(descriptor, read_list(clocks, "GET_CLOCK_FREQUENCIES"), read_list(rates, "GET_DATA_RATES"))

    def run(self, steps: Steps[T], given_up: threading.Event, limit_s: float) -> T:
        """Carry out a conversation. Raises what it raises, UsbError, GivenUp, and SilentReaderError after ``limit_s`` in all."""
        end = time.monotonic_ns() + round(limit_s * 1e9)
        with self._talking:
            try:
                step = next(steps)
                while True:
                    if time.monotonic_ns() > end:
                        raise SilentReaderError("one exchange, with all its extensions,", round(limit_s * 1e9))
                    step = steps.send(self._do(step, given_up))
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self._talked = time.monotonic()

    def _do(self, step: Step, given_up: threading.Event) -> Heard:
        match step:
            case Send():
                sent = time.monotonic_ns()
                if not self.pipes.write(step.message, WRITE_MS):
                    return Heard(None, time.monotonic_ns(), sent)
                return self._hear(step.limit_ns, sent, given_up)
            case Listen():
                return self._hear(step.limit_ns, 0, given_up)
            case Request():
                data = self.pipes.request(step.request, step.value, step.length)
                return Heard(data, time.monotonic_ns())
            case Pause():
                given_up.wait(step.ns / 1e9)
                return Heard(b"", time.monotonic_ns())

    def _hear(self, limit_ns: int, sent_ns: int, given_up: threading.Event) -> Heard:
        """One message, or as much of one as came."""
        pipes = self.pipes
        end = time.monotonic_ns() + limit_ns
        message = b""
        while True:
            left = max(1, min(SLICE_MS, (end - time.monotonic_ns()) // MS))
            chunk = pipes.read(left)
            at = time.monotonic_ns()
            if chunk:
                message += chunk
                length = message_length(message)
                if length is not None and len(message) >= length:
                    return Heard(message, at, sent_ns)
            if (chunk or (chunk == b"" and message)) and pipes.ends(chunk):
                return Heard(message, at, sent_ns)  # a short packet ended the transfer too soon
            if given_up.is_set():
                raise GivenUp
            if at >= end:
                return Heard(message or None, at, sent_ns)

    def close(self) -> None:
        """Let go of the reader, when nobody talks or listens any more. One that hangs in the kernel is left as it is."""
        self._closed = True
        if self._talking.acquire(timeout=CLOSE_S):
            if self._listening.acquire(timeout=CLOSE_S):
                self.pipes.close()
                self._listening.release()
            self._talking.release()

    # -- notifications -------------------------------------------------------------------------------------------------

    def subscribe(self, who: int) -> None:
        """Keep notifications for this slot from now on."""
        self._subscribers[who] = deque()

    def unsubscribe(self, who: int) -> None:
        """Nobody is told of the interrupt pipe any more."""
        self._subscribers.pop(who, None)

    def notification(self, who: int, wait_ms: int) -> bytes | None:
        """The next message of the interrupt pipe for a subscriber; whoever asks listens for all of them.

        While exchanges go on nobody listens: two threads in libusb hand each other every completion, which costs an exchange a third of its time. The
        reader keeps what it has to tell, and each answer says whether the card is there.
        """
        mine = self._subscribers.get(who)
        if mine is None:
            return None
        if time.monotonic() - self._talked < QUIET_S:
            time.sleep(wait_ms / 1000)
            return mine.popleft() if mine else None
        with self._listening:
            if not mine and not self._closed and (message := self.pipes.interrupt(wait_ms)):
                for queue in tuple(self._subscribers.values()):
                    queue.append(message)
            return mine.popleft() if mine else None
