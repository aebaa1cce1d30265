"""The reference card (figure 1 of the paper): two I/O ports, the channel stack or the IP stack (or both) between them, the four calls on top, and
beside them the regular execution model.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable

from bench.card.communication import ChannelCommunication, Communication, System
from bench.card.contacts import Contacts
from bench.card.files import (
    CLA_ECHO,
    INCOMING,
    INS_ECHO,
    DedicatedFile,
    FileSystem,
    reference_application,
    reference_files,
)
from bench.card.ip_communication import IpCommunication
from bench.card.ip_names import resolve
from bench.card.ip_stack import CardIp
from bench.card.ppp import CardPpp
from bench.card.profile import Application, CardProfile
from bench.card.tasks import Threads
from bench.channels.message import Cause
from bench.channels.node import ChannelNode
from bench.engine import Engine
from bench.hop.card_link import CardLink
from bench.hop.chain import ChainMember
from bench.hop.junction import Junction
from bench.hop.link import PollPlan
from bench.hop.segment import AROUND_ANSWER, HOP_CLASS, INS_ENVELOPE, INS_GET_RESPONSE, MAX_SEGMENT, segment_length
from bench.hop.terminal_link import TerminalLink
from bench.iso7816.apdu import CommandApdu, ResponseApdu, parse_command
from bench.iso7816.errors import ApduError
from bench.iso7816.port import TerminalPort
from bench.iso7816.t0 import Later, Reply
from bench.iso7816.t1_card import ApduLater, ApduReply
from bench.iso7816.transport import ApduInT0Card
from bench.observe import Sink


class Card:
    """One card. ``contacts`` is its IO#1 at character level, ``apdu`` the same for transports of whole APDUs; ``attach_io2`` gives it an IO#2."""

    def __init__(self, engine: Engine, profile: CardProfile, poll: PollPlan, sink: Sink) -> None:
        self.engine = engine
        self.profile = profile
        self.poll = poll
        self.sink = sink
        self.crashes: list[str] = []
        """Applications that ended with an error of their own: name and error."""
        self.files = FileSystem(DedicatedFile(files=reference_files(profile.identity)), (reference_application(),))
        self.ordinary = ApduInT0Card(self._ordinary, chaining=profile.chaining)
        self.io1 = CardLink(engine, profile.mtu, sink)
        self.io2: TerminalLink | None = None
        poll_ms = max(1, -(-poll.longest * 1000 // engine.timebase.hz))
        self.chain = ChainMember(
            profile.mtu,
            poll_ms,
            channels=profile.channels if profile.channel_stack else 0,
            ports=profile.ports,
            identity=profile.identity,
        )
        self.junction = Junction(self.chain)
        self.node = ChannelNode(engine, self.chain, profile.channels, self.junction, plugged=profile.channel_stack)
        self.junction.attach_inward(self.io1)
        self.io1.on_change = self._io1_changed
        self.io1.machine.has_room = self._has_room
        self.io1.queue.total_bytes = profile.buffer
        self.chain.on_number = self._numbered
        self.threads = Threads(engine, self._crashed)
        self.io1.machine.settle = self.threads.settle
        self.io = ChannelCommunication(self.node, profile.window)
        self.contacts = Contacts(
            engine, profile.atr, profile.atr_delay_cycles, self, self._reset, profile.traits, {0: _Node(self)}
        )
        self.io1.busy_until = self.contacts.busy_until
        self.ip: CardIp | None = None
        self.ip_io: IpCommunication | None = None
        if profile.ip is not None:
            stack = CardPpp if profile.ip.ppp is not None else profile.ip.stack or CardIp
            self.ip = stack(engine, self.junction, profile.ip, lambda: self.contacts.etu)
            self.ip_io = IpCommunication(self.ip)
            self.ip_io.resolve = resolve
        self._card_time = engine.timebase.nanoseconds(profile.card_time_ns)
        self._powered = False

    @property
    def number(self) -> int | None:
        """Its place in the chain, once numbered."""
        return self.chain.number

    def attach_io2(self, port: TerminalPort, hop: int) -> None:
        """Give the card an IO#2: the hop to the next card."""
        link = TerminalLink(self.engine, port, hop, self.profile.mtu, self.poll, self.sink)
        link.has_room = self._uplink_has_room
        link.queue.total_bytes = self.profile.buffer
        self.io2 = link
        self.junction.attach_outward(link)

    # -- IO#1, T=0: a TpduHandler ------------------------------------------------------------------------------------------

    def takes_data(self, header: bytes) -> bool:
        if header[0] == HOP_CLASS:
            return header[1] == INS_ENVELOPE
        return header[1] in INCOMING and (header[1] != INS_ECHO or header[0] == CLA_ECHO)

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        ticks = self._card_time
        if self._is_hop(header):
            le = None if header[1] == INS_ENVELOPE else header[4] or 256
            answer = self.io1.hop_command(header, data, le, False)
            return Reply(answer.data, answer.sw, ticks)
        self.io1.heard()
        if self.io1.machine.announced:
            if header[1] == INS_GET_RESPONSE and header[0] & 0xF0 == 0 and header[2] == 0:
                answer = self.io1.machine.plain_fetch(header[4] or 256, False)
                return Reply(answer.data, answer.sw, ticks)
            self.io1.machine.withdraw()
        if header[1] >> 4 in (0x6, 0x9):
            return Reply(b"", 0x6D00, ticks)
        reply = self.ordinary.execute(header, data, later)
        if reply is not None:
            reply.ticks += ticks
        return reply

    # -- IO#1, T=1 and whole APDUs ---------------------------------------------------------------------------------------------------

    def blocks(self, command: bytes) -> ApduReply:
        """Answer one APDU that came in blocks of T=1: segments for the terminal are cut to fill them."""
        self.io1.machine.cutter.segment = segment_length(1, self.contacts.ifsd, AROUND_ANSWER)
        return ApduReply(self.apdu(command), self._card_time)

    def power(self, on: bool) -> None:
        """VCC, for transports without characters."""
        self._reset(on)

    def apdu(self, command: bytes) -> bytes:
        """Answer one APDU as a card on T=1 would: data inline. Never raises: what is no APDU gets 6700."""
        try:
            parsed = parse_command(command)
        except ApduError:
            return b"\x67\x00"
        header = command[:4]
        if self._is_hop(header):
            answer = self.io1.hop_command(header, parsed.data, parsed.le, True)
            return answer.data + answer.sw.to_bytes(2, "big")
        self.io1.heard()
        if self.io1.machine.announced:
            if parsed.ins == INS_GET_RESPONSE and parsed.cla & 0xF0 == 0 and parsed.p1 == 0:
                answer = self.io1.machine.plain_fetch(parsed.le or 256, True)
                return answer.data + answer.sw.to_bytes(2, "big")
            self.io1.machine.withdraw()
        return self.files.execute(parsed).encode()

    # -- inside ----------------------------------------------------------------------------------------------------------------

    def _is_hop(self, header: bytes) -> bool:
        return self.profile.hop and header[0] == HOP_CLASS and header[1] in (INS_ENVELOPE, INS_GET_RESPONSE)

    def _ordinary(self, command: CommandApdu, later: Callable[[ResponseApdu], None]) -> ResponseApdu:
        del later  # the file system answers at once
        return self.files.execute(command)

    def _has_room(self, size: int) -> bool:
        """Room for a packet that may have to go on outward, or make an answer inward."""
        inward = self.io1.queue
        outward = self.io2.queue if self.io2 is not None else inward
        return inward.bytes + size <= inward.total_bytes and outward.bytes + size <= outward.total_bytes

    def _uplink_has_room(self) -> bool:
        inward = self.io1.queue
        return inward.bytes + self.io1.mtu <= inward.total_bytes

    def _numbered(self, number: int, poll_ms: int) -> None:
        self.io1.numbered(number, self.chain.mtu, poll_ms)
        self.node.numbered()
        if self.profile.channel_stack:
            self.io.numbered()
        if self.ip is not None:
            self.ip.numbered(poll_ms)
        if self.io2 is not None:
            self.io2.start()  # from here on there is a number to greet with

    def _io1_changed(self, up: bool, _reason: str) -> None:
        if not up:
            self.chain.lost_inward()
            self.io.unnumbered()
            if self.io2 is not None:
                self.io2.stop()  # the cards beyond go dark with the hop that numbered them

    def _reset(self, on: bool) -> None:
        if self._powered:
            if self.ip is not None and self.ip_io is not None:  # first: what stops has no way left to say goodbye
                self.ip_io.reset()
                self.ip.reset()
            self.io.reset()
            self.threads.stop()
            self.io1.reset("power lost" if not on else "reset")
            self.node.table.lose(lambda _node: True, Cause.CHANNEL_CLOSED)
        self.io1.machine.cutter.segment = MAX_SEGMENT
        self.files.reset()
        self.ordinary.reset()
        self._powered = on
        if on:
            if self.profile.channel_stack:
                self._start(self.io, self.profile.applications)
            if self.ip_io is not None:
                self._start(self.ip_io, self.profile.applications + self.profile.ip_applications)

    def _start(self, io: Communication, applications: tuple[tuple[str, Application], ...]) -> None:
        for name, application in applications:
            self.threads.start(application(io, System(self.threads, self.files)), name)

    def _crashed(self, name: str, error: Exception) -> None:
        self.crashes.append(f"{name}: {error!r}")


class _Node:
    """The card as the one node behind its line (an ApduHandler of T=1)."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        del later  # the card answers at once, or in the time it declares
        return self.card.blocks(apdu)
