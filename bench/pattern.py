"""The pattern that transfers carry, so that loss, order and doubling show: bytes counting 0 to 250 over and over.

251 is a prime, so that no length of a message hides a lost or doubled one. Applications of the card send it, scenarios compare with it; the two
share nothing else.
"""

from typing import Final

PERIOD: Final = 251
_BLOCK: Final = bytes(range(PERIOD)) * 8


def pattern(offset: int, length: int) -> bytes:
    """``length`` bytes of the pattern from ``offset`` on."""
    start = offset % PERIOD
    if start + length <= len(_BLOCK):
        return _BLOCK[start : start + length]
    return (_BLOCK * (length // len(_BLOCK) + 2))[start : start + length]
