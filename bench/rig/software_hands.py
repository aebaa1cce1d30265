"""The software card's own hands: cards are moved in the tick in which it is asked for."""

from bench.engine import Engine
from bench.readers.software import SoftwareReader
from bench.rig.errors import RigNotAble
from bench.rig.hands import Done, Move, Side
from bench.rig.software import SoftwareChain

DONE = Done("software card")


class SoftwareHands:
    """Moves the cards of a software chain; ``other`` is a second reader beside it, for a card that is moved."""

    def __init__(self, engine: Engine, chain: SoftwareChain, clock_hz: int) -> None:
        self.engine = engine
        self.chain = chain
        self.other = SoftwareReader(engine, clock_hz)
        self._elsewhere = 0
        """The card in the other reader, 0 for none."""

    def why_not(self, move: Move, card: int) -> str:  # noqa: ARG002 - every card can be moved in every way
        count = len(self.chain.places)
        return "" if card <= count else f"the chain has {count} cards, not {card}"

    def pull(self, card: int) -> Done:
        self._must(Move.PULL, card)
        self.engine.call(lambda: self.chain.remove(card))
        return DONE

    def insert(self, card: int) -> Done:
        self._must(Move.INSERT, card)
        self.engine.call(lambda: self.chain.insert(card))
        return DONE

    def move(self, card: int, to: Side) -> Done:
        self._must(Move.MOVE, card)
        if to is Side.OTHER and self._elsewhere:
            raise RigNotAble(f"card {self._elsewhere} is in the other reader")
        if to is Side.HOME and self._elsewhere != card:
            raise RigNotAble(f"card {card} is not in the other reader")
        self.engine.call(lambda: self._move(card, to))
        return DONE

    def _move(self, card: int, to: Side) -> None:
        if to is Side.OTHER:
            self.chain.remove(card)
            self.other.insert(self.chain.places[card - 1].end)
            self._elsewhere = card
        else:
            self.other.remove()  # whoever drives that reader finds out by itself, as with any card that is pulled
            self.chain.insert(card)
            self._elsewhere = 0

    def _must(self, move: Move, card: int) -> None:
        if reason := self.why_not(move, card):
            raise RigNotAble(reason)
