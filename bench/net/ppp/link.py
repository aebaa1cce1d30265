"""A PPP link (RFC 1661, 3): frames in and out, LCP, then IPCP and IPV6CP, then datagrams; phases from dead to dead.

Over a serial line frames are HDLC-like; in the hop a packet is a frame, and the two address bytes and the FCS are left out.
Units: times are ticks, handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from bench.net.ppp.automaton import Automaton, Patience, State
from bench.net.ppp.hdlc import ACCM_DEFAULT, Deframer, encode_frame, split_frame
from bench.net.ppp.lcp import LOOPED_AFTER, MRU_DEFAULT, LcpNegotiator, LcpWishes
from bench.net.ppp.ncp import IpcpNegotiator, Ipv6cpNegotiator
from bench.net.ppp.packets import Code, ControlPacket, PppError, PppProtocol

_MAGIC: Final = 4
IPV6_LEAST: Final = 1280
"""IPv6 needs an MTU of so much both ways (RFC 8200, 5): where a side has a smaller MRU, IPV6CP is not offered."""
_CARRIES: Final = {PppProtocol.IPV4: PppProtocol.IPCP, PppProtocol.IPV6: PppProtocol.IPV6CP}


class Phase(Enum):
    """RFC 1661, 3.2."""

    DEAD = auto()
    ESTABLISH = auto()
    NETWORK = auto()
    TERMINATE = auto()


_PHASES: Final = {
    **dict.fromkeys((State.CLOSING, State.STOPPING), Phase.TERMINATE),
    **dict.fromkeys((State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT), Phase.ESTABLISH),
    State.OPENED: Phase.NETWORK,
}
"""The phase that a state of LCP means; in the others the link is dead."""


@dataclass(slots=True)
class PppSettings:
    """How one side is set up. Times in ticks."""

    patience: Patience
    lcp: LcpWishes = field(default_factory=LcpWishes)
    hdlc: bool = True
    """Frames as on a serial line; else one packet is one frame (``send`` is given protocol and information)."""
    echo_every: int = 0
    """Between two echo requests; 0: none are sent."""
    echo_failures: int = 4
    """Echoes in a row without an answer after which the link is given up."""
    ipv6_least: int = IPV6_LEAST


class PppLink:
    """One end. ``draw`` gives random numbers below 2**64 (seeded in virtual time)."""

    def __init__(
        self,
        settings: PppSettings,
        send: Callable[[bytes], None],
        draw: Callable[[], int],
        ipcp: IpcpNegotiator | None = None,
        ipv6cp: Ipv6cpNegotiator | None = None,
    ) -> None:
        self.settings = settings
        self.send = send
        """Bytes for the line, or one frame for the hop."""
        self.on_datagram: Callable[[bytes, int], None] = _unheard
        """An IPv4 or IPv6 packet from the peer."""
        self.on_network: Callable[[PppProtocol, bool, int], None] = _unchanged
        """IPCP or IPV6CP came up or went down."""
        self.on_phase: Callable[[Phase], None] = _unphased
        self.phase = Phase.DEAD
        self.why = ""
        """Why the link is not up, where that is known; LCP's and the network protocols' own reasons are theirs."""
        self.looped = False
        """The line sends back what is sent: found by the magic number."""
        self.rejected_in = 0
        """Packets of unknown protocols that were rejected."""
        self.too_long = 0
        """Packets longer than this side takes, which were dropped."""
        self.echoes_answered = 0
        self.lcp_options = LcpNegotiator(settings.lcp, lambda: draw() % 0xFFFF_FFFF + 1)
        self.lcp = Automaton("LCP", self.lcp_options, self._sender(PppProtocol.LCP), settings.patience)
        self.lcp.extra = self._lcp_extra
        self.lcp.on_up = self._lcp_up
        self.lcp.on_down = self._lcp_down
        self.ipcp = ipcp
        self.ipv6cp = ipv6cp
        self.networks: dict[PppProtocol, Automaton] = {}
        if ipcp is not None:
            self._add(PppProtocol.IPCP, ipcp)
        if ipv6cp is not None:
            self._add(PppProtocol.IPV6CP, ipv6cp)
        self._deframer = Deframer(self._framed, settings.lcp.takes)
        self._now = 0
        self._echo_due: int | None = None
        self._echoes = 0
        self._echo_identifier = 0

    # -- calls ---------------------------------------------------------------------------------------------------------

    def open(self, now: int) -> None:
        """The line is there and traffic is wanted; a link that had come to its end begins again."""
        self.why = ""
        self.looped = False
        self.lcp_options.looped = 0
        if self.lcp.state in (State.STOPPED, State.CLOSING, State.STOPPING):
            self.lcp.down(now)  # what the table leaves to us where Open comes in these (RFC 1661, 4.3)
        self.lcp.open(now)
        if self.lcp.opened:
            for each in self.networks.values():
                if each.state is State.STOPPED:
                    each.down(now)
                    each.up(now)
                elif each.state is State.CLOSED:
                    each.open(now)
        self.line_up(now)

    def line_up(self, now: int) -> None:
        """Carrier."""
        if self.lcp.state in (State.INITIAL, State.STARTING):
            self.lcp.up(now)
        self._settle(now)

    def line_down(self, now: int) -> None:
        """Carrier lost: the link is dead at once."""
        if self.lcp.state not in (State.INITIAL, State.STARTING):
            self.why = self.why or "the line is gone"
            self.lcp.down(now)
        self._settle(now)

    def close(self, now: int, why: str = "closed on this side") -> None:
        """Terminate the link in good order."""
        if not self.why:
            self.why = why
        self.lcp.close(now)
        self._settle(now)

    def send_datagram(self, packet: bytes) -> bool:
        """An IP packet to the peer; False where its protocol is not up, or the peer's MRU is smaller."""
        if not packet:
            return False
        protocol = PppProtocol.IPV4 if packet[0] >> 4 == 4 else PppProtocol.IPV6
        automaton = self.networks.get(_CARRIES[protocol])
        if automaton is None or not automaton.opened or len(packet) > self.peer_mru:
            return False
        self._frame(protocol, packet)
        return True

    @property
    def peer_mru(self) -> int:
        """The longest information field that the peer takes."""
        return self.lcp_options.send.mru if self.lcp.opened else MRU_DEFAULT

    @property
    def own_mru(self) -> int:
        """The longest information field that the peer was told it may send."""
        return self.lcp_options.receive.mru if self.lcp.opened else MRU_DEFAULT

    def is_up(self, protocol: PppProtocol) -> bool:
        """Whether IPCP or IPV6CP is open."""
        automaton = self.networks.get(protocol)
        return automaton is not None and automaton.opened

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why what is not up is not, as far as it is known."""
        said = [self.why] if self.why else []
        said += [f"{each.name}: {each.why}" for each in (self.lcp, *self.networks.values()) if each.why]
        return tuple(said)

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """When ``tick`` is wanted."""
        dues = [self.lcp.due, self._echo_due, *(each.due for each in self.networks.values())]
        return min((each for each in dues if each is not None), default=None)

    def tick(self, now: int) -> None:
        """What is due by now."""
        for each in (self.lcp, *self.networks.values()):
            each.tick(now)
        if self._echo_due is not None and self._echo_due <= now:
            self._echo(now)
        self._settle(now)

    def _echo(self, now: int) -> None:
        if self._echoes >= self.settings.echo_failures:
            self._echo_due = None
            self.close(now, f"{self._echoes} echoes in a row were not answered")
            return
        self._echoes += 1
        self._echo_due = now + self.settings.echo_every
        self._echo_identifier = (self._echo_identifier + 1) & 0xFF
        magic = self.lcp_options.magic.to_bytes(_MAGIC, "big")
        self._control(PppProtocol.LCP, ControlPacket(Code.ECHO_REQUEST, self._echo_identifier, magic).encode())

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: int) -> None:
        """Bytes of the serial line, or one frame of the hop."""
        self._now = now
        if self.settings.hdlc:
            self._deframer.feed(data)
        else:
            self._framed(data)
        self._settle(now)

    @property
    def fcs_errors(self) -> int:
        return self._deframer.fcs_errors

    @property
    def aborted(self) -> int:
        """Frames of the serial line that were too short, too long, or ended with an escape."""
        return self._deframer.aborted

    def _framed(self, body: bytes) -> None:
        now = self._now
        try:
            protocol, information = split_frame(body)
        except PppError:
            self.lcp.discarded += 1
            return
        if len(information) > self.settings.lcp.takes:
            self.too_long += 1
        elif protocol == PppProtocol.LCP:
            self.lcp.receive(information, now)
        elif self.lcp.opened:  # else silently discarded (RFC 1661, 3.4)
            self._network(protocol, information, now)

    def _network(self, protocol: int, information: bytes, now: int) -> None:
        for carried, network in _CARRIES.items():
            automaton = self.networks.get(network)
            if automaton is None or automaton.state is State.INITIAL:
                continue
            if protocol == network:
                automaton.receive(information, now)
                return
            if protocol == carried:
                if automaton.opened and information:
                    self.on_datagram(information, now)
                return
        self.rejected_in += 1
        quoted = protocol.to_bytes(2, "big") + information
        reject = ControlPacket(Code.PROTOCOL_REJECT, self.rejected_in & 0xFF, quoted[: self.peer_mru - 4])
        self._control(PppProtocol.LCP, reject.encode())

    def _lcp_extra(self, packet: ControlPacket, now: int) -> bool:
        match packet.code:
            case Code.PROTOCOL_REJECT:
                self._protocol_rejected(packet, now)
            case Code.ECHO_REQUEST:
                if self.lcp.opened and len(packet.data) >= _MAGIC:
                    self._own_magic(packet.data)
                    magic = self.lcp_options.magic.to_bytes(_MAGIC, "big")
                    answer = (magic + packet.data[_MAGIC:])[: self.peer_mru - _MAGIC]
                    self._control(PppProtocol.LCP, ControlPacket(Code.ECHO_REPLY, packet.identifier, answer).encode())
            case Code.ECHO_REPLY:
                if packet.identifier == self._echo_identifier and len(packet.data) >= _MAGIC and self._echoes:
                    self._own_magic(packet.data)
                    self.echoes_answered += 1
                    self._echoes = 0
            case Code.DISCARD_REQUEST:
                pass
            case _:
                return False
        return True

    def _own_magic(self, data: bytes) -> None:
        """Our own magic number from the other side: the line is looped back (RFC 1661, 6.4)."""
        magic = self.lcp_options.magic
        if magic and int.from_bytes(data[:_MAGIC], "big") == magic:
            self.lcp_options.looped += 1
        else:
            self.lcp_options.looped = 0

    def _protocol_rejected(self, packet: ControlPacket, now: int) -> None:
        if len(packet.data) < 2 or not self.lcp.opened:
            self.lcp.discarded += 1
            return
        rejected = packet.data[0] << 8 | packet.data[1]
        if rejected == PppProtocol.LCP:
            self.lcp.rejected(now)
        for protocol, automaton in self.networks.items():
            if rejected in (protocol, protocol & 0x7FFF):
                automaton.rejected(now)

    # -- layers --------------------------------------------------------------------------------------------------------

    def _settle(self, now: int) -> None:
        """After whatever happened: give up what cannot go on, and tell of the phase."""
        if not self.looped and self.lcp_options.looped >= LOOPED_AFTER:
            self.looped = True
            self._give_up("the line is looped back: what is sent comes back", now)
        elif self.lcp_options.refusal and self.lcp.state > State.STOPPING:
            self._give_up(self.lcp_options.refusal, now)
        phase = _PHASES.get(self.lcp.state, Phase.DEAD)
        if phase is not self.phase:
            self.phase = phase
            self.on_phase(phase)

    def _give_up(self, why: str, now: int) -> None:
        self.why = why
        self.lcp.close(now)

    def _lcp_up(self, now: int) -> None:
        self.why = ""
        agreed = self.lcp_options
        self._deframer.expect(agreed.receive.accm)
        self.lcp.mru = agreed.send.mru
        for protocol, each in self.networks.items():
            each.mru = agreed.send.mru
            if protocol is PppProtocol.IPV6CP and min(agreed.send.mru, agreed.receive.mru) < self.settings.ipv6_least:
                each.why = (
                    f"an MRU of {min(agreed.send.mru, agreed.receive.mru)}, IPv6 needs {self.settings.ipv6_least}"
                )
                continue
            each.open(now)
            each.up(now)
        if self.settings.echo_every:
            self._echoes = 0
            self._echo_due = now + self.settings.echo_every

    def _lcp_down(self, now: int) -> None:
        self._echo_due = None
        self._deframer.expect(ACCM_DEFAULT)
        self.lcp.mru = MRU_DEFAULT
        for each in self.networks.values():
            if each.state not in (State.INITIAL, State.STARTING):
                each.down(now)
            if each.state is State.STARTING:
                each.close(now)

    def _add(self, protocol: PppProtocol, options: IpcpNegotiator | Ipv6cpNegotiator) -> None:
        automaton = Automaton(protocol.name, options, self._sender(protocol), self.settings.patience)

        told = False

        def up(now: int) -> None:
            nonlocal told
            if options.agreed:
                told = True
                self.on_network(protocol, True, now)
            else:
                automaton.close(now)
                automaton.why = "the peer gives this side no address, and takes none that it brings"

        def down(now: int) -> None:
            nonlocal told
            if told:
                told = False
                self.on_network(protocol, False, now)

        automaton.on_up = up
        automaton.on_down = down
        self.networks[protocol] = automaton

    # -- out -----------------------------------------------------------------------------------------------------------

    def _sender(self, protocol: PppProtocol) -> Callable[[bytes], None]:
        return lambda data: self._control(protocol, data)

    def _control(self, protocol: PppProtocol, data: bytes) -> None:
        self._frame(protocol, data, plain=protocol == PppProtocol.LCP)

    def _frame(self, protocol: PppProtocol, information: bytes, *, plain: bool = False) -> None:
        """LCP's own packets always go with full fields and every control character escaped (RFC 1662, 7)."""
        agreed = self.lcp_options.send
        if not self.settings.hdlc:
            short = protocol < 0x100 and agreed.short_protocol and not plain
            self.send((bytes((protocol,)) if short else protocol.to_bytes(2, "big")) + information)
            return
        if plain or not self.lcp.opened:
            frame = encode_frame(protocol, information, accm=ACCM_DEFAULT, short_protocol=False, short_address=False)
        else:
            frame = encode_frame(
                protocol,
                information,
                accm=agreed.accm,
                short_protocol=agreed.short_protocol,
                short_address=agreed.short_address,
            )
        self.send(frame)


def _unheard(_packet: bytes, _now: int) -> None:
    pass


def _unchanged(_protocol: PppProtocol, _up: bool, _now: int) -> None:
    pass


def _unphased(_phase: Phase) -> None:
    pass
