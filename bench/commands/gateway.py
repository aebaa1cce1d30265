"""``cardbench gateway``: the host daemon on real sockets, on any rig."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import click
from pydantic import ValidationError

from bench.files.models import first_wrong
from bench.host.drive import Drive, SlavedDrive
from bench.host.log import LEVELS, Log
from bench.host.policy import Policy, conflict, load_policy
from bench.host.service import GatewayError, GatewayService, PolicyUnfitError, ServiceSettings
from bench.iso7816.errors import RateError
from bench.iso7816.rates import Rate
from bench.observe import NullSink
from bench.rig.build import Rig, build_rig, poll_plan
from bench.rig.driving import OWN_POLLS, drive_rig
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.model import ReaderKind, RigModel
from bench.rig.software import profile_named
from fixtures.options import read_rig_choice

EXIT_WRONG_USE: Final = 2
EXIT_BENCH: Final = 3
GREETING_S: Final = 1.5
"""How long the greeting waits for the first card to answer."""


@dataclass(slots=True)
class RunningGateway:
    """A gateway on a rig that it owns. ``stop`` ends both; a second call is no mistake."""

    service: GatewayService
    rig: Rig
    drive: Drive
    stopped: bool = False

    def stop(self, *, drain: bool = True) -> None:
        if self.stopped:
            return
        self.stopped = True
        try:
            self.service.stop(drain=drain)
        finally:
            if isinstance(self.drive, SlavedDrive):
                self.drive.stop()
            self.rig.close()


def serve_rig(
    model: RigModel,
    given: Given,
    policy: Policy,
    log: Log,
    *,
    admin: int | None = None,
    paced: bool = False,
    prepare: Callable[[Rig], None] | None = None,
) -> RunningGateway:
    """Build the rig and run a gateway on it. ``prepare`` may change the rig before anything is powered.

    Raises RigError and RigNotAble for the rig, GatewayError where a port is not to be had.
    """
    if model.reader.kind is ReaderKind.SOFTWARE and "poll_ms" not in model.model_fields_set:
        model = model.model_copy(update={"poll_ms": OWN_POLLS})
    rig = build_rig(model, given, NullSink(), 1, model.real)
    if prepare is not None:
        prepare(rig)
    try:
        drive = drive_rig(rig, model, paced)
        link = rig.host.link
        # The rig's own host, on sockets in its process, is never started: this one takes its place at the port.
        settings = ServiceSettings(
            given.mtu, poll_plan(model, given, rig.engine), hop=link.greets, admin=admin, missing=(RigError,)
        )
        service = GatewayService(drive, link.port, settings, policy, log, rig.tap)
    except BaseException:
        rig.close()
        raise
    running = RunningGateway(service, rig, drive)
    try:
        service.start()
    except BaseException:
        running.stop(drain=False)
        raise
    return running


@click.command("gateway")
@click.option("--rig", metavar="FILE", help="The rig file.  [default: rigs/default.yaml, else one software chain]")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option(
    "--listen", multiple=True, metavar="ADDR", help="Address to listen on, again for more.  [default: loopback]"
)
@click.option(
    "--policy", "policy_file", metavar="FILE", help="What cards may do (docs/gateway.md).  [default: nothing outside]"
)
@click.option(
    "--directory", type=click.IntRange(0, 65535), metavar="PORT", help="Port of the directory.  [default: 7816]"
)
@click.option(
    "--apdu",
    metavar="PORT",
    help="Port of the APDU channel, or off; on loopback, but see apdu_on in the policy.  [default: 7817]",
)
@click.option(
    "--admin", type=click.IntRange(0, 65535), metavar="PORT", help="Metrics and health on this port of 127.0.0.1."
)
@click.option("--cards", metavar="N", help="Cards in the chain.  [default: those of the rig file, else one]")
@click.option("--mtu", metavar="N", help="Longest packet in bytes.")
@click.option("--profile", metavar="NAME", help="Profile of software cards: reference, plain, or a memory.")
@click.option("--ta1", metavar="HEX", help="Rate of the lines, as TA1, where the reader can choose it.")
@click.option("--paced", is_flag=True, help="Software cards take the time their lines take.")
@click.option(
    "--log", "level", type=click.Choice(LEVELS), default="info", show_default=True, help="The least that is logged."
)
def gateway_command(  # long: a line for every option, and what the help says
    rig: str | None,
    rig_name: str | None,
    listen: tuple[str, ...],
    policy_file: str | None,
    directory: int | None,
    apdu: str | None,
    admin: int | None,
    cards: str | None,
    mtu: str | None,
    profile: str | None,
    ta1: str | None,
    paced: bool,
    level: str,
) -> None:
    """Connect the cards of a rig to the network: every program can then talk to them, and they to programs.

    The services of the cards are listed on port 7816, as lines or (asked with the line json) as JSON; ordinary APDUs go through port 7817. The
    gateway listens on loopback and lets no card reach another machine, unless a policy file or --listen says otherwise. It logs JSON lines to
    standard error. SIGTERM and Ctrl-C stop it cleanly: it takes no more connections and gives those there are some time to end; a second
    signal stops it at once.

    \b
    Examples:
      cardbench gateway                                    a software card; nc localhost 7816 lists what it serves
      cardbench gateway --cards 4 --admin 9816             a chain of four, metrics at http://localhost:9816/metrics
      cardbench gateway --rig rigs/lab-3.yaml --policy lab.yaml --listen 192.0.2.7

    Exit status 0 when stopped by a signal, 2 for wrong options or files, 3 when the rig cannot be built or the directory's or the admin
    port cannot be had. A reader or a card that is not there (yet) is waited for: the log, the greeting and /readyz say so.
    """
    policy = _policy(policy_file, listen, directory, apdu)
    try:
        model = read_rig_choice(rig, rig_name).model
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    given = _given(model, {"cards": cards, "mtu": mtu, "profile": profile, "ta1": ta1})
    log = Log(2, level)
    stop, hurry = threading.Event(), threading.Event()
    running: RunningGateway | None = None

    def stopping(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            hurry.set()
            if running is not None:
                running.service.hurry()
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stopping)
    try:
        running = serve_rig(model, given, policy, log, admin=admin, paced=paced)
        try:
            patience = time.monotonic() + GREETING_S
            while running.service.waiting_for() and time.monotonic() < patience and not stop.wait(0.02):
                pass
            click.echo(_greeting(running), err=False)
            sys.stdout.flush()
            while not stop.wait(1.0):
                pass
        finally:
            running.stop(drain=not hurry.is_set())
    except (RigNotAble, PolicyUnfitError) as reason:
        raise click.UsageError(str(reason)) from None
    except (RigError, GatewayError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BENCH)


def _greeting(running: RunningGateway) -> str:
    service = running.service
    addresses = ", ".join(service.uplink.addresses)
    text = f"serving on {addresses}: directory at port {service.directory_port}"
    if place := service.apdu_place():
        text += f", {place}"
    if service.admin_port:
        text += f", metrics at http://127.0.0.1:{service.admin_port}/metrics"
    if reason := service.waiting_for():
        text += f"; {reason}"
    return text + " (Ctrl-C ends)"


def _policy(file: str | None, listen: tuple[str, ...], directory: int | None, apdu: str | None) -> Policy:
    policy = load_policy(Path(file)) if file is not None else Policy()
    changes: dict[str, object] = {}
    if listen:
        changes["listen"] = list(listen)
    if directory is not None:
        changes["directory"] = str(directory)
    if apdu is not None:
        changes["apdu"] = apdu
    try:
        checked = Policy.model_validate(changes)
    except ValidationError as error:
        raise click.UsageError(f"--{first_wrong(error)}") from None
    changed = policy.model_copy(update={name: getattr(checked, name) for name in changes})
    if same := conflict(changed):
        raise click.UsageError(f"{same}: give --directory or --apdu another")
    return changed


def _given(model: RigModel, options: dict[str, str | None]) -> Given:
    texts = {name: text for name, text in options.items() if text is not None}
    if "cards" not in texts and model.cards:
        texts["cards"] = str(len(model.cards))
    if "profile" not in texts and model.cards and not model.real:
        texts["profile"] = model.cards[0].ram or model.cards[0].profile
    try:
        given = Given.model_validate(texts)
        Rate(given.ta1)
        if options["profile"] is not None:
            profile_named(given.profile, given, 1)
    except ValidationError as error:
        raise click.UsageError(f"--{first_wrong(error)}") from None
    except RateError as error:
        raise click.UsageError(f"--ta1: {error}") from None
    except RigError as error:
        raise click.UsageError(f"--profile: {error}") from None
    return given
