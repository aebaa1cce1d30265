"""What a run ran on, as far as it can matter when two runs are compared: software versions, kernel, processor, rig, reader and card."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "cardbench"


@dataclass(frozen=True, slots=True)
class Package:
    """An installed distribution."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and its software."""

    host: str
    kernel: str
    machine: str
    cpu: str
    cpus: int
    python: str
    cardbench: str
    commit: str
    """The commit of the source tree that cardbench was run from, "+" behind it where files had been changed; empty where there is none."""
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True)
class RigFingerprint:
    """One rig as it was used. Empty where the reader cannot tell; ``clock_hz`` 0 likewise."""

    name: str
    text: str
    """The rig file's text."""
    sha256: str
    """Its hash."""
    reader: str
    driver: str
    firmware: str
    atr: str
    """The answers to reset of its cards from the host outward, hexadecimal, separated by a semicolon."""
    clock_hz: int

    @classmethod
    def of(
        cls,
        name: str,
        text: str,
        *,
        reader: str = "",
        driver: str = "",
        firmware: str = "",
        atrs: tuple[bytes, ...] = (),
        clock_hz: int = 0,
    ) -> "RigFingerprint":
        """The fingerprint of the rig called ``name`` in a rig file with this text."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        atr = "; ".join(atr.hex(" ").upper() for atr in atrs)
        return cls(name, text, digest, reader, driver, firmware, atr, clock_hz)


def environment() -> Environment:
    """The environment of this process."""
    return Environment(
        host=platform.node(),
        kernel=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=_cpu(),
        cpus=os.cpu_count() or 0,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cardbench=_version(),
        commit=_commit(Path(__file__).resolve().parents[2]),
        packages=_packages(),
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor()


def _version() -> str:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _packages() -> tuple[Package, ...]:
    found = {
        Package(distribution.metadata["Name"], distribution.version)
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"]
    }
    return tuple(sorted(found, key=lambda package: (package.name.lower(), package.version)))


def _commit(tree: Path) -> str:
    # Installed below some other project's tree, cardbench must not report that project's commit.
    if not (tree / ".git").exists():
        return ""
    commit = _git(tree, "rev-parse", "HEAD")
    changed = _git(tree, "status", "--porcelain", "--untracked-files=no")
    return commit + ("+" if commit and changed else "")


def _git(tree: Path, *arguments: str) -> str:
    try:
        ran = subprocess.run(
            ["git", "-C", str(tree), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
