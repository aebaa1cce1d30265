"""Open, close, send, receive (the paper, 2.2; causes of ETSI TS 102 223, 8.12): what they give, when they wait, how they fail."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from bench.card.communication import Accept, ChannelError, Client, Communication, Handle, Server, System
from bench.card.tasks import Program
from bench.channels.message import Address, AddressKind, Cause
from bench.host.peers import PeerSocket
from tests.support import Chain, chain, profile

Body = Callable[[Communication, System], Program]


@dataclass(slots=True)
class Notes:
    """What an application under test has seen."""

    got: list[object] = field(default_factory=list)
    done: bool = False


def application(body: Callable[[Communication, System, Notes], Program], notes: Notes) -> tuple[str, Body]:
    async def run(io: Communication, system: System) -> None:
        await body(io, system, notes)
        notes.done = True

    return ("tested", run)


def card_with(*bodies: Callable[[Communication, System, Notes], Program], **options: int) -> tuple[Chain, list[Notes]]:
    """One card that runs these applications, powered up and numbered."""
    notes = [Notes() for _ in bodies]
    applications = [application(body, note) for body, note in zip(bodies, notes, strict=True)]
    rig = Chain(profile(*applications, **options))
    return rig, notes


def finished(rig: Chain, notes: list[Notes]) -> None:
    rig.wait(lambda: all(note.done for note in notes))
    assert rig.cards[0].crashes == []


async def expect(cause: Cause, call: Awaitable[object], notes: Notes) -> None:
    """The call fails with this cause, and says where."""
    with pytest.raises(ChannelError) as failed:
        await call
    assert failed.value.cause is cause, failed.value
    notes.got.append(cause)


# -- servers ---------------------------------------------------------------------------------------------------------------


def test_server_on_a_port_the_card_declares() -> None:
    async def serve(io: Communication, _system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        notes.got.append(listener.port)
        channel = await io.open(Accept(listener))
        notes.got.append(await io.receive(channel))
        await io.send(channel, b"bye")
        await io.close(channel)
        await io.close(listener)

    rig, notes = card_with(serve)
    rig.start(1)
    assert [(each.name, each.port, each.card) for each in rig.services] == [("mine", 4711, 1)]
    socket = rig.dial("mine")
    socket.write(b"hello")
    rig.wait(lambda: socket.cause is not None)
    assert (bytes(socket.received), socket.cause) == (b"bye", Cause.NONE)
    finished(rig, notes)
    assert notes[0].got == [4711, b"hello"]
    rig.wait(lambda: not rig.services)
    rig.run(0.1)
    rig.assert_sound()
    rig.assert_idle([0])


def test_server_on_a_port_the_host_chooses() -> None:
    async def serve(io: Communication, _system: System, notes: Notes) -> None:
        notes.got.append((await io.open(Server(0, "any"))).port)

    rig, notes = card_with(serve, serve)
    rig.host.start()
    finished(rig, notes)
    ports = {note.got[0] for note in notes}
    assert {each.port for each in rig.services} == ports
    assert len(ports) == 2
    assert all(isinstance(port, int) and port >= 49_152 for port in ports)


def test_a_port_that_is_in_use_is_refused_with_cause_10() -> None:
    async def first(io: Communication, _system: System, _notes: Notes) -> None:
        await io.open(Server(80, "first"))

    async def second(io: Communication, system: System, notes: Notes) -> None:
        await system.sleep(100)
        await expect(Cause.PORT_NOT_AVAILABLE, io.open(Server(80, "second")), notes)
        await io.open(Server(80, "second", udp=True))  # the same number of another protocol is another port

    rig, notes = card_with(first, second)
    rig.host.start()
    finished(rig, notes)
    assert [(each.name, each.udp) for each in rig.services] == [("first", False), ("second", True)]
    rig.assert_sound()


def test_a_collision_between_cards_ends_in_ports_of_the_hosts_choice() -> None:
    rig = chain(3).start()
    echoes = [each.port for each in rig.services if each.name == "echo"]
    assert len(echoes) == len(set(echoes)) == 3
    assert 7 in echoes
    for card in (1, 2, 3):
        rig.echo(rig.dial("echo", card), b"card %d" % card)
    rig.assert_sound()


def test_a_listener_that_closes_ends_those_who_wait_at_it() -> None:
    async def serve(io: Communication, system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))

        async def accept() -> None:
            await expect(Cause.CHANNEL_CLOSED, io.open(Accept(listener)), notes)

        for _ in range(2):
            system.start(accept(), "accept")
        await system.sleep(50)
        await io.close(listener)
        await system.sleep(50)
        await expect(Cause.NOT_VALID, io.open(Accept(listener)), notes)

    rig, notes = card_with(serve)
    rig.host.start()
    finished(rig, notes)
    assert notes[0].got == [Cause.CHANNEL_CLOSED, Cause.CHANNEL_CLOSED, Cause.NOT_VALID]
    rig.assert_idle([0])


def test_visitors_in_the_backlog_of_a_listener_that_closes_are_told() -> None:
    async def serve(io: Communication, system: System, _notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        await system.sleep(300)
        await io.close(listener)

    rig, notes = card_with(serve)
    rig.start(1)
    sockets = [rig.dial("mine") for _ in range(3)]
    finished(rig, notes)
    rig.wait(lambda: all(socket.cause is not None for socket in sockets))
    assert [socket.cause for socket in sockets] == [Cause.CHANNEL_CLOSED] * 3
    rig.run(0.1)
    rig.assert_idle([0])


def test_the_backlog_holds_four_and_refuses_the_fifth() -> None:
    async def serve(io: Communication, system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        await system.sleep(300)
        for _ in range(4):
            channel = await io.open(Accept(listener))
            notes.got.append(await io.receive(channel))

    rig, notes = card_with(serve)
    rig.start(1)
    sockets = [rig.dial("mine") for _ in range(5)]
    for number, socket in enumerate(sockets):
        socket.write(b"%d" % number)
    assert [socket.cause for socket in sockets] == [None] * 4 + [Cause.NO_CHANNEL]
    finished(rig, notes)
    assert notes[0].got == [b"0", b"1", b"2", b"3"], "in the order they came"
    rig.assert_sound()


# -- errors ------------------------------------------------------------------------------------------------------------------


def test_wrong_use_of_a_channel_is_a_named_error() -> None:
    async def run(io: Communication, _system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        await expect(Cause.NOT_VALID, io.send(listener, b"x"), notes)
        await expect(Cause.NOT_VALID, io.receive(listener), notes)
        channel = await io.open(Accept(listener))
        await expect(Cause.NOT_VALID, io.open(Accept(channel)), notes)
        await expect(Cause.NO_BUFFER, io.send(channel, bytes(channel.payload + 1)), notes)
        await io.send(channel, bytes(channel.payload))
        await io.close(channel)
        await io.close(channel)  # closing twice harms nobody
        await expect(Cause.NOT_VALID, io.send(channel, b"x"), notes)
        await expect(Cause.NOT_VALID, io.receive(channel), notes)
        await io.close(Handle(99, 0, 0, 99))

    rig, notes = card_with(run)
    rig.start(1)
    socket = rig.dial("mine")
    finished(rig, notes)
    assert len(notes[0].got) == 6
    rig.wait(lambda: socket.cause is not None)
    assert len(socket.received) == 64 - 5
    rig.assert_sound()


def test_a_service_nobody_offers_is_cause_09() -> None:
    async def run(io: Communication, _system: System, notes: Notes) -> None:
        await expect(Cause.SERVICE_UNKNOWN, io.open(Client(4242, Address.none(), node=1)), notes)
        await expect(Cause.SERVICE_UNKNOWN, io.open(Client(0, Address.name("nobody"), node=1)), notes)

    rig, notes = card_with(run)
    rig.host.start()
    finished(rig, notes)
    rig.run(0.1)
    rig.assert_idle([0])


@pytest.mark.parametrize("node", [2, 3, 254, 255])
def test_a_card_that_is_not_there_is_cause_07(node: int) -> None:
    async def run(io: Communication, _system: System, notes: Notes) -> None:
        await expect(Cause.NOT_REACHABLE, io.open(Client(7, Address.none(), node=node)), notes)

    rig, notes = card_with(run)
    rig.host.start()
    finished(rig, notes)
    rig.run(0.1)
    rig.assert_idle([0])


def test_an_outside_nobody_listens_on_is_cause_07() -> None:
    async def run(io: Communication, _system: System, notes: Notes) -> None:
        await expect(Cause.SERVICE_UNKNOWN, io.open(Client(4242, Address(AddressKind.IPV4, b"\x7f\0\0\1"))), notes)
        await expect(Cause.NOT_REACHABLE, io.open(Client(4242, Address.none())), notes)

    rig, notes = card_with(run)
    rig.host.start()
    finished(rig, notes)
    rig.run(0.1)
    rig.assert_idle([0])
    rig.assert_sound()


def test_a_card_out_of_channels_says_so_to_both_sides_with_cause_01() -> None:
    async def run(io: Communication, system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        held = [await io.open(Accept(listener)) for _ in range(3)]
        await expect(Cause.NO_CHANNEL, io.open(Server(0, "more")), notes)
        await system.sleep(200)
        await io.close(held[0])
        await system.sleep(200)
        await io.open(Server(0, "more"))

    rig, notes = card_with(run, channels=4)
    rig.start(1)
    sockets = [rig.dial("mine") for _ in range(4)]
    assert [socket.cause for socket in sockets] == [None, None, None, Cause.NO_CHANNEL]
    finished(rig, notes)
    rig.assert_sound()


def test_a_number_used_again_does_not_make_one_channel_another() -> None:
    """A channel that the other side closed frees its number; the application that still holds it must not get the next one's messages."""

    async def run(io: Communication, system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        old = await io.open(Accept(listener))
        await io.close(await io.open(Accept(listener)))
        new = await io.open(Accept(listener))
        notes.got += [old.number, new.number]
        assert await io.receive(new) == b"for the new one"
        assert await io.receive(old) is None
        await io.close(old)
        await io.send(new, b"still here")
        await system.sleep(10)

    rig, notes = card_with(run, channels=3)
    rig.start(1)
    first = rig.dial("mine")
    first.close()
    rig.run(0.1)
    other = rig.dial("mine")
    rig.wait(lambda: other.cause is not None)
    rig.run(0.1)
    last = rig.dial("mine")
    last.write(b"for the new one")
    finished(rig, notes)
    assert notes[0].got[0] == notes[0].got[1], "the number was used again: otherwise this test shows nothing"
    assert bytes(last.received) == b"still here"
    rig.assert_sound()


# -- ends ------------------------------------------------------------------------------------------------------------------


def test_half_close_what_was_sent_before_shut_arrives_and_the_card_still_sends() -> None:
    async def run(io: Communication, system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        channel = await io.open(Accept(listener))
        while (message := await io.receive(channel)) is not None:
            notes.got.append(message)
        await system.sleep(50)
        for index in range(20):
            await io.send(channel, b"%02d" % index)
        await io.close(channel)

    rig, notes = card_with(run)
    rig.start(1)
    socket = rig.dial("mine")
    socket.write(bytes(1000))
    socket.finish()
    rig.wait(lambda: socket.cause is not None)
    assert b"".join(part for part in notes[0].got if isinstance(part, bytes)) == bytes(1000)
    assert bytes(socket.received) == b"".join(b"%02d" % index for index in range(20))
    assert socket.cause is Cause.NONE
    finished(rig, notes)
    rig.assert_sound()


def test_close_delivers_what_was_sent_before_it_to_either_side() -> None:
    async def run(io: Communication, _system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        channel = await io.open(Accept(listener))
        for index in range(8):
            await io.send(channel, b"%02d" % index)
        await io.close(channel)
        channel = await io.open(Accept(listener))
        while (message := await io.receive(channel)) is not None:
            notes.got.append(message)
        await io.close(channel)

    rig, notes = card_with(run)
    rig.start(1)
    socket = rig.dial("mine")
    rig.wait(lambda: socket.cause is not None)
    assert bytes(socket.received) == b"0001020304050607"
    socket = rig.dial("mine")
    socket.write(bytes(500))
    socket.close()
    finished(rig, notes)
    assert b"".join(part for part in notes[0].got if isinstance(part, bytes)) == bytes(500)
    rig.run(0.1)
    rig.assert_sound()


def test_a_reset_from_outside_is_an_error_with_its_cause() -> None:
    async def run(io: Communication, _system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        channel = await io.open(Accept(listener))
        await expect(Cause.CHANNEL_CLOSED, io.receive(channel), notes)
        await expect(Cause.CHANNEL_CLOSED, io.send(channel, b"x"), notes)
        await io.close(channel)

    rig, notes = card_with(run)
    rig.start(1)
    socket = rig.dial("mine")
    socket.close(Cause.CHANNEL_CLOSED)
    finished(rig, notes)
    assert len(notes[0].got) == 2
    rig.assert_sound()


def test_a_thread_that_waits_at_a_channel_another_thread_closes_is_told() -> None:
    async def run(io: Communication, system: System, notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        channel = await io.open(Accept(listener))

        async def wait() -> None:
            await expect(Cause.CHANNEL_CLOSED, io.receive(channel), notes)

        system.start(wait(), "one")
        system.start(wait(), "two")
        await system.sleep(10)
        await io.close(channel)
        await system.sleep(10)

    rig, notes = card_with(run)
    rig.start(1)
    rig.dial("mine")
    finished(rig, notes)
    assert notes[0].got == [Cause.CHANNEL_CLOSED] * 2


# -- credit ------------------------------------------------------------------------------------------------------------------


def test_a_stalled_reader_holds_its_own_channel_only() -> None:
    rig = chain().start()
    stalled, lively = rig.dial("chargen"), rig.dial("echo")
    stalled.reading = False
    rig.run(2)
    held = len(stalled.received)
    took = rig.echo(lively, bytes(1000))
    rig.run(2)
    assert len(stalled.received) == held
    quiet = Chain(profile()).start()
    alone = quiet.echo(quiet.dial("echo"), bytes(1000))
    assert took < 1.1 * alone, "a channel that stands still costs the others nothing"
    stalled.reading = True
    stalled.resume()
    rig.wait(lambda: len(stalled.received) > held + 1000)
    assert bytes(stalled.received[:502]) == bytes(range(251)) * 2
    rig.assert_sound()


def test_an_application_that_does_not_receive_holds_its_own_channel_only() -> None:
    async def idle(io: Communication, system: System, _notes: Notes) -> None:
        listener = await io.open(Server(4711, "idle"))
        await io.open(Accept(listener))
        await system.sleep(10_000)

    async def echo(io: Communication, _system: System, _notes: Notes) -> None:
        channel = await io.open(Accept(await io.open(Server(7, "echo"))))
        while (message := await io.receive(channel)) is not None:
            await io.send(channel, message)

    rig, _ = card_with(idle, echo)
    rig.start(2)
    stuck = rig.dial("idle")
    stuck.write(bytes(10_000))
    lively = rig.dial("echo")
    rig.echo(lively, bytes(2000))
    inboxes = [len(channel.inbox) for channel in rig.cards[0].node.table.channels]
    assert max(inboxes) <= 8, "no more than the window is ever under way to a card"
    rig.assert_sound()


# -- loop-back, card to card, UDP, clients -------------------------------------------------------------------------------


def test_loop_back_between_two_applications_of_one_card_leaves_the_line_alone() -> None:
    async def serve(io: Communication, _system: System, notes: Notes) -> None:
        channel = await io.open(Accept(await io.open(Server(4711, "mine"))))
        while (message := await io.receive(channel)) is not None:
            await io.send(channel, message[::-1])
        notes.got.append("end")
        await io.close(channel)

    async def call(io: Communication, system: System, notes: Notes) -> None:
        await system.sleep(100)
        channel = await io.open(Client(0, Address.name("mine"), node=1))
        for index in range(50):
            await io.send(channel, b"message %d" % index)
            notes.got.append(await io.receive(channel))
        await io.close(channel)

    rig, notes = card_with(serve, call)
    rig.start(1)
    rig.run(0.05)
    envelopes = len([each for each in rig.exchanges if each.ins == 0xC2])
    finished(rig, notes)
    assert notes[1].got == [(b"message %d" % index)[::-1] for index in range(50)]
    rig.run(0.1)
    assert len([each for each in rig.exchanges if each.ins == 0xC2]) == envelopes
    rig.assert_sound()


def test_card_to_card_by_name_and_by_port() -> None:
    rig = chain(3).start()
    rig.echo(rig.relay(1, 3, "echo"), bytes(2000))
    rig.echo(rig.relay(3, 1, "7"), bytes(2000))
    rig.echo(rig.relay(2, 2, "echo"), bytes(2000))  # its own: the loop-back
    refused = rig.dial("relay", 2)
    refused.write(b"3 nobody\n")
    rig.wait(lambda: refused.ended)
    assert bytes(refused.received) == b"refused 09\r\n"
    rig.assert_sound()


def test_udp_servers_and_clients_keep_datagrams_whole() -> None:
    async def serve(io: Communication, _system: System, notes: Notes) -> None:
        channel = await io.open(Accept(await io.open(Server(53, "names", udp=True))))
        for _ in range(3):
            message = await io.receive(channel)
            notes.got.append(message)
            await io.send(channel, b"re: " + (message or b""))

    async def ask(io: Communication, _system: System, notes: Notes) -> None:
        channel = await io.open(Client(5353, Address(AddressKind.IPV4, b"\x7f\0\0\1"), udp=True))
        for text in (b"one", b"three"):
            await io.send(channel, text)
        for _ in range(2):
            notes.got.append(await io.receive(channel))
        await io.close(channel)

    rig, notes = card_with(serve, ask)
    asked: list[bytes] = []

    def accepted(socket: PeerSocket) -> None:
        def answer(data: bytes) -> None:
            asked.append(data)
            socket.write(data.upper())

        socket.on_data = answer

    rig.uplink.serve(5353, accepted, udp=True)
    rig.start(1)
    socket = rig.dial("names", udp=True)
    got: list[bytes] = []
    socket.on_data = got.append
    for text in (
        b"a",
        b"bcd",
        bytes(200),
        b"ef",
    ):  # the third is longer than a message: it cannot be carried, and is not cut
        socket.write(text)
    finished(rig, notes)
    rig.wait(lambda: len(got) == 3)
    assert notes[0].got == [b"a", b"bcd", b"ef"]
    assert got == [b"re: a", b"re: bcd", b"re: ef"]
    assert rig.host.gateway.oversized == 1
    assert asked == [b"one", b"three"]
    assert notes[1].got == [b"ONE", b"THREE"]
    rig.assert_sound()


def test_a_client_through_the_host_and_a_server_outside_that_talks_first() -> None:
    async def call(io: Communication, _system: System, notes: Notes) -> None:
        channel = await io.open(Client(8080, Address(AddressKind.IPV4, b"\x7f\0\0\1")))
        notes.got.append(await io.receive(channel))
        for _ in range(30):
            await io.send(channel, bytes(channel.payload))
        received = 0
        while (message := await io.receive(channel)) is not None:
            received += len(message)
        notes.got.append(received)
        await io.close(channel)

    rig, notes = card_with(call)
    sockets: list[PeerSocket] = []

    def accepted(socket: PeerSocket) -> None:
        sockets.append(socket)
        socket.write(b"welcome")

    rig.uplink.serve(8080, accepted)
    rig.host.start()
    rig.wait(lambda: bool(sockets) and len(sockets[0].received) == 30 * 59)
    sockets[0].write(bytes(3000))
    sockets[0].finish()
    finished(rig, notes)
    assert notes[0].got == [b"welcome", 3000]
    rig.run(0.1)
    rig.assert_sound()
    rig.assert_idle([0])


# -- leaks -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["the card closes", "the outside closes", "the outside resets", "refused"])
def test_a_thousand_opens_and_closes_leak_nothing(how: str) -> None:
    async def serve(io: Communication, _system: System, _notes: Notes) -> None:
        listener = await io.open(Server(4711, "mine"))
        while True:
            channel = await io.open(Accept(listener))
            try:
                if how == "the card closes":
                    await io.send(channel, b"bye")
                else:
                    while await io.receive(channel) is not None:
                        pass
            except ChannelError:
                pass
            await io.close(channel)

    rig, _ = card_with(serve, channels=8)
    rig.start(1)
    for round_ in range(250):
        sockets = [rig.dial("mine", wait=False) for _ in range(4 if how != "refused" else 9)]
        rig.wait(lambda sockets=sockets: all(each.open or each.cause is not None for each in sockets))  # type: ignore[misc]
        for socket in sockets:
            if how == "the outside closes":
                socket.write(b"%d" % round_)
                socket.close()
            elif how in ("the outside resets", "refused"):
                socket.close(Cause.CHANNEL_CLOSED)
    rig.run(0.5)
    rig.assert_sound()
    rig.assert_idle([1])
    assert rig.cards[0].threads.running == 1
