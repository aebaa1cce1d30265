"""PPP in HDLC-like framing (RFC 1662): flags, escapes, and the 16-bit frame check sequence."""

from collections.abc import Callable
from typing import Final

from bench.iso7816.t1_block import CRC_ISO_13239
from bench.net.ppp.packets import PppError

FLAG: Final = 0x7E
ESCAPE: Final = 0x7D
ADDRESS: Final = 0xFF
CONTROL: Final = 0x03
ACCM_DEFAULT: Final = 0xFFFF_FFFF
INFORMATION_MAX: Final = 1500
"""Whatever was agreed, so much information must be taken (RFC 1661, 6.1)."""
AROUND: Final = 6
"""Octets of a frame beside its information, without flags and escapes: address, control, protocol and FCS."""
_FCS: Final = CRC_ISO_13239
"""The FCS is that CRC; T=1 has it for its blocks too."""


def encode_frame(protocol: int, information: bytes, *, accm: int, short_protocol: bool, short_address: bool) -> bytes:
    """A frame between two flags. ``accm``: bit n set escapes control character n. The two shortenings are PFC and ACFC."""
    head = b"" if short_address else bytes((ADDRESS, CONTROL))
    head += bytes((protocol,)) if short_protocol and protocol < 0x100 else protocol.to_bytes(2, "big")
    body = head + information
    body += _FCS.compute(body)
    escaped = _ESCAPED.get(accm)
    if escaped is None:
        if len(_ESCAPED) > 16:
            _ESCAPED.clear()
        escaped = _ESCAPED[accm] = _escapes(accm)
    return b"%c%b%c" % (FLAG, b"".join(map(escaped.__getitem__, body)), FLAG)


_ESCAPED: dict[int, list[bytes]] = {}


def _escapes(accm: int) -> list[bytes]:
    def written(byte: int) -> bytes:
        if byte in (FLAG, ESCAPE) or (byte < 0x20 and accm >> byte & 1):
            return bytes((ESCAPE, byte ^ 0x20))
        return bytes((byte,))

    return [written(byte) for byte in range(256)]


def split_frame(body: bytes) -> tuple[int, bytes]:
    """Protocol and information of a frame without flags, escapes and FCS; shortened fields are always taken. Raises PppError."""
    at = 2 if body[:2] == bytes((ADDRESS, CONTROL)) else 0
    if at >= len(body):
        raise PppError("PPP", at, "a frame without a protocol")
    if body[at] & 1:
        return body[at], body[at + 1 :]
    if at + 2 > len(body) or not body[at + 1] & 1:
        raise PppError("PPP", at, "a protocol field that does not end")
    return body[at] << 8 | body[at + 1], body[at + 2 :]


class Deframer:
    """Bytes of a serial line in, frames out. What is broken is dropped and counted."""

    def __init__(self, on_frame: Callable[[bytes], None], longest: int = INFORMATION_MAX) -> None:
        """``longest``: the longest information field that is kept while it comes."""
        self.on_frame = on_frame
        """Gets each sound frame without flags, escapes and FCS."""
        self.fcs_errors = 0
        self.aborted = 0
        """Frames that ended with an escape, were too short or too long: invalid, not counted as FCS errors (RFC 1662, 4.3)."""
        self.limit = longest + AROUND
        self._spurious = _controls(ACCM_DEFAULT)
        self._held = bytearray()
        self._overrun = False

    def expect(self, accm: int) -> None:
        """The peer escapes these control characters: whatever of them comes plain was put in on the way, and is dropped (RFC 1662, 4.2)."""
        self._spurious = _controls(accm)

    def feed(self, data: bytes) -> None:
        """Bytes as they come, in pieces of any size."""
        pieces = data.split(b"\x7e")
        for index, piece in enumerate(pieces):
            if index:
                self._end()
            if piece:
                self._more(piece)

    def _more(self, piece: bytes) -> None:
        piece = piece.translate(None, self._spurious)
        if len(self._held) + len(piece) > 2 * self.limit:
            self._overrun = True
            self._held.clear()
        if not self._overrun:
            self._held += piece

    def _end(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        overrun, self._overrun = self._overrun, False
        if not held and not overrun:
            return  # two flags in a row
        if overrun or held[-1] == ESCAPE:
            self.aborted += 1
            return
        frame = _unescaped(held)
        if len(frame) < 4 or len(frame) > self.limit:
            self.aborted += 1
        elif _FCS.compute(frame[:-2]) != frame[-2:]:
            self.fcs_errors += 1
        else:
            self.on_frame(frame[:-2])


def _controls(accm: int) -> bytes:
    return bytes(each for each in range(32) if accm >> each & 1)


def _unescaped(data: bytes) -> bytes:
    first, *rest = data.split(b"\x7d")
    return first + b"".join(bytes((piece[0] ^ 0x20,)) + piece[1:] for piece in rest if piece)
