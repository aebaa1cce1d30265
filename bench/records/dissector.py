"""Where Wireshark's dissector for the bench's own layers lies (``cardbench.lua``; docs/captures.md)."""

from importlib.resources import files
from pathlib import Path


def dissector_path() -> Path:
    """The Lua file, for ``wireshark -X lua_script:PATH`` or to be copied into Wireshark's folder of plugins."""
    return Path(str(files("bench.records").joinpath("cardbench.lua")))
