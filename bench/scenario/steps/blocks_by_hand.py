"""T=1 spoken by hand, block by block, without the terminal's machine (ISO/IEC 7816-3:2006, 11): a judge does not ask the machine it judges.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t1_block import (
    IFS_DEFAULT,
    INF_MAX,
    Block,
    BlockError,
    IBlock,
    RBlock,
    RCode,
    SBlock,
    Supervisory,
    decode_block,
    edc_scheme,
    encode_block,
)
from bench.iso7816.t1_line import T1Timing
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.step import Step
from bench.scenario.steps.line_by_hand import LineHand

ECHO: Final = b"\xa0\xec\x00\x00"
OK: Final = b"\x90\x00"
CHECK, OTHER = 1, 2
"""What an R-block says of a block: its EDC or parity is wrong; something else is (11.3.2.2)."""
IFS, WTX, ABORT, RESYNCH = Supervisory.IFS, Supervisory.WTX, Supervisory.ABORT, Supervisory.RESYNCH


class BlockHand(LineHand):
    """A terminal that says what it is told. ``send`` is the N(S) of its next I-block, ``awaited`` that of the card's."""

    def __init__(self, context: StepContext) -> None:
        super().__init__(context, 1)
        self.send = self.awaited = 0
        self.ifsd = IFS_DEFAULT
        reader = self.reader
        self.edc = edc_scheme(self.atr.edc)
        self.timing = T1Timing.at_rate(self.atr, Rate(reader.ta1), reader.clock_hz, context.engine.timebase)

    def put(self, data: bytes, damaged: Collection[int] = (), pitch: int = 0, *, apart: bool = False) -> Burst | None:
        """Characters, ``damaged`` those with wrong parity, as early as may be; gives the card's burst. ``apart``: each character for itself."""
        timing = self.timing
        pitch = pitch or timing.pitch_to_card
        pieces = [data[at : at + 1] for at in range(len(data))] if apart else [data]
        self.send_after(timing.turnaround_to_card, pieces, damaged, pitch, timing.etu)
        answer = self.heard_within(timing.cwt + timing.bwt + timing.character)
        if answer is not None:
            waited = answer.start - self.last_out
            self.must(waited >= timing.bgt, f"a block began {waited / timing.etu:.2f} etu after the terminal's last")
        return answer

    def say(self, block: Block | bytes, damaged: Collection[int] = ()) -> Block:
        """One block, or what is none; gives the card's. The card fails the point where none comes, or one against the rules."""
        data = block if isinstance(block, bytes) else encode_block(block, self.edc)
        return self.read(self.put(data, damaged), data)

    def read(self, answer: Burst | None, said: bytes) -> Block:
        """The card's block. The card fails the point where there is none, or one against the rules."""
        if answer is None:
            self.context.fail(f"{said[:6].hex(' ').upper()} was not answered")
        try:
            return decode_block(answer.data, self.edc, self.ifsd)
        except BlockError as error:
            self.context.fail(f"the card's answer to {said[:6].hex(' ').upper()}: {error}")

    def expect(self, found: Block, wanted: Block, after: str) -> None:
        """The very block."""
        self.must(found == wanted, f"after {after} came {found!r}, expected {wanted!r}")

    def information(self, inf: bytes, more: bool = False) -> Block:
        """The next I-block, and the card's answer."""
        number, self.send = self.send, self.send ^ 1
        return self.say(IBlock(0, number, more, inf))

    def control(self, function: Supervisory, value: int = 0) -> None:
        """An S(... request), which is answered with the same function and value."""
        found = self.say(SBlock(0, function, False, value))
        self.expect(found, SBlock(0, function, True, value), f"S({function.name} request) {value:02X}")
        if function is IFS:
            self.ifsd = value
        elif function is RESYNCH:
            self.send = self.awaited = 0
            self.ifsd = IFS_DEFAULT

    def ask(self, number: int | None = None) -> Block:
        """R-block for the I-block with that number; else for the next one."""
        return self.say(RBlock(0, self.awaited if number is None else number))

    def command(self, length: int) -> tuple[bytes, bytes]:
        """An ECHO of that many random bytes, and its answer."""
        data = self.context.random.randbytes(length)
        if length < 256:
            return ECHO + bytes((length,)) + data + b"\x00", data + OK
        size = length.to_bytes(2, "big")
        return ECHO + b"\x00" + size + data + b"\x00\x00", data + OK

    def told(self, command: bytes, size: int) -> Block:
        """A command in a chain of ``size`` bytes a block, each acknowledged; gives the first block of the answer."""
        pieces = [command[at : at + size] for at in range(0, len(command), size)]
        for piece in pieces[:-1]:
            found = self.information(piece, True)
            self.expect(found, RBlock(0, self.send), f"a block of {len(piece)} bytes of a chain")
        return self.information(pieces[-1])

    def gathered(self, block: Block) -> bytes:
        """The whole answer, of which that is the first block; each is asked for with the number of the next."""
        found = bytearray()
        while True:
            self.must(isinstance(block, IBlock), f"{block!r} came where an I-block was due")
            assert isinstance(block, IBlock)
            self.must(block.ns == self.awaited, f"{block} came, N(S) = {self.awaited} was due")
            self.must(bool(block.inf), "an I-block without information came in an answer")
            self.awaited ^= 1
            found += block.inf
            if not block.more:
                return bytes(found)
            block = self.ask()

    def exchange(self, length: int = 4, size: int = 0) -> None:
        """A whole ECHO, there and back."""
        command, answer = self.command(length)
        found = self.gathered(self.told(command, size or self.atr.ifsc))
        self.must(found == answer, f"an ECHO of {length} bytes was answered with {len(found)} bytes that are others")

    def midway(self, length: int = 70) -> IBlock:
        """The first block of a chain of the card's, which is then in the midst of it."""
        self.control(IFS, IFS_DEFAULT)
        first = self.told(self.command(length)[0], self.atr.ifsc)
        self.must(isinstance(first, IBlock) and first.more, f"{first!r} came where a chain was to begin")
        assert isinstance(first, IBlock)
        self.awaited ^= 1
        return first


def _sealed(hand: BlockHand, data: bytes) -> bytes:
    return data + hand.edc.compute(data)


def _wrong(hand: BlockHand) -> Iterator[tuple[str, bytes, Collection[int], int]]:
    """Blocks that are none: what it is, its characters, those with wrong parity, and what an R-block says of it."""
    good = encode_block(IBlock(0, hand.send, False, ECHO + b"\x01\x55\x00"), hand.edc)
    for at in range(len(good)):
        if at != 2:  # LEN: the block would have another end
            yield f"a bit of character {at + 1} inverted", _flipped(good, at), (), CHECK
        yield f"wrong parity of character {at + 1}", good, (at,), CHECK
    own = 0x40 if hand.send else 0
    short = ECHO[:1]
    for nad in (0xFF, 0x08, 0x80, 0x88, 0x11, 0x22, 0x77):
        yield f"NAD {nad:02X}", _sealed(hand, bytes((nad, own, 1)) + short), (), OTHER
    for bit in range(5):
        pcb = own | 1 << bit
        yield f"PCB {pcb:02X}", _sealed(hand, bytes((0, pcb, 1)) + short), (), OTHER
    asks = 0x80 | (0x10 if hand.awaited else 0)
    for pcb in (asks | 0x20, asks | 4, asks | 8, asks | 3, 0xC4, 0xC8, 0xD0, 0xC5, 0xDF, 0xFF):
        yield f"PCB {pcb:02X}", _sealed(hand, bytes((0, pcb, 0))), (), OTHER
    for pcb, inf in ((asks, b"\x00"), (0xC0, b"\x00"), (0xC2, b"\x01"), (0xC1, b""), (0xC1, b"\x20\x20")):
        yield f"PCB {pcb:02X} with LEN {len(inf):02X}", _sealed(hand, bytes((0, pcb, len(inf))) + inf), (), OTHER
    for value in (0x00, 0xFF):
        yield f"S(IFS request) {value:02X}", _sealed(hand, bytes((0, 0xC1, 1, value))), (), OTHER
    for pcb, inf in ((0xE0, b""), (0xE1, b"\x20"), (0xE2, b""), (0xE3, b"\x01")):
        yield f"PCB {pcb:02X} that nobody asked for", _sealed(hand, bytes((0, pcb, len(inf))) + inf), (), OTHER
    yield "an I-block of the number before", encode_block(IBlock(0, hand.send ^ 1, False, ECHO), hand.edc), (), OTHER
    for length in {min(hand.atr.ifsc + 1, 255), 255} if hand.edc.size == 1 else ():
        yield f"LEN {length:02X}", _sealed(hand, bytes((0, own, length)) + bytes(length)), (), OTHER
    for count in (*range(1, 5), len(good) - 1):
        yield f"{count} characters of a block", good[:count], (), OTHER


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :]


def _invalid(hand: BlockHand) -> None:
    """11.6.3, rules 7.1 and 7.2: what is no valid block is answered by an R-block that asks for the I-block due, and the session goes on."""
    for count in range(sum(1 for _ in _wrong(hand))):
        what, data, damaged, code = list(_wrong(hand))[count]
        for _ in range(2):
            found = hand.say(data, damaged)
            wanted = isinstance(found, RBlock) and found.nr == hand.send and found.code == code
            hand.must(wanted, f"after {what} came {found!r}, expected R({hand.send}) that says {code}")
        hand.exchange()


def _repeats(hand: BlockHand) -> None:
    """11.6.3, rule 7: an R-block that asks for the card's last block gets that very block, as often as it asks, in the midst of a chain too."""
    for length in (4, 20, 30):
        command, answer = hand.command(length)
        first = hand.told(command, hand.atr.ifsc)
        for code in RCode:
            for _ in range(2):
                again = hand.say(RBlock(0, hand.awaited, code))
                hand.expect(again, first, f"an R-block that asks for it again and says {code.value}")
        hand.must(hand.gathered(first) == answer, f"an ECHO of {length} bytes was answered with others")
    chained = hand.midway()
    for _ in range(5):
        hand.expect(hand.ask(hand.awaited ^ 1), chained, "an R-block that asks for it again")
    second = hand.ask()
    for _ in range(2):
        hand.expect(hand.ask(hand.awaited), second, "an R-block that asks for it again")
    hand.gathered(second)
    for more in (False, True):
        hand.information(hand.command(4)[0], more)
        if not more:
            hand.awaited ^= 1
        else:
            for _ in range(2):  # the acknowledgement was lost
                found = hand.say(IBlock(0, hand.send ^ 1, True, hand.command(4)[0]))
                hand.must(isinstance(found, RBlock) and found.nr == hand.send, f"{found!r}, expected R({hand.send})")
    hand.control(ABORT)
    hand.exchange()


def _chains(hand: BlockHand) -> None:
    """11.6.2.3, rules 2 and 5: chains of blocks of any length, both ways."""
    for ifsd in (IFS_DEFAULT, 1, 2, INF_MAX):
        hand.control(IFS, ifsd)
        for length in {1, max(1, ifsd - 3), max(1, ifsd - 2), ifsd - 1 or 1, ifsd, 2 * ifsd - 2 or 1, 40}:
            hand.exchange(length)
    hand.control(IFS, INF_MAX)
    for size in {min(size, hand.atr.ifsc) for size in (1, 2, 5, 253, 254)}:
        hand.exchange(20, size)
    hand.exchange(600)


def _supervisory(hand: BlockHand) -> None:
    """11.6.2.3, rule 4, and 11.6.3, rules 6 and 9: S(IFS), S(RESYNCH) and S(ABORT) are answered in every place, and do what they are for."""
    for value in (1, 2, 127, 128, 253, 254):
        hand.control(IFS, value)
    for act in (RESYNCH, ABORT):
        for odd in (False, True):
            if odd:
                hand.exchange()
            hand.information(ECHO, True)  # in the midst of a chain of ours
            hand.control(act)
            hand.exchange()
            hand.midway()  # in the midst of one of the card's
            hand.control(act)
            hand.exchange(70)
    hand.midway()
    hand.control(IFS, 10)
    hand.gathered(hand.ask())


def _paces(hand: BlockHand) -> None:
    """11.4.3: a block whose characters are as close as may be, or one by one, or as far apart as CWT, is taken."""
    for _ in range(2):
        command, answer = hand.command(1)
        for pitch, apart in ((0, True), (2 * hand.timing.pitch_to_card, True), (hand.timing.cwt, False)):
            data = encode_block(IBlock(0, hand.send, False, command), hand.edc)
            hand.send ^= 1
            found = hand.gathered(hand.read(hand.put(data, (), pitch, apart=apart), data))
            hand.must(found == answer, f"characters {pitch} ticks apart were answered {found.hex(' ').upper()}")


RULES: dict[str, Callable[[BlockHand], None]] = {
    "invalid": _invalid,
    "repeats": _repeats,
    "chains": _chains,
    "supervisory": _supervisory,
    "paces": _paces,
}


class BlocksByHand(Step):
    """Speaks T=1 to the first card by itself, block by block, and holds the rules for a card. Without `power_on`: it powers the card.

    Example:
        - blocks_by_hand: {rule: repeats}
    """

    verb: ClassVar[str] = "blocks_by_hand"

    rule: Annotated[Literal["invalid", "repeats", "chains", "supervisory", "paces"], Field(description="which")]

    def run(self, context: StepContext) -> None:
        if context.rig.host.link.powered:
            raise BenchFault("blocks_by_hand speaks to the card itself: there must be no power_on before it")
        RULES[self.rule](BlockHand(context))
