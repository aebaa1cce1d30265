"""What the host offers and reaches for the cards: the APDU channel as a port, pages fetched from outside."""

from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from bench.host.apdu_port import ApduPort
from bench.host.peers import PeerSocket
from bench.host.uplink import Pending
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import dial, milliseconds, wait
from bench.scenario.units import Count, HexBytes, Size

APDU_PORT = 7817
"""docs/gateway.md."""
FAR_PORT = 8123


class ApduByPort(Step):
    """Sends an APDU to the first card through the host's APDU port, as a line of text and as a frame, and holds both answers.

    Example:
        - apdu_by_port: {apdu: 00 B0 00 00 09, answer: 63 61 72 64 62 65 6E 63 68 90 00}
    """

    verb: ClassVar[str] = "apdu_by_port"

    apdu: Annotated[HexBytes, Field(description="the command")]
    answer: Annotated[HexBytes, Field(description="data and status word it must be answered with")]

    def run(self, context: StepContext) -> None:
        host = context.rig.host
        if host.apdu_port is None:
            engine = context.engine

            def later(nanoseconds: int, action: Callable[[], object]) -> Pending:
                return engine.after(engine.timebase.nanoseconds(nanoseconds), action)

            port = ApduPort(later, host.uplink, APDU_PORT, host.link.submit_apdu, lambda: host.link.atr)
            host.apdu_port = port
            context.engine.call(lambda: port.powered(True))
        line = self._ask(context, self.apdu.hex(" ").encode() + b"\n", lambda got: got.endswith(b"\n"))
        if line.strip().upper() != self.answer.hex().upper().encode():
            context.fail(f"the line was answered {line!r}, expected {self.answer.hex(' ')}")
        length = len(self.answer)
        frame = self._ask(context, len(self.apdu).to_bytes(4, "big") + self.apdu, lambda got: len(got) >= 4 + length)
        if frame != length.to_bytes(4, "big") + self.answer:
            context.fail(f"the frame was answered {frame!r}, expected {self.answer.hex(' ')}")

    @staticmethod
    def _ask(context: StepContext, said: bytes, whole: Callable[[bytes], bool]) -> bytes:
        socket = dial(context, APDU_PORT)
        context.engine.call(lambda: socket.write(said))
        wait(context, lambda: whole(bytes(socket.received)) or socket.ended)
        got = bytes(socket.received)
        context.engine.call(socket.close)
        return got


class FetchPage(Step):
    """Has a card's application fetch a page from a server outside, through the host, and serve it on: it must be the same page.

    Example:
        - fetch_page: {card: 2, size: 2 KiB}
    """

    verb: ClassVar[str] = "fetch_page"
    measures: ClassVar = {"page_time": Measure("ms", "from the request to the end of the page")}

    card: Annotated[Count, Field(description="the card that fetches")] = 1
    size: Annotated[Size, Field(description="length of the page")] = 1000

    def run(self, context: StepContext) -> None:
        page = context.random.randbytes(self.size)
        asked: list[bytes] = []

        def accepted(far: PeerSocket) -> None:
            def take(data: bytes) -> None:
                far.received.extend(data)
                if far.received.endswith(b"\r\n\r\n") and not asked:
                    asked.append(bytes(far.received))
                    far.write(b"HTTP/1.0 200 OK\r\n\r\n" + page)
                    far.close()

            far.on_data = take

        context.engine.call(lambda: context.rig.uplink.serve(FAR_PORT, accepted))
        begun = context.engine.now
        socket = dial_service(context, "fetch", self.card)
        order = b"GET /http://127.0.0.1:%d/page HTTP/1.0\r\n\r\n" % FAR_PORT
        context.engine.call(lambda: socket.write(order))
        wait(context, lambda: socket.ended)
        head, _, body = bytes(socket.received).partition(b"\r\n\r\n")
        if not asked or not asked[0].startswith(b"GET /page HTTP/1.0\r\n"):
            context.fail(f"card {self.card} asked the server outside {asked[:1]!r}")
        if b" 200 " not in head or body != page:
            context.fail(f"card {self.card} served {len(body)} of {len(page)} bytes on, or others: {head[:60]!r}")
        context.measured("page_time", milliseconds(context, context.engine.now - begun))
