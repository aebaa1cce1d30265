"""Rig files read and checked."""

from pathlib import Path

from bench.files.document import Document, parse, read
from bench.files.mistakes import FileError, Mistake
from bench.files.models import check
from bench.rig.calibration import calibration_path, read_calibrations
from bench.rig.model import RigFileModel

WHAT = "a rig file: a mapping with 'station' and 'rigs'"

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
    file = _checked(read(path, WHAT))
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
    path = folder / "rigs" / "default.yaml"
    if path.is_file():
        return load_rig_file(path), path.read_text(encoding="utf-8")
    return _checked(parse(BUILT_IN, Path("<built-in rig>"), WHAT)), BUILT_IN


def _checked(document: Document) -> RigFileModel:
    mistakes: list[Mistake] = []
    model = check(RigFileModel, document.tree, document, mistakes)
    if model is None:
        raise FileError(mistakes)
    return model
