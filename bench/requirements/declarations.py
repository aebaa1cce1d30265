"""Declarations, read and held against the catalogue."""

from collections.abc import Iterable
from pathlib import Path

from bench.files.mistakes import FileError
from bench.files.models import suggestion
from bench.requirements.applicability import applicable
from bench.requirements.catalogue import Dut, catalogue
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


def none_applies(requirements: Iterable[str], declarations: tuple[Declaration | None, ...]) -> str:
    """Why none of these requirements applies to cards that are declared so, from the host outward; empty where one does or may.

    A requirement on a chain applies where it applies to every card of it, any other where it applies to the first. A card without a declaration
    (None) may have anything.
    """
    reasons = []
    for name in requirements:
        requirement = catalogue().get(name)
        if requirement is None or not declarations:
            return ""
        judged = declarations if requirement.dut is Dut.CHAIN else declarations[:1]
        reason = next((why for each in judged if each is not None and (why := applicable(requirement, each))), "")
        if not reason:
            return ""
        reasons.append(f"{name} does not apply: {reason}")
    return reasons[0] if reasons else ""
