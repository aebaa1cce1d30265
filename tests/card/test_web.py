"""The card's web server and its client that fetches pages: over the four calls, in messages of any size (HTTP/1.1: RFC 9112)."""

import http.client
import io
from socket import socket as socket_type
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.card.applications.fetch import fetch
from bench.card.applications.http import BODY_MAX, BYTE_MS, HEAD_MAX, LOOK_MS, WHOLE_MS
from bench.card.applications.web import web
from bench.card.files import INDEX_FILE, NOTE_FILE, NOTE_SIZE
from bench.channels.message import Cause
from bench.host.peers import PeerSocket
from tests.support import Chain, profile

HOST = b"Host: card\r\n"


def served(mtu: int = 256, poll_ms: int = 1) -> Chain:
    return Chain(profile(("web", web), ("fetch", fetch), mtu=mtu), mtu=mtu, poll_ms=poll_ms).start()


class _Wire:
    """Received bytes as the standard library's own client reads them."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._file


def parse(data: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """One answer, by the standard library."""
    response = http.client.HTTPResponse(cast(socket_type, _Wire(data)), method=method)
    response.begin()
    return response, response.read()


def ask(rig: Chain, request: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """Send, wait for the end of the connection."""
    socket = rig.dial("web")
    socket.write(request)
    rig.wait(lambda: socket.cause is not None or socket.ended)
    return parse(bytes(socket.received), method)


def test_the_page_is_the_cards_file() -> None:
    rig = served()
    response, body = ask(rig, b"GET / HTTP/1.0\r\n\r\n")
    assert (response.status, response.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    assert body == rig.cards[0].files.content(INDEX_FILE)
    rig.cards[0].files.replace(INDEX_FILE, b"changed")
    assert ask(rig, b"GET / HTTP/1.0\r\n\r\n")[1].rstrip(b"\x00") == b"changed"
    rig.assert_sound()


def test_any_file_by_its_identifier_and_head_has_no_body() -> None:
    rig = served()
    response, body = ask(rig, b"GET /files/2FE2 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert (response.status, body) == (200, rig.cards[0].files.content(0x2FE2))
    response, body = ask(rig, b"HEAD /files/2fe2 HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", "HEAD")
    assert (response.status, body, response.getheader("Content-Length")) == (200, b"", "10")
    for path in (b"/files/7777", b"/files/zzzz", b"/files/2FE2/x", b"/nothing"):
        assert ask(rig, b"GET %s HTTP/1.0\r\n\r\n" % path)[0].status == 404


def test_a_connection_is_kept_and_requests_may_come_together() -> None:
    rig = served()
    socket = rig.dial("web")
    socket.write((b"GET /files/2FE2 HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
    wanted = rig.cards[0].files.content(0x2FE2)
    rig.wait(lambda: bytes(socket.received).count(b"200 OK") == 5 and socket.received.endswith(wanted or b"?"))
    rig.run(0.5)
    assert not socket.ended
    socket.write(b"GET /files/2FE2 HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    rig.wait(lambda: socket.ended)
    assert bytes(socket.received).count(b"200 OK") == 6
    rig.run(0.5)
    rig.assert_idle([2])


def test_the_form_changes_a_file_and_shows_it_escaped() -> None:
    rig = served()
    form = b"text=%3Cb%3E+%26+G%C3%BCn"
    head = b"POST /note HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
    response, _ = ask(rig, head % len(form) + form)
    assert (response.status, response.getheader("Location")) == (303, "/note")
    kept = rig.cards[0].files.content(NOTE_FILE) or b""
    assert kept.rstrip(b"\x00").decode() == "<b> & Gün"
    _, page = ask(rig, b"GET /note HTTP/1.0\r\n\r\n")
    assert b"&lt;b&gt; &amp; G\xc3\xbcn" in page
    too_long = b"text=" + b"x" * (NOTE_SIZE + 1)
    assert ask(rig, head % len(too_long) + too_long)[0].status == 413
    assert ask(rig, head % 4 + b"a=bc")[0].status == 400
    rig.assert_sound()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"G@T / HTTP/1.0\r\n\r\n", 400),
        (b"BREW / HTTP/1.0\r\n\r\n", 501),
        (b"DELETE / HTTP/1.0\r\n\r\n", 405),
        (b"PUT /note HTTP/1.0\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST /note HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /note HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /note HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX + 1), 413),
        (b"POST /note HTTP/1.0\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n", 413),
        (b"POST /note HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /" + b"a" * HEAD_MAX + b" HTTP/1.0\r\n\r\n", 431),
        (b"GET / HTTP/1.0\r\nX: " + b"y" * (HEAD_MAX + 500), 431),
    ],
)
def test_what_cannot_be_served_is_told_and_ends_the_connection(request_bytes: bytes, status: int) -> None:
    rig = served()
    response, _ = ask(rig, request_bytes)
    assert (response.status, response.getheader("Connection")) == (status, "close")
    assert ask(rig, b"GET / HTTP/1.0\r\n\r\n")[0].status == 200
    rig.assert_sound()


def test_a_request_cut_anywhere_is_the_same_request() -> None:
    rig = served(mtu=64)
    request = b"\r\nGET /files/2FE2 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    wanted = ask(rig, request)[1]
    for cut in range(1, len(request), 7):
        socket = rig.dial("web")
        socket.write(request[:cut])
        rig.run(0.2)
        socket.write(request[cut:])
        rig.wait(lambda socket=socket: socket.ended)  # type: ignore[misc]
        assert parse(bytes(socket.received))[1] == wanted
    rig.assert_sound()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"GET ", b"/ ", b"HTTP/1.1", b"\r\n", HOST]), max_size=12))
def test_whatever_comes_the_server_goes_on(pieces: list[bytes]) -> None:
    rig = served()
    socket = rig.dial("web")
    for piece in pieces:
        socket.write(piece)
    socket.finish()
    rig.wait(lambda: socket.cause is not None or socket.ended)
    assert ask(rig, b"GET / HTTP/1.0\r\n\r\n")[0].status == 200
    rig.assert_sound()


def fetched(rig: Chain, target: bytes) -> bytes:
    socket = rig.dial("fetch")
    socket.write(b"GET " + target + b" HTTP/1.0\r\n\r\n")
    rig.wait(lambda: socket.ended or socket.cause is not None)
    return bytes(socket.received)


DRIPS = {
    "a head": b"GET / HTTP/1.0\r\nX: " + b"x" * 1000,
    "a body": b"POST /note HTTP/1.0\r\nContent-Length: 1000\r\n\r\n" + b"x" * 999,
    "nothing but empty lines": b"\r\n" * 500,
}


@pytest.mark.parametrize("name", ["web", "fetch"])
@pytest.mark.parametrize("data", DRIPS.values(), ids=DRIPS)
def test_a_request_that_drips_is_given_up_and_the_next_one_is_served(data: bytes, name: str) -> None:
    rig = served(poll_ms=100)
    socket = rig.dial(name)
    began, sent = rig.now, 0
    while socket.cause is None and not socket.ended and sent < len(data):
        socket.write(data[sent : sent + 1])
        sent += 1
        rig.run(1.0)
    took = rig.now - began
    assert (WHOLE_MS + BYTE_MS * sent) / 1000 <= took <= (WHOLE_MS + BYTE_MS * sent + 3 * LOOK_MS) / 1000
    assert parse(bytes(socket.received))[0].status == 408
    rig.run(2 * LOOK_MS / 1000)
    rig.assert_idle([2])
    assert ask(rig, b"GET / HTTP/1.0\r\n\r\n")[0].status == 200
    rig.assert_sound()


def test_one_that_drips_and_does_not_read_is_closed_all_the_same() -> None:
    rig = served(mtu=32, poll_ms=100)
    socket = rig.dial("web")
    socket.write((b"GET /files/2FE2 HTTP/1.1\r\n" + HOST + b"\r\n") * 2 + b"GET / HT")
    rig.wait(lambda: bytes(socket.received).count(b"200 OK") == 2)
    socket.reading = False
    rig.run((WHOLE_MS + BYTE_MS * HEAD_MAX) / 1000)
    socket.resume()
    rig.wait(lambda: socket.cause is not None or socket.ended)
    rig.run(1)
    rig.assert_idle([2])


def test_a_request_as_slow_as_a_shared_line_is_served() -> None:
    rig = served(mtu=32, poll_ms=100)
    socket = rig.dial("web")
    request = b"GET /files/2FE2 HTTP/1.0\r\nX: " + b"x" * (HEAD_MAX - 100) + b"\r\n\r\n"
    for at in range(0, len(request), 27):
        socket.write(request[at : at + 27])
        rig.run(27 / 14)
    rig.wait(lambda: socket.ended)
    assert parse(bytes(socket.received))[0].status == 200
    rig.run(LOOK_MS / 1000)
    rig.assert_idle([2])


def test_between_requests_a_connection_may_rest() -> None:
    rig = served(poll_ms=100)
    socket = rig.dial("web")
    for asked in range(1, 4):
        for piece in (b"GET /files/2FE2 HTTP/1.1\r\n", HOST + b"\r\n"):
            socket.write(piece)
            rig.run(1)
        rig.run(2 * WHOLE_MS / 1000)
        assert bytes(socket.received).count(b"200 OK") == asked
    assert not socket.ended
    assert socket.cause is None


def test_a_card_fetches_a_page_through_the_host_and_serves_it_on() -> None:
    rig = served()
    page = bytes(range(256)) * 20
    orders: list[bytes] = []

    def serve(socket: PeerSocket) -> None:
        def asked(data: bytes) -> None:
            socket.received.extend(data)
            if socket.received.endswith(b"\r\n\r\n"):
                orders.append(bytes(socket.received))
                socket.write(b"HTTP/1.0 200 OK\r\n\r\n" + page)
                socket.close()

        socket.on_data = asked

    rig.uplink.serve(8000, serve)
    assert parse(fetched(rig, b"/http://example.net:8000/a?b"))[1] == page
    assert orders[0].startswith(b"GET /a?b HTTP/1.0\r\nHost: example.net:8000\r\n")
    assert parse(fetched(rig, b"/http://[::1]:8000/"))[1] == page
    rig.run(0.5)
    rig.assert_sound()
    rig.assert_idle([2])


@pytest.mark.parametrize(
    ("target", "status"),
    [(b"/http://nobody.example:1/", 502), (b"/ftp://a/", 400), (b"/http://a:99999/", 400), (b"/http://[zz]/", 400)],
)
def test_a_page_that_cannot_be_fetched_is_told(target: bytes, status: int) -> None:
    assert parse(fetched(served(), target))[0].status == status


def test_a_peer_that_resets_ends_the_page_and_leaves_nothing() -> None:
    rig = served()

    def reset(socket: PeerSocket) -> None:
        socket.on_data = lambda _data: socket.close(Cause.SERVICE_ERROR)

    rig.uplink.serve(8000, reset)
    fetched(rig, b"/http://example.net:8000/")
    rig.run(0.5)
    rig.assert_sound()
    rig.assert_idle([2])
