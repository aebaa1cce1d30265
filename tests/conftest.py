"""The guest for every test that asks for it, and one worker for all of those."""

from __future__ import annotations

import pytest

from tests.guest.fixture import guest as guest

GUEST = "guest"
"""What the id of a test must hold that uses the guest, in its file's name or in a parameter: xdist's controller knows nothing else of a test."""


LONG = "test_same_verdicts.py"
"""Minutes in which a processor does little: begun first, so that no worker is left alone with it in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG not in item.nodeid)
    for item in items:
        if GUEST in getattr(item, "fixturenames", ()) and GUEST not in item.nodeid:
            raise pytest.UsageError(
                f"{item.nodeid} uses the guest, so its file's name or a parameter must say {GUEST!r}"
            )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.guest.scheduling import OneGuest

    return OneGuest(config, log)
