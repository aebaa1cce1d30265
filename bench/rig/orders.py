"""What is said between the bench and a process that serves the reference card: one line an order, one line an answer.

::

    order                              answer
    {"do": "serve", given, …}          ready ATR, or refused REASON        a fresh chain, its first card in the reader
    {"do": "pull", "card": 1}          done                                a card goes, counted from the host outward
    {"do": "insert", "card": 1}        done                                it comes back
    {"do": "tell"}                     told {…}                            what the first card sees of its line
                                       at ADDRESS                          by itself, once: where the card is offered
                                       seen                                by itself, once a reader has asked for the card

Both sides speak UTF-8 lines over a pipe, a socket or a port of a virtual machine.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

READY: Final = "ready"
REFUSED: Final = "refused"
DONE: Final = "done"
TOLD: Final = "told"
AT: Final = "at"
SEEN: Final = "seen"


class Do(StrEnum):
    """What may be ordered."""

    SERVE = "serve"
    PULL = "pull"
    INSERT = "insert"
    TELL = "tell"


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


@dataclass(frozen=True, slots=True)
class Told:
    """What the first card of a served chain sees at its contacts."""

    powered: bool
    f: int = 0
    """Clock cycles of ``d`` etu: the rate its UART is at, 0 without power."""
    d: int = 0
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """One line to the process that serves."""

    do: Do
    serve: ServeOrder = field(default_factory=lambda: ServeOrder({}))
    card: int = 1
    """Which one is pulled or inserted."""

    def encode(self) -> str:
        more = asdict(self.serve) if self.do is Do.SERVE else {"card": self.card}
        return json.dumps({"do": self.do, **more})

    @classmethod
    def decode(cls, text: str) -> "Order":
        """Raises ValueError for what is no order."""
        try:
            tree = json.loads(text)
            do = Do(tree["do"])
            if do is not Do.SERVE:
                return cls(do, card=int(tree["card"]))
            polls = InnerPolls(float(tree["polls"]["first_ms"]), float(tree["polls"]["longest_ms"]))
            given = {str(name): str(value) for name, value in tree["given"].items()}
            return cls(do, ServeOrder(given, polls, bool(tree["paced"])))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not an order: {error!r}") from error


def encode_told(told: Told) -> str:
    """As the answer to ``tell`` carries it."""
    return json.dumps(asdict(told))


def decode_told(text: str) -> Told:
    """Raises ValueError for what nobody tells."""
    try:
        tree = json.loads(text)
        return Told(bool(tree.pop("powered")), **{name: int(value) for name, value in tree.items()})
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not what a card sees: {error!r}") from error
