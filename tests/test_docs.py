"""Pages that are made from the code are up to date, and what pages show runs."""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from bench.cli import COMMANDS, cardbench
from bench.scenario.loader import parse_scenario

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_steps_page_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(cardbench, ["steps", "--markdown"])
    assert printed.exit_code == 0
    page = (DOCS / "steps.md").read_text()
    assert page.endswith(printed.output), "docs/steps.md is old: make docs"


def test_the_scenario_shown_in_the_guide_is_one() -> None:
    shown = re.findall(r"```yaml\n(title:.*?)```", (DOCS / "scenarios.md").read_text(), re.DOTALL)
    assert shown
    for text in shown:
        scenario = parse_scenario(text, Path("sockets/shown.yaml"))
        assert scenario.points


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


NAMED = re.compile(
    r"(?<![\w./-])(?:bench|benchmarks|docs|fixtures|reports|rigs|scenarios|scripts|tests)/[\w/.*{},-]*[\w*}/]"
)
"""A file or folder of this repository as text names it: ``{a,b}`` stands for either, ``*`` for anything."""


def expanded(path: str) -> list[str]:
    choice = re.search(r"\{([^{}]*)\}", path)
    if choice is None:
        return [path]
    before, after = path[: choice.start()], path[choice.end() :]
    return [each for word in choice[1].split(",") for each in expanded(before + word + after)]


def test_files_that_pages_name_are_there() -> None:
    missing = []
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for named in NAMED.findall(line):
                missing += [f"{page.name}:{number}: {each}" for each in expanded(named) if not any(ROOT.glob(each))]
    assert not missing


SHOWN = re.compile(r"(?:`|^(?:    |\$ )?)cardbench ([a-z-]+)([^`\n]*)", re.MULTILINE)


def test_commands_and_options_that_pages_show_exist() -> None:
    context = click.Context(cardbench)
    missing = []
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for name, rest in SHOWN.findall(page.read_text()):
            command: click.Command | None = cardbench.get_command(context, name) if name in COMMANDS else None
            words = rest.split("   ")[0].split()
            if isinstance(command, click.Group) and words:
                command = command.get_command(context, words[0])
            options = {"--help"} | {each for made in command.params for each in made.opts} if command else set()
            wanted = [word.partition("=")[0].strip("[]") for word in words if word.lstrip("[").startswith("--")]
            missing += [f"{page.name}: {name} {each}" for each in wanted if each not in options]
            if command is None:
                missing.append(f"{page.name}: {name}")
    assert not missing
