"""docs/readers.md names what the code has."""

from pathlib import Path

from bench.readers.faults import LASTING, Fault

PAGE = Path(__file__).parents[2] / "docs" / "readers.md"


def test_every_fault_is_on_the_page_with_what_becomes_of_its_reader() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines() if "|" in line
    ]
    table = {row[0].strip("`"): row[-1] for row in rows if row[0].startswith("`")}
    assert set(table) - {"kind:"} >= {str(fault) for fault in Fault}
    for fault in Fault:
        assert table[str(fault)] == ("at once" if fault in LASTING else "no"), fault
