"""Who drives a rig while programs outside are served: its own monotonic loop, or, for software cards, a virtual engine slaved to the wall."""

from typing import Final

from bench.engine import MonotonicEngine, VirtualEngine
from bench.host.drive import Drive, MonotonicDrive, SlavedDrive
from bench.iso7816.rates import Rate
from bench.observe import Exchange, Observation
from bench.rig.build import Rig, poll_plan
from bench.rig.model import PollPeriod, RigModel

LINE_CHARACTERS: Final = 600
"""Characters of the longest exchange of a hop, both ways and with room to spare: so long after one that carried something another may follow."""
POLL: Final = 5
NOTHING: Final = 2
"""Bytes of an exchange that carries nothing: the bare header of a poll, and a status word."""
CHARACTER_ETU: Final = 12
OWN_POLLS: Final = PollPeriod(first=1.0, longest=20.0)
"""How often a software chain is asked where its rig file does not say: real time, so seldom enough to leave the processor alone."""


def drive_rig(rig: Rig, model: RigModel, paced: bool) -> Drive:
    """Whoever drives the rig's engine while sockets or lines are served."""
    engine, given = rig.engine, rig.given
    if isinstance(engine, MonotonicEngine):
        return MonotonicDrive(engine)
    assert isinstance(engine, VirtualEngine)
    etu = Rate(given.ta1).etu_cycles
    line = engine.timebase.cycles(
        -(-LINE_CHARACTERS * CHARACTER_ETU * etu.numerator // etu.denominator), given.clock_hz
    )
    polls = 2 * poll_plan(model, given, engine).longest
    drive = SlavedDrive(engine, line + polls + 2 * given.card_time.ticks(engine.timebase), paced=paced)

    def moved(observation: Observation) -> None:
        if isinstance(observation, Exchange) and (
            observation.sent_bytes > POLL or observation.received_bytes > NOTHING
        ):
            drive.moved()

    rig.tap.listeners.append(moved)
    return drive.start()
