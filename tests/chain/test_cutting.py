"""Laws of the hop: cut any single exchange anywhere, and everything is delivered exactly once (docs/protocol.md, 1.5)."""

from collections.abc import Iterator

import pytest

from bench.card.applications.echo import echo
from bench.card.communication import Accept, Communication, Server, System
from tests.support import Chain, profile

MESSAGES = 20
BODY = 64 - 5


def _message(index: int) -> bytes:
    return b"%02d" % index + bytes((index,)) * (BODY - 2)


async def talker(io: Communication, system: System) -> None:
    """Sends twenty messages of its own and keeps those it gets: both directions full at the same time, neither waiting for the other."""
    listener = await io.open(Server(4711, "talker"))
    channel = await io.open(Accept(listener))

    async def talk() -> None:
        for index in range(MESSAGES):
            await io.send(channel, _message(index))

    system.start(talk(), "talk")
    kept = b""
    while len(kept) < MESSAGES * BODY and (message := await io.receive(channel)) is not None:
        kept += message
    await io.send(channel, b"".join(kept[at : at + 2] for at in range(0, len(kept), BODY)))


ALL = b"".join(_message(index) for index in range(MESSAGES))
RECEIPT = b"".join(b"%02d" % index for index in range(MESSAGES))


def transfer(hops: int, hop: int, commands: set[int], answers: set[int]) -> int:
    """Twenty messages each way over ``hops`` hops while exchanges of ``hop`` are cut; gives how many exchanges that hop has seen."""
    rig = Chain(*[profile(("echo", echo)) for _ in range(hops - 1)], profile(("talker", talker)))
    cutter = rig.cutters[hop - 1]
    cutter.cut_commands.update(commands)
    cutter.cut_answers.update(answers)
    rig.start()
    socket = rig.dial("talker", hops)
    socket.write(ALL)
    rig.wait(lambda: len(socket.received) >= len(ALL) + len(RECEIPT))
    rig.run(0.05)
    assert bytes(socket.received) == ALL + RECEIPT
    rig.assert_sound()
    changes = [each for each in rig.link_changes if not each.up]
    assert changes == [], "one cut is no reason to give the hop up"
    return cutter.count


def _indexes(hops: int, hop: int) -> Iterator[int]:
    """From the first exchange (which brings HELLO) to the last of the transfer."""
    yield from range(transfer(hops, hop, set(), set()))


@pytest.mark.parametrize(("hops", "hop"), [(1, 1), (3, 1), (3, 2), (3, 3)])
@pytest.mark.parametrize("what", ["command", "answer"])
def test_any_single_exchange_may_be_cut(hops: int, hop: int, what: str) -> None:
    tried = 0
    for index in _indexes(hops, hop):
        cut = {index}
        transfer(hops, hop, cut if what == "command" else set(), cut if what == "answer" else set())
        tried += 1
    assert tried >= 2 * MESSAGES


@pytest.mark.parametrize("hop", [1, 2])
def test_every_fifth_exchange_may_be_cut_in_one_transfer(hop: int) -> None:
    for start in range(5):
        transfer(2, hop, set(range(start, 1000, 10)), set(range(start + 5, 1000, 10)))


def test_what_was_cut_before_a_power_cycle_is_not_noticed_after_it() -> None:
    rig = Chain(profile(("echo", echo))).start()
    cutter = rig.cutters[0]
    cutter.silence = rig.ticks(1.0)
    socket = rig.dial("echo")
    cutter.cut_answers.update({cutter.count})
    socket.write(b"lost")
    rig.run(0.01)
    rig.host.link.stop()
    rig.host.link.start()
    rig.wait(lambda: len(rig.services) == 1, 0.5)
    before = [each for each in rig.link_changes if not each.up]
    fresh = rig.dial("echo")
    for _ in range(40):
        rig.run(0.05)
        rig.echo(fresh, b"answers are this cycle's own")
    assert [each for each in rig.link_changes if not each.up] == before
    rig.assert_sound()
