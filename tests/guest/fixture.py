"""``guest``: the one guest of a test session; see tests/guest/machine.py for what it can do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guest.machine import Guest, missing_parts


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    """A running guest. Skips where the machine has no means to run one."""
    if reason := missing_parts():
        pytest.skip(reason)
    machine = Guest()
    try:
        yield machine
    finally:
        machine.close()
