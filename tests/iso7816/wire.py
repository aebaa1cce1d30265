"""A software reader and a card's contacts on one line, every burst noted, with a handler that does what a test says."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.card.contacts import Contacts
from bench.engine import Timebase, VirtualEngine
from bench.iso7816.atr import build_atr
from bench.iso7816.line import Burst
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import Later, Reply
from bench.readers.software import SoftwareReader

CLOCK_HZ = 3_571_200
ENVELOPE, GET_RESPONSE, THINK = 0xC2, 0xC0, 0x40

Execute = Callable[[bytes, bytes, Later], Reply | None]


@dataclass(slots=True)
class Handler:
    """A TpduHandler: ENVELOPE takes data, everything else asks for some."""

    execute_with: Execute
    commands: list[bytes] = field(default_factory=list)

    def takes_data(self, header: bytes) -> bool:
        return header[1] == ENVELOPE

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        self.commands.append(header + data)
        return self.execute_with(header, data, later)


class Wire:
    """One reader, one card, and what went by. ``sent`` and ``answered`` hold bursts, with their times in ticks."""

    def __init__(
        self,
        execute: Execute,
        ta1: int = 0x11,
        *,
        clock_hz: int = CLOCK_HZ,
        extra_guard_time: int | None = None,
        wi: int | None = None,
    ) -> None:
        self.engine = VirtualEngine(Timebase.for_clocks(clock_hz))
        self.handler = Handler(execute)
        atr = build_atr(ta1=ta1, extra_guard_time=extra_guard_time, wi=wi)
        self.contacts = Contacts(self.engine, atr, 1000, self.handler, lambda _on: None)
        self.reader = SoftwareReader(self.engine, clock_hz, ta1)
        self.sent: list[Burst] = []
        self.answered: list[Burst] = []
        self.lose: set[int] = set()
        """Bursts to the card that do not arrive, by their place in ``sent``."""
        self.mute = False
        """True: what the card says is not heard."""
        self._deliver = self.contacts.receive
        self.contacts.receive = self._taken  # type: ignore[method-assign]
        self.reader.insert(self.contacts)
        hear = self.contacts.transmit

        def transmit(burst: Burst) -> None:
            self.answered.append(burst)
            if not self.mute:
                hear(burst)

        self.contacts.transmit = transmit
        self.etu = round(Rate(ta1).etu_cycles * self.engine.timebase.cycles(1, clock_hz))
        ups: list[PowerUp] = []
        self.reader.power_up(ups.append)
        assert self.engine.wait(lambda: bool(ups), self.engine.timebase.hz)
        assert not ups[0].error
        self.sent.clear()
        self.answered.clear()

    def _taken(self, burst: Burst) -> None:
        self.sent.append(burst)
        if len(self.sent) - 1 not in self.lose:
            self._deliver(burst)

    def exchange(self, *commands: bytes, within: int = 60) -> list[Answer]:
        """Each command as soon as the one before is answered; runs until all are (``within``: seconds of the engine)."""
        answers: list[Answer] = []

        def next_one(answer: Answer) -> None:
            answers.append(answer)
            if len(answers) < len(commands):
                self.reader.submit(commands[len(answers)], next_one)

        self.reader.submit(commands[0], next_one)
        assert self.engine.wait(lambda: len(answers) == len(commands), within * self.engine.timebase.hz)
        return answers

    def starts(self, first: int) -> list[int]:
        """Leading edges of the bursts to the card whose first byte is ``first``."""
        return [burst.start for burst in self.sent if burst.data[0] == first]


def envelope(size: int) -> bytes:
    return bytes((0x80, ENVELOPE, 0x80, 0, size)) + bytes(size)


def get_response(size: int) -> bytes:
    return bytes((0x80, GET_RESPONSE, 0x80, 0, size & 0xFF))


def answer(data: bytes = b"", sw: int = 0x9000, ticks: int = 0) -> Execute:
    """A handler that always says the same."""
    return lambda _header, _data, _later: Reply(data, sw, ticks)
