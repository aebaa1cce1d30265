"""Protocol and parameters selection (ISO/IEC 7816-3:2006, clause 9): values, both sides, without time.

The terminal builds a `Pps`, sends it, and has `evaluate` name what came back. The card has `respond` work out its
answer from what it accepts. Request and response have one format: PPSS (FF), PPS0, up to three parameters, PCK. The
exchange runs at Fd, Dd with the guard and waiting times of the ATR; a response takes effect after its last character's
guard time. In specific mode there is no PPS.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import xor
from typing import Final

from bench.iso7816.errors import PpsError
from bench.iso7816.rates import RATE_DEFAULT, Rate, is_assigned

PPSS: Final = 0xFF
"""Initial byte of request and response; the reason why neither CLA nor NAD may be FF."""

_PPS1, _PPS2, _PPS3 = 0x10, 0x20, 0x40
_PPS0_RESERVED: Final = 0x80


@dataclass(frozen=True, slots=True)
class Pps:
    """A PPS request or response (9.2). A parameter that is None is not transmitted.

    `pps1` is Fn, Dn coded as TA1; `pps2` the use of SPU; `pps3` is reserved. Raises PpsError for a value that does not
    fit.
    """

    protocol: int
    pps1: int | None = None
    pps2: int | None = None
    pps3: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.protocol <= 14:
            raise PpsError(f"PPS0 encodes T=0 to T=14, not T={self.protocol} (ISO/IEC 7816-3, 9.2)")
        for name, value in (("PPS1", self.pps1), ("PPS2", self.pps2), ("PPS3", self.pps3)):
            if value is not None and not 0 <= value <= 0xFF:
                raise PpsError(f"{name} is one byte, not {value} (ISO/IEC 7816-3, 9.2)")

    @property
    def pps0(self) -> int:
        """Presence of PPS1 to PPS3 in bits 5 to 7, the protocol in bits 4 to 1."""
        return (
            self.protocol
            | (_PPS1 if self.pps1 is not None else 0)
            | (_PPS2 if self.pps2 is not None else 0)
            | (_PPS3 if self.pps3 is not None else 0)
        )

    def encode(self) -> bytes:
        """PPSS to PCK, 3 to 6 bytes."""
        body = [PPSS, self.pps0, *(value for value in (self.pps1, self.pps2, self.pps3) if value is not None)]
        return bytes([*body, reduce(xor, body)])


def expected_length(pps0: int) -> int:
    """How many bytes a request or response has in all, once PPS0 is known: 3 to 6."""
    return 3 + (pps0 >> 4 & 0x7).bit_count()


def parse_pps(data: bytes) -> Pps:
    """Read a request or a response. Raises PpsError that names the byte and the rule it breaks."""
    if len(data) < 3:
        raise PpsError(f"PPS of {len(data)} bytes; PPSS, PPS0 and PCK are mandatory (ISO/IEC 7816-3, 9.2)")
    if data[0] != PPSS:
        raise PpsError(f"byte 1 (PPSS) is {data[0]:02X}; it is FF (ISO/IEC 7816-3, 9.2)")
    if data[1] & _PPS0_RESERVED:
        raise PpsError(f"byte 2 (PPS0) is {data[1]:02X}; bit 8 is reserved and 0 (ISO/IEC 7816-3, 9.2)")
    length = expected_length(data[1])
    if len(data) != length:
        raise PpsError(f"PPS of {len(data)} bytes; PPS0={data[1]:02X} announces {length} (ISO/IEC 7816-3, 9.2)")
    if (wrong := reduce(xor, data)) != 0:
        raise PpsError(
            f"byte {length} (PCK) is {data[-1]:02X}; {data[-1] ^ wrong:02X} makes the exclusive-or of all bytes 00 "
            "(ISO/IEC 7816-3, 9.2)"
        )
    values = list(data[2:-1])
    pps1, pps2, pps3 = (values.pop(0) if data[1] & bit else None for bit in (_PPS1, _PPS2, _PPS3))
    return Pps(data[1] & 0xF, pps1, pps2, pps3)


# --- the terminal's side ---------------------------------------------------------------------------------------------


class PpsOutcome(Enum):
    """What an answer to a PPS request means (9.3)."""

    ACCEPTED = "the response echoes the request: everything proposed is in force"
    PARTIAL = "the response leaves out parameters: their defaults are in force"
    SILENT = "no response within the waiting time: deactivate"
    MALFORMED = "the response is no PPS: deactivate"
    WRONG_PROTOCOL = "the response names another protocol: deactivate"
    WRONG_ECHO = "the response echoes a parameter with another value: deactivate"
    UNASKED = "the response contains a parameter that was not proposed: deactivate"

    @property
    def successful(self) -> bool:
        """Whether the session goes on (9.3); otherwise the terminal deactivates (9.1)."""
        return self in (PpsOutcome.ACCEPTED, PpsOutcome.PARTIAL)


@dataclass(frozen=True, slots=True)
class PpsResult:
    """The outcome, and the protocol and rate in force after it (meaningful when it is successful). `detail` is for
    people."""

    outcome: PpsOutcome
    protocol: int
    rate: Rate
    detail: str

    @property
    def rate_refused(self) -> bool:
        """PPS1 was left out although proposed: Fd, Dd stay in force."""
        return self.outcome is PpsOutcome.PARTIAL and self.rate == Rate(RATE_DEFAULT)


def evaluate(request: Pps, response: bytes) -> PpsResult:
    """Judge the bytes a card answered with to `request`; empty bytes are silence.

    A request whose PPS1 is reserved is a mistake of the caller: PpsError.
    """
    if request.pps1 is not None and not is_assigned(request.pps1):
        raise PpsError(f"the request proposes PPS1={request.pps1:02X}, which is reserved (ISO/IEC 7816-3, 8.3)")
    if not response:
        return _result(PpsOutcome.SILENT, request, None, "no response")
    try:
        answer = parse_pps(response)
    except PpsError as error:
        return _result(PpsOutcome.MALFORMED, request, None, str(error))
    if answer.protocol != request.protocol:
        detail = f"T={answer.protocol} instead of T={request.protocol}"
        return _result(PpsOutcome.WRONG_PROTOCOL, request, None, detail)
    left_out: list[str] = []
    for name, asked, got in (
        ("PPS1", request.pps1, answer.pps1),
        ("PPS2", request.pps2, answer.pps2),
        ("PPS3", request.pps3, answer.pps3),
    ):
        if got is not None and asked is None:
            return _result(PpsOutcome.UNASKED, request, None, f"{name}={got:02X} was not proposed")
        if got is not None and got != asked:
            return _result(PpsOutcome.WRONG_ECHO, request, None, f"{name}={got:02X} instead of {asked:02X}")
        if asked is not None and got is None:
            left_out.append(name)
    if left_out:
        return _result(PpsOutcome.PARTIAL, request, answer.pps1, f"without {', '.join(left_out)}")
    return _result(PpsOutcome.ACCEPTED, request, answer.pps1, "echoed in full")


def _result(outcome: PpsOutcome, request: Pps, pps1: int | None, detail: str) -> PpsResult:
    return PpsResult(outcome, request.protocol, Rate(RATE_DEFAULT if pps1 is None else pps1), detail)


# --- the card's side -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PpsAnswer:
    """What the card sends, and what is in force on its side from then on."""

    response: Pps
    protocol: int
    rate: Rate


def respond(
    request: bytes,
    *,
    protocols: Collection[int],
    accepts: Collection[Rate],
    pps2: Collection[int] = (),
) -> PpsAnswer | None:
    """The sound card's answer: full where it accepts, without PPS1 (or PPS2) where it does not, silence (None)
    otherwise.

    `accepts` are the rates the card takes, by value of F and D: code 01 and code 11 are the same rate. A request that
    is no PPS, or that asks for a protocol the card does not offer, gets no response (9.1). PPS3 is reserved and never
    echoed.
    """
    try:
        asked = parse_pps(request)
    except PpsError:
        return None
    if asked.protocol not in protocols:
        return None
    taken = {(rate.f, rate.d) for rate in accepts} | {(Rate(RATE_DEFAULT).f, Rate(RATE_DEFAULT).d)}
    pps1 = asked.pps1
    if pps1 is not None and (not is_assigned(pps1) or (Rate(pps1).f, Rate(pps1).d) not in taken):
        pps1 = None
    response = Pps(asked.protocol, pps1, asked.pps2 if asked.pps2 in pps2 else None)
    return PpsAnswer(response, asked.protocol, Rate(RATE_DEFAULT if pps1 is None else pps1))
