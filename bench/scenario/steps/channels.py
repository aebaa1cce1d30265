"""Opening channels and asking the directory."""

import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.host.directory import PORT as DIRECTORY_PORT
from bench.host.peers import PeerSocket
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import CHANNELS, dial, milliseconds, service, wait
from bench.scenario.units import Count, Line, Truth, Whole


class OpenChannels(Step):
    """Opens channels to a service, for the steps that follow. With ``via``, an application of that card is the client.

    Example:
        - open_channels: {count: "{channels}", to: echo}
    """

    verb: ClassVar[str] = "open_channels"
    measures: ClassVar = {"open_time": Measure("ms", "until the last channel is open")}

    count: Annotated[Whole, Field(description="how many")] = 1
    protocol: Annotated[Literal["tcp"], Field(description="transport outside the host")] = "tcp"
    to: Annotated[Line, Field(description="name of the service")] = "echo"
    card: Annotated[Count, Field(description="the card that serves")] = 1
    via: Annotated[Whole, Field(description="the card whose application is the client; 0: a program outside")] = 0

    def run(self, context: StepContext) -> None:
        begun = context.engine.now
        sockets: list[PeerSocket] = []
        for _ in range(self.count):
            sockets.append(dial_service(context, self.to, self.card, self.via))  # noqa: PERF401 - each waits for the one before
        known = context.notes.setdefault(CHANNELS, [])
        assert isinstance(known, list)
        known.extend(sockets)
        context.measured("open_time", milliseconds(context, context.engine.now - begun))


class CloseChannels(Step):
    """Closes every open channel and holds that both sides have forgotten them.

    Example:
        - close_channels: {}
    """

    verb: ClassVar[str] = "close_channels"
    measures: ClassVar = {
        "left": Measure("channels", "channels the host still has after it, those of services left out")
    }

    def run(self, context: StepContext) -> None:
        sockets = context.notes.pop(CHANNELS, [])
        assert isinstance(sockets, list)

        def close() -> None:
            for socket in sockets:
                socket.close()

        context.engine.call(close)
        gateway = context.rig.host.gateway
        table = context.rig.host.node.table
        wait(context, lambda: gateway.connections == 0 and len(table) <= len(gateway.services()))
        context.measured("left", context.engine.call(lambda: len(table) - len(gateway.services())))


class Lookup(Step):
    """Asks the directory, as lines and as JSON, and holds that it is true: every service listed accepts a connection.

    Example:
        - lookup: {service: echo, card: 2}
    """

    verb: ClassVar[str] = "lookup"
    measures: ClassVar = {
        "services": Measure("services", "how many are listed"),
        "answer_time": Measure("ms", "until the list is whole"),
    }

    service: Annotated[Line | None, Field(description="a service that must be listed (or must not)")] = None
    card: Annotated[Count, Field(description="its card")] = 1
    listed: Annotated[Truth, Field(description="false: it must not be listed")] = True
    connect: Annotated[Truth, Field(description="whether each listed TCP service must accept a connection")] = False

    def run(self, context: StepContext) -> None:
        if self.service is not None and self.listed:
            service(context, self.service, self.card)
        begun = context.engine.now
        as_json, as_lines = self._ask(context, b"json\n", b"\n")
        context.measured("answer_time", milliseconds(context, context.engine.now - begun))
        rows = json.loads(as_json)
        lines = as_lines.decode("ascii").split("\r\n")[:-1]
        as_rows = [f"{row['name']} {row['port']} {row['protocol']} {row['card']} {row['state']}" for row in rows]
        if as_rows != [line for line in lines if line]:
            context.fail("the directory's lines and its JSON differ")
        context.measured("services", len(rows))
        if self.service is not None:
            there = any(row["name"] == self.service and row["card"] == self.card for row in rows)
            if there is not self.listed:
                context.fail(f"{self.service} of card {self.card} is {'not ' if self.listed else 'still '}listed")
        if self.connect:
            for row in rows:
                if row["protocol"] == "tcp":
                    socket = dial(context, row["port"])
                    context.engine.call(socket.close)

    def _ask(self, context: StepContext, *questions: bytes) -> list[bytes]:
        """Put all questions at one moment: services may come and go between two."""
        sockets = [dial(context, DIRECTORY_PORT) for _ in questions]

        def ask() -> None:
            for socket, question in zip(sockets, questions, strict=True):
                socket.write(question)

        context.engine.call(ask)
        wait(context, lambda: all(socket.ended for socket in sockets))
        return [bytes(socket.received) for socket in sockets]
