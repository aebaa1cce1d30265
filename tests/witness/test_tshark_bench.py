"""tshark reads the capture of ordinary scenarios: nothing malformed that was not sent so, every layer decoded, filters that find what they name."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.records.run import CAPTURE_INDEX
from reports.arrow import read_frame
from tests.witness.tshark import NEEDS_TSHARK, Frame, dissected

pytestmark = [pytest.mark.witness, NEEDS_TSHARK]

SCENARIOS = ("address-assignment/ip-static", "sockets/no-messages", "ppp/malformed", "link/hop-no-sense")
"""IP, channel messages that are none, PPP, a segment that is none: APDUs, the hop and the chain are in all."""
MALFORMED_ON_PURPOSE = {"sockets/no-messages", "link/hop-no-sense"}
ERROR = 8388608
"""PI_ERROR of Wireshark's expert severities."""
REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 240


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of these scenarios, as anybody makes one."""
    out = tmp_path_factory.mktemp("capture")
    paths = [f"scenarios/{scenario}.yaml" for scenario in SCENARIOS]
    command = [sys.executable, "-m", "bench.cli", "run", *paths, "--no-report", "--out", str(out)]
    ran = subprocess.run(
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (found,) = out.glob("station=*/date=*/run=*")
    return found


@pytest.fixture(scope="module")
def frames(run: Path) -> list[Frame]:
    fields = ["frame.protocols", "cardbench.scenario", "cardbench.step", "cardbench.line", "cardbench.hop.sw", "_ws.expert.severity",
              "cardbench.hop.malformed", "cardbench.channel.malformed", "cardbench.chain.malformed",
              "cardbench.hop.bad_status", "ip.checksum.status", "udp.checksum.status", "tcp.checksum.status", "iso7816.atr.init_char"]  # fmt: skip
    return dissected(run / "capture.pcapng", fields, checksums=True)


def test_nothing_is_malformed_but_what_was_sent_so(frames: list[Frame]) -> None:
    assert [frame for frame in frames if "_ws.malformed" in frame] == []
    assert [frame for frame in frames if any(int(each) >= ERROR for each in frame.get("_ws.expert.severity", []))] == []
    ours = {frame["cardbench.scenario"][0] for frame in frames if any(name.endswith(".malformed") for name in frame)}
    assert ours == MALFORMED_ON_PURPOSE
    assert [frame for frame in frames if "cardbench.hop.bad_status" in frame] == []
    for layer in ("ip", "udp", "tcp"):
        assert {status for frame in frames for status in frame.get(f"{layer}.checksum.status", [])} <= {"1"}


def test_every_layer_is_decoded_and_every_packet_names_its_step(frames: list[Frame]) -> None:
    protocols = {name for frame in frames for name in frame["frame.protocols"][0].split(":")}
    assert protocols >= {"iso7816", "cardbench.chain", "cardbench.channel", "ip", "ppp", "lcp"}
    assert any("cardbench.hop.sw" in frame for frame in frames)  # of a post-dissector, so not among the protocols
    assert all("cardbench.scenario" in frame and "cardbench.line" in frame for frame in frames)
    assert {frame["cardbench.scenario"][0] for frame in frames} == set(SCENARIOS)


def test_every_scenario_that_keeps_its_packets_has_an_answer_to_reset(frames: list[Frame]) -> None:
    """Of the first card of each chain, and seen as one by a dissector that knows nothing of ours."""
    answers = [frame for frame in frames if "iso7816.atr.init_char" in frame]
    assert {frame["iso7816.atr.init_char"][0] for frame in answers} == {"0x3b"}
    assert {frame["cardbench.scenario"][0] for frame in answers} == set(SCENARIOS)
    assert all("cardbench.hop.sw" not in frame for frame in answers)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_filter_on_the_scenarios_name_finds_exactly_its_packets(
    run: Path, frames: list[Frame], scenario: str
) -> None:
    """The frames that the run's index gives the scenario are those the filter finds, and those of the comments."""
    index = read_frame(run / CAPTURE_INDEX)
    mine = index[index["scenario"] == scenario]
    first, last = int(mine["first_frame"].min()), int(mine["last_frame"].max())
    assert last - first + 1 == int(mine["packets"].sum()) > 0
    wanted = list(range(first, last + 1))
    by_name = [int(frame["frame.number"][0]) for frame in frames if frame["cardbench.scenario"] == [scenario]]
    assert by_name == wanted
    found = dissected(run / "capture.pcapng", [], f'frame.comment contains "{scenario}::"')
    assert [int(frame["frame.number"][0]) for frame in found] == wanted


def test_the_index_counts_the_packets_of_every_step(run: Path, frames: list[Frame]) -> None:
    seen = Counter((frame["cardbench.scenario"][0], int(frame.get("cardbench.step", ["0"])[0])) for frame in frames)
    index = read_frame(run / CAPTURE_INDEX)
    told: Counter[tuple[str, int]] = Counter()
    for scenario, step, packets in zip(index["scenario"], index["step"], index["packets"], strict=True):
        told[str(scenario), int(step)] += int(packets)
    assert told == seen
