"""Which reader and driver a rig stands on, as far as anybody can tell: for the record of a run."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from bench.rig.model import ReaderKind, RigModel

_LIBRARY: Final = {ReaderKind.SERIAL: "pyserial", ReaderKind.USB: "pyusb"}


@dataclass(frozen=True, slots=True)
class ReaderIdentity:
    """Names and versions; empty where they cannot be known."""

    reader: str
    driver: str


def reader_identity(model: RigModel) -> ReaderIdentity:
    """What stands behind ``model``'s reader."""
    reader = model.reader
    if reader.kind is ReaderKind.SOFTWARE:
        return ReaderIdentity("virtual wire", "software")
    address = reader.name or reader.port or reader.device or ""
    served = f" (the bench's own card, served by {model.serve.way})" if model.serve is not None else ""
    driver = _pcscd_version() if reader.kind is ReaderKind.PCSC else _package(_LIBRARY[reader.kind])
    return ReaderIdentity(f"{reader.kind}: {address}{served}", driver)


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _pcscd_version() -> str:
    program = shutil.which("pcscd")
    if program is None:
        return ""
    try:
        printed = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = printed.stdout.strip().partition("\n")[0]
    return first.rstrip(".")
