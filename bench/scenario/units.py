"""The units that steps use in their models; they are those of every file that people write."""

from bench.files.models import FileModel, expected
from bench.files.units import Count, Duration, HexBytes, Line, Number, Signed, Size, Span, StatusWord, Ta1, Truth, Whole

__all__ = [
    "Count",
    "Duration",
    "FileModel",
    "HexBytes",
    "Line",
    "Number",
    "Signed",
    "Size",
    "Span",
    "StatusWord",
    "Ta1",
    "Truth",
    "Whole",
    "expected",
]
