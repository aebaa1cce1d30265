"""The real points of every scenario on every path of this machine: the same verdicts as on the software rig, or not applicable, with the reason."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.rig.pcscd import Driver, missing_parts
from tests.witness.same_verdicts import held, results_in, run

PCSC = "" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'"
SERIAL = "" if find_spec("serial") else "missing pyserial: pip install 'cardbench[serial]'"
GEMPC = missing_parts(Driver.serial("", "")) or PCSC
PATHS = {
    "pcsc-vpcd": (missing_parts() or PCSC, 50),
    "pcsc-gempc-t0": (GEMPC, 60),
    "pcsc-gempc-t1": (GEMPC, 60),
    "serial-rfc2217": (SERIAL, 70),
    "serial-pty": (SERIAL, 70),
}
"""By rig: what the machine lacks, and how many points pass at least."""

OVER_IP = (
    "address-assignment/ip-numbering",
    "routing/ip-ping",
    "sockets/ip-bulk",
    "sockets/tcp-resets",
    "sockets/tcp-time-wait",
    "sockets/udp-fragments",
)
"""Scenarios of the IP stack whose points run on every path: the packets travel in the same two commands."""

pytestmark = [pytest.mark.witness, pytest.mark.real]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where results are; the software rig's are there."""
    directory = results_in(tmp_path_factory.mktemp("paths"))
    run("software", directory)
    return directory


@pytest.mark.parametrize("rig", PATHS)
def test_the_verdicts_are_those_of_the_software_rig(rig: str, out: Path) -> None:
    missing, passes = PATHS[rig]
    if missing:
        pytest.skip(missing)
    run(rig, out)
    table = held(out, rig, passes)
    if rig.startswith("pcsc"):
        column = table.columns[1]
        for name in ("negotiated", "throughput", "throughput-by-mtu"):
            (cell,) = [cell for (scenario, _), cell in column.cells.items() if scenario == f"baud-rate/{name}"]
            assert cell.verdict == "not applicable"
            assert "cannot choose" in cell.reason
    network = [cell for (scenario, _), cell in table.columns[1].cells.items() if scenario in OVER_IP]
    assert [cell.verdict for cell in network] == ["pass"] * len(network)
    assert len(network) >= len(OVER_IP)
    if rig.startswith("serial"):
        rates = [cell for (scenario, _), cell in table.columns[1].cells.items() if scenario == "baud-rate/negotiated"]
        assert [cell.verdict for cell in rates] == ["pass"] * len(rates)
        assert rates
