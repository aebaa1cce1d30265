"""T=0 spoken by hand, character by character (ISO/IEC 7816-3:2006, 7.3 and 10): what is refused comes again, and what comes in pieces is whole.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.engine import TO_CARD
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t0_line import REPEAT_AFTER_ETU, REPETITIONS, T0Timing
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.step import Step
from bench.scenario.steps.line_by_hand import LineHand

ECHO, GET_RESPONSE = 0xEC, 0xC0
NULL, MORE, OK = 0x60, 0x61, b"\x90\x00"


class CharacterHand(LineHand):
    """A terminal of T=0 that says what it is told."""

    def __init__(self, context: StepContext) -> None:
        super().__init__(context, 0)
        reader = self.reader
        self.timing = T0Timing.at_rate(self.atr, Rate(reader.ta1), reader.clock_hz, context.engine.timebase)
        self.refused: Sequence[int] = ()
        """Characters of what comes next to refuse, one after the other; each counted from the beginning of what has come."""

    def put(self, *pieces: bytes, damaged: int | None = None) -> Burst | None:
        """Characters as early as may be; gives what the card says, without NULL bytes, or None."""
        timing = self.timing
        wrong = () if damaged is None else (damaged,)
        self.send_after(timing.turnaround_to_card, pieces, wrong, timing.pitch_to_card, timing.etu)
        limit = timing.waiting_time if damaged is None else 2 * REPEAT_AFTER_ETU * timing.etu
        answer = self.heard_within(limit + timing.turnaround)
        while answer is not None and not answer.data.strip(bytes((NULL,))):
            self.answers.clear()
            answer = self.heard_within(timing.waiting_time + timing.turnaround)
        return answer

    def say(self, *pieces: bytes) -> bytes:
        """Characters; gives the card's, of which each that was to be refused has been. The card fails the point where none come."""
        answer = self.put(*pieces)
        if answer is None:
            self.context.fail(f"{b''.join(pieces).hex(' ').upper()} was not answered within the waiting time")
        whole = answer.data
        for at in self.refused:
            index = at - (len(whole) - len(answer.data))
            if 0 <= index < len(answer.data):
                answer = self.refuse(answer, index)
        self.refused = ()
        return whole

    def refuse(self, burst: Burst, index: int) -> Burst:
        """The error signal for character ``index``: it and all after it must come again, no sooner than 7.3 allows."""
        engine, card, etu = self.context.engine, self.card, self.timing.etu
        self.answers.clear()
        engine.call(lambda: engine.at(engine.now, lambda: card.signalled(burst, index), TO_CARD))
        again = self.heard_within(self.timing.waiting_time)
        if again is None:
            self.context.fail(f"character {index + 1} of {len(burst.data)} was refused and not repeated")
        self.must(
            again.data == burst.data[index:],
            f"after {burst.data[index:].hex(' ')} was refused {again.data.hex(' ')} came",
        )
        gap = (again.start - burst.start - index * burst.pitch) / etu
        self.must(gap >= REPEAT_AFTER_ETU, f"a refused character was repeated {gap:.2f} etu after its leading edge")
        return again

    def damage(self, data: bytes, at: int, times: int) -> bytes:
        """``data``, of which the character ``at`` arrives with wrong parity so often before it arrives; gives the answer."""
        for count in range(times):
            found = self.put(data[at if count else 0 : at + 1], damaged=0 if count else at)
            self.must(found is None, "a character with wrong parity was taken")
        return self.say(data[at:] if times else data)

    def fetch(self, sw: bytes) -> bytes:
        """What 61xx announces."""
        self.must(len(sw) == 2 and sw[0] == MORE, f"an ECHO was answered {sw.hex(' ').upper()}, expected 61xx")
        found = self.say(bytes((0, GET_RESPONSE, 0, 0, sw[1])))
        self.must(found[:1] == bytes((GET_RESPONSE,)), f"a GET RESPONSE was answered {found[:3].hex(' ').upper()}")
        return found[1:]

    def echo(self, data: bytes, header: Callable[[bytes], bytes], body: Callable[[bytes], bytes]) -> None:
        """A whole ECHO, its header and its data said in that way."""
        ack = header(bytes((0xA0, ECHO, 0, 0, len(data))))
        self.must(ack == bytes((ECHO,)), f"a header was answered {ack.hex(' ').upper()}, expected {ECHO:02X}")
        found = self.fetch(body(data))
        self.must(found == data + OK, f"an ECHO of {data.hex(' ').upper()} gave {found.hex(' ').upper()}")


def _pieces(hand: CharacterHand) -> None:
    """10.3: a header and its data come character by character, in two pieces or in one go."""
    for at in range(1, 5):

        def parted(data: bytes, at: int = at) -> bytes:
            return hand.say(data[:at], data[at:])

        hand.echo(hand.context.random.randbytes(6), parted, parted)

    def apart(data: bytes) -> bytes:
        return hand.say(*(data[at : at + 1] for at in range(len(data))))

    for length in (1, 2, 5, 6, 255):
        hand.echo(hand.context.random.randbytes(length), apart, apart)
        hand.echo(hand.context.random.randbytes(length), hand.say, hand.say)


def _refused(hand: CharacterHand) -> None:
    """7.3: each character of the card that is refused comes again, and those after it; as often for each as for the first."""
    for at in range(9):
        for refused in ((at,), (at,) * REPETITIONS, (0, at), (0, 1, at), (at, at, at + 1, at + 1, at + 2)):

            def say(data: bytes, refused: Sequence[int] = refused) -> bytes:
                hand.refused = refused
                return hand.say(data)

            data = hand.context.random.randbytes(6)
            ack = say(bytes((0xA0, ECHO, 0, 0, len(data))))
            hand.must(ack == bytes((ECHO,)), f"a header was answered {ack.hex(' ').upper()}")
            sw = say(data)
            hand.refused = refused
            hand.must(hand.fetch(sw) == data + OK, "an ECHO whose characters were refused gave others")


def _damaged(hand: CharacterHand) -> None:
    """7.3: a character with wrong parity is not taken, and what is repeated is, up to three times each."""
    for times in range(1, REPETITIONS + 1):
        for at in range(5):

            def wrong(data: bytes, at: int = at, times: int = times) -> bytes:
                return hand.damage(data, at, times)

            hand.echo(hand.context.random.randbytes(5), wrong, wrong)


RULES: Final[dict[str, Callable[[CharacterHand], None]]] = {
    "pieces": _pieces,
    "refused": _refused,
    "damaged": _damaged,
}


class CharactersByHand(Step):
    """Speaks T=0 to the first card by itself, character by character, and holds the rules for a card. Without `power_on`: it powers the card.

    Example:
        - characters_by_hand: {rule: refused}
    """

    verb: ClassVar[str] = "characters_by_hand"

    rule: Annotated[Literal["pieces", "refused", "damaged"], Field(description="which")]

    def run(self, context: StepContext) -> None:
        if context.rig.host.link.powered:
            raise BenchFault("characters_by_hand speaks to the card itself: there must be no power_on before it")
        RULES[self.rule](CharacterHand(context))
