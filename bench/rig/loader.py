"""Rig files read and checked."""

from pathlib import Path

from bench.files.document import Document, Place, parse, read
from bench.files.mistakes import FileError, Mistake
from bench.files.models import check
from bench.rig.calibration import calibration_path, read_calibrations
from bench.rig.declaration import Declaration, read_declaration
from bench.rig.model import CardModel, RigFileModel, RigModel

WHAT = "a rig file: a mapping with 'station' and 'rigs'"

DEFAULT_RIG_FILE = Path("rigs/default.yaml")
BUILT_IN = """\
station: local
rigs:
  - name: software
    reader: {kind: software}
"""


def load_rig_file(path: Path) -> RigFileModel:
    """The rig file at ``path``, with the calibrations beside it.

    Raises FileError with every mistake, as ``file:line:column: what was found; what was expected``.
    """
    document = read(path, WHAT)
    file = _declared(_checked(document), document)
    kept = read_calibrations(calibration_path(path)).calibrations
    if not kept:
        return file
    rigs = tuple(rig.calibrated(tuple(each for each in kept if each.rig == rig.name)) for rig in file.rigs)
    return file.model_copy(update={"rigs": rigs})


def parse_rig_file(text: str, path: Path) -> RigFileModel:
    """The same for text at hand; ``path`` is only named in mistakes."""
    return _checked(parse(text, path, WHAT))


def default_rig_file(folder: Path) -> tuple[RigFileModel, str]:
    """The rig file that is used where none is named, and its text: ``rigs/default.yaml`` below ``folder``, else one software chain."""
    path = folder / DEFAULT_RIG_FILE
    if path.is_file():
        return load_rig_file(path), path.read_text(encoding="utf-8")
    return _checked(parse(BUILT_IN, Path("<built-in rig>"), WHAT)), BUILT_IN


def declaration_paths(rig_file: Path, rig: RigModel) -> tuple[Path, ...]:
    """The files in which the cards of a rig are declared, each once."""
    return tuple(dict.fromkeys(rig_file.parent / card.declares for card in rig.cards if card.declares))


def _declared(file: RigFileModel, document: Document) -> RigFileModel:
    """The same with the declarations that it names, which lie beside it. Raises FileError."""
    mistakes: list[Mistake] = []
    rigs = []
    for index, rig in enumerate(file.rigs):
        found = [_declaration(document, index, place, card, mistakes) for place, card in enumerate(rig.cards)]
        rigs.append(rig.declared(tuple(found)) if any(found) else rig)
    if mistakes:
        raise FileError(mistakes)
    return file.model_copy(update={"rigs": tuple(rigs)})


def _declaration(
    document: Document, rig: int, place: int, card: CardModel, mistakes: list[Mistake]
) -> Declaration | None:
    if card.declares is None:
        return None
    where: Place = ("rigs", rig, "cards", place)
    path = document.path.parent / card.declares
    if not path.is_file():
        expected = "a declaration beside the rig file (cardbench declare writes a first one)"
        mistakes.append(document.mistake((*where, "declares"), f"{card.declares!r}, where no file is", expected))
        return None
    try:
        declaration, _ = read_declaration(path)
    except FileError as error:
        mistakes.extend(error.mistakes)
        return None
    if "stack" in card.model_fields_set and declaration.stack != card.stack:
        expected = f"{declaration.stack}, which {card.declares} declares"
        mistakes.append(document.mistake((*where, "stack"), f"stack {card.stack}", expected))
    return declaration


def _checked(document: Document) -> RigFileModel:
    mistakes: list[Mistake] = []
    model = check(RigFileModel, document.tree, document, mistakes)
    if model is None:
        raise FileError(mistakes)
    return model
