"""What a host keeps over a restart: the addresses it gave to cards, and whose names are (docs/protocol.md, 5.3). A text file, one entry a line.

::

    # cardbench host memory 1
    lease 434230303031 10.78.48.1
    name 434230303031 purse
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from bench.host.ip_pool import Lease
from bench.host.names import NameOwner
from bench.net.chain_control import is_label
from bench.net.protocols import address, is_one_host

T = TypeVar("T")
FIRST_LINE: Final = "# cardbench host memory 1"
LONGEST: Final = 1 << 20
"""Bytes of such a file: a thousand times what a chain can need."""
IDENTITY_MAX: Final = 32


class HostMemoryError(ValueError):
    """A file that is no host's memory: says which line, what stands there, and what must."""


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Everything that is remembered. Empty: a host that has forgotten, or never knew."""

    leases: tuple[Lease, ...] = ()
    names: tuple[NameOwner, ...] = ()

    def encode(self) -> str:
        """As text."""
        return "\n".join(
            (FIRST_LINE, *(f"lease {each}" for each in self.leases), *(f"name {each}" for each in self.names), "")
        )

    @classmethod
    def decode(cls, text: str, where: str = "host memory") -> "HostMemory":
        """From text. ``where`` is what an error names. Raises HostMemoryError."""
        lines = text.splitlines()
        if not lines or lines[0].strip() != FIRST_LINE:
            found = lines[0][:60] if lines else "nothing"
            raise HostMemoryError(f"{where}:1: {found!r}; expected {FIRST_LINE!r}")
        leases: list[Lease] = []
        names: list[NameOwner] = []
        for number, line in enumerate(lines[1:], 2):
            words = line.split()
            if not words or line.startswith("#"):
                continue
            try:
                kind, identity, value = words
                who = _identity(identity)
                if kind == "lease":
                    leases.append(Lease(who, _host(value)))
                elif kind == "name" and is_label(value):
                    names.append(NameOwner(who, value))
                else:
                    raise ValueError
            except ValueError:
                raise HostMemoryError(
                    f"{where}:{number}: {line[:80]!r}; expected 'lease IDENTITY ADDRESS' or 'name IDENTITY LABEL', "
                    f"the identity as 1 to {IDENTITY_MAX} bytes in hexadecimal"
                ) from None
        return cls(_once(leases), _once(names))

    @classmethod
    def read(cls, path: Path) -> "HostMemory":
        """From a file; empty where there is none yet. Raises HostMemoryError."""
        try:
            with path.open("rb") as stream:
                data = stream.read(LONGEST + 1)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise HostMemoryError(f"{path}: {error.strerror}") from error
        if len(data) > LONGEST:
            raise HostMemoryError(f"{path}: more than {LONGEST} bytes are no host's memory")
        return cls.decode(data.decode("utf-8", "replace"), str(path))

    def write(self, path: Path) -> None:
        """Replace the file at once: whoever is interrupted leaves the old one. Raises HostMemoryError."""
        aside = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with aside.open("w", encoding="utf-8") as stream:
                stream.write(self.encode())
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            raise HostMemoryError(f"{path}: {error.strerror}") from error


def _identity(text: str) -> bytes:
    who = bytes.fromhex(text)
    if not 1 <= len(who) <= IDENTITY_MAX:
        raise ValueError(text)
    return who


def _host(text: str) -> bytes:
    packed = address(text)
    if not is_one_host(packed):
        raise ValueError(text)
    return packed


def _once(entries: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(entries))
