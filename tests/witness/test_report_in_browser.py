"""A real browser opens the report: pictures drawn, filters work, nothing asked of the network, no complaint; axe finds nothing, paper is whole."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports import build_report
from tests.reports.samples import SampleRun, exchange, given, verdict, whole_run
from tests.witness.axe import violations
from tests.witness.chromium import DRAWN, PROGRAM, Browser, browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (Debian: apt-get install chromium)")

PICTURES = 9


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = whole_run((0x11, 0x12, 0x13, 0x18, 0x94, 0x95, 0x96, 0x97), tuple(range(16, 256, 16)))
    return build_report([run.write(tmp_path_factory.mktemp("results"))]).html


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose every part is there once, or a few times: what axe takes grows with the elements."""
    return build_report([whole_run((0x11, 0x18, 0x96), (64, 256)).write(tmp_path_factory.mktemp("results"))]).html


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


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
    assert tab.evaluate("document.documentElement.dataset.drawn") == str(PICTURES)
    assert tab.evaluate("document.querySelectorAll('.picture.broken').length") == 0
    assert all(box["marks"] > 1 and box["inside"] for box in boxes)
    assert tab.troubles == []
    assert tab.requests == [page.resolve().as_uri().replace("=", "%3D")]


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_axe_finds_nothing_against_wcag_aa(tab: Browser, small: Path, width: int, scheme: str) -> None:
    tab.troubles.clear()
    tab.open(small, width, scheme)
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert violations(tab) == []
    assert tab.troubles == []


def test_a_legend_hides_a_series_and_shows_it_again(tab: Browser, small: Path) -> None:
    tab.troubles.clear()
    tab.open(small, 1000)
    marks = "document.querySelectorAll('#share-against-rate .mark-symbol path').length"
    before = tab.evaluate(marks)
    click = "document.querySelector('#share-against-rate .legend button').click()"
    pressed = "document.querySelector('#share-against-rate .legend button').getAttribute('aria-pressed')"
    after = f"new Promise(done => setTimeout(() => done({marks}), 50))"
    tab.evaluate(click)
    assert tab.evaluate(pressed) == "false"
    hidden = _until_other(tab, after, before)
    assert 0 < hidden < before
    tab.evaluate(click)
    assert tab.evaluate(pressed) == "true"
    assert _until_other(tab, after, hidden) == before
    assert tab.troubles == []


def _until_other(tab: Browser, expression: str, than: int) -> int:
    """The value of `expression` once it is another one; the same after 100 looks."""
    for _ in range(100):
        value: int = tab.evaluate(expression)
        if value != than:
            return value
    return than


def test_the_front_page_says_the_verdict_the_layers_the_chain_and_the_beginning(tab: Browser, page: Path) -> None:
    tab.open(page, 1000)
    text = tab.evaluate("document.querySelector('header').innerText")
    assert [line for line in text.splitlines() if line][:2] == ["Test report", "Fail"]
    for heading in ("What failed", "What it means", "What was tested", "By layer"):
        assert heading in text
    assert tab.evaluate("document.querySelectorAll('#chain .hop').length") == 16
    assert "hop 16" in tab.evaluate("document.querySelector('#chain').innerText")
    assert tab.evaluate("document.querySelectorAll('#timeline rect').length") >= 6


def test_one_time_line_and_one_chain_are_chosen_on_the_screen_and_paper_has_all(tab: Browser, tmp_path: Path) -> None:
    run = SampleRun()
    for stack in ("channel", "ip"):
        run.add("a/b", stack, *given(False, stack=stack, cards=2), exchange(1_000_000), verdict())
    page = build_report([run.write(tmp_path)]).html
    tab.troubles.clear()
    tab.open(page, 1000, ready=f"{DRAWN} && location.href.includes('/test_one_time_line')")
    seen = "[...document.querySelectorAll('{} .option')].filter(e => e.offsetHeight).map(e => e.dataset.name)"
    assert tab.evaluate(seen.format("#chain")) == ["all"]
    assert tab.evaluate(seen.format("#timeline")) == ["stack channel"]
    choose = "(s => {{ s.value = '{1}'; s.dispatchEvent(new Event('change')); }})(document.querySelector('{0} select'))"
    tab.evaluate(choose.format("#chain", 2))
    tab.evaluate(choose.format("#timeline .choice > label", 1))
    assert tab.evaluate(seen.format("#chain")) == ["stack ip"]
    assert tab.evaluate(seen.format("#timeline")) == ["stack ip"]
    assert violations(tab) == []
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate(seen.format("#chain")) == ["all", "stack channel", "stack ip"]
    assert tab.evaluate(seen.format("#timeline")) == ["stack channel", "stack ip"]
    assert tab.troubles == []


def test_printed_it_is_a_pdf_with_the_verdicts_and_no_table_beyond_the_paper(
    tab: Browser, page: Path, tmp_path: Path
) -> None:
    # A4 landscape without its margins is 273 mm, 1032 CSS pixels.
    tab.open(page, 1032, "light", "print")
    wide = (
        "[...document.querySelectorAll('table, svg, .chain')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(wide) == []
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    pdf = tmp_path / "report.pdf"
    answer = tab.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    pdf.write_bytes(base64.b64decode(answer["data"]))
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (Debian: apt-get install poppler-utils)")
    text = subprocess.run(
        ["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert text.count("\f") > 3
    for said in ("Fail", "What it means", "goodput 88.2 percent_of_limit is below 90", "ta1-97-mtu-240", "hop 16"):
        assert said in text


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
