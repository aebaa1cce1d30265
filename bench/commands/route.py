"""``cardbench route``: the host as a router between the cards of a rig and this machine, over a TUN device."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final

import click

from bench.commands.gateway import EXIT_BENCH
from bench.files.mistakes import FileError
from bench.host.drive import SlavedDrive
from bench.host.ip_pool import AddressPool
from bench.host.memory import HostMemory, HostMemoryError
from bench.host.names import NameZone
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.host.router import Router
from bench.host.tun import TunError, TunUplink
from bench.host.tun_setup import Interface, TunSetup, open_tun
from bench.host.uplink_line import UPLINK_HOP, UplinkLine
from bench.net.protocols import text
from bench.net.routes import Prefix
from bench.observe import Direction, NullSink, Observation, Packet
from bench.records.pcapng import Flow, LinkType, PcapngWriter
from bench.rig.build import Rig, build_rig, poll_plan
from bench.rig.driving import OWN_POLLS, drive_rig
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.ip_network import line_settings, router_settings
from bench.rig.model import ReaderKind, RigModel
from fixtures.options import read_rig_choice

MACHINE: Final = ("10.78.0.1/30", "fd78::1/126")
"""This machine's own addresses on the link; the router has the next ones."""
UPLINK_MTU: Final = 1500


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The link between the router and this machine."""

    name: str = "cards0"
    namespace: str = ""
    mtu: int = UPLINK_MTU
    machine: tuple[Interface, ...] = tuple(ip_interface(each) for each in MACHINE)


class RunningRoute:
    """A router on a rig that it owns, with a TUN device as its uplink. ``stop`` ends everything; a second call is no mistake."""

    def __init__(
        self,
        model: RigModel,
        given: Given,
        link: LinkOptions,
        *,
        paced: bool = False,
        seed: int = 1,
        memory: HostMemory | None = None,
        prepare: Callable[[Rig], None] | None = None,
    ) -> None:
        """Raises RigError and RigNotAble for the rig, TunError for the device.

        ``memory`` is what an earlier router knew; ``prepare`` may change the rig before anything is powered.
        """
        if model.reader.kind is ReaderKind.SOFTWARE and "poll_ms" not in model.model_fields_set:
            model = model.model_copy(update={"poll_ms": OWN_POLLS})
        self.on_gone: Callable[[], None] = _nothing
        """The device was taken away. Called in the drive's thread."""
        self._stopped = False
        memory = memory if memory is not None else HostMemory()
        uplink = tuple((each.ip + 1).packed for each in link.machine)
        settings = replace(router_settings(given, memory), uplink=uplink)
        self.rig: Rig = build_rig(model, given, NullSink(), seed, model.real)
        try:
            if prepare is not None:
                prepare(self.rig)
            routes = (*settings.prefixes, *settings.static, *(_around(each) for each in settings.pools))
            device = open_tun(TunSetup(link.name, link.mtu, link.machine, routes, link.namespace))
        except BaseException:
            self.rig.close()
            raise
        try:
            self.drive = drive_rig(self.rig, model, paced)
        except BaseException:
            device.close()
            self.rig.close()
            raise
        engine, port = self.rig.engine, self.rig.host.link.port
        # The rig's own host, on a network in its process, is never started: this one takes its place at the port.
        host_settings = HostSettings(given.mtu, poll_plan(model, given, engine))
        self.host = Host(engine, port, InProcessUplink(), host_settings, self.rig.tap)
        self.tun = TunUplink(self.drive, device, link.mtu)
        self.line = UplinkLine(engine, line_settings(given, engine), seed, self.rig.tap)
        self.line.on_delivered = self._to_machine
        self.tun.on_packet = self._from_machine
        self.tun.on_gone = lambda _error: self.on_gone()
        self.router: Router = self.host.route(settings, NameZone(remembered=memory.names))
        self.router.connect(self.line)

    def start(self) -> None:
        """Power the cards, and listen to this machine."""
        self.drive.call(self._start)

    def stop(self) -> None:
        """Power down; the device goes, with its addresses and routes."""
        if self._stopped:
            return
        self._stopped = True
        try:
            self.drive.call(self._stop)
        finally:
            if isinstance(self.drive, SlavedDrive):
                self.drive.stop()
            self.rig.close()

    def cards(self) -> dict[int, tuple[str, ...]]:
        """Every card that is there, by its number, and its addresses."""
        router = self.router
        return self.drive.call(
            lambda: {number: tuple(text(each) for each in router.addresses(number)) for number in router.cards}
        )

    def memory(self) -> HostMemory:
        """What a router that is started later should know: addresses given to cards, and whose the names are."""
        return self.drive.call(self.router.memory)

    def _to_machine(self, packet: bytes) -> None:
        self.tun.send(packet)  # what the kernel does not take is lost, as on any network

    def _from_machine(self, packet: bytes) -> None:
        self.line.enter(packet)

    def _start(self) -> None:
        self.tun.start()
        self.host.start()

    def _stop(self) -> None:
        self.host.stop()
        self.tun.close()


def capture_to(running: RunningRoute, stream: BinaryIO) -> None:
    """Write every packet that crosses the link to this machine. Call it before ``start``."""
    writer = PcapngWriter(stream)
    number = writer.interface("uplink", LinkType.RAW_IP)
    timebase = running.rig.engine.timebase

    def heard(observation: Observation) -> None:
        if isinstance(observation, Packet) and observation.hop == UPLINK_HOP:
            flow = Flow.INBOUND if observation.direction is Direction.IN else Flow.OUTBOUND
            writer.packet(number, timebase.to_ns(observation.time_ticks), observation.data, flow, "")

    running.rig.tap.listeners.append(heard)


@click.command("route")
@click.option("--tun", "name", metavar="NAME", default="cards0", show_default=True, help="Name of the interface.")
@click.option("--netns", metavar="NAME", default="", help="Put the interface into this network namespace (ip netns).")
@click.option(
    "--link-mtu", type=click.IntRange(68, 9000), default=UPLINK_MTU, show_default=True, help="MTU of the interface."
)
@click.option(
    "--address", "addresses", multiple=True, metavar="ADDR/LEN",
    help="This machine's address on the link, again for more; the router takes the next one.  "
    f"[default: {' and '.join(MACHINE)}]",
)  # fmt: skip
@click.option("--rig", metavar="FILE", help="The rig file.  [default: rigs/default.yaml, else one software chain]")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option("--cards", metavar="N", help="Cards in the chain.  [default: those of the rig file, else one]")
@click.option("--mtu", metavar="N", help="Longest packet over the hops, in bytes.  [default: 1500]")
@click.option("--ta1", metavar="HEX", help="Rate of the hops, as TA1, where the reader can choose it.")
@click.option(
    "--given", "more", multiple=True, metavar="NAME=VALUE",
    help="Any other condition of a scenario, again for more: uplink_loss=0.01, uplink_jitter=20 ms, addressing=pool.",
)  # fmt: skip
@click.option("--paced", is_flag=True, help="Software cards take the time their lines take.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of what chance decides.")
@click.option(
    "--memory",
    metavar="FILE",
    help="Keep which card was given which address and name in this file, for the next start.",
)
@click.option("--capture", metavar="FILE", help="Write the packets on the link to a pcapng file.")
def route_command(  # long: a line for every option, and what the help says
    name: str,
    netns: str,
    link_mtu: int,
    addresses: tuple[str, ...],
    rig: str | None,
    rig_name: str | None,
    cards: str | None,
    mtu: str | None,
    ta1: str | None,
    more: tuple[str, ...],
    paced: bool,
    seed: int,
    memory: str | None,
    capture: str | None,
) -> None:
    """Give every card of a rig an address of its own on this machine: ping it, open its web page, let it call out.

    The cards carry the IP stack; the bench is the router before them. It makes a TUN interface, gives it addresses and routes by means of ip
    (iproute2), and takes everything away again when it ends. The first card is at 10.78.16.2 and fd78:16::2, the next ones follow; the
    router itself, 10.78.16.1, answers for names. Linux has no IPv6 on an interface whose --link-mtu is below 1280, and sends no IPv6 packets in
    pieces smaller than that, whatever a narrower chain tells it. It needs root, or the capability CAP_NET_ADMIN.

    \b
    Examples:
      cardbench route --cards 3                            three software cards; then, elsewhere:
          ping 10.78.16.4; curl http://[fd78:16::2]/; dig @10.78.16.1 card-2.cards.test
      cardbench route --netns lab                          only programs in the namespace see them: ip netns exec lab curl ...
      cardbench route --rig rigs/lab-3.yaml --tun cards3   the cards of a real rig
      cardbench route --given uplink_loss=0.02 --given 'uplink_jitter=30 ms' --capture lossy.pcapng

    For cards to reach other machines this one must forward: sysctl net.ipv4.ip_forward=1, and masquerade 10.78.0.0/16.

    Exit status 0 when stopped by a signal, 2 for wrong options or files, 3 when the rig or the interface cannot be had or is taken away.
    """
    given = _given(more, {"mtu": mtu, "ta1": ta1, "cards": cards})
    try:
        model = read_rig_choice(rig, rig_name).model
        if cards is None and model.cards:
            given = Given.model_validate({**given.texts(), "cards": str(len(model.cards))})
        link = LinkOptions(name, netns, link_mtu, _addresses(addresses))
        kept = Kept(Path(memory)) if memory is not None else None
    except HostMemoryError as error:
        raise click.UsageError(f"--memory {error}") from None
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    stop, gone = threading.Event(), threading.Event()

    def stopping(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    def taken() -> None:
        gone.set()
        stop.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stopping)
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(_opened(capture)) if capture is not None else None
            known = kept.memory if kept is not None else None
            running = RunningRoute(model, given, link, paced=paced, seed=seed, memory=known)
            stack.callback(running.stop)
            running.on_gone = taken
            if stream is not None:
                capture_to(running, stream)
            running.start()
            click.echo(f"{name} is up (Ctrl-C ends)")
            _watch(running, stop, kept)
    except RigNotAble as reason:
        raise click.UsageError(str(reason)) from None
    except (RigError, TunError, HostMemoryError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BENCH)
    if gone.is_set():
        click.echo(f"error: the interface {name} was taken away", err=True)
        sys.exit(EXIT_BENCH)


class Kept:
    """The file in which a router's memory is kept. Raises HostMemoryError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.memory = HostMemory.read(path)

    def keep(self, memory: HostMemory) -> None:
        """Write it, where it is not what is there."""
        if memory != self.memory:
            memory.write(self.path)
            self.memory = memory


def _watch(running: RunningRoute, stop: threading.Event, kept: Kept | None) -> None:
    """Tell of cards that come and go, until the end."""
    known: dict[int, tuple[str, ...]] = {}
    sys.stdout.flush()
    while not stop.wait(0.25):
        now = running.cards()
        for number in sorted(known.keys() | now.keys()):
            if known.get(number) != now.get(number):
                click.echo(f"card {number}: {', '.join(now[number]) if number in now else 'gone'}")
        known = now
        sys.stdout.flush()
        if kept is not None:
            kept.keep(running.memory())
        if (failure := running.drive.failure()) is not None:
            raise RigError(f"{type(failure).__name__}: {failure}")


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    try:
        stream = Path(file).open("wb")  # noqa: SIM115  # closed below, apart from what opening it raises
    except OSError as error:
        raise click.UsageError(f"--capture {file}: {error.strerror}") from None
    with stream:
        yield stream


def _given(more: tuple[str, ...], options: dict[str, str | None]) -> Given:
    """The conditions. Raises click.UsageError."""
    values = {"stack": "ip", "mtu": "1500"}
    for each in more:
        name, sign, value = each.partition("=")
        if not sign:
            raise click.UsageError(f"--given {each}: expected NAME=VALUE")
        values[name.strip()] = value.strip()
    values |= {name: value for name, value in options.items() if value is not None}
    if values["stack"] == "channel" or values.get("addressing") == "ppp":
        raise click.UsageError("--given: the cards must carry the IP stack, without PPP between")
    try:
        return Given.model_validate(values)
    except (ValueError, FileError) as error:  # pydantic's own error is a ValueError
        raise click.UsageError(_first(error)) from None


def _first(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first = errors()[0]
    where = ".".join(str(each) for each in first["loc"])
    return f"{where}: expected {first['msg']}"


def _addresses(texts: tuple[str, ...]) -> tuple[Interface, ...]:
    found = []
    for each in texts or MACHINE:
        try:
            address = ip_interface(each)
            if address.ip + 1 not in address.network:
                raise ValueError("the router's address, the next one, is outside the prefix")
        except ValueError as error:
            raise click.UsageError(f"--address {each}: {error}") from None
        found.append(address)
    if len({each.version for each in found}) != len(found):
        raise click.UsageError("--address: at most one of each version")
    return tuple(found)


def _around(pool: AddressPool) -> Prefix:
    """The smallest prefix that holds a pool."""
    bits = len(pool.first) * 8
    first = int.from_bytes(pool.first, "big")
    return Prefix.of(pool.first, bits - (first ^ (first + pool.size - 1)).bit_length())


def _nothing() -> None:
    pass
