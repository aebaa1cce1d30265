"""What host and agent say to each other over the guest's virtio port: frames of kind, job, length and payload. Both sides import this file."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

PORT: Final = "cardbench.agent"
HEADER: Final = struct.Struct(">BII")
MAX_PAYLOAD: Final = 65_536


class Kind(IntEnum):
    """To the guest: START, INPUT, SIGNAL. From it: READY, OUTPUT, ERRORS, STATUS."""

    READY = 0
    """The agent runs. Payload: the kernel's release."""
    START = 1
    """Payload: JSON with arguments, environment, directory."""
    INPUT = 2
    """Standard input; an empty payload ends it."""
    SIGNAL = 3
    """Payload: one byte, the signal, for the job's whole process group."""
    OUTPUT = 4
    ERRORS = 5
    STATUS = 6
    """The job has ended. Payload: its exit status as four bytes, signed; below zero the signal that killed it."""


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    job: int
    payload: bytes = b""

    def encode(self) -> bytes:
        return HEADER.pack(self.kind, self.job, len(self.payload)) + self.payload


class Frames:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now."""
        buffer = self._buffer
        buffer += data
        frames = []
        while len(buffer) >= HEADER.size:
            kind, job, length = HEADER.unpack_from(buffer)
            end = HEADER.size + length
            if len(buffer) < end:
                break
            frames.append(Frame(Kind(kind), job, bytes(buffer[HEADER.size : end])))
            del buffer[:end]
        return frames
