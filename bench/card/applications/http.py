"""As much of HTTP/1.1 (RFC 9112) as a card needs: requests read from a channel within bounds, answers written to it.

A request line or a header section may come in pieces of any size, several requests may come in one message. What is too long or malformed is an
``HttpError`` with the status to answer; the conversation ends after it, since nobody knows where the next request would begin. One that drips in for
longer than its bytes excuse is answered 408, and the connection closed: a peer that sends a byte now and then holds no channel for ever.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from bench.card.communication import ChannelError, Communication, Handle, System
from bench.channels.message import Cause

HEAD_MAX: Final = 2048
"""Request line and header fields together."""
BODY_MAX: Final = 1024
FIELDS_MAX: Final = 16
"""Fields of a form."""
WHOLE_MS: Final = 60_000
BYTE_MS: Final = 100
"""How long a request, head and body, may take from its first byte on: ``WHOLE_MS``, and ``BYTE_MS`` more for each byte that has come.

All in the card's own time. The 32nd part of a line of 9600 baud is 14 bytes a second: who shares that has time enough."""
LOOK_MS: Final = 5_000
"""How often it is looked, and how long the answer that it took too long may take."""

REASONS: Final = {
    200: "OK",
    204: "No Content",
    303: "See Other",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    505: "HTTP Version Not Supported",
}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class HttpError(Exception):
    """A request that cannot be served; ``status`` is the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status} {REASONS[status]}: {why}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``path`` is decoded, without the query."""

    method: str
    target: str
    path: str
    query: str
    keep: bool
    """Whether the connection stays after the answer."""
    body: bytes

    def form(self) -> dict[str, str]:
        """The fields of an ``application/x-www-form-urlencoded`` body. Raises HttpError."""
        try:
            text = self.body.decode("ascii")
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="replace"))
        except ValueError as error:
            raise HttpError(400, f"not a form: {error}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. ``location`` is where status 303 points to."""

    status: int
    body: bytes = b""
    media: str = "text/html; charset=utf-8"
    location: str = ""
    allow: str = ""


class Connection:
    """The server's side of one connection. ``request`` needs the card it runs on (``system``), since its patience takes a thread."""

    def __init__(self, io: Communication, channel: Handle, system: System | None = None) -> None:
        self.io = io
        self.channel = channel
        self.system = system
        self._held = bytearray()
        self._ended = False
        self._asking = False
        """A request has begun and is not whole."""
        self._got = 0
        """Bytes that have come since it was asked for."""
        self._waited = 0
        """Milliseconds that has taken."""
        self._watched = False
        self._late = False

    async def request(self) -> Request | None:
        """The next request; None where the other side has ended. Raises HttpError, ChannelError."""
        self._asking, self._got, self._waited = bool(self._held), 0, 0
        try:
            return await self._request()
        finally:
            self._asking = False

    async def _request(self) -> Request | None:
        head = await self._head()
        if head is None:
            return None
        lines = head.split("\r\n")
        method, target, version = _request_line(lines[0])
        fields = _fields(lines[1:])
        if version == (1, 1) and "host" not in fields:
            raise HttpError(400, "HTTP/1.1 without Host (RFC 9112, 3.2)")
        tokens = {each.strip().lower() for each in fields.get("connection", "").split(",")}
        keep = "close" not in tokens if version >= (1, 1) else "keep-alive" in tokens
        body = await self._body(fields, version)
        path, _, query = target.partition("?")
        return Request(method, target, unquote(path, errors="replace"), query, keep, body)

    async def answer(self, answer: Answer, *, keep: bool, head_only: bool = False) -> None:
        """Send an answer with its length, so that the connection can stay."""
        lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}", "Server: cardbench"]
        if answer.status != 204:
            lines += [f"Content-Type: {answer.media}", f"Content-Length: {len(answer.body)}"]
        if answer.location:
            lines.append(f"Location: {answer.location}")
        if answer.allow:
            lines.append(f"Allow: {answer.allow}")
        lines += [f"Connection: {'keep-alive' if keep else 'close'}", "", ""]
        await self.send("\r\n".join(lines).encode("latin-1") + (b"" if head_only else answer.body))

    async def send(self, data: bytes) -> None:
        """Send any number of bytes, in as few messages as they need."""
        for at in range(0, len(data), self.channel.payload):
            await self.io.send(self.channel, data[at : at + self.channel.payload])

    async def _more(self) -> bool:
        if self._asking and not self._watched and self.system is not None:
            self._watched = True
            self.system.start(self._watch(self.system), "patience")
        message = None if self._ended else await self.io.receive(self.channel)
        if self._late and self.system is not None:
            await self.system.sleep(LOOK_MS)  # until the answer is on its way: by then the channel is closed
            raise ChannelError(Cause.CHANNEL_CLOSED, "a request that took too long")
        if message is None:
            self._ended = True
            return False
        self._asking = True  # an empty line before a request begins it, too
        self._held += message
        self._got += len(message)
        return True

    async def _watch(self, system: System) -> None:
        while self._asking and not self._late:
            await system.sleep(LOOK_MS)
            self._waited += LOOK_MS
            self._late = self._overdue()
        self._watched = False
        if self._late:
            system.start(self._give_up(), "given up")
            await system.sleep(LOOK_MS)  # whether the peer takes the answer or not
            await self.io.close(self.channel)

    def _overdue(self) -> bool:
        return self._asking and self._waited > WHOLE_MS + BYTE_MS * self._got

    async def _give_up(self) -> None:
        error = HttpError(408, f"{self._got} bytes of a request in {self._waited // 1000} s")
        try:
            await self.answer(Answer(408, f"{error}\n".encode(), "text/plain; charset=utf-8"), keep=False)
        except ChannelError:
            return  # it was not taken
        await self.io.close(self.channel)

    async def _head(self) -> str | None:
        looked = 0
        while True:
            while self._held[:2] == b"\r\n":  # an empty line before a request is to be ignored (RFC 9112, 2.2)
                del self._held[:2]
                looked = 0
            end = self._held.find(b"\r\n\r\n", max(0, looked - 3))
            if end > HEAD_MAX or (end < 0 and len(self._held) > HEAD_MAX):
                raise HttpError(431, f"more than {HEAD_MAX} bytes before the empty line")
            if end >= 0:
                break
            looked = len(self._held)
            if not await self._more():
                if self._held:
                    raise HttpError(400, "the connection ended within a request")
                return None
        head = self._held[:end].decode("latin-1")
        del self._held[: end + 4]
        return head

    async def _body(self, fields: dict[str, str], version: tuple[int, int]) -> bytes:
        if "transfer-encoding" in fields:
            raise HttpError(411 if version >= (1, 1) else 400, "a card wants Content-Length")
        text = fields.get("content-length", "0")
        if not text.isascii() or not text.isdigit():
            raise HttpError(400, f"Content-Length {text!r}")
        length = int(text) if len(text) < 10 else BODY_MAX + 1
        if length > BODY_MAX:
            raise HttpError(413, f"a body of {text} bytes, at most {BODY_MAX} are taken")
        if length and fields.get("expect", "").lower() == "100-continue" and len(self._held) < length:
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._held) < length:
            if not await self._more():
                raise HttpError(400, "the connection ended within a body")
        body = bytes(self._held[:length])
        del self._held[:length]
        return body


def _request_line(line: str) -> tuple[str, str, tuple[int, int]]:
    words = line.split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not words[1]:
        raise HttpError(400, "no request line")
    version = re.fullmatch(r"HTTP/(\d)\.(\d)", words[2])
    if version is None:
        raise HttpError(400, "no HTTP version in the request line")
    major, minor = int(version[1]), int(version[2])
    if major != 1:
        raise HttpError(505, f"HTTP/{major}.{minor}")
    return words[0], words[1], (major, minor)


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(
            name
        ):  # also refuses white space before the colon and folded lines (5.1, 5.2)
            raise HttpError(400, "a header field without a name")
        key = name.lower()
        if key == "content-length" and fields.get(key, value.strip()) != value.strip():
            raise HttpError(400, "two lengths")
        if key == "host" and key in fields:
            raise HttpError(400, "two Host fields")
        fields[key] = value.strip(" \t")
    return fields
