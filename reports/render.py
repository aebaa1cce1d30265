"""The page: one HTML file that fetches nothing. What comes from records is escaped by the template engine or written as script-safe JSON."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import quote

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound
from markupsafe import Markup

from bench.observe import Verdict
from reports.chain import Chain
from reports.charts import library
from reports.collate import Failure, RunFront
from reports.detection import Validation
from reports.front import Front
from reports.palette import DARK, LIGHT, css_name
from reports.pictures import Picture
from reports.table import ROWS_IN_PAGE, Table, cell_text, number_text
from reports.timeline import Timeline
from reports.verdicts import Tally


@dataclass(frozen=True, slots=True)
class Download:
    """One record table: what it holds, its rows over all runs, the CSV beside the page (or none), the Parquet file of each run."""

    name: str
    meaning: str
    rows: int
    csv: str
    parquet: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the template shows."""

    front: Front
    chains: tuple[Chain, ...]
    timelines: tuple[Timeline, ...]
    fronts: tuple[RunFront, ...]
    tally: Tally
    failures: tuple[Failure, ...]
    failures_left_out: int
    requirements: Table
    scenarios: Table
    verdicts: Table
    pictures: tuple[Picture, ...]
    measurements: Table
    others: Table
    parts: Table
    exchanges: Table
    packets: Table
    detection: Table | None
    """What the bench itself is known to catch, where a validation lies with the results."""
    downloads: tuple[Download, ...]
    notes: tuple[str, ...]


class _PackageLoader(BaseLoader):
    """Templates from this package, wherever it is installed."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, None]:  # noqa: ARG002
        try:
            return _text(template), template, None
        except FileNotFoundError as cause:
            raise TemplateNotFound(template) from cause


def render(page: Page) -> str:
    """The page as HTML. The same page gives the same text."""
    environment = _environment()
    script = f"(function () {{\n{library() if _draws(page) else ''}\n{_text('report.js')}\n}})();\n"
    return environment.get_template("report.html.j2").render(
        page=page,
        verdicts=tuple(Verdict),
        rows_in_page=ROWS_IN_PAGE,
        policy=_policy(script),
        style=Markup(_style()),
        script=Markup(script),
        title=_title(page),
    )


def render_detection(validation: Validation, table: Table) -> str:
    """The page of a validation: all of its rows, no script."""
    template = _environment().get_template("detection.html.j2")
    return template.render(validation=validation, table=table, style=Markup(_style()))


def _environment() -> Environment:
    environment = Environment(
        loader=_PackageLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(cell=cell_text, number=number_text, css=css_name, href=_href)
    return environment


def _draws(page: Page) -> bool:
    return any(picture.specification for picture in page.pictures)


def _title(page: Page) -> str:
    return "cardbench " + (page.fronts[0].run.label if len(page.fronts) == 1 else f"{len(page.fronts)} runs")


def _style() -> str:
    schemes = (
        f":root {{ color-scheme: light dark; {LIGHT.properties()} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {DARK.properties()} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; }} }}\n"
    )
    return schemes + _text("report.css")


def _policy(script: str) -> str:
    """A content security policy under which the page can run this one script and fetch nothing at all."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def _href(path: str) -> str:
    """A relative path as the address of a link, never with a scheme of its own."""
    return quote(path) if path.startswith((".", "/")) else "./" + quote(path)


def _text(name: str) -> str:
    return (files("reports") / "templates" / name).read_text("utf-8")
