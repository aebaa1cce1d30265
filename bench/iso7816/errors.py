"""Named errors of the ISO/IEC 7816 layers.

    Iso7816Error
    ├── RateError         a TA1 or PPS1 code that the standard reserves, or a clock that is no frequency
    ├── AtrError          an answer to reset that breaks a rule (bench.iso7816.atr)
    ├── CompactTlvError   historical bytes that are no COMPACT-TLV (bench.iso7816.compact_tlv)
    ├── PpsError          bytes that are no PPS request or response (bench.iso7816.pps)
    └── ApduError         bytes or fields that are no command or response APDU (bench.iso7816.apdu)

Each message says what was found, where, and what the clause asks for instead.
"""


class Iso7816Error(ValueError):
    """Root of everything this package raises on input that breaks the standard."""


class RateError(Iso7816Error):
    """A transmission factor code reserved for future use, or an impossible clock frequency."""


class CompactTlvError(Iso7816Error):
    """Historical bytes that do not follow ISO/IEC 7816-4 clause 12.1.1 (COMPACT-TLV).

    `position` is the 1-based number of the offending historical byte (T1 is 1).
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"historical byte T{position}: {reason} (ISO/IEC 7816-4, historical bytes)")
        self.position = position
        self.reason = reason


class PpsError(Iso7816Error):
    """Bytes or fields that are no PPS request or response (ISO/IEC 7816-3, 9.2)."""


class ApduError(Iso7816Error):
    """Bytes or fields that are no command or response APDU (ISO/IEC 7816-3, 12.1)."""
