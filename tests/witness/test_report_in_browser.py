"""A real browser opens the report: pictures drawn, filters work, nothing asked of the network, nothing complained of."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports import build_report
from tests.reports.samples import whole_run
from tests.witness.chromium import PROGRAM, Browser, browser, command

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (Debian: apt-get install chromium)")

PICTURES = 6


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = whole_run((0x11, 0x12, 0x13, 0x18, 0x94, 0x95, 0x96, 0x97), tuple(range(16, 256, 16)))
    return build_report([run.write(tmp_path_factory.mktemp("results"))]).html


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_the_document_after_its_script_holds_every_picture(page: Path, tmp_path: Path) -> None:
    more = ("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", page.as_uri())
    ran = subprocess.run(command(tmp_path / "profile", *more), capture_output=True, text=True, timeout=60, check=True)
    # The chart library itself, which stands at the end, has the word in it.
    assert ran.stdout.partition("<script>")[0].count("<svg") == PICTURES
    assert f'data-drawn="{PICTURES}"' in ran.stdout
    assert "could not be drawn" not in ran.stdout.partition("<script>")[0]
    assert "CONSOLE" not in ran.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_pictures_and_text_fit_the_width(tab: Browser, page: Path, width: int, scheme: str) -> None:
    tab.troubles.clear()
    tab.requests.clear()
    tab.open(page, width, scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # Each picture has marks, and none reaches beyond its frame.
    boxes = tab.evaluate(
        "[...document.querySelectorAll('.picture')].map(p => ({marks: p.querySelectorAll('svg .role-mark path, svg .role-mark line').length,"
        " inside: p.querySelector('svg').getBoundingClientRect().right <= p.getBoundingClientRect().right + 1}))"
    )
    assert len(boxes) == PICTURES
    assert all(box["marks"] > 1 and box["inside"] for box in boxes)
    assert tab.troubles == []
    assert tab.requests == [page.resolve().as_uri().replace("=", "%3D")]


def test_the_colour_scheme_reaches_the_marks_of_pictures(tab: Browser, page: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        tab.open(page, 800, scheme)
        mark = "getComputedStyle(document.querySelector('#jain-index .mark-symbol path')).fill"
        colours.append((tab.evaluate("getComputedStyle(document.body).backgroundColor"), tab.evaluate(mark)))
    assert colours == [("rgb(255, 255, 255)", "rgb(10, 104, 168)"), ("rgb(20, 24, 29)", "rgb(98, 174, 251)")]


def test_filters_sorting_and_paging(tab: Browser, page: Path) -> None:
    tab.open(page, 1000)
    rows = "document.querySelectorAll('#verdict-table tbody tr').length"
    count = "document.querySelector('#verdict-table .count').textContent"
    assert tab.evaluate(rows) == 100
    assert tab.evaluate(count) == "rows 1–100 of 143"
    tab.evaluate("document.querySelectorAll('#verdict-table .turn button')[1].click()")
    assert tab.evaluate(count) == "rows 101–143 of 143"
    tab.evaluate("document.querySelector('.tile.v-inconclusive').click()")
    assert tab.evaluate(count) == "rows 1–1 of 1 (143 in all)"
    assert "routing/late" in tab.evaluate("document.querySelector('#verdict-table tbody').textContent")
    tab.open(page, 1000)
    find = "(w => { const i = document.querySelector('#verdict-table input'); i.value = w; i.dispatchEvent(new Event('input')); })"
    tab.evaluate(find + "('TA1-96 mtu-64')")
    assert tab.evaluate(rows) == 1
    tab.evaluate(find + "('<nothing>')")
    assert tab.evaluate(count) == "no row matches (143 in all)"
    tab.evaluate(find + "('cards-')")
    point = "document.querySelectorAll('#verdict-table thead button')[2]"
    first = "document.querySelector('#verdict-table tbody tr').cells[2].textContent"
    tab.evaluate(point + ".click()")
    assert tab.evaluate(first) == "cards-1"
    tab.evaluate(point + ".click()")
    assert tab.evaluate(first) == "cards-16"
    assert tab.evaluate(point + ".parentElement.getAttribute('aria-sort')") == "descending"


def test_the_script_writes_numbers_as_the_page_does(tab: Browser, page: Path) -> None:
    tab.open(page, 1000)
    cells = (
        "[...document.querySelectorAll('#measurement-table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    before = tab.evaluate(cells)
    tab.evaluate(
        "(i => { i.value = ' '; i.dispatchEvent(new Event('input')); })(document.querySelector('#measurement-table input'))"
    )
    assert tab.evaluate(cells) == before
    assert len(before) == 100


def test_a_mark_under_the_pointer_tells_its_point(tab: Browser, page: Path) -> None:
    tab.open(page, 1000)
    mark = tab.evaluate(
        "(m => { m.scrollIntoView({block: 'center'}); const r = m.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })"
        "(document.querySelector('#jain-index .mark-symbol path'))"
    )
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=mark["x"], y=mark["y"])
    assert "channels-1" in tab.evaluate("document.querySelector('#tip').innerText")


def test_paper_gets_every_row_in_dark_ink_on_white(tab: Browser, page: Path) -> None:
    tab.open(page, 1000, "dark", "print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("document.querySelectorAll('#verdict-table tbody tr').length") == 143
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate("document.querySelectorAll('#verdict-table tbody tr').length") == 100
