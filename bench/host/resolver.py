"""Names to addresses. The C library's resolver (nsswitch, hosts file, DNS) blocks, so it is treated as a driver that does: a few threads of its own,
started when first needed, and results come back through the loop. Threads are daemons: a lookup that hangs holds up neither the loop nor the end.
"""

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.host.policy import IpAddress

THREADS: Final = 2
MOST_ADDRESSES: Final = 8
"""Addresses of one name that are tried at most."""

Post = Callable[[Callable[[], object]], None]
Found = Callable[[tuple[IpAddress, ...]], None]


@dataclass(slots=True)
class Lookup:
    """One name being resolved. ``cancel`` it and nobody is told."""

    name: str
    found: Found | None

    def cancel(self) -> None:
        self.found = None


class Resolver:
    """``post`` brings a call back into the loop's thread; any thread may call it. ``most`` lookups at a time."""

    def __init__(self, post: Post, most: int, lookup: Callable[[str], tuple[IpAddress, ...]] | None = None) -> None:
        self._post = post
        self._most = most
        self._lookup = lookup if lookup is not None else system_lookup
        self._pending = 0
        self._jobs: queue.SimpleQueue[Lookup | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def resolve(self, name: str, found: Found) -> Lookup | None:
        """Have ``found`` called with the addresses of ``name`` (none where it has none); None where too many are asked for already."""
        if self._pending >= self._most:
            return None
        self._pending += 1
        if len(self._threads) < min(THREADS, self._pending):
            thread = threading.Thread(target=self._work, name=f"resolver {len(self._threads) + 1}", daemon=True)
            self._threads.append(thread)
            thread.start()
        lookup = Lookup(name, found)
        self._jobs.put(lookup)
        return lookup

    def close(self) -> None:
        """Let the threads end; one that hangs in the library is left to end with the process."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            addresses = self._lookup(job.name) if job.found is not None else ()
            self._post(lambda job=job, addresses=addresses: self._done(job, addresses))  # type: ignore[misc]

    def _done(self, job: Lookup, addresses: tuple[IpAddress, ...]) -> None:
        self._pending -= 1
        found, job.found = job.found, None
        if found is not None:
            found(addresses)


def system_lookup(name: str) -> tuple[IpAddress, ...]:
    """The addresses of a name as this machine sees it, in its order of preference; none where it has none."""
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    texts = dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows)
    return tuple(ipaddress.ip_address(text) for text in texts)[:MOST_ADDRESSES]
