"""The served chain: reference cards of virtual time, the first of them offered to vpcd. Also the process that does so for a rig.

As a process (``python -m bench.rig.served PORT``) it takes its orders as lines of JSON on its standard input, one for each fresh chain, answers each
on its standard output (``ready ATR``, ``refused REASON``), says ``seen`` once vpcd has asked the card something, and ends when its input does.
"""

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Final

from bench.engine import Timebase, VirtualEngine
from bench.hop.limit import T0Limit
from bench.hop.link import PollPlan
from bench.iso7816.atr import parse_atr
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import T0Timing
from bench.observe import NullSink
from bench.rig.errors import RigNotAble
from bench.rig.given import Given
from bench.rig.software import SoftwareChain
from bench.serve.pace import Pace
from bench.serve.vpcd import ServedCard, VpcdLoop, connect

READY: Final = "ready"
REFUSED: Final = "refused"
SEEN: Final = "seen"
EXIT_GONE: Final = 3
"""vpcd could not be reached, or has closed the connection."""


@dataclass(frozen=True, slots=True)
class InnerPolls:
    """How often the cards of a served chain ask the card behind them, in ms: real time, so seldom enough to leave the processor alone."""

    first_ms: float = 5.0
    longest_ms: float = 20.0


@dataclass(frozen=True, slots=True)
class ServeOrder:
    """What to serve: the conditions of a point, and how time is kept."""

    given: dict[str, str]
    polls: InnerPolls = InnerPolls()
    paced: bool = False
    """Hold each answer until the wall has reached its time: what its characters take on the card's line, and the card's declared time."""

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> "ServeOrder":
        """Raises ValueError for what is no order."""
        try:
            tree = json.loads(text)
            polls = InnerPolls(float(tree["polls"]["first_ms"]), float(tree["polls"]["longest_ms"]))
            given = {str(name): str(value) for name, value in tree["given"].items()}
            return cls(given, polls, bool(tree["paced"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not an order to serve: {error!r}") from error


def serve_chain(order: ServeOrder) -> ServedCard:
    """A fresh chain as ordered, at tick 0 of its own engine and without power. Raises RigNotAble and ValueError for what cannot be."""
    given = Given.model_validate(order.given)
    engine = VirtualEngine(Timebase.for_clocks(given.clock_hz))
    timebase = engine.timebase
    if given.poll is not None:
        poll = PollPlan(given.poll.ticks(timebase), given.poll.ticks(timebase))
    else:
        first, longest = (round(ms * 10**6) for ms in (order.polls.first_ms, order.polls.longest_ms))
        poll = PollPlan(timebase.nanoseconds(first), timebase.nanoseconds(longest))
    chain = SoftwareChain(engine, given, poll, False, NullSink())
    card = chain.cards[0]
    timing = T0Timing.at_rate(parse_atr(card.profile.atr), Rate(given.ta1), given.clock_hz, timebase)
    pace = Pace(T0Limit(timing.etu, timing.pitch_to_card, given.card_time.ticks(timebase)))
    return ServedCard(card, card.profile.atr, engine, pace, order.paced)


class _Orders:
    """Standard input as lines."""

    def __init__(self) -> None:
        self.ended = False
        self._buffer = bytearray()

    def read(self) -> list[str]:
        """The lines that are whole after one more read, which waits where nothing is there."""
        data = os.read(0, 65_536)
        self.ended = not data
        self._buffer += data
        lines = []
        while (end := self._buffer.find(b"\n")) >= 0:
            lines.append(self._buffer[:end].decode(errors="replace"))
            del self._buffer[: end + 1]
        return lines


class _Process:
    """One vpcd connection, orders on standard input."""

    def __init__(self, host: str, port: int) -> None:
        self.orders = _Orders()
        self._host, self._port = host, port
        self._loop: VpcdLoop | None = None
        self._seen = False

    def run(self) -> int:
        """Serve until the input ends or vpcd is gone; gives the exit status. Raises OSError where vpcd cannot be reached."""
        while self._loop is None and not self.orders.ended:
            self._take()
        if self._loop is None:
            return 0
        self._loop.run(lambda: self.orders.ended)
        return EXIT_GONE if self._loop.ended else 0

    def _take(self) -> None:
        for line in self.orders.read():
            try:
                served = serve_chain(ServeOrder.decode(line))
            except (ValueError, RigNotAble) as reason:
                self._say(REFUSED, " ".join(str(reason).split()))
                continue
            if self._loop is None:
                self._loop = VpcdLoop(connect(self._host, self._port), served)
                self._loop.on_asked = self._asked
                self._loop.watch(0, self._take)
            else:
                self._loop.replace(served)
            self._say(READY, served.atr.hex())

    def _asked(self) -> None:
        if not self._seen:
            self._seen = True
            self._say(SEEN)

    def _say(self, *words: str) -> None:
        try:
            print(*words, flush=True)
        except OSError:
            self.orders.ended = True


def main() -> int:
    """The process. Exit status 0 at the end of input, 3 where vpcd is gone."""
    parser = argparse.ArgumentParser(prog="python -m bench.rig.served", description="Serve a chain to vpcd for a rig.")
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who gives the orders
    try:
        return _Process(arguments.host, arguments.port).run()
    except OSError as error:
        print(f"vpcd at {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        return EXIT_GONE


if __name__ == "__main__":
    sys.exit(main())
