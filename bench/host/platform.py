"""The host platform: node 0 of the chain, with the gateway and the directory on an uplink (the paper, 2.2 and figure 2).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.channels.node import ChannelNode
from bench.engine import Engine
from bench.hop.chain import ChainMember
from bench.hop.control import NodeFacts
from bench.hop.link import PollPlan
from bench.hop.terminal_link import ApduOutcome, TerminalLink
from bench.host.apdu_port import ApduPort
from bench.host.directory import PORT, Directory
from bench.host.gateway import Gateway, Service
from bench.host.names import NameZone
from bench.host.router import Router, RouterSettings
from bench.host.uplink import Pending, Uplink, UplinkError, Wait
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.line import etu_near
from bench.iso7816.port import TerminalPort
from bench.iso7816.rates import Rate
from bench.observe import Sink

CHANNELS = 255
WINDOW = 8
AGAIN_NS = 10**9
"""How often an APDU port that is taken is tried again."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What the host brings: its MTU, how often it polls, the window it gives each channel."""

    mtu: int
    poll: PollPlan
    window: int = WINDOW
    directory_port: int = PORT
    apdu_port: int | None = None
    """Port of the APDU channel, None without one."""


class Host:
    """Everything behind the first hop's terminal side. ``start`` begins to look for cards. ``wait``: the visitors' time, if not the engine's."""

    def __init__(
        self,
        engine: Engine,
        port: TerminalPort,
        uplink: Uplink,
        settings: HostSettings,
        sink: Sink,
        *,
        hop: bool = True,
        wait: Wait | None = None,
        apdu_uplink: Uplink | None = None,
    ) -> None:
        self.engine = engine
        self.uplink = uplink
        self.link = TerminalLink(engine, port, 1, settings.mtu, settings.poll, sink, greets=hop)
        poll_ms = max(1, -(-settings.poll.longest * 1000 // engine.timebase.hz))
        self.chain = ChainMember(settings.mtu, poll_ms, number=0, channels=CHANNELS, ports=1)
        self.node = ChannelNode(engine, self.chain, CHANNELS)
        self.node.attach_outward(self.link)
        self.gateway = Gateway(self.node, uplink, settings.window)
        self.directory = Directory(wait or self._wait, uplink, self.services, settings.directory_port)
        self.router: Router | None = None
        """Its IP stack, once ``route`` was called."""
        self.apdu_port: ApduPort | None = None
        self.apdu_error = ""
        """Why the APDU port cannot be had at present; it is tried again."""
        self._wait_for = wait or self._wait
        self._again: Pending | None = None
        if settings.apdu_port is not None:
            self.apdu_port = ApduPort(
                wait or self._wait,
                apdu_uplink or uplink,
                settings.apdu_port,
                self.link.submit_apdu,
                lambda: self.link.atr,
            )
            self.link.on_power = self._powered

    def route(self, settings: RouterSettings | None = None, zone: NameZone | None = None) -> Router:
        """Carry IP, too: a router between the chain and whatever ``Router.connect`` is given. Call it before ``start``."""
        self.router = Router(self.engine, self.node.junction, settings, zone, etu=self._etu)
        return self.router

    def start(self) -> None:
        """Power the first card."""
        self.link.start()

    def stop(self) -> None:
        """Power down, close every listener."""
        self.link.stop()
        self._try_no_more()
        if self.apdu_port is not None:
            self.apdu_port.close()
        if self.router is not None:
            self.router.close()
        self.directory.listener.close()

    def services(self) -> list[Service]:
        """Everything the directory lists: what the cards offer, and the APDU port while the first card is powered."""
        listed = self.gateway.services()
        if self.apdu_port is not None and self.apdu_port.listener is not None:
            listed.append(Service("apdu", self.apdu_port.listener.port, False, 1, "listening"))
            listed.sort(key=lambda service: (service.card, service.port, service.name))
        return listed

    @property
    def cards(self) -> dict[int, NodeFacts]:
        """The cards of the chain as they reported themselves, by number."""
        return dict(sorted(self.chain.beyond.items()))

    def apdu(self, command: CommandApdu, done: Callable[[ApduOutcome], None]) -> None:
        """An ordinary APDU to the first card."""
        self.link.submit_apdu(command, done)

    def _etu(self) -> int:
        """Ticks of an etu on the first hop; 0 where the reader does not show its rate."""
        port = self.link.port
        if not port.ta1 or not port.clock_hz:
            return 0
        return etu_near(Rate(port.ta1), port.clock_hz, self.engine.timebase)

    def _wait(self, nanoseconds: int, action: Callable[[], object]) -> Pending:
        return self.engine.after(self.engine.timebase.nanoseconds(nanoseconds), action)

    def _powered(self, on: bool) -> None:
        assert self.apdu_port is not None
        self._try_no_more()
        try:
            self.apdu_port.powered(on)
        except UplinkError as error:  # the uplink tells of it; everything else goes on without this port
            self.apdu_error = str(error)
            self._again = self._wait_for(AGAIN_NS, lambda: self._powered(True))

    def _try_no_more(self) -> None:
        self.apdu_error = ""
        if self._again is not None:
            self._again.cancel()
            self._again = None
