"""tshark, reading captures: with the dissector of our own layers, or without."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import cast

import pytest

from bench.records.dissector import dissector_path

NEEDS_TSHARK = pytest.mark.skipif(
    shutil.which("tshark") is None,
    reason="tshark is missing: apt-get install --no-install-recommends tshark",
)
Frame = dict[str, list[str]]
"""The fields of a packet, by name, in the order of their occurrence."""
LIMIT_S = 240


def dissected(capture: Path, fields: list[str], display_filter: str = "", *, checksums: bool = False) -> list[Frame]:
    """The packets that pass the filter. Whatever Lua or tshark complains of fails the test."""
    command = ["tshark", "-r", str(capture), "-X", f"lua_script:{dissector_path()}", "-T", "json"]
    if checksums:
        for protocol in ("ip", "udp", "tcp"):
            command += ["-o", f"{protocol}.check_checksum:TRUE"]
    for field in [*fields, "_ws.lua.error", "_ws.malformed", "frame.number"]:
        command += ["-e", field]
    if display_filter:
        command += ["-Y", display_filter]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    # As root tshark says that it runs as root; anything else is a complaint.
    assert [line for line in ran.stderr.splitlines() if line and "could be dangerous" not in line] == []
    frames = [cast(Frame, packet["_source"]["layers"]) for packet in json.loads(ran.stdout)]
    assert [frame["frame.number"] for frame in frames if "_ws.lua.error" in frame] == []
    return frames
