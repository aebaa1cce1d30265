"""A headless Chromium, driven over a pipe with its own DevTools protocol: no further package, no port.

Leaves out everything but one page at a time: size, colour scheme, clicks by script, what went wrong, what was asked of the network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
PATIENCE_S = 30.0
DRAWN = "document.documentElement.dataset.drawn"

Message = dict[str, Any]


class BrowserError(Exception):
    """Chromium ended, did not answer in time, or refused a command."""


def command(profile: Path, *more: str) -> list[str]:
    """The command line of a Chromium with a profile of its own."""
    assert PROGRAM is not None
    return [PROGRAM, *FLAGS, f"--user-data-dir={profile}", *more]


@dataclass(slots=True)
class Browser:
    """One tab. `troubles` gathers console errors and uncaught exceptions, `requests` every address the page asked for."""

    outgoing: int
    incoming: int
    session: str = ""
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""

    def call(self, method: str, **parameters: object) -> Message:
        """Send one command and wait for its answer."""
        self._number += 1
        message: Message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.outgoing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: Message = answer["result"]
                return result

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited)."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, page: Path, width: int, scheme: str = "light", media: str = "", ready: str = DRAWN) -> None:
        """Open a page at `width` pixels in a colour scheme, and wait until it is loaded and `ready`: a report has drawn its pictures."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.call("Page.navigate", url=page.resolve().as_uri())
        deadline = time.monotonic() + PATIENCE_S
        while not self.evaluate(f"document.readyState === 'complete' && ({ready})"):
            if time.monotonic() > deadline:
                raise BrowserError(f"{page}: not drawn after {PATIENCE_S:.0f} s; {self.troubles}")
            time.sleep(0.05)

    def _read(self) -> Message:
        while b"\0" not in self._rest:
            piece = os.read(self.incoming, 1 << 20)
            if not piece:
                raise BrowserError("Chromium ended")
            self._rest += piece
        frame, _, self._rest = self._rest.partition(b"\0")
        message: Message = json.loads(frame)
        self._note(message)
        return message

    def _note(self, message: Message) -> None:
        parameters: Message = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.troubles.append(json.dumps(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.troubles.append(json.dumps(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.troubles.append(parameters["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A Chromium with one empty tab, ended with the block."""
    to_child, our_end = os.pipe()
    from_child, child_end = os.pipe()

    def place_pipes() -> None:
        # Chromium reads commands from descriptor 3 and answers on 4. Copies first: either may be 3 or 4 already.
        reading, writing = os.dup(to_child), os.dup(child_end)
        os.dup2(reading, 3)
        os.dup2(writing, 4)

    child = subprocess.Popen(
        command(profile, "--remote-debugging-pipe", "about:blank"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=place_pipes,
    )
    os.close(to_child)
    os.close(child_end)
    try:
        tab = Browser(our_end, from_child)
        target = tab.call("Target.createTarget", url="about:blank")["targetId"]
        tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        yield tab
    finally:
        os.close(our_end)
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        os.close(from_child)
