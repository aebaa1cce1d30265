"""Which rigs are out of use for the rest of this process, and since what.

A reader that froze, or that this user may not open, would cost every later point its whole time limit: it is put in quarantine at once. What a hand
or a daemon may mend meanwhile (a card put back, a reader plugged in again) is tried anew, until ``STRIKES`` points in a row could not even power
their card. The first cause is the one that is told.
"""

from dataclasses import dataclass
from typing import Final

from bench.readers.faults import LASTING, fault_of
from bench.rig.errors import RigError

STRIKES: Final = 3


@dataclass(slots=True)
class _Record:
    first: str
    strikes: int = 0
    closed: bool = False


_records: dict[str, _Record] = {}


def broke(rig: str, text: str, *, came_up: bool = False) -> None:
    """A point on ``rig`` ended with this fault (a text of ``on_fault``). To be told once a point; ``came_up``: its card had answered before."""
    if came_up:
        worked(rig)
    record = _records.setdefault(rig, _Record(text))
    record.strikes += 1
    record.closed = record.closed or fault_of(text) in LASTING or record.strikes >= STRIKES


def worked(rig: str) -> None:
    """A point on ``rig`` came to its end without a fault: what was before is forgotten."""
    record = _records.get(rig)
    if record is not None and not record.closed:
        del _records[rig]


def check(rig: str) -> None:
    """Raises RigError with the first cause where ``rig`` is out of use."""
    record = _records.get(rig)
    if record is not None and record.closed:
        raise RigError(f"rig {rig} is in quarantine since: {record.first}")


def clear() -> None:
    """Forget everything: for tests."""
    _records.clear()
