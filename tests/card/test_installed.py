"""Applications of other packages, and the page that says how to write one: its example is taken from the page and run."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.card.applications import STANDARD
from bench.card.applications.installed import GROUP, ApplicationError, with_installed
from tests.support import Chain, profile

PAGE = (Path(__file__).parents[2] / "docs" / "applications.md").read_text(encoding="utf-8")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose modules can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("lamp", None)


def test_the_example_of_the_page_runs(written: Path) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (written / "lamp.py").write_text(found[1], encoding="utf-8")
    applications = with_installed([EntryPoint("lamp", "lamp:lamp", GROUP)])
    rig = Chain(profile(*[each for each in applications if each[0] == "lamp"])).start()
    assert [(each.name, each.port) for each in rig.services] == [("lamp", 4000)]
    first, second = rig.dial("lamp"), rig.dial("lamp")
    first.write(b"on\n")
    rig.wait(lambda: bytes(first.received) == b"the lamp is on\r\n")
    second.write(b"?")
    rig.wait(lambda: bytes(second.received) == b"the lamp is on\r\n")
    rig.assert_sound()


def test_the_page_lists_what_is_there() -> None:
    for name, _ in STANDARD:
        assert re.search(rf"^\| [^|]*\b{name}\b", PAGE, re.MULTILINE), name


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (EntryPoint("echo", "lamp:lamp", GROUP), "has one of this name"),
        (EntryPoint("lamp", "no_such_module:lamp", GROUP), "no_such_module"),
        (EntryPoint("lamp", "math:nothing", GROUP), "nothing"),
        (EntryPoint("lamp", "math:pi", GROUP), "not a coroutine function"),
    ],
)
def test_one_that_cannot_be_put_on_the_card_is_named(point: EntryPoint, words: str) -> None:
    with pytest.raises(ApplicationError, match=words):
        with_installed([point])
