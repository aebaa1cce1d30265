"""The admin port: metrics and health over HTTP, on loopback, for machines that watch the gateway. Read only.

/metrics    Prometheus text           /healthz    200 while the daemon works
/readyz     200 while cards are served, else 503 with the reason
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.host.metrics import CONTENT_TYPE

LONGEST_HEAD: Final = 8192
VISITORS: Final = 16
PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Admin:
    """Serves from ``open`` to ``close``, both in the loop's thread. ``metrics`` and ``ready`` (a reason why not, or empty) are asked each time."""

    def __init__(self, metrics: Callable[[], str], ready: Callable[[], str]) -> None:
        self.port = 0
        self._metrics = metrics
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._visits: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        self._silent: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """Those whose question has not come yet, the oldest first: they make room in a crowd."""

    async def open(self, port: int, address: str = "127.0.0.1") -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._visited, address, port, limit=LONGEST_HEAD, reuse_address=True)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop who is there."""
        if self._server is not None:
            self._server.close()
        visits = list(self._visits)
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._visits) >= VISITORS:
            oldest = next(iter(self._silent), None)
            if oldest is None:
                writer.transport.abort()
                return
            self._silent.pop(oldest).transport.abort()
            self._visits.pop(oldest, None)
            oldest.cancel()
        self._visits[task] = None
        self._silent[task] = writer
        try:
            async with asyncio.timeout(PATIENCE_S):
                page = await self._page(reader)
                self._silent.pop(task, None)
                body = page.body.encode()
                head = (
                    f"HTTP/1.0 {page.status} {REASONS[page.status]}\r\nContent-Type: {page.content_type}\r\n"
                    f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._visits.pop(task, None)
            self._silent.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _page(self, reader: asyncio.StreamReader) -> Page:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return Page(400, "expected an HTTP request of at most 8 KiB\n")
        words = head.split(b"\r\n", 1)[0].split()
        if len(words) != 3:
            return Page(400, "expected METHOD PATH HTTP/1.x\n")
        if words[0] not in (b"GET", b"HEAD"):
            return Page(405, "GET only\n")
        page = self._answer(words[1].partition(b"?")[0])
        return page if words[0] == b"GET" else Page(page.status, "", page.content_type)

    def _answer(self, path: bytes) -> Page:
        if path == b"/metrics":
            return Page(200, self._metrics(), CONTENT_TYPE)
        if path == b"/healthz":
            return Page(200, "ok\n")
        if path == b"/readyz":
            reason = self._ready()
            return Page(503, reason + "\n") if reason else Page(200, "ready\n")
        return Page(404, "there are /metrics, /healthz and /readyz\n")
