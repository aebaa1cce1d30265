"""The guest's process 1: starts what the host asks for, passes its output on, reaps everything. Standard library only; ends with the guest."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from frames import MAX_PAYLOAD, PORT, Frame, Frames, Kind


def option(name: str) -> str:
    """A word of the kernel's command line, ``guest.NAME=...``."""
    for word in Path("/proc/cmdline").read_text().split():
        if word.startswith(f"guest.{name}="):
            return word.partition("=")[2]
    return ""


def open_port() -> int:
    """The virtio port to the host, by the name QEMU gave it. Raises FileNotFoundError."""
    for place in Path("/sys/class/virtio-ports").iterdir():
        name = place / "name"
        if name.exists() and name.read_text().strip() == PORT:
            return os.open(f"/dev/{place.name}", os.O_RDWR)
    raise FileNotFoundError(f"no virtio port named {PORT}")


class Job:
    """One process that was asked for, in a process group of its own."""

    def __init__(self, number: int, process: "subprocess.Popen[bytes]") -> None:
        self.number = number
        self.process = process
        self.open = {Kind.OUTPUT: process.stdout, Kind.ERRORS: process.stderr}
        self.status: int | None = None


class Agent:
    """Serves the port until the guest is switched off."""

    def __init__(self) -> None:
        self.port = open_port()
        self.jobs: dict[int, Job] = {}
        self.selector = selectors.DefaultSelector()
        self.frames = Frames()
        self.directory = option("home") or "/"
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "TMPDIR": "/tmp",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self) -> None:
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.selector.register(wake, selectors.EVENT_READ, lambda: self._reap(wake))
        self.selector.register(self.port, selectors.EVENT_READ, self._readable)
        self._send(Frame(Kind.READY, 0, os.uname().release.encode()))
        while True:
            for key, _ in self.selector.select():
                key.data()

    def _readable(self) -> None:
        for frame in self.frames.feed(os.read(self.port, 65_536)):
            if frame.kind == Kind.START:
                self._start(frame)
            elif (job := self.jobs.get(frame.job)) is None:
                continue
            elif frame.kind == Kind.SIGNAL:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.process.pid, frame.payload[0])
            elif frame.kind == Kind.INPUT:
                self._input(job, frame.payload)

    def _start(self, frame: Frame) -> None:
        wanted = json.loads(frame.payload)
        try:
            process = subprocess.Popen(
                wanted["arguments"],
                env={**self.environment, **wanted["environment"]},
                cwd=wanted["directory"] or self.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # not a session: its leader would make each terminal it opens its own, and hang it up at its end
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._send(Frame(Kind.ERRORS, frame.job, f"{error}\n".encode()))
            self._send(Frame(Kind.STATUS, frame.job, (127).to_bytes(4, "big", signed=True)))
            return
        job = self.jobs[frame.job] = Job(frame.job, process)
        for kind, stream in job.open.items():
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, selectors.EVENT_READ, self._passes(job, kind))

    def _passes(self, job: Job, kind: Kind) -> Callable[[], None]:
        return lambda: self._output(job, kind)

    def _output(self, job: Job, kind: Kind) -> bool:
        """Pass on what there is; gives whether there was something."""
        stream = job.open.get(kind)
        if stream is None:
            return False
        try:
            data = os.read(stream.fileno(), MAX_PAYLOAD)
        except BlockingIOError:
            return False
        if data:
            self._send(Frame(kind, job.number, data))
            return True
        self.selector.unregister(stream)
        stream.close()
        del job.open[kind]
        return False

    def _input(self, job: Job, data: bytes) -> None:
        stream = job.process.stdin
        if stream is None or stream.closed:
            return
        with contextlib.suppress(OSError):
            if data:
                stream.write(data)
                stream.flush()
            else:
                stream.close()

    def _reap(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for job in [job for job in self.jobs.values() if job.process.pid == pid]:
                self._ended(job, os.waitstatus_to_exitcode(status))

    def _ended(self, job: Job, status: int) -> None:
        job.process.returncode = status
        del self.jobs[job.number]
        for kind, stream in list(
            job.open.items()
        ):  # a child that lives on may hold a pipe: what is there now is passed on
            while self._output(job, kind):
                pass
            if kind in job.open and stream is not None:
                self.selector.unregister(stream)
                stream.close()
        with contextlib.suppress(OSError):
            if job.process.stdin is not None:
                job.process.stdin.close()
        self._send(Frame(Kind.STATUS, job.number, status.to_bytes(4, "big", signed=True)))

    def _send(self, frame: Frame) -> None:
        data = memoryview(frame.encode())
        while data:
            data = data[os.write(self.port, data) :]


if __name__ == "__main__":
    try:
        Agent().run()
    except BaseException:
        traceback.print_exc()
        raise
