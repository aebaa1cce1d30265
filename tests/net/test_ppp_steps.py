"""Steps of PPP notice what is wrong: a card that errs in one point each, and what is said of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.card import ppp as card
from bench.net.ppp.automaton import Automaton, Judged
from bench.net.ppp.lcp import LcpNegotiator
from bench.net.ppp.link import PppLink
from bench.net.ppp.packets import Code, ControlPacket
from bench.observe import Verdict
from bench.scenario.loader import load_scenario, parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point
from tests.scenario.fakes import SOFTWARE, Kept

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "ppp"
Patch = pytest.MonkeyPatch


def first(name: str) -> Outcome:
    """The first point of a scenario."""
    point = load_scenario(SCENARIOS / f"{name}.yaml").points[Selection.ORDINARY][0]
    return run_point(point, SOFTWARE, 1, Kept)


def card_alone(patch: Patch, wrong: type[PppLink]) -> None:
    """The card has this link, the host a sound one."""
    patch.setattr(card, "PppLink", wrong)


class NoEcho(PppLink):
    def _lcp_extra(self, packet: ControlPacket, now: int) -> bool:
        return packet.code == Code.ECHO_REQUEST or super()._lcp_extra(packet, now)


class NoReject(PppLink):
    def _network(self, protocol: int, information: bytes, now: int) -> None:
        if protocol in (0x21, 0x57, 0x8021, 0x8057):
            super()._network(protocol, information, now)


class WrongMagic(PppLink):
    def _lcp_extra(self, packet: ControlPacket, now: int) -> bool:
        if packet.code == Code.ECHO_REQUEST:
            packet = ControlPacket(packet.code, packet.identifier, packet.data[:4] + b"\x00" * (len(packet.data) - 4))
        return super()._lcp_extra(packet, now)


class NoMagic(PppLink):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.lcp_options.wishes.magic = False


def judged(change: Callable[[Judged], Judged]) -> Callable[[Patch], None]:
    def patch(monkeypatch: Patch) -> None:
        judge = LcpNegotiator.judge

        class Wrong(LcpNegotiator):
            def judge(self, options, *, insist):  # type: ignore[no-untyped-def]
                return change(judge(self, options, insist=insist))

        class WrongLink(PppLink):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments)  # type: ignore[arg-type]
                self.lcp_options.__class__ = Wrong

        card_alone(monkeypatch, WrongLink)

    return patch


def link(wrong: type[PppLink]) -> Callable[[Patch], None]:
    return lambda patch: card_alone(patch, wrong)


def automaton(name: str) -> Callable[[Patch], None]:
    """A card whose automaton of that protocol answers no Terminate-Request, or no unknown code."""

    class Mute(PppLink):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            self.lcp.__class__ = Deaf

    class Deaf(Automaton):
        def receive(self, data: bytes, now: int) -> None:
            known = data[:1] and data[0] in range(1, 12)
            if (name == "terminate" and data[:1] == b"\x05") or (name == "code" and not known):
                return
            super().receive(data, now)

    return link(Mute)


@pytest.mark.parametrize(
    ("scenario", "wrong", "says"),
    [
        ("echo", link(NoEcho), "expected c021 0a37"),
        ("echo", link(WrongMagic), "expected c021 0a37"),
        ("protocol-reject", link(NoReject), "answered with nothing"),
        ("loop", link(NoMagic), "opened a link with itself"),
        ("terminate", automaton("terminate"), "did not acknowledge"),
        ("code-reject", automaton("code"), "answered with nothing"),
        ("option-unknown", judged(lambda each: Judged(Code.CONFIGURE_NAK, each.options)), ""),
        ("mru-too-small", judged(lambda each: Judged(Code.CONFIGURE_ACK, each.options)), "expected c021 0332"),
        ("options-taken", judged(lambda each: Judged(Code.CONFIGURE_REJECT, each.options)), ""),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_wrong_card_is_accused(monkeypatch: Patch, scenario: str, wrong: Callable[[Patch], None], says: str) -> None:
    wrong(monkeypatch)
    outcome = first(scenario)
    assert outcome.verdict.verdict is Verdict.FAIL, outcome.text()
    assert says in outcome.verdict.reason


def test_a_sound_card_is_not() -> None:
    for scenario in ("echo", "terminate", "mru"):
        assert first(scenario).verdict.verdict is Verdict.PASS


def test_a_card_that_takes_less_than_1500_is_found() -> None:
    text = (SCENARIOS / "takes-1500.yaml").read_text().replace("mtu: 1500", "mtu: 1500, takes: 296")
    point = parse_scenario(text, SCENARIOS / "x.yaml").points[Selection.ORDINARY][0]
    outcome = run_point(point, SOFTWARE, 1, Kept)
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "was answered with nothing" in outcome.verdict.reason
