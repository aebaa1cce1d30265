"""Cards or readers side by side: what differs surely, what only seems to, and how alike their timing profiles are."""

from __future__ import annotations

from reports.compare.build import compare
from reports.compare.model import Comparison, Options

__all__ = ["Comparison", "Options", "compare"]
