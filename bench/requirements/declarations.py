"""Declarations, read and held against the catalogue."""

from pathlib import Path

from bench.files.mistakes import FileError
from bench.files.models import suggestion
from bench.requirements.catalogue import catalogue
from bench.rig.declaration import Declaration, read_declaration


def load_declaration(path: Path) -> Declaration:
    """The declaration at ``path``, its deviations from requirements that there are.

    Raises FileError with every mistake, as ``file:line:column: what was found; what was expected``.
    """
    declaration, document = read_declaration(path)
    known = catalogue()
    mistakes = [
        document.mistake(
            ("deviations", index, "requirements", place),
            f"the unknown requirement {name!r}{suggestion(name, known)}",
            "an id of the catalogue",
        )
        for index, deviation in enumerate(declaration.deviations)
        for place, name in enumerate(deviation.requirements)
        if name not in known
    ]
    if mistakes:
        raise FileError(mistakes)
    return declaration
