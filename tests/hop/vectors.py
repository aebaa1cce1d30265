"""The vectors of docs/protocol.md, read from the page itself."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
READ_HERE = {"segment", "command", "control", "message"}
"""The blocks that tests/hop/test_vectors.py holds the codecs to."""
READ_ELSEWHERE = {"address"}
"""And those that tests/net/test_chain_control.py does."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One line of a block: the bytes, and what the page says of them."""

    block: str
    line: int
    data: bytes
    says: dict[str, str]

    def __str__(self) -> str:
        return f"{self.block}-{self.line}"


def blocks() -> set[str]:
    """The names of all blocks of the page."""
    return set(re.findall(r"^```vectors (\S+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def vectors(block: str) -> list[Vector]:
    """The lines of one block."""
    found: list[Vector] = []
    inside = False
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            inside = line == f"```vectors {block}"
        elif inside:
            data, _, meaning = line.partition("|")
            says = dict(re.findall(r"(\S+?)=((?:(?!\s+\S+=).)*)", meaning))
            found.append(
                Vector(block, number, bytes.fromhex(data), {key: value.strip() for key, value in says.items()})
            )
    return found
