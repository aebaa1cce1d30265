"""``cardbench ppp``: the external support of the paper's figure 3, between a serial line and the first card of a rig."""

import json
import os
import signal
import sys
import threading
import tty
from dataclasses import asdict
from types import FrameType
from typing import Final

import click

from bench.host.drive import SlavedDrive
from bench.host.external_support import BUFFER
from bench.host.external_support_hop import SupportHost
from bench.host.external_support_line import ExternalSupportLine
from bench.observe import NullSink
from bench.rig.build import Rig, build_rig, poll_plan
from bench.rig.driving import OWN_POLLS, drive_rig
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.model import ReaderKind, RigModel
from fixtures.options import read_rig_choice

EXIT_BENCH: Final = 3
GIVEN: Final = {"stack": "ip", "addressing": "ppp", "mtu": "1500"}


class RunningSupport:
    """An external support on a rig that it owns. ``stop`` ends both; a second call is no mistake."""

    def __init__(self, model: RigModel, given: Given, reads: int, writes: int, bound: int, *, paced: bool) -> None:
        """Raises RigError and RigNotAble."""
        if model.reader.kind is ReaderKind.SOFTWARE and "poll_ms" not in model.model_fields_set:
            model = model.model_copy(update={"poll_ms": OWN_POLLS})
        self.rig: Rig = build_rig(model, given, NullSink(), 1, model.real)
        self._stopped = False
        try:
            self.drive = drive_rig(self.rig, model, paced)
            plan = poll_plan(model, given, self.rig.engine)
            port = self.rig.host.link.port
            # The rig's own host is never started: this one takes its place at the port.
            self.host = SupportHost(self.rig.engine, port, plan, self.rig.tap, given.mtu, bound)
            self.line = ExternalSupportLine(self.drive, self.host.plug, reads, writes)
        except BaseException:
            self.rig.close()
            raise

    def start(self) -> None:
        self.drive.call(self.host.start)
        self.line.start()

    def told(self) -> str:
        """What the buffers held and what was lost, as a line of JSON."""
        return self.drive.call(self._told)

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        try:
            self.line.stop()
            self.drive.call(self.host.stop)
        finally:
            if isinstance(self.drive, SlavedDrive):
                self.drive.stop()
            self.rig.close()

    def _told(self) -> str:
        support, now = self.host.support, self.rig.engine.now
        return json.dumps(
            {
                "to_card": asdict(support.to_card.fill(now)),
                "to_line": asdict(support.to_line.fill(now)),
                "octets_in": self.line.octets_in,
                "octets_out": self.line.octets_out,
                "fcs_errors": support.fcs_errors,
                "aborted": support.aborted,
            }
        )


@click.command("ppp")
@click.argument("line")
@click.option("--rig", metavar="FILE", help="The rig file.  [default: rigs/default.yaml, else one software card]")
@click.option("--rig-name", metavar="NAME", help="Which rig of the file.  [default: the first]")
@click.option("--mtu", metavar="N", default="1500", show_default=True, help="Longest packet over the hop, in bytes.")
@click.option("--ta1", metavar="HEX", help="Rate of the hop, as TA1, where the reader can choose it.")
@click.option("--buffer", type=click.IntRange(256), default=BUFFER, show_default=True, help="Bytes, each way.")
@click.option("--paced", is_flag=True, help="A software card takes the time its line takes.")
def ppp_command(
    line: str, rig: str | None, rig_name: str | None, mtu: str, ta1: str | None, buffer: int, paced: bool
) -> None:
    """Connect a PPP program such as pppd with the card: HDLC-like framing on LINE, the half-duplex hop to the card.

    LINE is a terminal device, or - for standard input and output, as pppd's option pty wants it. PPP itself is between that program and the card;
    what happens here is conversion, buffering both ways, and measuring it. The figures are written to standard error at the end, as one line of
    JSON.

    \b
    Examples:
      pppd noauth local nodetach pty 'cardbench ppp -'        a software card; then curl http://the-address-of-the-peer/
      cardbench ppp /dev/ttyS1 --rig rigs/lab-3.yaml

    Exit status 0 when the line ends or a signal comes, 2 for wrong options or files, 3 when the rig or the line cannot be had.
    """
    try:
        model = read_rig_choice(rig, rig_name).model
        given = Given.model_validate({**GIVEN, "mtu": mtu} | ({"ta1": ta1} if ta1 else {}))
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    reads, writes = _open(line)
    ended = threading.Event()

    def stopping(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, stopping)
    try:
        running = RunningSupport(model, given, reads, writes, buffer, paced=paced)
        running.line.on_end = lambda _reason: ended.set()
        try:
            running.start()
            while not ended.wait(1.0):
                pass
            click.echo(running.told(), err=True)
        finally:
            running.stop()
    except RigNotAble as reason:
        raise click.UsageError(str(reason)) from None
    except RigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BENCH)
    finally:
        if line != "-":
            os.close(reads)


def _open(line: str) -> tuple[int, int]:
    if line == "-":
        return 0, 1
    try:
        descriptor = os.open(line, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        if os.isatty(descriptor):
            tty.setraw(descriptor)
    except OSError as error:
        click.echo(f"error: {line}: {error.strerror}", err=True)
        sys.exit(EXIT_BENCH)
    return descriptor, descriptor
