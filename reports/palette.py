"""Colours of the page, light and dark, and the contrast that WCAG 2.1 asks of them.

Every colour reaches the page as a custom property (`--text`, `--fail`, `--series-1` …), so that pictures follow the colour scheme and the printer
without being drawn again. Colour is never the only sign: verdicts are words, series differ by shape as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bench.observe import Verdict

TEXT_CONTRAST: Final = 4.5
"""WCAG 2.1, 1.4.3: text against what it stands on."""
MARK_CONTRAST: Final = 3.0
"""WCAG 2.1, 1.4.11: parts of pictures and borders of controls."""


@dataclass(frozen=True, slots=True)
class Palette:
    """One colour scheme, `#rrggbb` throughout."""

    page: str
    surface: str
    text: str
    muted: str
    link: str
    rule: str
    control: str
    passed: str
    marginal: str
    fail: str
    inconclusive: str
    not_applicable: str
    error: str
    series: tuple[str, ...]

    def verdict(self, verdict: Verdict) -> str:
        """The colour of a verdict's word and of its part of a bar."""
        return {
            Verdict.PASS: self.passed,
            Verdict.MARGINAL: self.marginal,
            Verdict.FAIL: self.fail,
            Verdict.INCONCLUSIVE: self.inconclusive,
            Verdict.NOT_APPLICABLE: self.not_applicable,
            Verdict.ERROR: self.error,
        }[verdict]

    def properties(self) -> str:
        """The scheme as declarations of CSS custom properties."""
        named = [
            ("page", self.page),
            ("surface", self.surface),
            ("text", self.text),
            ("muted", self.muted),
            ("link", self.link),
            ("rule", self.rule),
            ("control", self.control),
            *((css_name(verdict), self.verdict(verdict)) for verdict in Verdict),
            *((f"series-{number}", colour) for number, colour in enumerate(self.series, 1)),
        ]
        return " ".join(f"--{name}: {colour};" for name, colour in named)


LIGHT: Final = Palette(
    page="#ffffff",
    surface="#f4f6f8",
    text="#1b2026",
    muted="#545e69",
    link="#0a56a6",
    rule="#d4dae0",
    control="#767f8a",
    passed="#126a33",
    marginal="#7d5200",
    fail="#b3161b",
    inconclusive="#6639a6",
    not_applicable="#545e69",
    error="#a0236f",
    series=("#0a68a8", "#b5500c", "#0b7a58", "#8b3fa8", "#866800", "#c2255c", "#4a5568", "#0b7786"),
)

DARK: Final = Palette(
    page="#14181d",
    surface="#1d232a",
    text="#e6eaee",
    muted="#9ea9b5",
    link="#7ab7f5",
    rule="#39424c",
    control="#7f8b97",
    passed="#5fd080",
    marginal="#e3b341",
    fail="#ff857c",
    inconclusive="#cfa8ff",
    not_applicable="#9ea9b5",
    error="#ff8ed1",
    series=("#62aefb", "#f0914a", "#43cf93", "#c99bf2", "#dfc04f", "#ff82ac", "#aab5c1", "#4fcdd8"),
)


def css_name(verdict: Verdict) -> str:
    """The verdict as a part of CSS names: `not-applicable`."""
    return verdict.value.replace(" ", "-")


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.1, "contrast ratio"). Raises ValueError unless both are `#rrggbb`."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    found = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", colour)
    if not found:
        raise ValueError(f"{colour!r} is no colour; write it as #rrggbb")
    red, green, blue = (_linear(int(part, 16) / 255) for part in found.groups())
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
