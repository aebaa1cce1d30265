"""What can go wrong at a serial port, by name, and what to do about it."""

import errno
from enum import StrEnum
from typing import Final

from bench.readers.faults import Fault, fault_text


class SerialTrouble(StrEnum):
    """What happened."""

    MISSING = "missing"
    DENIED = "denied"
    BUSY = "busy"
    SERVER = "server"
    """Nobody serves the port at this network address, or not as RFC 2217 has it."""
    REFUSED = "refused"
    """The port does not take these settings."""
    GONE = "gone"
    """The port was there and is there no more."""
    SILENT = "silent"
    """Its server does not answer any more."""
    NO_ECHO = "no echo"
    OTHER = "other"


_FAULT: Final = {
    SerialTrouble.MISSING: Fault.READER,
    SerialTrouble.DENIED: Fault.DENIED,
    SerialTrouble.BUSY: Fault.BUSY,
    SerialTrouble.SERVER: Fault.READER,
    SerialTrouble.GONE: Fault.READER,
    SerialTrouble.SILENT: Fault.FROZEN,
}
_DO: Final = {
    SerialTrouble.MISSING: "plug the adapter in, or name a port that `cardbench readers` lists",
    SerialTrouble.DENIED: "join the group that owns the port (Debian: adduser USER dialout, then log in anew)",
    SerialTrouble.BUSY: "end the program that holds the port (fuser -v PORT names it on the port's own machine), or use another port",
    SerialTrouble.SERVER: "start the server, and see that it speaks RFC 2217 (ser2net: telnet(rfc2217))",
    SerialTrouble.REFUSED: "choose a rate and a parity that the port can do (on a pty: parity none)",
    SerialTrouble.GONE: "plug the adapter in again, or restart the server, then run again",
    SerialTrouble.SILENT: "restart the server that serves the port (it must speak RFC 2217; ser2net: telnet(rfc2217)), then run again",
    SerialTrouble.NO_ECHO: "see that TxD and RxD are joined at I/O (Phoenix wiring), or set `echo: false` for an adapter that swallows the echo",
    SerialTrouble.OTHER: "see whether another program can use the port",
}


class SerialPortError(Exception):
    """A serial port cannot be used. The text names the fault, the port, and what to do."""

    def __init__(self, trouble: SerialTrouble, what: str) -> None:
        super().__init__(fault_text(_FAULT.get(trouble, Fault.OTHER), what, _DO[trouble]))
        self.trouble = trouble


def trouble_of(number: int | None) -> SerialTrouble:
    """What an errno means at a port that is being opened or used."""
    match number:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return SerialTrouble.MISSING
        case errno.EACCES | errno.EPERM:
            return SerialTrouble.DENIED
        case errno.EBUSY | errno.EAGAIN:
            return SerialTrouble.BUSY
        case errno.EINVAL:
            return SerialTrouble.REFUSED
        case errno.EIO | errno.EBADF | errno.EPIPE | errno.ECONNRESET | errno.ECONNABORTED | errno.ENOTCONN:
            return SerialTrouble.GONE
        case _:
            return SerialTrouble.OTHER
