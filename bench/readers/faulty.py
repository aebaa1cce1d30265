"""Faults on demand, under any reader: what a frozen driver, a bad cable or another program would do, at exchanges and power-ups that are named
beforehand.

For tests of what stands above, and for demonstrations. What is injected takes the same way upward as the real thing: an answer that is wrong, an
error in the answer and a word to ``on_fault``. A frozen driver is not simulated down to the hang: it is given up at once after ``patience``, as a
reader does.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.engine import Engine
from bench.iso7816.port import Answer, PowerUp
from bench.readers.activation import Wishes
from bench.readers.contract import Abilities, Reader
from bench.readers.faults import Fault, fault_text
from bench.readers.wrappers import Wrapper

AT_POWER_UP: Final = frozenset({Fault.ABSENT, Fault.READER, Fault.DAEMON, Fault.BUSY, Fault.DENIED, Fault.MISSING})
"""What a power-up can meet."""
AT_EXCHANGE: Final = frozenset(
    {Fault.ABSENT, Fault.READER, Fault.DAEMON, Fault.RESET, Fault.FROZEN, Fault.TRUNCATED, Fault.GARBLED}
)
"""What an exchange can meet."""
ADVICE: Final = "it was injected (bench.readers.faulty): take that out"


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, at the exchange or power-up that is ``number``-th of its kind, counted from 0."""

    fault: Fault
    number: int
    powering: bool = False

    def __post_init__(self) -> None:
        able = AT_POWER_UP if self.powering else AT_EXCHANGE
        if self.fault not in able or self.number < 0:
            where = "a power-up" if self.powering else "an exchange"
            raise ValueError(
                f"{self.fault} at {where}, number {self.number}: {where} can meet {', '.join(sorted(able))}"
            )


class Faulty(Wrapper):
    """A Reader that hands everything on to another, but for what is injected."""

    port: Reader

    def __init__(self, reader: Reader, engine: Engine, injections: Sequence[Injection], patience: int) -> None:
        super().__init__(reader)
        self.engine = engine
        self.patience = patience
        """How long a frozen driver is waited for, in ticks."""
        self.exchanges = 0
        self.power_ups = 0
        self._at = {(each.powering, each.number): each.fault for each in injections}
        self._hung = ""
        self._epoch = 0

    # -- Reader ---------------------------------------------------------------------------------------------------------

    @property
    def wishes(self) -> Wishes:
        return self.port.wishes

    @wishes.setter
    def wishes(self, wishes: Wishes) -> None:
        self.port.wishes = wishes

    @property
    def on_fault(self) -> Callable[[str], None]:
        return self.port.on_fault

    @on_fault.setter
    def on_fault(self, told: Callable[[str], None]) -> None:
        self.port.on_fault = told

    @property
    def on_card(self) -> Callable[[bool], None]:
        return self.port.on_card

    @on_card.setter
    def on_card(self, told: Callable[[bool], None]) -> None:
        self.port.on_card = told

    @property
    def abilities(self) -> Abilities:
        return self.port.abilities

    @property
    def hung(self) -> str:
        return self._hung or self.port.hung

    def close(self) -> bool:
        return self.port.close() and not self._hung

    # -- TerminalPort ---------------------------------------------------------------------------------------------------

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        number, self.power_ups = self.power_ups, self.power_ups + 1
        if self._hung:
            self._soon(lambda: done(PowerUp(b"", self._hung)))
            return
        fault = self._at.get((True, number))
        if fault is None:
            self.port.power_up(done)
            return
        text = fault_text(fault, f"power-up {number}", ADVICE)

        def fail() -> None:
            if fault not in (Fault.BUSY, Fault.ABSENT):  # these are waited out
                self.on_fault(text)
            done(PowerUp(b"", text))

        self._soon(fail)

    def power_down(self) -> None:
        self._epoch += 1
        self.port.power_down()

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        self._epoch += 1
        super().warm_reset(done)

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        number, self.exchanges = self.exchanges, self.exchanges + 1
        begun = self.engine.now
        if self._hung:
            self._soon(lambda: done(Answer(b"", begun, self.engine.now, error=self._hung)))
            return
        fault = self._at.get((False, number))
        match fault:
            case None:
                self.port.submit(command, done)
            case Fault.TRUNCATED:
                self.port.submit(command, lambda answer: done(_with(answer, answer.response[:1])))
            case Fault.GARBLED:
                self.port.submit(command, lambda answer: done(_with(answer, _garbled(answer.response))))
            case Fault.FROZEN:
                epoch = self._epoch
                self.engine.after(self.patience, lambda: self._given_up(number, begun, epoch, done))
            case _:
                self._soon(lambda: self._broken(fault, number, begun, done))

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _soon(self, action: Callable[[], None]) -> None:
        epoch = self._epoch
        self.engine.after(0, lambda: action() if epoch == self._epoch else None)

    def _broken(self, fault: Fault, number: int, begun: int, done: Callable[[Answer], None]) -> None:
        text = fault_text(fault, f"exchange {number}", ADVICE)
        self.on_fault(text)
        done(Answer(b"", begun, self.engine.now, error=str(fault) if fault is Fault.ABSENT else text))

    def _given_up(self, number: int, begun: int, epoch: int, done: Callable[[Answer], None]) -> None:
        self._hung = f"exchange {number} has not returned"
        self.on_fault(fault_text(Fault.FROZEN, self._hung, ADVICE))
        if epoch == self._epoch:
            done(Answer(b"", begun, self.engine.now, error=self._hung))


def _with(answer: Answer, response: bytes) -> Answer:
    if not answer.error:
        answer.response = response
    return answer


def _garbled(response: bytes) -> bytes:
    """Some bits of the status word turned over: no 6X or 9X is left of one."""
    return response[:-2] + bytes(octet ^ 0xA5 for octet in response[-2:])
