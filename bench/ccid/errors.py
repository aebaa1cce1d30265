"""What is wrong with bytes that should be CCID, and with parameters that a reader cannot take."""


class CcidError(Exception):
    """The root of what this package raises about bytes from outside."""


class CcidMessageError(CcidError):
    """A message, descriptor or parameter block that is none. ``offset`` is the byte the fault is in, which a reader reports as bError (6.2.6)."""

    def __init__(self, what: str, offset: int, found: str, expected: str) -> None:
        self.what = what
        self.offset = offset
        self.found = found
        self.expected = expected
        super().__init__(f"{what}, offset {offset}: {found}; expected {expected}")


class UnknownMessageError(CcidMessageError):
    """A bMessageType that CCID does not know: a reader answers it with bError 0."""
