"""axe-core (npm), which reads a page as WCAG 2.1 A and AA ask."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.witness.chromium import Browser

_AXE: Final = Path(__file__).parents[2] / ".npm" / "node_modules" / "axe-core" / "axe.min.js"
_RUN: Final = """axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"]})
    .then(r => r.violations.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary).join(" | ")))"""


def violations(tab: Browser) -> list[str]:
    """What axe has against the page that is open; skips the test where axe is not installed."""
    if not _AXE.is_file():
        pytest.skip("axe-core is not installed (make setup-test: scripts/install-npm.sh)")
    tab.evaluate(_AXE.read_text("utf-8"))
    found: list[str] = tab.evaluate(_RUN)
    return found
