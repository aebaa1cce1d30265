"""What a policy file may say, and what it then permits (docs/gateway.md)."""

import ipaddress
import os
import re
import socket
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from bench.channels.message import Cause
from bench.files.mistakes import FileError
from bench.host.ground import Ground
from bench.host.log import Log
from bench.host.metrics import Metrics
from bench.host.policy import (
    DEFAULT_RULES,
    CardRules,
    ConnectRule,
    Limits,
    ListenRule,
    Policy,
    Times,
    load_policy,
    may_ask,
    may_connect,
    may_listen,
)
from bench.host.resolver import Resolver
from bench.host.sockets import ApduUplink, SocketUplink, own_loopbacks
from bench.host.uplink import UplinkError
from tests.gateway.support import call, caller, gateway, wait

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rules(**tree: object) -> CardRules:
    return CardRules.model_validate({"card": "any", **tree})


def connects(entry: CardRules, where: str, port: int = 80, *, name: str = "", udp: bool = False) -> bool:
    try:
        may_connect(entry, name, ipaddress.ip_address(where), port, udp)
    except UplinkError:
        return False
    return True


@pytest.mark.parametrize("where", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_by_default_a_card_reaches_this_machine(where: str) -> None:
    assert connects(DEFAULT_RULES, where)


@pytest.mark.parametrize(
    "where", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "::", "169.254.1.1", "224.0.0.1", "2001:db8::1", "::ffff:192.0.2.1"]
)
def test_by_default_a_card_reaches_no_other(where: str) -> None:
    assert not connects(DEFAULT_RULES, where)


def test_a_rule_holds_for_its_network_ports_and_protocol_alone() -> None:
    entry = rules(connect=[{"to": "192.0.2.0/24", "ports": "80, 8000-8010", "protocol": "tcp"}])
    assert connects(entry, "192.0.2.7")
    assert connects(entry, "::ffff:192.0.2.7", 8005)
    assert not connects(entry, "192.0.2.7", 81)
    assert not connects(entry, "192.0.2.7", udp=True)
    assert not connects(entry, "192.0.3.7")
    assert not connects(entry, "127.0.0.1")


def test_a_rule_by_name_does_not_open_this_machine_to_the_names_owner() -> None:
    entry = rules(connect=[{"to": "*.example.org"}, {"to": "example.com"}])
    assert connects(entry, "203.0.113.5", name="www.example.org")
    assert connects(entry, "203.0.113.5", name="Example.COM.")
    for where in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "0.0.0.0"):
        assert not connects(entry, where, name="www.example.org")
    assert not connects(entry, "203.0.113.5", name="example.org")
    assert not connects(entry, "203.0.113.5", name="evilexample.com")
    assert not connects(entry, "203.0.113.5")


def test_names_no_rule_could_permit_are_not_even_resolved() -> None:
    with pytest.raises(UplinkError, match=r"not connect to www\.example\.net"):
        may_ask(rules(connect=[{"to": "*.example.org"}]), "www.example.net", 80, False)
    may_ask(rules(connect=[{"to": "10.0.0.0/8"}]), "www.example.net", 80, False)


def test_listening_is_by_port_protocol_and_address() -> None:
    entry = rules(listen=[{"ports": "8000-8999", "protocol": "tcp", "on": ["127.0.0.2"], "chosen": "no"}])
    assert may_listen(entry, 8080, False) == ("127.0.0.2",)
    for port, udp in ((80, False), (8080, True), (0, False)):
        with pytest.raises(UplinkError) as refused:
            may_listen(entry, port, udp)
        assert refused.value.cause is Cause.SECURITY


def test_the_first_entry_that_matches_a_card_holds() -> None:
    policy = Policy.model_validate(
        {
            "cards": [
                {"card": "2", "listen": []},
                {"card": "0x4142", "connect": []},
                {"card": "CB0003", "listen": [], "connect": []},
            ]
        }
    )
    assert policy.of(2, b"AB").listen == ()
    assert policy.of(1, b"AB").connect == ()
    assert policy.of(3, b"CB0003").listen == ()
    assert policy.of(4, b"other") is DEFAULT_RULES


@pytest.mark.parametrize("example", sorted(DOCS.glob("gateway-policy*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_policies(example: Path) -> None:
    assert load_policy(example).cards


def test_there_are_examples() -> None:
    assert list(DOCS.glob("gateway-policy*.yaml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen: [nowhere]", "p.yaml:1:10: 'nowhere'; expected an address of this machine"),
        ("directory: off", "p.yaml:1:12: 'off'; expected a port from 0 to 65535: the directory is always there"),
        ("cards:\n  - {card: 300}", "p.yaml:2:12: '300'; expected any, a node number from 1 to 254"),
        ("cards:\n  - card: any\n    connect: [{to: 10.0.0.1/8}]", "p.yaml:3:20: '10.0.0.1/8'; expected a network"),
        (
            "cards:\n  - card: any\n    connect: [{ports: 80}]",
            "p.yaml:3:15: no 'to'; expected 'to': a network or a name",
        ),
        ("cards:\n  - card: any\n    listen: [{ports: 0-10}]", "p.yaml:3:22: '0-10'; expected ports such as"),
        ("limits: {memory: lots}", "p.yaml:1:18: 'lots'; expected a size"),
        ("limits: {per_crad: 3}", "p.yaml:1:10: the unknown key 'per_crad' (did you mean 'per_card'?)"),
        ("times: {connect: 3}", "p.yaml:1:18: '3'; expected a time"),
        ("[]", "p.yaml:1:1: a list; expected a gateway policy"),
    ],
)
def test_mistakes_are_told_where_they_are(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p.yaml").write_text(text + "\n")
    with pytest.raises(FileError) as refused:
        load_policy(tmp_path / "p.yaml")
    assert told in str(refused.value)


# -- at work -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["tcp 192.0.2.1 80", "udp 192.0.2.1 53", "tcp example.invalid 80", "tcp :: 7"])
def test_a_forbidden_place_is_a_security_error_and_nothing_goes_out(order: str) -> None:
    asked: list[str] = []
    policy: dict[str, object] = {"cards": [{"card": "any", "connect": [{"to": "*.example.org"}]}]}
    with gateway(("caller", caller), policy=policy) as gate:
        resolver = gate.running.service.uplink._resolver
        resolver._lookup = lambda name: asked.append(name) or ()  # type: ignore[func-returns-value]
        inner, answer = call(gate, order)
        inner.close()
        assert answer == b"refused %02x" % Cause.SECURITY
        assert asked == []
        assert gate.metric('refused_total{card="1",cause="security"}') == 1


def test_a_name_that_resolves_to_a_forbidden_address_is_a_security_error() -> None:
    policy: dict[str, object] = {"cards": [{"card": "any", "connect": [{"to": "*.example.org"}]}]}
    with gateway(("caller", caller), policy=policy) as gate, socket.create_server(("127.0.0.1", 0)) as server:
        resolver = gate.running.service.uplink._resolver
        resolver._lookup = lambda _name: (ipaddress.ip_address("127.0.0.1"),)
        inner, answer = call(gate, f"tcp rebound.example.org {server.getsockname()[1]}")
        inner.close()
        assert answer == b"refused %02x" % Cause.SECURITY
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_card_that_may_not_listen_offers_nothing_and_the_others_do() -> None:
    with gateway(cards=2, policy={"cards": [{"card": "2", "listen": [{"ports": "1-65535", "chosen": "yes"}]}]}) as gate:
        assert {each.card for each in gate.services} == {1, 2}
    policy = Policy.model_validate({"cards": [{"card": "1", "listen": []}]})
    with pytest.raises(UplinkError):
        may_listen(policy.of(1, b""), 7, False)


def test_lookups_are_bounded_and_late_ones_told() -> None:
    import threading

    release = threading.Event()
    found: list[tuple[object, ...]] = []
    resolver = Resolver(lambda action: action(), 3, lambda _name: (release.wait(10), ())[1])  # type: ignore[func-returns-value]
    lookups = [resolver.resolve(f"host{number}.invalid", found.append) for number in range(5)]
    assert [each is None for each in lookups] == [False, False, False, True, True]
    assert lookups[0] is not None
    lookups[0].cancel()
    release.set()
    wait(lambda: len(found) == 2)
    resolver.close()
    assert len(resolver._threads) == 2


def test_the_apdu_port_stays_on_loopback_unless_the_policy_says_where() -> None:
    for policy, expected in (
        ({"listen": ["127.77.1.2", "192.0.2.7"]}, ("127.77.1.2",)),
        ({"listen": ["192.0.2.7"]}, own_loopbacks()),
        ({"listen": ["0.0.0.0"]}, own_loopbacks()),
        ({"listen": ["192.0.2.7"], "apdu_on": ["192.0.2.7"]}, ("192.0.2.7",)),
    ):
        ground = Ground(NoDrive(), Policy.model_validate(policy), Log(None), Metrics())  # type: ignore[arg-type]
        assert ApduUplink(SocketUplink(ground)).addresses == expected


class NoDrive:
    """Nothing happens."""

    def post(self, action: object) -> None:
        raise AssertionError(action)


def test_a_pipe_is_no_policy_file_and_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "policy.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(FileError, match="no regular file"):
            load_policy(path)
    with pytest.raises(FileError, match="cannot be read"):
        load_policy(tmp_path)


GUIDE = (DOCS / "gateway.md").read_text()


def test_the_guide_has_a_row_for_each_limit_and_each_time_with_its_default() -> None:
    written = yaml.load((DOCS / "gateway-policy-default.yaml").read_text(), yaml.BaseLoader)
    for model, defaults in ((Limits, written["limits"]), (Times, written["times"])):
        assert defaults.keys() == model.model_fields.keys()
        for name, default in defaults.items():
            assert f"\n| `{name}` | {default} | " in GUIDE, name


@pytest.mark.parametrize("model", [Policy, CardRules, ListenRule, ConnectRule])
def test_the_guide_names_each_key_of_a_policy(model: type[BaseModel]) -> None:
    section = GUIDE[GUIDE.index("## Policy") : GUIDE.index("## Log")]
    for name in model.model_fields:
        assert f"`{name}`" in section, name


def test_the_guide_names_each_event_of_the_log() -> None:
    root = DOCS.parent / "bench"
    sources = "".join(path.read_text() for path in [*(root / "host").glob("*.py"), root / "commands" / "gateway.py"])
    events = set(re.findall(r"""\blog\.(?:debug|info|warning|error)\(\s*"([a-z.]+)\"""", sources))
    assert {"gateway.start", "connection.yield", "fault"} <= events
    section = GUIDE[GUIDE.index("## Log") :]
    assert [event for event in sorted(events) if f"`{event}`" not in section] == []


def test_the_default_written_out_is_the_default() -> None:
    written = load_policy(DOCS / "gateway-policy-default.yaml")
    assert written.model_copy(update={"cards": ()}) == Policy()
    (entry,) = written.cards
    assert (entry.listen, entry.connect) == (DEFAULT_RULES.listen, DEFAULT_RULES.connect)
