"""Last night against a baseline and the whole history: what broke, what was mended, what wavers, what became slower and since when."""

from __future__ import annotations

from reports.regress.build import regress
from reports.regress.model import Options, Regression

__all__ = ["Options", "Regression", "regress"]
