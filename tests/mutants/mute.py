"""What becomes of a card whose program breaks down: it falls silent until it is reset, as a chip would.

Whatever runs inside a card is entered through here: from the line, from the engine's events, from the port to the next card. An exception is a fault
of the card alone, never one of the bench, and so is a loop that does not end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from bench.engine import ORDINARY, Engine, Timer
from bench.rig.errors import RigError, RigNotAble
from bench.scenario.errors import BenchFault, CardFailed, NotApplicable

WATCH_S = 1.0
"""Seconds of processor time that one entry into a card may take before it counts as an endless loop: sound cards need milliseconds."""
_OF_THE_BENCH = (RigError, RigNotAble, BenchFault, CardFailed, NotApplicable)


class Stuck(BaseException):
    """The card's program does not come to an end."""


class OverTime(BaseException):
    """A point takes far longer with this card than with a sound one."""


class Watch:
    """Looks, in processor time, whether a card is stuck; and counts events."""

    def __init__(self) -> None:
        self.entries = 0
        self.inside = 0
        self.most_events = 1 << 62
        self._seen = -1

    def __enter__(self) -> Watch:
        self._before = signal.signal(signal.SIGVTALRM, self._look)
        signal.setitimer(signal.ITIMER_VIRTUAL, WATCH_S, WATCH_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self._before)

    def _look(self, _number: int, _frame: object) -> None:
        if self.inside and self._seen == self.entries:
            self._seen = -1
            raise Stuck
        self._seen = self.entries if self.inside else -1


class Life:
    """One card's: dead from an error on until it is reset."""

    def __init__(self, watch: Watch, clock: Engine) -> None:
        self.watch = watch
        self.clock = clock
        self.dead = False
        self.epoch = 0
        self.errors: list[str] = []

    def revive(self) -> None:
        if self.dead:
            self.dead = False
            self.epoch += 1

    def run(self, action: Callable[..., Any], *arguments: object, otherwise: object = None, **named: object) -> Any:
        if self.dead:
            return otherwise
        watch = self.watch
        watch.entries += 1
        watch.inside += 1
        try:
            return action(*arguments, **named)
        except _OF_THE_BENCH:
            raise
        except (Exception, Stuck) as error:
            self.dead = True
            self.errors.append(f"{type(error).__name__}: {error}")
            return otherwise
        finally:
            watch.inside -= 1
            if getattr(self.clock, "events", 0) > watch.most_events:
                raise OverTime

    def kept(self, action: Callable[..., Any]) -> Callable[..., Any]:
        """``action``, when it is called back in this life of the card."""
        epoch = self.epoch
        return lambda *arguments: self.run(action, *arguments) if epoch == self.epoch else None


class CardClock:
    """The engine as the card sees it."""

    def __init__(self, engine: Engine, life: Life) -> None:
        self.timebase = engine.timebase
        self._engine = engine
        self._life = life

    @property
    def now(self) -> int:
        return self._engine.now

    def at(self, time: int, action: Callable[[], object], rank: int = ORDINARY) -> Timer:
        return self._engine.at(time, self._life.kept(action), rank)

    def after(self, delay: int, action: Callable[[], object]) -> Timer:
        return self._engine.after(delay, self._life.kept(action))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class CardPort:
    """The port to the next card as the card sees it."""

    def __init__(self, port: object, life: Life) -> None:
        self._port: Any = port
        self._life = life

    def power_up(self, done: Callable[..., object]) -> None:
        self._port.power_up(self._life.kept(done))

    def warm_reset(self, done: Callable[..., object]) -> None:
        self._port.warm_reset(self._life.kept(done))

    def submit(self, command: bytes, done: Callable[..., object]) -> None:
        self._port.submit(command, self._life.kept(done))

    def park(self, wake: Callable[[], object], settle: Callable[[], object]) -> None:
        self._port.park(self._life.kept(wake), self._life.kept(settle))

    def resume(self, polls: object, number: int, done: Callable[..., object]) -> None:
        self._port.resume(polls, number, self._life.kept(done))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def give_life(card: Any, life: Life) -> None:
    """Have everything that reaches ``card`` from outside go through its life."""
    contacts = card.contacts
    receive, signalled, busy_until = contacts.receive, contacts.signalled, contacts.busy_until
    power_up, reset, power_down, attach = contacts.power_up, contacts.reset, contacts.power_down, card.attach_io2

    def up(*arguments: object, **named: object) -> None:
        life.revive()
        life.run(power_up, *arguments, **named)

    def again(*arguments: object) -> None:
        life.revive()
        life.run(reset, *arguments)

    def down(*arguments: object) -> None:
        life.revive()
        life.run(power_down, *arguments)

    contacts.receive = lambda *arguments, **named: life.run(receive, *arguments, **named)
    contacts.signalled = lambda *arguments: life.run(signalled, *arguments)
    contacts.busy_until = lambda: life.run(busy_until, otherwise=0)
    contacts.power_up, contacts.reset, contacts.power_down = up, again, down
    card.attach_io2 = lambda port, hop: attach(CardPort(port, life), hop)
