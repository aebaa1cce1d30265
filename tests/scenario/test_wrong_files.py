"""Every wrong scenario file is told with its place, what was found and what was expected; none ends in anything but FileError."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.files.document import MAX_BYTES, parse
from bench.files.mistakes import FileError
from bench.scenario.loader import load_scenario, parse_scenario

WRONG = Path(__file__).parent / "wrong"
PLACED = re.compile(r"[^:\n]+\.yaml:[0-9]+:[0-9]+: .+; expected .+")
GOOD = "title: Right\nrequirements: [HOP-SEG-1]\ngiven: {mtu: 64}\nsweep: {cards: [1, 2]}\nsteps:\n  - wait: 1 s\n"

pytestmark = pytest.mark.usefixtures("test_steps")


def expected() -> dict[str, list[str]]:
    """The lines of expected.txt by file."""
    lines: dict[str, list[str]] = {}
    for line in (WRONG / "expected.txt").read_text(encoding="utf-8").splitlines():
        lines.setdefault(line.partition(":")[0], []).append(line)
    return lines


@pytest.mark.parametrize("name", sorted(path.name for path in WRONG.glob("*.yaml")))
def test_a_wrong_file_is_told_with_its_places(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    with pytest.raises(FileError) as caught:
        load_scenario(Path(name))
    told = str(caught.value).splitlines()
    assert all(PLACED.fullmatch(line) for line in told)
    assert told == expected()[name]


def test_there_are_many_of_them() -> None:
    names = {path.name for path in WRONG.glob("*.yaml")}
    assert names == expected().keys()
    assert len(names) >= 30


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"a: b\n" * (MAX_BYTES // 5 + 1))
    with pytest.raises(FileError, match=r"huge\.yaml:1:1: a file of more than 256 KiB; expected a smaller one"):
        load_scenario(path)


def test_many_small_values_are_refused(tmp_path: Path) -> None:
    text = "title: [" + "1, " * 30_000 + "1]\n"
    with pytest.raises(FileError, match="more than 20000 values"):
        parse(text, tmp_path / "many.yaml", "anything")


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=r":1:1: a file that cannot be read \((No such file|Is a directory)"):
        load_scenario(tmp_path / name)


def test_every_mistake_of_a_file_is_told() -> None:
    with pytest.raises(FileError) as caught:
        parse_scenario(GOOD.replace("64", "lots").replace("[1, 2]", "[1, few]"), Path("two.yaml"))
    assert [(each.position.line, each.position.column) for each in caught.value.mistakes] == [(3, 14), (4, 20)]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:- {}[],\n\t'\"&*!|>#%@0?~é\x00\x85"), max_size=60))
def test_no_text_ends_in_anything_but_file_error(text: str) -> None:
    with pytest.raises(FileError) as caught:
        parse_scenario(text, Path("any.yaml"))
    assert all(PLACED.fullmatch(line) for line in str(caught.value).splitlines())


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, len(GOOD)), gone=st.integers(0, 4), put=st.text(max_size=3))
def test_no_edit_of_a_good_file_ends_in_anything_but_file_error(place: int, gone: int, put: str) -> None:
    told: list[str] = []
    try:
        parse_scenario(GOOD[:place] + put + GOOD[place + gone :], Path("edited.yaml"))
    except FileError as error:
        told = str(error).splitlines()
    assert all(PLACED.fullmatch(line) for line in told)
