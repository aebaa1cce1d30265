"""A web server on the card, after Webcard: pages from the card's own files, any file by its identifier, and a form that updates one.

`/` is file 1001, `/files/2FE2` the content of that file as it is, `/note` a form whose text is kept in file 1002.
"""

from html import escape
from typing import Final

from bench.card.applications.http import Answer, Connection, HttpError, Request
from bench.card.applications.serving import serve
from bench.card.communication import Communication, Handle, Server, System
from bench.card.files import INDEX_FILE, NOTE_FILE
from bench.card.tasks import Program

PORT: Final = 80
_ALLOWED: Final = "GET, HEAD"


async def web(io: Communication, system: System) -> None:
    """Serves the card's pages at port 80."""

    def talk(io: Communication, channel: Handle) -> Program:
        return converse(Connection(io, channel, system), system)

    await serve(io, system, Server(PORT, "web"), talk)


async def converse(connection: Connection, system: System) -> None:
    """Answer requests until one side has had enough."""
    while True:
        try:
            request = await connection.request()
            if request is None:
                return
            answer = _answer(request, system)
        except HttpError as error:
            await connection.answer(_page(error.status, str(error)), keep=False)
            return
        await connection.answer(answer, keep=request.keep, head_only=request.method == "HEAD")
        if not request.keep:
            return


def _answer(request: Request, system: System) -> Answer:
    if request.path == "/note":
        return _note(request, system)
    if request.method not in ("GET", "HEAD"):
        if request.method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            return Answer(405, b"", allow=_ALLOWED)
        raise HttpError(501, request.method)
    if request.path == "/":
        return Answer(200, _content(system, INDEX_FILE))
    folder, _, name = request.path.removeprefix("/").partition("/")
    if folder == "files" and len(name) == 4:
        try:
            identifier = int(name, 16)
        except ValueError:
            return _page(404, f"no file {name}")
        if system.files.content(identifier) is not None:
            return Answer(200, _content(system, identifier), "application/octet-stream")
    return _page(404, request.path)


def _note(request: Request, system: System) -> Answer:
    if request.method == "POST":
        text = request.form().get("text")
        if text is None:
            raise HttpError(400, "the form has a field named text")
        data = text.encode()
        if not system.files.replace(NOTE_FILE, data):
            raise HttpError(413, f"{len(data)} bytes do not fit the file")
        return Answer(303, location="/note")
    if request.method not in ("GET", "HEAD"):
        return Answer(405, b"", allow=f"{_ALLOWED}, POST")
    kept = escape(_content(system, NOTE_FILE).rstrip(b"\x00").decode(errors="replace"))
    form = f'<form method="post" action="/note"><label>Note <input name="text" value="{kept}"></label><button>Keep</button></form>'
    return _html(200, "Note", f"<p>The card keeps: <b>{kept}</b></p>{form}")


def _content(system: System, identifier: int) -> bytes:
    content = system.files.content(identifier)
    if content is None:
        raise HttpError(404, f"file {identifier:04X}")
    return content


def _page(status: int, text: str) -> Answer:
    return _html(status, str(status), f"<p>{escape(text)}</p>")


def _html(status: int, title: str, body: str) -> Answer:
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    return Answer(status, f"{head}<h1>{title}</h1>{body}</html>\n".encode())
