"""The gateway as a service: the host platform on real sockets, with its policy, its log, its metrics and its admin port, started and stopped cleanly.

    service = GatewayService(drive, port, ServiceSettings(mtu, poll), policy, log, sink)
    service.start()          # the directory answers, the first card is looked for
    ...
    service.stop()           # drains, then closes every socket

``drive`` is started before and stopped after, by who made it. Cards and readers may come and go meanwhile.
"""

import asyncio
import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.channels.channel import Channel
from bench.channels.message import Cause
from bench.hop.control import NodeFacts
from bench.hop.link import PollPlan
from bench.host.admin import Admin
from bench.host.drive import Drive
from bench.host.gateway import AHEAD, Service
from bench.host.ground import Ground
from bench.host.log import Log
from bench.host.metrics import APDUS, FAULTS, Kind, Metric, Metrics, Sample
from bench.host.platform import WINDOW, Host, HostSettings
from bench.host.policy import Policy, conflict
from bench.host.resolver import Resolver
from bench.host.sockets import ApduUplink, SocketUplink
from bench.host.uplink import Pending, UplinkError
from bench.iso7816.port import TerminalPort
from bench.observe import NullSink, Sink

LOOK_S: Final = 0.5
"""How often it is looked whether something has failed."""
CLOSE_S: Final = 5.0

UP: Final = Metric("up", Kind.GAUGE, "1 while the first card is up.")
CARDS: Final = Metric("cards", Kind.GAUGE, "Cards of the chain.")
SERVICES: Final = Metric("services", Kind.GAUGE, "Services the directory lists.")
CONNECTIONS: Final = Metric("connections", Kind.GAUGE, "Connections there are.")
CHANNELS: Final = Metric("channels", Kind.GAUGE, "Channel ends of the host.")
RESERVED: Final = Metric("reserved_bytes", Kind.GAUGE, "What the connections there are may come to hold.")
QUEUED: Final = Metric("queued_bytes", Kind.GAUGE, "Bytes that wait for the first hop.")
RESIDENT: Final = Metric("resident_bytes", Kind.GAUGE, "Memory of the process.")
VIOLATIONS: Final = Metric("violations_total", Kind.COUNTER, "Messages of cards that broke the protocol.", ("kind",))
UNANSWERED: Final = Metric("unanswered_total", Kind.COUNTER, "OPENs and CLOSEs a card left unanswered.")
OVERSIZED: Final = Metric("oversized_total", Kind.COUNTER, "Datagrams too long for their channel.")
LOG_DROPPED: Final = Metric("log_dropped_total", Kind.COUNTER, "Lines of the log that were left out.")


class GatewayError(Exception):
    """The gateway cannot start. Its text says what is in the way."""


class PolicyUnfitError(GatewayError):
    """The policy makes no sense under the conditions given."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the host brings, and where its admin port is (0: the system chooses; None: there is none)."""

    mtu: int
    poll: PollPlan
    window: int = WINDOW
    hop: bool = True
    admin: int | None = None
    missing: tuple[type[Exception], ...] = ()
    """Errors that say that the rig or its card is not there (yet), which is no fault of the gateway's."""


class GatewayService:
    """One gateway. ``start``, ``stop``, ``services`` and ``metrics_text`` may be called from any thread but the drive's."""

    def __init__(
        self,
        drive: Drive,
        port: TerminalPort,
        settings: ServiceSettings,
        policy: Policy,
        log: Log,
        sink: Sink | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.drive = drive
        self.settings = settings
        self.policy = policy
        self.log = log
        self.metrics = Metrics()
        self.ground = Ground(drive, policy, log, self.metrics)
        self._port = port
        self._sink = sink if sink is not None else NullSink()
        self._resolver = resolver
        self._host: Host | None = None
        self._uplink: SocketUplink | None = None
        self._admin: Admin | None = None
        self._draining = False
        self._hurry = threading.Event()
        self._look: asyncio.TimerHandle | None = None
        self._ended = False
        self._gone = ""
        """What the rig says is missing, until a card answers."""
        self._told = ""
        self._fault = ""

    @property
    def host(self) -> Host:
        """The host platform; there once started."""
        assert self._host is not None, "the gateway was not started"
        return self._host

    @property
    def uplink(self) -> SocketUplink:
        assert self._uplink is not None, "the gateway was not started"
        return self._uplink

    @property
    def directory_port(self) -> int:
        return self.host.directory.listener.port

    @property
    def admin_port(self) -> int:
        """Where the admin port is; 0 without one."""
        return self._admin.port if self._admin is not None else 0

    def start(self) -> None:
        """Serve. Raises GatewayError where the directory's or the admin port is not to be had."""
        self.ground.buffers = (self.settings.window + 2 * Channel.OUTBOX + AHEAD) * self.settings.mtu
        if same := conflict(self.policy):
            raise PolicyUnfitError(f"policy: {same}")
        if self.ground.cost > self.policy.limits.memory:
            raise PolicyUnfitError(
                f"policy: limits: memory: {self.policy.limits.memory} bytes hold no connection at all:"
                f" one takes {self.ground.cost} (with an MTU of {self.settings.mtu} and this socket_buffer)"
            )
        try:
            self.drive.call(self._build)
            if self.settings.admin is not None:
                self._admin = Admin(self._text, self._not_ready)
                asyncio.run_coroutine_threadsafe(self._admin.open(self.settings.admin), self.drive.loop).result(CLOSE_S)
        except UplinkError as error:
            busy = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            hint = "is another gateway running? Give this one another address or directory port"
            twice = "give each address once" if len(set(self.policy.listen)) < len(self.policy.listen) else hint
            raise GatewayError(f"the directory: {error}{': ' + twice if busy else ''}") from error
        except OSError as error:
            self.drive.call(self._end)
            raise GatewayError(f"the admin port {self.settings.admin}: {error.strerror or error}") from error
        self.drive.call(self._begin)

    def stop(self, *, drain: bool = True) -> None:
        """Take no more connections, wait for those there are (policy: ``times: drain``), then close everything. A second call is no mistake."""
        if self._host is None:
            return
        self.drive.call(self._drain)
        end = time.monotonic() + (self.policy.times.drain.seconds if drain else 0.0)
        while time.monotonic() < end and self.drive.call(lambda: self.uplink.connections):
            if self._hurry.wait(0.05):
                break
        if self._admin is not None:
            asyncio.run_coroutine_threadsafe(self._admin.close(), self.drive.loop).result(CLOSE_S)
        self.drive.call(self._end)

    def hurry(self) -> None:
        """Wait no longer for connections to end (a second signal). May be called from a signal handler."""
        self._hurry.set()

    def services(self) -> list[Service]:
        """What the directory lists."""
        return self.drive.call(self.host.services)

    def metrics_text(self) -> str:
        """The metrics, as the admin port gives them."""
        return self.drive.call(self._text)

    def waiting_for(self) -> str:
        """Why no card is served; empty while one is."""
        return self.drive.call(self._not_ready)

    def apdu_place(self) -> str:
        """Where the APDU port is, or why it is not; empty without one."""

        def place() -> str:
            port = self.host.apdu_port
            if port is None:
                return ""
            if port.listener is not None:
                return f"APDUs at port {port.listener.port}"
            if self.host.apdu_error:
                return f"no APDU port yet ({self.host.apdu_error})"
            return f"APDUs at port {self.policy.apdu or 'of any number'} once a card is there"

        return self.drive.call(place)

    def ready(self) -> bool:
        """Whether cards are served."""
        return not self.drive.call(self._not_ready)

    # -- in the drive's thread ---------------------------------------------------------------------------------------------

    def _build(self) -> None:
        settings, policy = self.settings, self.policy
        self._uplink = SocketUplink(self.ground, self._resolver)
        host = Host(
            self.drive.engine,
            self._port,
            self._uplink,
            HostSettings(settings.mtu, settings.poll, settings.window, policy.directory, policy.apdu),
            self._sink,
            hop=settings.hop,
            wait=self._wait,
            apdu_uplink=ApduUplink(self._uplink),
        )
        host.gateway.answer = policy.times.answer.ticks(self.drive.engine.timebase)
        host.gateway.on_refused = self._refused
        host.gateway.make_room = lambda card: self.uplink.make_room(self.ground.account(card))
        self.ground.identity = lambda node: host.cards[node].identity if node in host.cards else b""
        self._watch(host)
        self._host = host

    def _watch(self, host: Host) -> None:
        """Cards that come and go are in the log."""
        chain, log = host.chain, self.log
        up, down, services = chain.on_node_up, chain.on_node_down, host.gateway.on_services

        def came(facts: NodeFacts) -> None:
            log.info("card.up", card=facts.node, identity=facts.identity.hex().upper(), mtu=facts.mtu)
            up(facts)

        def went(node: int, reason: str) -> None:
            log.info("card.down", card=node, reason=reason)
            down(node, reason)

        def listed() -> None:
            log.debug("services", count=len(host.services()))
            services()

        chain.on_node_up, chain.on_node_down, host.gateway.on_services = came, went, listed

    def _wait(self, nanoseconds: int, action: Callable[[], object]) -> Pending:
        return self.drive.loop.call_later(nanoseconds / 10**9, self.drive.event, action)

    def _begin(self) -> None:
        self.log.info(
            "gateway.start",
            addresses=" ".join(self.uplink.addresses),
            directory=self.directory_port,
            admin=self.admin_port,
        )
        self.host.start()
        self._look_later()

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self.log.info("gateway.drain", connections=self.uplink.connections)
            self.uplink.drain()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._look is not None:
            self._look.cancel()
        self.host.stop()
        self.uplink.close()
        self._failed()
        self.log.info("gateway.stop")

    def _look_later(self) -> None:
        self._look = self.drive.loop.call_later(LOOK_S, self._look_now)

    def _look_now(self) -> None:
        self._failed()
        self._look_later()

    def _failed(self) -> None:
        failure = self.drive.failure()
        if isinstance(failure, self.settings.missing):
            self._gone = str(failure)
        elif failure is not None:
            self.metrics.add(FAULTS)
            if str(failure) != self._fault:
                self._fault = str(failure)
                self.log.error("fault", kind=type(failure).__name__, what=str(failure))
        if self._up:
            self._gone = self._told = ""
        elif (reason := self._gone or self.host.link.last_error) and reason != self._told and not self._draining:
            self._told = reason
            self.log.warning("card.missing", reason=reason)

    def _refused(self, card: int, cause: Cause, why: str) -> None:
        self.ground.refused(card, UplinkError(cause, why), "open")

    def _not_ready(self) -> str:
        if self._draining:
            return "draining"
        if not self._up:
            return f"no card: {self._gone or self.host.link.last_error or 'none has answered yet'}"
        return ""

    @property
    def _up(self) -> bool:
        link = self.host.link
        return link.up if link.greets else link.powered

    def _text(self) -> str:
        host, table = self.host, self.host.node.table
        gauges = [
            Sample(UP, float(not self._not_ready())),
            Sample(CARDS, len(host.cards)),
            Sample(SERVICES, len(host.services())),
            Sample(CONNECTIONS, self.uplink.connections),
            Sample(CHANNELS, len(table)),
            Sample(RESERVED, self.ground.connections * self.ground.cost),
            Sample(QUEUED, host.link.queue.bytes),
            Sample(RESIDENT, resident_bytes()),
            Sample(VIOLATIONS, table.malformed, ("malformed",)),
            Sample(VIOLATIONS, table.violations, ("protocol",)),
            Sample(VIOLATIONS, host.node.chain.malformed, ("control",)),
            Sample(VIOLATIONS, host.node.reception.unknown + host.node.junction.unknown, ("unknown",)),
            Sample(UNANSWERED, host.gateway.unanswered),
            Sample(OVERSIZED, host.gateway.oversized),
            Sample(LOG_DROPPED, self.log.dropped),
        ]
        if host.apdu_port is not None:
            gauges.append(Sample(APDUS, host.apdu_port.carried))
        return self.metrics.text(gauges)


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
