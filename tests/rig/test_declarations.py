"""Declarations of cards: what a rig file names reaches the run; mistakes are told where they are."""

from pathlib import Path

import pytest

from bench.engine import Timebase
from bench.files.mistakes import FileError
from bench.observe import Parameter, Verdict
from bench.requirements.declarations import load_declaration
from bench.rig.declaration import Declaration
from bench.rig.declared import beyond, narrowed
from bench.rig.given import Given
from bench.rig.loader import load_rig_file
from bench.rig.model import RigModel
from bench.scenario.loader import parse_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from fixtures.options import read_rig_choice
from tests.scenario.fakes import Kept

SMALL = """card: Acme 7, firmware 2.1
protocols: [T=0]
rates: [11, 18]
stack: channel
mtu: 128
channels: 2
ports: 2
memory: 1 KiB
deviations:
  - {name: one-queue, requirements: [CH-FAIR-1], text: one queue for all channels}
"""
RIG = """station: lab
rigs:
  - name: ours
    reader: {kind: software}
    cards:
      - {declares: declarations/small.yaml}
"""


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    (tmp_path / "declarations").mkdir()
    (tmp_path / "declarations" / "small.yaml").write_text(SMALL, encoding="utf-8")
    path = tmp_path / "lab.yaml"
    path.write_text(RIG, encoding="utf-8")
    return path


def one_point(requirement: str, more: str) -> Point:
    text = f"title: T\nrequirements: [{requirement}]\n{more}\nsteps:\n  - power_on\n"
    (point,) = parse_scenario(text, Path("tests/of-one.yaml")).points[Selection.ORDINARY]
    return point


@pytest.mark.parametrize(
    ("requirement", "more", "reason"),
    [
        ("CH-OPEN-1", "needs: {stack: channel, channels: 2}", ""),
        ("CH-OPEN-1", "needs: {stack: channel, channels: 3}", "needs channels 3, declared is 2"),
        ("CH-OPEN-1", "needs: {mtu: 256}", "needs mtu 256, declared is 128"),
        ("APDU-SW-1", "needs: {protocol: 'T=1'}", "needs protocol T=1, declared is T=0"),
        ("CH-FAIR-1", "", "CH-FAIR-1 does not apply: declared deviation one-queue: one queue for all channels"),
        ("IP-TCP-1", "", "IP-TCP-1 does not apply: needs stack ip: declared is stack channel"),
        ("PPS-2", "given: {ta1: 18}", ""),
        (
            "PPS-2",
            "given: {ta1: 96}\nneeds: {rate: true}",
            "the card's declared rates, as TA1, are 11 18: not 96",
        ),
        ("APDU-SW-1", "given: {protocol: 'T=1'}", "the card is declared to speak T=0: not T=1"),
        ("APDU-SW-1", "given: {stack: both}", "the card is declared to carry channel: not both"),
    ],
)
def test_points_are_judged_by_what_the_card_declares(rig: Path, requirement: str, more: str, reason: str) -> None:
    model = load_rig_file(rig).rigs[0]
    outcome = run_point(one_point(requirement, more), model, 1, Kept)
    assert outcome.verdict.reason == reason
    assert outcome.verdict.verdict is (Verdict.NOT_APPLICABLE if reason else Verdict.PASS)


def test_cards_of_a_chain_have_what_all_of_them_declare() -> None:
    first = Declaration.model_validate(
        {"card": "A", "protocols": ["T=1"], "stack": "channel", "mtu": "256", "channels": "8", "ports": "2"}
    )
    second = Declaration.model_validate(
        {"card": "B", "protocols": ["T=0"], "stack": "channel", "mtu": "64", "channels": "16", "ports": "1"}
    )
    have: dict[str, object] = {"protocol": ("T=0", "T=1"), "stack": ("channel", "ip"), "channels": 32, "rate": True}
    assert narrowed(have, (first, None, second)) == {
        "protocol": ("T=1",),
        "stack": ("channel",),
        "mtu": 64,
        "channels": 8,
        "ports": 1,
        "rate": True,
    }


def test_the_record_of_a_run_holds_the_declarations(rig: Path) -> None:
    choice = read_rig_choice(str(rig), None)
    assert choice.text == f"{RIG}\n# small.yaml\n{SMALL}"
    (declared,) = choice.model.declarations
    assert declared == load_declaration(rig.parent / "declarations" / "small.yaml")
    assert isinstance(choice.model, RigModel)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "channels: 2\n",
            "",
            "small.yaml:1:1: stack channel without 'channels'; expected 'channels': channels open at a time",
        ),
        ("stack: channel", "stack: chanel", "small.yaml:4:8: 'chanel'; expected"),
        ("mtu: 128", "mtu: 16", "small.yaml:5:6: '16'; expected 32 or more"),
        ("rates: [11, 18]", "rates: [11, 1x]", "small.yaml:3:13: '1x'; expected TA1"),
        ("memory: 1 KiB", "memory: 1", "small.yaml:8:9: '1'; expected a size such as"),
        (
            "[CH-FAIR-1]",
            "[CH-FIAR-1]",
            "small.yaml:10:38: the unknown requirement 'CH-FIAR-1' (did you mean 'CH-FAIR-1'?)",
        ),
        ("ports: 2", "port: 2", "small.yaml:7:1: the unknown key 'port' (did you mean 'ports'?)"),
    ],
)
def test_mistakes_in_a_declaration(rig: Path, old: str, new: str, told: str) -> None:
    path = rig.parent / "declarations" / "small.yaml"
    path.write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(FileError) as caught:
        read_rig_choice(str(rig), None)
    assert f"declarations/{told}" in str(caught.value)


def test_mistakes_in_a_rig_file_about_declarations(rig: Path) -> None:
    rig.write_text(RIG.replace("small", "smell"), encoding="utf-8")
    with pytest.raises(
        FileError, match=r"lab\.yaml:6:20: 'declarations/smell\.yaml', where no file is; expected a decl"
    ):
        load_rig_file(rig)
    rig.write_text(RIG.replace("{declares", "{stack: ip, declares"), encoding="utf-8")
    with pytest.raises(FileError, match=r"lab\.yaml:6:17: stack ip; expected channel, which declarations/small\.yaml"):
        load_rig_file(rig)


FOUR_ALONE = Declaration.model_validate(
    {
        "card": "Acme 4",
        "protocols": ["T=0", "T=1"],
        "classes": ["A"],
        "edc": "LRC",
        "stack": "ip",
        "mtu": "576",
        "ports": "1",
        "versions": ["4"],
        "addressing": ["numbered"],
        "transports": ["tcp"],
    }
)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"stack": "ip", "offers": "both", "mode": "negotiable", "classes": "A", "edc": "LRC", "mru": "296"}, ""),
        ({"cards": "2"}, "a card is declared to have one I/O port: no other can follow it, and the point has 2"),
        ({"stack": "ip", "addressing": "pool"}, "the card is declared to have its addresses from numbered: not pool"),
        ({"mode": "specific"}, "of mode is declared negotiable; the point is about a card of specific"),
        ({"classes": "AB"}, "of classes is declared A; the point is about a card of A B"),
        ({"edc": "CRC"}, "of error detection code is declared LRC; the point is about a card of CRC"),
        ({"offers": "T=1"}, "of protocols is declared T=0 T=1; the point is about a card of T=1"),
    ],
)
def test_a_point_about_another_card_than_the_declared_one_does_not_apply(given: dict[str, str], reason: str) -> None:
    assert beyond(Given.model_validate(given), (FOUR_ALONE,)) == reason
    assert beyond(Given.model_validate(given), (None,)) == ""


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (["assign_addresses: {}", "expect_addresses: {}", "ping: {to: 1, count: 1}"], ""),
        (["ping: {to: 1, version: 6, count: 1}"], "a card is declared to speak IP 4: not 6"),
        (["ip_transfer: {to: 1, protocol: udp, size: 512 B}"], "a card is declared to use tcp: not udp"),
    ],
)
def test_a_card_that_speaks_one_version_of_ip_is_held_to_that_alone(steps: list[str], reason: str) -> None:
    text = "title: T\nrequirements: [IP-ADDR-1]\ngiven: {stack: ip, mtu: 576}\nsteps:\n  - power_on: {}\n"
    text += "".join(f"  - {step}\n" for step in steps)
    (point,) = parse_scenario(text, Path("tests/of-one.yaml")).points[Selection.ORDINARY]
    model = RigModel.model_validate({"name": "ours", "reader": {"kind": "software"}})
    outcome = run_point(point, model.declared((FOUR_ALONE,)), 1, Kept)
    assert outcome.verdict.reason == reason
    assert outcome.verdict.verdict is (Verdict.NOT_APPLICABLE if reason else Verdict.PASS)


@pytest.mark.parametrize(
    ("more", "rate", "reason"),
    [
        ("given: {ta1: 97, stack: ip}\nneeds: {stack: ip}", "96", ""),
        ("given: {stack: ip}\nneeds: {stack: ip}\nsweep: {ta1: [97]}", "96", ""),
        ("given: {ta1: 97}", "97", "the card's declared rates, as TA1, are 11 96: not 97"),
        (
            "needs: {stack: ip}\nsweep: {ta1: [97]}\nfull: {ta1: [97, 11]}",
            "97",
            "the card's declared rates, as TA1, are 11 96: not 97",
        ),
        (
            "given: {ta1: 97}\nneeds: {stack: ip, rate: true}",
            "97",
            "the card's declared rates, as TA1, are 11 96: not 97",
        ),
        (
            "given: {ta1: 24}\nneeds: {stack: ip}",
            "24",
            "the card's declared rates, as TA1, are 11 96: not 24",
        ),  # more than 4 times either
    ],
)
def test_a_point_that_is_not_about_rates_runs_at_the_nearest_one_declared(more: str, rate: str, reason: str) -> None:
    kept: list[Kept] = []

    def keep(timebase: Timebase) -> Kept:
        kept.append(Kept(timebase))
        return kept[0]

    at_96 = FOUR_ALONE.model_copy(update={"rates": (0x11, 0x96)})
    model = RigModel.model_validate({"name": "ours", "reader": {"kind": "software"}})
    outcome = run_point(one_point("APDU-SW-1", more), model.declared((at_96,)), 1, keep)
    assert outcome.verdict.reason == reason
    (told,) = [each.value for each in kept[0].seen if isinstance(each, Parameter) and each.name == "ta1"]
    assert told == rate
