"""What can be seen, and whom it is told to.

Everything in the bench emits these values to the ``Sink`` it was handed, and knows nothing of files. The tables of a run are made from these classes:
a field is a column, its annotation the column's documentation; ``*_ticks`` is written as ``*_ns`` (integer nanoseconds since the point began).
Fields of type ``bytes`` are payload: they go to the journal and the capture, not to the tables.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Protocol, TypeAlias


class Verdict(StrEnum):
    """What a judge may say (docs: the meaning of each for certificates and exit statuses)."""

    PASS = "pass"
    MARGINAL = "marginal"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"
    ERROR = "error"


class Direction(StrEnum):
    """Seen from the node that reports."""

    IN = "in"
    OUT = "out"


@dataclass(slots=True)
class Exchange:
    """One command and its answer, at the level the reader works at. (Not frozen: one is made for every exchange, and freezing triples its cost.)"""

    hop: Annotated[int, "which hop: 1 is between the host and card 1, k between card k-1 and card k"]
    level: Annotated[str, "character, tpdu, apdu or block: what the reader exchanges"]
    start_ticks: Annotated[int, "when the command's first character (or the driver call) began"]
    duration_ticks: Annotated[int, "from there to the end of the answer's last character (or the driver's return)"]
    command: Annotated[bytes, "the command as sent"]
    response: Annotated[bytes, "the answer as received, status word included; empty when none came"]
    ins: Annotated[int, "instruction byte of the command"]
    sent_bytes: Annotated[int, "length of the command"]
    received_bytes: Annotated[int, "length of the answer, status word included"]
    sw: Annotated[int, "status word, 0 when none came"]
    ta1: Annotated[int, "F and D in use, coded as TA1"]
    clock_hz: Annotated[int, "card clock"]
    characters: Annotated[
        int, "characters on the wire both ways, procedure bytes included; 0 where they cannot be seen"
    ]
    retries: Annotated[int, "how often a part of it was repeated"]
    wire_ticks: Annotated[int, "time the characters and mandatory turn-arounds take"]
    card_ticks: Annotated[int, "time the card took beyond them"]
    error: Annotated[str, "empty, or the name of what went wrong"] = ""
    count: Annotated[
        int,
        "how many equal exchanges (idle polls) this row stands for: all else in it is of the first; 1 for an ordinary one",
    ] = 1
    period_ticks: Annotated[int, "from the start of one of them to the start of the next; 0 where there is one"] = 0
    host_ticks: Annotated[
        int, "time the bench itself took before and after the exchange, in real time; 0 in virtual time"
    ] = 0
    reader_ticks: Annotated[
        int, "time reader and driver took, as calibrated; 0 where they were not, and on the virtual line"
    ] = 0
    uncertainty_ticks: Annotated[int, "half-width of reader and card time; 0 where the reader was not calibrated"] = 0


ATR: Final = "atr"
"""The kind of packet that an answer to reset is told as."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One layer 3 packet entering or leaving a node over a hop; or an answer to reset, cold or warm, as it came into a terminal."""

    time_ticks: Annotated[int, "when it was whole"]
    node: Annotated[int, "the node that reports it: 0 is the host"]
    hop: Annotated[int, "the hop it crossed"]
    direction: Annotated[Direction, "in or out of the node"]
    kind: Annotated[str, "control, channel, ipv4, ipv6, ppp or atr"]
    source: Annotated[int, "source node, -1 where the packet names none"]
    destination: Annotated[int, "destination node, -1 where the packet names none"]
    channel: Annotated[int, "recipient's channel number, 0 where it has none"]
    length_bytes: Annotated[int, "length of the packet"]
    data: Annotated[bytes, "the packet"]


@dataclass(frozen=True, slots=True)
class LinkChange:
    """One side of a hop noticed that the other came or went."""

    time_ticks: Annotated[int, "when it was noticed"]
    hop: Annotated[int, "the hop"]
    side: Annotated[str, "terminal or card: which side noticed"]
    up: Annotated[bool, "true when the link came up"]
    reason: Annotated[str, "why: powered, hello, mute, absent, poll watchdog, power lost"]


@dataclass(frozen=True, slots=True)
class StepMark:
    """A scenario's step began or ended; captures and exchanges are told apart by it."""

    time_ticks: Annotated[int, "when"]
    index: Annotated[int, "place in the scenario, from 1"]
    verb: Annotated[str, "the step's verb"]
    began: Annotated[bool, "true at its beginning, false at its end"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured value, judged."""

    name: Annotated[str, "what was measured"]
    value: Annotated[float, "the value, in the unit"]
    unit: Annotated[str, "unit of value, limits and resolution"]
    at_least: Annotated[float | None, "lower limit"]
    at_most: Annotated[float | None, "upper limit"]
    marginal: Annotated[float | None, "between this and the limit the value passes marginally"]
    resolution: Annotated[float, "half-width of what the reader can resolve, in the unit"]
    verdict: Annotated[Verdict, "the judge's word"]
    requirement: Annotated[str, "the requirement it speaks to, empty where it is only reported"]
    detail: Annotated[str, "which instance of the name: a channel, a hop, a direction; empty where there is one"]
    reason: Annotated[str, "why, where the verdict is not pass"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value of a point: of its sweep, or given by the scenario. Reports draw against these."""

    name: Annotated[str, "ta1, clock_hz, mtu, channels, cards, stack, direction, ..."]
    value: Annotated[str, "the value as written in the scenario"]
    swept: Annotated[bool, "true where the sweep chose it"]


@dataclass(frozen=True, slots=True)
class PointVerdict:
    """The last word on a point. Where it is missing, the point did not finish and is run again."""

    title: Annotated[str, "the scenario's title, for people"]
    requirements: Annotated[str, "the requirements it speaks to, separated by blanks"]
    verdict: Annotated[Verdict, "the judge's word: the worst of its measurements and steps"]
    reason: Annotated[str, "why, where the verdict is not pass"]
    step: Annotated[int, "the step that decided, from 1; 0 where none did"]
    seed: Annotated[int, "seed of the point"]
    duration_ticks: Annotated[int, "how long the point took, in its own time"]
    events: Annotated[int, "events the engine ran; 0 under the monotonic clock"]


Observation: TypeAlias = Exchange | Packet | LinkChange | StepMark | Measurement | Parameter | PointVerdict


class Sink(Protocol):
    """Takes observations. It must not fail and must not wait: it is called inside events."""

    def emit(self, observation: Observation, /) -> None: ...


class NullSink:
    """Takes everything and keeps nothing."""

    def emit(self, observation: Observation, /) -> None:
        pass


class ListSink:
    """Keeps everything in memory, for tests and for judges that look back."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []

    def emit(self, observation: Observation, /) -> None:
        self.observations.append(observation)
