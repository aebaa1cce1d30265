"""The report as one HTML file without script, which fetches nothing and prints."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports.certificate.document import Document
from reports.palette import DARK, LIGHT


def render_html(document: Document) -> str:
    """The same document gives the same text. Everything of the document is escaped by the template engine."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["css"] = lambda word: word.replace(" ", "-")
    template = environment.from_string(_text("certificate.html.j2"))
    return template.render(document=document, style=Markup(_style(document)))


def _style(document: Document) -> str:
    schemes = (
        f":root {{ color-scheme: light dark; {LIGHT.properties()} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {DARK.properties()} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; }} }}\n"
    )
    # In a style element only `<` and the string's own quotes and backslashes could do harm; each becomes an escape of CSS.
    shown = "".join(
        character if character.isalnum() or character in " -_./" else f"\\{ord(character):06x}"
        for character in document.id
    )
    return schemes + _text("certificate.css").replace("REPORT-ID", shown)


def _text(name: str) -> str:
    return (files("reports") / "templates" / name).read_text("utf-8")
