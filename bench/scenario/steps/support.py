"""What several steps need: waiting with a deadline, finding services, sockets outside the host.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.channels.message import Cause
from bench.host.gateway import Service
from bench.host.peers import PeerSocket
from bench.observe import Observation
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.units import Span

ANSWER_WITHIN = Span(60 * 10**9)
"""How long a step waits for something that has no limit of its own."""
CHANNELS = "channels"
"""The note that ``open_channels`` leaves."""


def wait(context: StepContext, done: Callable[[], bool], span: Span = ANSWER_WITHIN) -> bool:
    """Let the bench go on until ``done`` holds, at most ``span`` of the point's own time."""
    return context.engine.wait(done, span.ticks(context.engine.timebase))


def milliseconds(context: StepContext, ticks: int) -> float:
    """Ticks in milliseconds."""
    return context.engine.timebase.to_ns(ticks) / 1e6


def service(context: StepContext, name: str, card: int, span: Span = ANSWER_WITHIN) -> Service:
    """The service ``name`` of ``card``, as the host lists it. The card fails the point where it offers none."""

    def find() -> Service | None:
        for listed in context.rig.host.gateway.services():
            if listed.name == name and listed.card == card:
                return listed
        return None

    wait(context, lambda: find() is not None, span)
    found = find()
    if found is None:
        context.fail(f"card {card} offers no service {name!r} (waited {span})")
    return found


def dial(context: StepContext, port: int, *, udp: bool = False, weight: int = 1) -> PeerSocket:
    """A program outside connects to a port of the host, and waits until it is connected."""
    socket = context.engine.call(lambda: context.rig.uplink.dial(port, udp=udp, weight=weight))
    wait(context, lambda: socket.open or socket.cause is not None)
    if not socket.open:
        context.fail(f"a connection to port {port} was refused: {_cause(socket)}")
    return socket


def exchange(context: StepContext, socket: PeerSocket, data: bytes, span: Span = ANSWER_WITHIN) -> int:
    """Send ``data`` and wait until as much has come back; gives the ticks it took. The card fails the point where what comes back differs."""
    begun = context.engine.now
    arrived: list[int] = []

    def take(piece: bytes) -> None:
        socket.received.extend(piece)
        if len(socket.received) >= len(data) and not arrived:
            arrived.append(context.engine.now)

    def send() -> None:
        nonlocal begun
        begun = context.engine.now
        socket.received.clear()
        socket.on_data = take
        socket.write(data)

    context.engine.call(send)
    wait(context, lambda: bool(arrived) or socket.ended, span)
    if not arrived:
        reason = f"the channel ended ({_cause(socket)})" if socket.ended else f"nothing more came within {span}"
        context.fail(f"{len(socket.received)} of {len(data)} bytes came back: {reason}")
    if bytes(socket.received) != data:
        at = next(i for i, (a, b) in enumerate(zip(socket.received, data, strict=False)) if a != b)
        context.fail(f"what came back differs from what was sent at byte {at} of {len(data)}")
    return arrived[0] - begun


@dataclass(slots=True)
class Watch:
    """Observations of one kind of interest, while a step runs. Use it with ``with``."""

    context: StepContext
    wanted: Callable[[Observation], bool]
    seen: list[Observation] = field(default_factory=list)

    def __enter__(self) -> "Watch":
        self.context.engine.call(self._begin)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.context.engine.call(self._end)

    def _begin(self) -> None:
        tap = self.context.rig.tap
        tap.settle()
        tap.listeners.append(self._take)

    def _end(self) -> None:
        tap = self.context.rig.tap
        tap.settle()
        tap.listeners.remove(self._take)

    def _take(self, observation: Observation) -> None:
        if self.wanted(observation):
            self.seen.append(observation)


def opened_channels(context: StepContext) -> list[PeerSocket]:
    """The sockets an ``open_channels`` step left."""
    sockets = context.note(CHANNELS, list)
    if not all(isinstance(socket, PeerSocket) for socket in sockets):
        raise BenchFault("the note of open channels holds something else")
    return sockets


def _cause(socket: PeerSocket) -> str:
    return (socket.cause if socket.cause is not None else Cause.NONE).text
