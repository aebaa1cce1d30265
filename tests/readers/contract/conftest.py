"""The paths that the suite is held on: all that this machine offers, or those that ``--path`` names (as inside a virtual machine)."""

from collections.abc import Callable, Iterator

import pytest

from bench.rig import quarantine
from bench.rig.served_reader import close_served_reader
from tests.readers.contract.stations import PATHS, ReaderPath, Station, open_station

Open = Callable[..., Station]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--path", metavar="NAMES", default=None, help="the paths to hold the reader contract on, with commas"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" not in metafunc.fixturenames:
        return
    wanted = metafunc.config.getoption("--path", default=None)
    names = [each.name for each in PATHS if not each.guest] if wanted is None else wanted.split(",")
    paths = [each for each in PATHS if each.name in names]
    assert len(paths) == len(names), f"{wanted}: there are {', '.join(each.name for each in PATHS)}"
    metafunc.parametrize("path", [pytest.param(each, id=each.name) for each in paths], scope="module")


@pytest.fixture
def open_one(path: ReaderPath) -> Iterator[Open]:
    """Opens stations on the path, closed when the test ends; conditions as in a scenario's ``given``."""
    if path.missing:
        pytest.skip(path.missing)
    opened: list[Station] = []

    def open_here(**given: str) -> Station:
        opened.append(open_station(path, **given))
        return opened[-1]

    yield open_here
    for station in reversed(opened):
        station.close()
    quarantine.clear()


@pytest.fixture
def station(open_one: Open) -> Station:
    """One reader with one card, not yet powered."""
    return open_one()


@pytest.fixture(scope="module", autouse=True)
def nothing_served_afterwards() -> Iterator[None]:
    yield
    close_served_reader()
