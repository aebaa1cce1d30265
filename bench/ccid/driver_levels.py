"""One command at each exchange level of CCID 1.1 (3.2), without I/O: what is our own business there, and what the reader's.

Each level is an ``Exchanger``. What the card did wrong is in its outcome, or raised as CardError; what the reader did wrong is raised.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from bench.ccid.codes import Chain
from bench.ccid.descriptor import ClassDescriptor
from bench.ccid.driver_blocks import Waits, block_timing, damaged_block, granted, tpdu_timing, whole
from bench.ccid.driver_errors import AnswerError, CardError, Trouble, UnableError
from bench.ccid.driver_pipe import Pause, SlotPipe, Steps
from bench.ccid.responses import DataBlock
from bench.iso7816.line import Burst
from bench.iso7816.t0 import T0Outcome, T0Terminal
from bench.iso7816.t1_block import IFS_DEFAULT, PROLOGUE, block_length, edc_scheme
from bench.iso7816.t1_outcome import RESPONSE_MAX, T1Outcome
from bench.iso7816.t1_plain import PlainT1
from bench.iso7816.t1_terminal import T1Terminal

SHORT_APDU_MAX: Final = 261


@dataclass(slots=True)
class Exchanged:
    """How one exchange ended."""

    response: bytes
    start_ns: int
    """Right before the first transfer."""
    end_ns: int
    """Right after the last."""
    characters: int = 0
    """On the card's line, where that is known."""
    retries: int = 0
    error: str = ""


class Exchanger(Protocol):
    """Carries commands, one at a time."""

    def exchange(self, command: bytes, now_ns: int) -> Steps[Exchanged]: ...


def _ended(pipe: SlotPipe, response: bytes) -> Exchanged:
    if len(response) < 2:
        raise AnswerError("truncated", "DATA_BLOCK", 1, f"dwLength {len(response)}", "SW1 SW2 at least")
    return Exchanged(response, pipe.first_ns, pipe.at_ns)


class TpduT0:
    """T=0 at TPDU level: the reader sees to procedure bytes."""

    def __init__(self, pipe: SlotPipe, waits: Waits) -> None:
        self.pipe = pipe
        self.waits = waits

    def exchange(self, command: bytes, now_ns: int) -> Steps[Exchanged]:
        del now_ns
        limit = self.waits.tpdu_limit(len(command) + SHORT_APDU_MAX)
        return _ended(self.pipe, (yield from self.pipe.exchange(command, limit)))


class CharactersT0:
    """T=0 at character level: our machine says how many characters come next."""

    def __init__(self, pipe: SlotPipe, waits: Waits) -> None:
        self.pipe = pipe
        self.waits = waits
        self.terminal = T0Terminal(tpdu_timing(waits.wwt), pipe.at_ns)

    def exchange(self, command: bytes, now_ns: int) -> Steps[Exchanged]:
        terminal, pipe = self.terminal, self.pipe
        first = terminal.begin(command, now_ns)
        if first.start > now_ns:  # after a failure the card's own waiting time runs out first
            yield Pause(first.start - now_ns)
        out = first.data
        while True:
            step = yield from self._turn(out)
            if isinstance(step, T0Outcome):
                return Exchanged(step.response, pipe.first_ns, pipe.at_ns, step.characters, step.retries, step.error)
            out = step.data if step is not None else b""

    def _turn(self, out: bytes) -> Steps[Burst | T0Outcome | None]:
        terminal, pipe = self.terminal, self.pipe
        limit = self.waits.tpdu_limit(len(out) + terminal.awaited)
        try:
            data = yield from pipe.exchange(out, limit, terminal.awaited)
        except CardError as error:
            if error.trouble is Trouble.MUTE:
                return terminal.expire(max(pipe.at_ns, terminal.deadline))
            raise
        if not data:
            return terminal.expire(max(pipe.at_ns, terminal.deadline))
        return terminal.receive(whole(data, pipe.at_ns))


class BlocksT1:
    """T=1 at TPDU and character level: our machine makes the blocks, the reader carries them."""

    def __init__(self, pipe: SlotPipe, waits: Waits, characters: bool) -> None:
        self.pipe = pipe
        self.waits = waits
        self.characters = characters
        atr = waits.atr
        self.terminal = T1Terminal(block_timing(waits.bwt), pipe.at_ns, ifsc=atr.ifsc, edc=edc_scheme(atr.edc))
        self.plain = PlainT1(self.terminal)
        self.dead = ""
        """Why nothing but a reset brings the card back."""

    def announce(self, ifsd: int) -> Steps[None]:
        """Tell the card how long our information fields are. One that does not take it goes on at the default size. Raises CardError."""
        step = self.terminal.announce_ifsd(ifsd, self.pipe.at_ns)
        assert step is not None
        outcome = yield from self._speak(step)
        if outcome.needs_reset:
            raise CardError(Trouble.PROTOCOL, f"S(IFS request): {outcome.error}")

    def announced(self, ifsd: int) -> None:
        """The reader has told the card so."""
        self.terminal.ifsd = max(ifsd, IFS_DEFAULT)

    def exchange(self, command: bytes, now_ns: int) -> Steps[Exchanged]:
        if self.dead:
            return Exchanged(b"", now_ns, now_ns, error=self.dead)
        pipe, plain = self.pipe, self.plain
        step: Burst | T1Outcome | None = None
        out = plain.begin(command) if not self.characters else None
        while out is not None:
            try:
                out = plain.hear((yield from pipe.exchange(out, self.waits.block)))
            except CardError as error:
                self._taken_over(command, now_ns)
                step, out = self._troubled(error, b""), None
        if plain.ended:
            return Exchanged(plain.response, pipe.first_ns, pipe.at_ns, plain.characters)
        outcome = yield from self._speak(step or self._taken_over(command, now_ns))
        if outcome.needs_reset:
            self.dead = outcome.error
        return Exchanged(
            outcome.response, pipe.first_ns, pipe.at_ns, outcome.characters, outcome.retries, outcome.error
        )

    def _taken_over(self, command: bytes, now_ns: int) -> Burst | T1Outcome:
        """The exchange in the machine's hands, as far as it has come."""
        step: Burst | T1Outcome = self.terminal.begin(command, now_ns)
        for block in self.plain.heard:
            step = self._heard(block)
        return step

    def _speak(self, step: Burst | T1Outcome) -> Steps[T1Outcome]:
        """Carry blocks there and back until the machine has its outcome."""
        terminal, pipe, characters = self.terminal, self.pipe, self.characters
        while isinstance(step, Burst):
            data = step.data
            multiplier = granted(data)
            limit = self.waits.block_limit(multiplier or 1)
            heard = b""
            try:
                heard = yield from pipe.exchange(data, limit, PROLOGUE if characters else 0, multiplier)
                if characters:
                    length = block_length(heard, terminal.edc)
                    if length is not None and length > len(heard):
                        heard += yield from pipe.exchange(b"", limit, length - len(heard))
            except CardError as error:
                step = self._troubled(error, heard)
            else:
                step = self._heard(heard)
        return step

    def _heard(self, data: bytes) -> Burst | T1Outcome:
        """What the machine makes of what came back."""
        terminal, at = self.terminal, self.pipe.at_ns
        if not data:
            return _need(terminal.expire(max(at, terminal.deadline)))
        step = terminal.receive(whole(data, at))
        return step if step is not None else _need(terminal.expire(terminal.deadline))  # nothing more comes of it

    def _troubled(self, error: CardError, heard: bytes) -> Burst | T1Outcome:
        """What it makes of what the reader says went wrong, after ``heard``. Raises what is none of T=1's business."""
        if error.trouble is Trouble.PARITY:
            return _need(self.terminal.receive(damaged_block(self.terminal.edc.size, self.pipe.at_ns), (0,)))
        if error.trouble is Trouble.MUTE:
            return self._heard(heard)
        raise error


def _need(step: Burst | T1Outcome | None) -> Burst | T1Outcome:
    assert step is not None, "after silence or a whole block the machine has something to send, or has ended"
    return step


class Apdus:
    """Short and extended APDU level: an APDU in as many messages as it needs, its response in as many as the reader makes (6.1.4)."""

    def __init__(self, pipe: SlotPipe, waits: Waits, descriptor: ClassDescriptor) -> None:
        self.pipe = pipe
        self.waits = waits
        self.descriptor = descriptor

    def exchange(self, command: bytes, now_ns: int) -> Steps[Exchanged]:
        del now_ns
        most = self.descriptor.longest_data
        if not self.descriptor.extended and len(command) > min(SHORT_APDU_MAX, most):
            raise UnableError(
                f"an APDU of {len(command)} bytes: the reader takes short ones, {min(SHORT_APDU_MAX, most)} bytes at most"
            )
        limit = self.waits.tpdu_limit(len(command) + SHORT_APDU_MAX)
        pieces = [command[at : at + most] for at in range(0, len(command), most)]
        for index, piece in enumerate(pieces[:-1]):
            block = yield from self.pipe.transfer(piece, limit, Chain.CONTINUES if index else Chain.BEGINS)
            if block.chain is not Chain.NEXT or block.data:
                found = f"bChainParameter {block.chain:02X} with {len(block.data)} bytes"
                raise AnswerError("garbled", "DATA_BLOCK", 9, found, "10 without data: the command is not whole yet")
        block = yield from self.pipe.transfer(pieces[-1], limit, Chain.ENDS if len(pieces) > 1 else Chain.WHOLE)
        if block.chain is Chain.WHOLE:
            return _ended(self.pipe, block.data)
        response = yield from self._rest(block, limit)
        return _ended(self.pipe, response)

    def _rest(self, block: DataBlock, limit: int) -> Steps[bytes]:
        """A response that comes in several messages."""
        response = bytearray()
        allowed: tuple[Chain, ...] = (Chain.BEGINS,)
        while True:
            if block.chain not in allowed:
                expected = " or ".join(f"{each:02X}" for each in allowed)
                raise AnswerError("garbled", "DATA_BLOCK", 9, f"bChainParameter {block.chain:02X}", expected)
            response += block.data
            if len(response) > RESPONSE_MAX:
                found = f"{len(response)} bytes of response"
                raise AnswerError("garbled", "DATA_BLOCK", 10, found, f"{RESPONSE_MAX} at most")
            if block.chain is Chain.ENDS:
                return bytes(response)
            block = yield from self.pipe.transfer(b"", limit, Chain.NEXT)
            allowed = (Chain.CONTINUES, Chain.ENDS)
