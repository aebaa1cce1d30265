"""Cards and hosts that break one rule of docs/protocol.md, 3, each accused by the scenario of that rule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.card.communication import ChannelCommunication
from bench.channels import table
from bench.channels.channel import Channel, ChannelOwner
from bench.channels.message import Address, Cause, Message, decode_message
from bench.channels.table import ChannelTable
from bench.host.gateway import Gateway
from bench.host.peers import InProcessUplink
from bench.host.uplink import Connection, Visitor
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point

from .fakes import SOFTWARE, Kept

SOCKETS = Path(__file__).resolve().parents[2] / "scenarios" / "sockets"
Patch = Callable[[pytest.MonkeyPatch], None]


def _sends_without_credit(patch: pytest.MonkeyPatch) -> None:
    granted = Channel.joined

    def joined(self: Channel, peer_number: int, credit: int, payload: int) -> None:
        granted(self, peer_number, credit + (1 if self.wire.number else 0), payload)

    patch.setattr(Channel, "joined", joined)


def _swallows_strays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChannelTable, "_stray", lambda _self, _packet, _source: None)


def _takes_any_version(patch: pytest.MonkeyPatch) -> None:
    def decode(packet: bytes) -> Message:
        return decode_message(bytes((packet[0] & 0x3F | 0x40,)) + packet[1:])

    patch.setattr(table, "decode_message", decode)


def _refuses_otherwise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChannelCommunication, "_server_for", lambda _self, _request: None)


def _mixes_channels_up(patch: pytest.MonkeyPatch) -> None:
    take = Channel.take

    def wrong(self: Channel) -> bytes:
        data = take(self)
        return data[::-1] if self.wire.number and self.number % 5 == 0 else data

    patch.setattr(Channel, "take", wrong)


def _goes_elsewhere(patch: pytest.MonkeyPatch) -> None:
    connect = InProcessUplink.connect

    def wrong(
        self: InProcessUplink, _address: Address, port: int, udp: bool, visitor: Visitor, card: int
    ) -> Connection:
        return connect(self, Address.name("elsewhere.example"), port, udp, visitor, card)

    patch.setattr(InProcessUplink, "connect", wrong)


def _tells_no_port(patch: pytest.MonkeyPatch) -> None:
    accept = Channel.accept

    def wrong(self: Channel, owner: ChannelOwner, port: int, mtu: int, window: int) -> None:
        accept(self, owner, 0 if self.transport.is_server and self.port == 0 else port, mtu, window)

    patch.setattr(Channel, "accept", wrong)


def _never_gives_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gateway, "_watch_open", lambda _self, _pipe, _channel: None)


def _cuts_datagrams(patch: pytest.MonkeyPatch) -> None:
    send = Channel.send

    def wrong(self: Channel, data: bytes) -> bool:
        return send(self, data[:40] if self.transport.is_udp else data)

    patch.setattr(Channel, "send", wrong)


def _keeps_some_back(patch: pytest.MonkeyPatch) -> None:
    def full(self: ChannelTable) -> int:
        if len(self._ends) > 0.8 * self.limit:
            raise table.NoChannelError("none")
        return free(self)

    free = ChannelTable._free_number
    patch.setattr(ChannelTable, "_free_number", full)


WRONG: tuple[tuple[str, Patch], ...] = (
    ("exact-credit", _sends_without_credit),
    ("stray-messages", _swallows_strays),
    ("no-messages", _takes_any_version),
    ("open-answered", _refuses_otherwise),
    ("kept-apart", _mixes_channels_up),
    ("opens-by-itself", _mixes_channels_up),
    ("to-any-address", _goes_elsewhere),
    ("ports-told", _tells_no_port),
    ("open-unanswered", _never_gives_up),
    ("datagrams", _cuts_datagrams),
    ("full-chain", _keeps_some_back),
)


@pytest.mark.parametrize(("name", "patch"), WRONG, ids=[name for name, _ in WRONG])
def test_accused_by_the_scenario_of_its_rule(name: str, patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    patch(monkeypatch)
    point = load_scenario(SOCKETS / f"{name}.yaml").points[Selection.ORDINARY][-1]
    outcome = run_point(point, SOFTWARE, 1, Kept)
    assert outcome.verdict.verdict is Verdict.FAIL, outcome.text()


def test_a_cause_that_is_not_the_right_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = Channel.refuse
    monkeypatch.setattr(Channel, "refuse", lambda self, _cause: refuse(self, Cause.NO_CHANNEL))
    point = load_scenario(SOCKETS / "open-answered.yaml").points[Selection.ORDINARY][0]
    outcome = run_point(point, SOFTWARE, 1, Kept)
    assert "expected REFUSED" in outcome.verdict.reason
