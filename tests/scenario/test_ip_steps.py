"""Steps of the IP stack notice what is wrong: each is shown something that it must not pass."""

from pathlib import Path

import pytest

from bench.net.node import Node
from bench.net.udp_ports import Datagram, UdpPort
from bench.observe import Verdict
from bench.rig.given import Given
from bench.scenario.loader import parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

from .fakes import SOFTWARE, Kept

HEAD = """\
title: T
requirements: [IP-ROUTE-1]
needs: {{stack: ip}}
given: {{stack: {stack}, cards: 2, mtu: 256, ta1: "96", {given}}}
steps:
  - power_on: {{}}
  - assign_addresses: {{}}
  - expect_addresses: {{}}
"""


def run(*steps: str, given: str = "poll: 5 ms", stack: str = "ip") -> Outcome:
    text = HEAD.format(given=given, stack=stack) + "".join(f"  - {step}\n" for step in steps)
    (point,) = parse_scenario(text, Path("scenarios/routing/x.yaml")).points[Selection.ORDINARY]
    assert isinstance(point.given, Given)
    return run_point(point, SOFTWARE, 1, Kept)


@pytest.mark.parametrize("stack", ["ip", "both"])
def test_what_is_right_passes(stack: str) -> None:
    steps = (
        "ping: {to: 2, from: 1, size: 500 B}",
        "trace_route: {to: 2}",
        "ip_connect: {to: 2, port: 7}",
        "ip_transfer: {to: 2, direction: echo, size: 2 KiB, connections: 3}",
        "ip_transfer: {to: 2, protocol: udp, direction: up, size: 2 KiB}",
        "expect_ip_route: {to: 2}",
        "lookup_name: {name: card-2, card: 2}",
    )
    outcome = run(*steps, stack=stack)
    assert outcome.verdict.verdict is Verdict.PASS, outcome.text()


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("ping: {to: 2, expect: unreachable, count: 1}", "reply, expected unreachable"),
        ("ping: {to: 2, hop_limit: 2, count: 1}", "time-exceeded"),
        ("trace_route: {to: 1, from: host, version: 6}", ""),
        ("ip_connect: {to: 2, port: 4444}", "refused, expected open"),
        ("ip_connect: {to: 2, port: 7, expect: refused}", "open, expected refused"),
        ("expect_ip_route: {to: 2, present: false, within: 1 s}", "still a route to card 2"),
        ("expect_addresses: {without: 1}", "0 cards were told"),
        ("lookup_name: {name: nobody, card: 2}", "is said to be None"),
        ("lookup_name: {name: card-1, card: 2}", "card 2 is"),
        ("lookup_name: {name: card-1, card: 0}", "where nobody should be"),
        ("expect_name: {card: 1, granted: other, within: 1 s}", "expected 'other'"),
    ],
)
def test_what_is_not_as_said_fails(step: str, says: str) -> None:
    outcome = run(step)
    assert outcome.verdict.verdict is (Verdict.FAIL if says else Verdict.PASS), outcome.text()
    assert says in outcome.verdict.reason or not says


def test_a_connection_that_does_not_end_fails() -> None:
    outcome = run("ip_connect: {to: 1, port: 7}", "expect_ended: {by: reset, within: 2 s}")
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "still open, expected reset" in outcome.verdict.reason


def test_a_pool_that_is_exhausted_fails_where_nobody_expects_it() -> None:
    outcome = run(given="addressing: pool, pool: 1")
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "1 cards were told that there is no address, expected 0" in outcome.verdict.reason


def test_a_card_that_forwards_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "forwarding", property(lambda _node: False, lambda _node, _value: None), raising=False)
    outcome = run("ping: {to: 2, count: 1, within: 2 s}")
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "silence, expected reply" in outcome.verdict.reason


def test_a_card_that_damages_a_datagram_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    offer = UdpPort.offer

    def damaged(port: UdpPort, datagram: Datagram) -> None:
        wrong = datagram.payload[:-1] + bytes((datagram.payload[-1] ^ 1,)) if len(datagram.payload) > 20 else b"1 100"
        offer(
            port,
            Datagram(datagram.source, datagram.source_port, datagram.destination, wrong, datagram.hop_limit),
        )

    monkeypatch.setattr(UdpPort, "offer", damaged)
    outcome = run("ip_transfer: {to: 1, protocol: udp, direction: up, size: 1 KiB}")
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "that nobody sent" in outcome.verdict.reason


def test_a_stack_that_sends_twice_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.net.plug.rto_floor", lambda *_arguments: 10**5)
    monkeypatch.setattr("bench.net.plug.window_ticks", lambda *_arguments: 0)
    outcome = run("ip_transfer: {to: 2, direction: up, size: 8 KiB}")
    (again,) = [each.value for each in outcome.measurements if each.name == "retransmissions"]
    assert again > 0


def test_without_an_ip_network_the_steps_do_not_apply() -> None:
    outcome = run("ping: {to: 1}", stack="channel")
    assert outcome.verdict.verdict is Verdict.NOT_APPLICABLE
    assert "needs stack ip, declared is channel" in outcome.verdict.reason
