"""The report as PDF, with reportlab: text that can be selected, the report's id and "page n of m" on every page. The only module that touches it.

Nothing of this machine or moment enters the file: the same document gives the same bytes, and its date is that of the run's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont, TTFontFile
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from bench.observe import Verdict
from reports.certificate.document import Block, Document, Facts, Grid, Items, Kind, Signature, Text
from reports.palette import LIGHT

FONT: Final = "SourceSansPro"
BOLD: Final = "SourceSansPro-Bold"
LONGEST: Final = 2000
"""Characters of a cell: what is longer stands in full in the HTML report and the records."""
_PAGES: Final = "pages"
_WIDTH: Final = A4[0] - 30 * mm
_VERDICTS: Final = {
    **{verdict.value: LIGHT.verdict(verdict) for verdict in Verdict},
    "not covered": LIGHT.not_applicable,
}


def render_pdf(document: Document, path: Path) -> None:
    """Write the report. Raises OSError."""
    _fonts()
    template = BaseDocTemplate(
        str(path),
        pagesize=A4,
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=20 * mm,
        bottomMargin=20 * mm,
        title=_shown(f"{document.title} {document.id}"),
        author=_shown(document.laboratory),
        subject=_shown(document.id),
        creator=document.producer,
        lang="en",
        invariant=1,
    )
    frame = Frame(template.leftMargin, template.bottomMargin, template.width, template.height, 0, 0, 0, 0)
    template.addPageTemplates([PageTemplate("page", [frame], onPage=lambda canvas, _: _margins(canvas, document))])
    template.build(_story(document), canvasmaker=_Numbered)


class _Numbered(Canvas):
    """A canvas that tells each page how many there are: a form that is defined when the last one is done."""

    def save(self) -> None:
        pages = self.getPageNumber() - 1
        self.beginForm(_PAGES, 0, 0, 20 * mm, 5 * mm)
        self.setFont(FONT, 8)
        self.drawString(0, 1 * mm, str(pages))
        self.endForm()
        super().save()


def _margins(canvas: Canvas, document: Document) -> None:
    if document.made:
        canvas.setDateFormatter(lambda *_: _pdf_date(document.made))
    canvas.saveState()
    canvas.setFont(FONT, 8)
    canvas.drawString(15 * mm, A4[1] - 13 * mm, document.title)
    canvas.drawRightString(A4[0] - 15 * mm, A4[1] - 13 * mm, _shown(document.id))
    canvas.line(15 * mm, A4[1] - 15 * mm, A4[0] - 15 * mm, A4[1] - 15 * mm)
    canvas.drawString(15 * mm, 11 * mm, f"Test report {_shown(document.id)}")
    canvas.drawRightString(A4[0] - 22 * mm, 11 * mm, f"Page {canvas.getPageNumber()} of ")
    canvas.translate(A4[0] - 22 * mm, 10 * mm)
    canvas.doForm(_PAGES)
    canvas.restoreState()


def _pdf_date(moment: str) -> str:
    when = datetime.fromisoformat(moment)
    return f"D:{when:%Y%m%d%H%M%S}+00'00'"


def _story(document: Document) -> list[Flowable]:
    story: list[Flowable] = [
        _paragraph(document.title, "title"),
        _paragraph(f"Report {document.id}, laboratory: {document.laboratory}", "body"),
    ]
    for number, section in enumerate(document.sections, 1):
        story += [CondPageBreak(30 * mm), _paragraph(f"{number} {section.title}", "head")]
        for block in section.blocks:
            story += _flowables(block, document.verdict)
    story += [Spacer(0, 8 * mm), _paragraph(document.end_mark, "end")]
    return story


def _flowables(block: Block, verdict: str) -> list[Flowable]:
    match block:
        case Text(text, strong):
            return [_paragraph(text, f"strong-{verdict}" if strong else "body")]
        case Items(items):
            return [_paragraph(f"– {item}", "item") for item in items]
        case Facts(facts):
            rows = [[_paragraph(fact.label, "label"), _paragraph(fact.value, "cell")] for fact in facts]
            return [_table(rows, [0.28 * _WIDTH, 0.72 * _WIDTH], 0), Spacer(0, 2 * mm)]
        case Grid():
            return [_grid(block), Spacer(0, 2 * mm)]
        case Signature(name, function, date):
            said = f"Authorised by: {name}; function: {function}; date of issue: {date}"
            line = Table([[""]], colWidths=[0.5 * _WIDTH], rowHeights=[16 * mm], hAlign="LEFT")
            line.setStyle(TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.5, HexColor(LIGHT.text))]))
            return [_paragraph(said, "body"), line, _paragraph("Signature", "label")]


def _grid(grid: Grid) -> Table:
    whole = sum(column.share for column in grid.columns)
    kinds = [column.kind for column in grid.columns]
    rows = [
        [_paragraph(column.label, "headings") for column in grid.columns],
        *([_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in grid.rows),
    ]
    return _table(rows, [_WIDTH * column.share / whole for column in grid.columns], 1)


def _cell(text: str, kind: Kind) -> Paragraph:
    return _paragraph(text, f"verdict-{text}" if kind is Kind.VERDICT and text in _VERDICTS else "cell")


def _table(rows: Sequence[list[Paragraph]], widths: Sequence[float], headings: int) -> Table:
    table = Table(rows, colWidths=widths, repeatRows=headings, splitInRow=1, hAlign="LEFT")
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 2),
            ("RIGHTPADDING", (0, 0), (-1, -1), 4),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, HexColor(LIGHT.rule)),
        ]
    )
    if headings:
        style.add("BACKGROUND", (0, 0), (-1, headings - 1), HexColor(LIGHT.surface))
    table.setStyle(style)
    return table


def _paragraph(text: str, style: str) -> Paragraph:
    shown = _shown(text)
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]} … (in full in the HTML report)"
    return Paragraph(escape(shown), _styles()[style])


def _shown(text: str) -> str:
    """Characters that the font lacks, by their code: none is dropped or shown as a box that could be any."""
    glyphs = _glyphs()
    return "".join(
        character if ord(character) in glyphs else " " if character.isspace() else f"<U+{ord(character):04X}>"
        for character in text
    )


@cache
def _fonts() -> None:
    for name, face in ((FONT, "Regular"), (BOLD, "Bold")):
        pdfmetrics.registerFont(TTFont(name, _path(face)))


def _path(face: str) -> str:
    return str(files("font_source_sans_pro") / "files" / f"SourceSansPro-{face}.ttf")


def _file(face: str) -> TTFontFile:
    return TTFontFile(_path(face))


@cache
def _glyphs() -> frozenset[int]:
    """What both faces have."""
    return frozenset(_file("Regular").charToGlyph) & frozenset(_file("Bold").charToGlyph)


@cache
def _styles() -> dict[str, ParagraphStyle]:
    body = ParagraphStyle(
        "body", fontName=FONT, fontSize=9.5, leading=12.5, spaceAfter=4, textColor=HexColor(LIGHT.text)
    )
    cell = ParagraphStyle("cell", parent=body, fontSize=8, leading=9.8, spaceAfter=0)
    found = {
        "body": body,
        "cell": cell,
        "item": ParagraphStyle("item", parent=body, leftIndent=10, firstLineIndent=-8, spaceAfter=2),
        "label": ParagraphStyle("label", parent=cell, textColor=HexColor(LIGHT.muted)),
        "headings": ParagraphStyle("headings", parent=cell, fontName=BOLD),
        "title": ParagraphStyle("title", parent=body, fontName=BOLD, fontSize=20, leading=25, spaceAfter=6),
        "head": ParagraphStyle("head", parent=body, fontName=BOLD, fontSize=13, leading=16, spaceBefore=10),
        "end": ParagraphStyle("end", parent=body, fontName=BOLD),
    }
    for word, colour in _VERDICTS.items():
        found[f"verdict-{word}"] = ParagraphStyle(
            f"verdict-{word}", parent=cell, fontName=BOLD, textColor=HexColor(colour)
        )
        found[f"strong-{word}"] = ParagraphStyle(
            f"strong-{word}", parent=body, fontName=BOLD, fontSize=12, leading=15, textColor=HexColor(colour)
        )
    return found
