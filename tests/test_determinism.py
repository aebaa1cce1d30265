"""The scenarios themselves under one seed: the same bytes in tables and capture, whoever runs them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from bench.records.run import RunDirectory

ROOT = Path(__file__).parent.parent
CHOSEN = (
    "address-assignment/numbering.yaml",
    "address-assignment/ip-numbering.yaml",
    "address-assignment/ip-pool.yaml",
    "address-assignment/ip-reassigned.yaml",
    "ppp/terminate.yaml",
    "routing/neighbours.yaml",
    "sockets/many-channels.yaml",
    "sockets/loop-back.yaml",
    "sockets/cut-exchanges.yaml",
    "sockets/apdu-beside-channels.yaml",
    "link/jitter.yaml",
    "link/warm-reset.yaml",
    "routing/neighbours-t1.yaml",
)


def _digest(folder: Path, *options: str, hash_seed: str = "0") -> dict[str, str]:
    """The hash of every table and of the capture of a run with ``options``."""
    chosen = [str(ROOT / "scenarios" / name) for name in CHOSEN]
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        *chosen,
        "--no-report",
        "--payloads",
        "full",
        "--out",
        str(folder),
        *options,
    ]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (path,) = (each.parent for each in folder.rglob("run.json"))
    run = RunDirectory.open(path)
    files = [*run.path.glob("*.parquet"), run.capture_path]
    assert len(files) == 9
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_workers_and_hash_seeds_change_no_byte(tmp_path: Path) -> None:
    one = _digest(tmp_path / "one", hash_seed="1")
    assert _digest(tmp_path / "two", "-n", "2", hash_seed="2") == one


def test_another_seed_changes_what_is_random_and_nothing_else(tmp_path: Path) -> None:
    one = _digest(tmp_path / "one")
    other = _digest(tmp_path / "other", "--seed", "2")
    assert other["parameters.parquet"] == one["parameters.parquet"]
    assert other["capture.pcapng"] != one["capture.pcapng"], "the payloads that are echoed are drawn from the seed"
