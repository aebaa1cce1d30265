"""``cardbench``: one thin command per job.

Commands are loaded when they are called or when their own help is asked for, so that ``cardbench --help`` and small commands stay quick.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass

import click

from bench.files.mistakes import FileError

EPILOG = """\b
Examples:
  cardbench run                              every scenario on the default rig: the reference software card
  cardbench run scenarios/baud-rate -n 2     one subject, two workers
  cardbench run --rig rigs/lab-3.yaml        the points for real readers, on what the rig file names
  cardbench report results                   one page over all runs
  cardbench steps transfer                   what a step does and takes

\b
Exit status: 0 done and all well; 1 the card failed; 2 wrong use or input; 3 the bench, a reader or the
network failed, or nothing was judged. Where several hold, 2 before 1 before 3."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and its line in the list."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "run": Entry("bench.commands.run", "run_command", "Run scenarios and print the verdicts."),
    "report": Entry("bench.commands.report", "report_command", "Collate what runs recorded into HTML and CSV."),
    "compare": Entry("bench.commands.compare", "compare_command", "Set the timings of cards or readers side by side."),
    "regress": Entry("bench.commands.regress", "regress_command", "Hold the last run against baseline and history."),
    "certify": Entry("bench.commands.certify", "certify_command", "Report where a card stands on every requirement."),
    "validate": Entry(
        "bench.commands.validate", "validate_command", "Hold the bench against wrong cards, hosts, readers."
    ),
    "paths": Entry("bench.commands.paths", "paths_command", "Set the verdicts of several paths side by side."),
    "card": Entry("bench.commands.card", "card_command", "Offer the reference card to other programs."),
    "gateway": Entry("bench.commands.gateway", "gateway_command", "Run the host daemon on real sockets."),
    "ppp": Entry("bench.commands.ppp", "ppp_command", "Connect a PPP program with the card over a line."),
    "route": Entry("bench.commands.route", "route_command", "Route between the cards and this machine (TUN)."),
    "readers": Entry("bench.commands.readers", "readers_command", "List the readers that are attached."),
    "rig": Entry("bench.commands.rigs", "rig_command", "Write or merge a rig file from what is attached."),
    "calibrate": Entry("bench.commands.calibrate", "calibrate_command", "Measure a reader's own latency."),
    "declare": Entry("bench.commands.declare", "declare_command", "Write a card's first declaration from the card."),
    "atr": Entry("bench.commands.explain", "atr_command", "Explain an answer to reset."),
    "rates": Entry("bench.commands.explain", "rates_command", "List baud rates for a clock and TA1."),
    "apdu": Entry("bench.commands.explain", "apdu_command", "Explain a command APDU or a status word."),
    "timing": Entry("bench.commands.timing", "timing_command", "Judge the character timing of a captured line."),
    "dissector": Entry("bench.commands.dissector", "dissector_command", "Say where Wireshark's dissector lies."),
    "schema": Entry("bench.commands.schema", "schema_command", "Print the JSON Schema of scenario or rig files."),
    "steps": Entry("bench.commands.steps", "steps_command", "Explain the steps of scenario files."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for name, entry in COMMANDS.items() if importlib.util.find_spec(entry.module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        try:
            module = importlib.import_module(entry.module)
        except ModuleNotFoundError as error:
            if error.name == entry.module:
                ctx.fail(f"this cardbench has no command {cmd_name!r} yet")
            ctx.fail(
                f"{cmd_name!r} needs the Python package {error.name!r}, which is not installed (see README, extras)"
            )
        command = getattr(module, entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cardbench", prog_name="cardbench")
def cardbench() -> None:
    """The open bench that certifies IP smart cards.

    Scenario files say what is done and what must come out; a rig file says which reader and cards it is done with; verdicts, timings and the
    evidence for them come out. Without a rig file everything runs on a software card, with nothing attached.
    """


def main() -> None:
    """The console script. A mistake in a file ends with its place and status 2, never with a traceback."""
    try:
        cardbench(prog_name="cardbench")
    except FileError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
