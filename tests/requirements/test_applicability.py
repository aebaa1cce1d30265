"""Expressions over a declaration: read, held against cards, told in words; mistakes are told where they are."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from bench.files.mistakes import FileError
from bench.requirements.applicability import CAPABILITIES, Kind, applicable, parse_applicability
from bench.requirements.catalogue import catalogue, load_catalogue_file
from bench.requirements.declarations import none_applies
from bench.rig.declaration import Declaration

SMALL = Declaration.model_validate(
    {
        "card": "Acme 7",
        "protocols": ["T=0"],
        "rates": ["11", "96"],
        "stack": "channel",
        "mtu": "128",
        "channels": "2",
        "ports": "1",
        "memory": "1 KiB",
        "deviations": [{"name": "one-queue", "requirements": ["CH-FAIR-1"], "text": "one queue for all channels"}],
    }
)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", ""),
        ("stack channel", ""),
        ("stack channel and channels >= 2 and rate 96", ""),
        ("stack ip", "needs stack ip: declared is stack channel"),
        ("stack channel and channels >= 4", "needs channels >= 4: declared is channels 2"),
        (
            "stack ip or channels > 2",
            "needs stack ip or channels > 2: declared is stack channel; declared is channels 2",
        ),
        ("stack ip or channels = 2", ""),
        ("memory >= 2 KiB", "needs memory >= 2 KiB: declared is memory 1024"),
        ("memory < 2 KiB", ""),
        ("not protocol T=1", ""),
        (
            "not (protocol T=0 and ports = 1)",
            "needs not (protocol T=0 and ports = 1): declared is protocol T=0; declared is ports 1",
        ),
        ("deviation one-queue", ""),
        ("not deviation one-queue", "needs not deviation one-queue: declared is deviation one-queue"),
        ("deviation", ""),
        # what is not declared is neither there nor absent
        ("extended", "needs extended: the declaration says nothing of extended"),
        ("not extended", "needs not extended: the declaration says nothing of extended"),
        ("extended or stack channel", ""),
        ("not extended and stack ip", "needs not extended: the declaration says nothing of extended"),
    ],
)
def test_what_applies(expression: str, reason: str) -> None:
    read = parse_applicability(expression)
    assert read.why_not(SMALL) == reason
    assert parse_applicability(str(read)) == read


def test_a_declared_deviation_is_why_a_requirement_does_not_apply() -> None:
    known = catalogue()
    assert applicable(known["CH-FAIR-1"], SMALL) == "declared deviation one-queue: one queue for all channels"
    assert applicable(known["CH-FAIR-2"], SMALL) == ""
    assert applicable(known["IP-TCP-1"], SMALL) == "needs stack ip: declared is stack channel"


def test_a_requirement_on_a_chain_applies_where_it_does_to_every_card() -> None:
    sound = SMALL.model_copy(update={"deviations": ()})
    assert none_applies(["CH-FAIR-1"], (sound, None)) == ""
    told = "CH-FAIR-1 does not apply: declared deviation one-queue: one queue for all channels"
    assert none_applies(["CH-FAIR-1"], (sound, SMALL)) == told
    assert none_applies(["CH-FAIR-1", "CH-FAIR-2"], (sound, SMALL)) == ""
    assert none_applies(["IP-TCP-1"], (None, SMALL)) == ""


def test_mistakes_in_the_catalogue_are_told_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    entries = [
        ("stack chanel", "7: 'chanel'; expected one of channel, ip (did you mean 'channel'?)"),
        ("channels >= T=1", "13: 'T=1'; expected a whole number"),
        ("(stack ip or", "13: the end of the expression; expected one of protocol, rate"),
        ("stack ip protocol", "10: 'protocol'; expected 'and', 'or', or the end of the expression"),
        ("stack ip & x", "10: '&'; expected a name, a value, a comparison or a bracket"),
        ("chaining >= 3", "10: '>='; expected nothing more after 'chaining'"),
        ("memory >= 2", "12: the end of the expression; expected one of B, KiB, MiB"),
        ("rate 1x", "6: '1x'; expected TA1"),
        ("not " * 30 + "chaining", "81: 'not'; expected at most 20 levels"),
    ]
    start = "  - {clause: '1', layer: hop, text: Something, id: "
    lines = [f"{start}A-{index}, applies: '{text}'}}" for index, (text, _) in enumerate(entries, 1)]
    path.write_text("source: S\nrequirements:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load_catalogue_file(path)
    column = len(start) + len("A-1, applies: '")
    for line, ((_, told), said) in enumerate(zip(entries, str(caught.value).splitlines(), strict=True), 3):
        offset, _, rest = told.partition(":")
        assert said.startswith(f"{path}:{line}:{column + int(offset)}:{rest}"), said


WORDS = [*CAPABILITIES, "and", "or", "not", "(", ")", ">=", "<", "=", "4", "KiB", "T=1", "channel", "x-1", "é", "  "]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused_and_means_the_same_when_written_back(text: str) -> None:
    offset, read = 0, None
    try:
        read = parse_applicability(text)
    except PydanticCustomError as refused:
        offset = int((refused.context or {})["offset"])
    assert 0 <= offset <= len(text)
    if read is not None:
        assert parse_applicability(str(read)).why_not(SMALL) == read.why_not(SMALL)


def test_the_catalogue_speaks_of_declared_capabilities() -> None:
    used = {name for each in catalogue().values() for name in each.applies.expression.names()}
    assert used >= {"protocol", "stack", "addressing", "class", "mode", "extended", "memory", "ip"}
    kinds = {each.kind for each in CAPABILITIES.values()}
    assert kinds == set(Kind)
