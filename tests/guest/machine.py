"""One QEMU guest with a real USB and PPP stack, in which programs of the host's own root run.

    guest.run(["lsusb"], timeout=10)            -> Result(status, stdout, stderr)
    guest.start([...])                          -> Job: .wait(), .wait_for("words"), .write(), .signal(), .stop()
    guest.plug(socket)                          -> Plugged: .unplug(); a usbredir device that listens at an AF_UNIX socket on the host
    guest.plug_ccid(socket)                     -> Plugged: QEMU's own CCID reader; a VSCard peer (the card) connects to the socket
    guest.serial(0), guest.serial(1)            -> Wire: 16550s; .socket is the host's end, .device the guest's (/dev/ttyS1, /dev/ttyS2)
    guest.orders                                the host's end of the virtio port "cardbench.orders"
    guest.console(0), guest.console(1)          -> Wire: virtconsoles (/dev/hvc0, /dev/hvc1)
    guest.share                                 a directory both sides see at the same path, writable from both

The guest sees the host's root as it is (read-only, cached: what the host changes later may not be seen; use the share), with empty /tmp, /var/tmp,
/run and /dev of its own. The project and its virtual environment are at their usual paths, so ``[sys.executable, ...]`` runs the bench itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.guest.frames import MAX_PAYLOAD, PORT, Frame, Frames, Kind

ROOT: Final = Path(__file__).resolve().parents[2]
PARTS: Final = ROOT / ".guest"
ORDERS: Final = "cardbench.orders"
"""The virtio port through which the bench in the guest orders cards of the process that serves them on the host (bench.rig.served_process)."""
WAIT_S: Final = 60.0
"""How long things are waited for unless told otherwise; a busy machine is slow, and what is ready is not waited for."""
BOOT_S: Final = 180.0
"""A machine that is busy with other tests boots the guest slowly; alone it takes about five seconds."""
SERIAL_IRQS: Final = (3, 10)
"""Of the 16550s after the console's: interrupts of their own, as a shared one loses characters on the ISA bus."""
MEMORY: Final = "1024"
QEMU: Final = "qemu-system-x86_64"


PREFIX: Final = "cbguest-"


def _clear_stale() -> None:
    """Take away what sessions left that were killed."""
    for old in Path("/tmp").glob(f"{PREFIX}*"):
        owner = old.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(old, ignore_errors=True)


class GuestError(Exception):
    """The guest could not be started, or is no more; the message ends with what its console said last."""


def missing_parts() -> str:
    """What this machine lacks for a guest, with what to do; empty where nothing."""
    if shutil.which(QEMU) is None:
        return "missing qemu-system-x86: make setup-test as root"
    if not all((PARTS / name).exists() for name in ("vmlinux", "initramfs", "systemd-udevd")):
        return "missing the guest's kernel in .guest/: make setup-test on Debian (amd64)"
    if any(" " in str(path) for path in (ROOT, sys.executable)):
        return "the guest cannot run from a path with blanks in it"
    return ""


@dataclass(frozen=True, slots=True)
class Result:
    """How a program in the guest ended. A status below zero is the signal that killed it; 127: it could not be started."""

    status: int
    stdout: str
    stderr: str

    def checked(self) -> str:
        """Standard output, where the program ended well. Raises AssertionError with all it said where not."""
        assert self.status == 0, f"status {self.status}\n{self.stdout}\n{self.stderr}"
        return self.stdout


class Job:
    """A program that runs in the guest."""

    def __init__(self, guest: Guest, number: int, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)
        self.status: int | None = None
        self._guest = guest
        self._number = number
        self._heard = {Kind.OUTPUT: bytearray(), Kind.ERRORS: bytearray()}

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._heard[Kind.OUTPUT].decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self._heard[Kind.ERRORS].decode(errors="replace")

    @property
    def running(self) -> bool:
        return self.status is None

    def wait(self, timeout: float = WAIT_S) -> Result:
        """Wait until it ends. Raises TimeoutError (and ends it) and GuestError."""
        if not self._guest.wait_until(lambda: self.status is not None, timeout):
            self.stop()
            raise TimeoutError(f"{' '.join(self.arguments)} ran over {timeout:g} s\n{self.stdout}\n{self.stderr}")
        assert self.status is not None
        return Result(self.status, self.stdout, self.stderr)

    def wait_for(self, words: str, timeout: float = WAIT_S) -> str:
        """Wait until it has written ``words`` to either output; gives all of that output. Raises TimeoutError, AssertionError, GuestError."""
        self._guest.wait_until(lambda: words in self.stdout + self.stderr or self.status is not None, timeout)
        for text in (self.stdout, self.stderr):
            if words in text:
                return text
        said = f"{words!r} did not come from {' '.join(self.arguments)}\n{self.stdout}\n{self.stderr}"
        if self.status is not None:
            raise AssertionError(f"{said}\nstatus {self.status}")
        raise TimeoutError(f"{said}\nwithin {timeout:g} s")

    def wait_line(self, index: int, timeout: float = WAIT_S) -> str:
        """Wait for a line of its standard output, counted from 0. Raises TimeoutError, AssertionError, GuestError."""
        self._guest.wait_until(lambda: self.stdout.count("\n") > index or self.status is not None, timeout)
        lines = self.stdout.split("\n")[:-1]
        if index < len(lines):
            return lines[index]
        said = f"line {index} did not come from {' '.join(self.arguments)}\n{self.stdout}\n{self.stderr}"
        if self.status is not None:
            raise AssertionError(f"{said}\nstatus {self.status}")
        raise TimeoutError(f"{said}\nwithin {timeout:g} s")

    def write(self, data: bytes) -> None:
        """To its standard input."""
        for at in range(0, len(data), MAX_PAYLOAD):
            self._guest.send(Frame(Kind.INPUT, self._number, data[at : at + MAX_PAYLOAD]))

    def close_input(self) -> None:
        self._guest.send(Frame(Kind.INPUT, self._number))

    def signal(self, number: int) -> None:
        """To it and all it has started."""
        self._guest.send(Frame(Kind.SIGNAL, self._number, bytes([number])))

    def stop(self, grace: float = 3) -> Result:
        """End it: politely, then not."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, WAIT_S)):
            if self.status is None:
                self.signal(number)
                self._guest.wait_until(lambda: self.status is not None, patience)
        if self.status is None:
            raise GuestError(f"{' '.join(self.arguments)} cannot be ended{self._guest.tail()}")
        return Result(self.status, self.stdout, self.stderr)

    def take(self, frame: Frame) -> None:
        """What the agent tells of it."""
        if frame.kind == Kind.STATUS:
            self.status = int.from_bytes(frame.payload, "big", signed=True)
        else:
            self._heard[frame.kind] += frame.payload

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Wire:
    """A serial line: the host's end is an AF_UNIX stream socket to connect to, the guest's a terminal device."""

    socket: Path
    device: str

    def connect(self) -> socket.socket:
        """The host's end. One connection at a time."""
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(self.socket))
        return end


class Plugged:
    """A device in one of the guest's USB ports."""

    def __init__(self, guest: Guest, devices: Sequence[str], character_device: str) -> None:
        self._guest = guest
        self._devices = list(devices)
        self._character_device = character_device

    def unplug(self, timeout: float = 60) -> None:
        """Take it out and wait until it is gone. Twice is once."""
        for device in self._devices:
            self._guest.qmp("device_del", {"id": device})
            self._guest.wait_deleted(device, timeout)
        if self._devices:
            with contextlib.suppress(GuestError):  # some devices take theirs with them
                self._guest.qmp("chardev-remove", {"id": self._character_device})
        self._devices.clear()

    def __enter__(self) -> Plugged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()


class Guest:
    """Boots when made. One thread reads what the agent says, one what QEMU's monitor says."""

    def __init__(self) -> None:
        if reason := missing_parts():
            raise GuestError(reason)
        _clear_stale()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))
        self.share = self.directory / "share"
        self.share.mkdir(mode=0o777)
        self.console_log = self.directory / "console.log"
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._ready = False
        self._closed = False
        self._answers: dict[int, dict[str, object]] = {}
        self._deleted: set[str] = set()
        self._log = (self.directory / "qemu.log").open("wb")
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True
        )
        try:
            self._agent = self._connect("agent")
            self._monitor = self._connect("qmp")
            threading.Thread(target=self._read_agent, name="guest-agent", daemon=True).start()
            threading.Thread(target=self._read_monitor, name="guest-monitor", daemon=True).start()
            self.qmp("qmp_capabilities")
            if not self.wait_until(lambda: self._ready, BOOT_S):
                raise GuestError(f"the guest did not come up within {BOOT_S:g} s{self.tail()}")
            self._udevd = self.start([str(PARTS / "systemd-udevd")])
        except BaseException:
            self.close()
            raise

    # -- programs

    def start(
        self, arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None, directory: str | Path = ""
    ) -> Job:
        """Start a program; by default in the project's directory, with a small environment. Raises GuestError."""
        words = [str(word) for word in arguments]
        number = next(self._numbers)
        job = self._jobs[number] = Job(self, number, words)
        order = {"arguments": words, "environment": dict(environment or {}), "directory": str(directory)}
        self.send(Frame(Kind.START, number, json.dumps(order).encode()))
        return job

    def run(
        self,
        arguments: Sequence[str | Path],
        timeout: float = WAIT_S,
        environment: Mapping[str, str] | None = None,
        directory: str | Path = "",
        stdin: bytes = b"",
    ) -> Result:
        """Run a program to its end. Raises TimeoutError with what it said, and GuestError."""
        job = self.start(arguments, environment, directory)
        if stdin:
            job.write(stdin)
        job.close_input()
        return job.wait(timeout)

    def python(self, code: str, *arguments: str, timeout: float = WAIT_S) -> Result:
        """Run lines of Python in the project's virtual environment."""
        return self.run([sys.executable, "-c", code, *arguments], timeout)

    # -- devices

    def plug(self, path: str | Path, timeout: float = 60) -> Plugged:
        """Plug in the usbredir device that listens at an AF_UNIX socket. Raises GuestError where QEMU refuses."""
        name = f"redir{next(self._numbers)}"
        self._add_socket(name, path, server=False)
        self.qmp("device_add", {"driver": "usb-redir", "id": f"d{name}", "chardev": name, "bus": "xhci.0"}, timeout)
        return Plugged(self, [f"d{name}"], name)

    def plug_ccid(self, path: str | Path, timeout: float = 60) -> Plugged:
        """Plug in QEMU's usb-ccid with a card passed through: QEMU listens at ``path`` and a VSCard peer connects to it."""
        name = f"ccid{next(self._numbers)}"
        self._add_socket(name, path, server=True)
        self.qmp("device_add", {"driver": "usb-ccid", "id": f"d{name}", "bus": "xhci.0"}, timeout)
        self.qmp("device_add", {"driver": "ccid-card-passthru", "id": f"c{name}", "chardev": name, "bus": f"d{name}.0"})
        return Plugged(self, [f"c{name}", f"d{name}"], name)

    @property
    def orders(self) -> Path:
        """The host's end of the port for orders to a process that serves cards."""
        return self.directory / "orders"

    def serial(self, number: int) -> Wire:
        """A 16550."""
        return Wire(self.directory / f"serial{number}", f"/dev/ttyS{number + 1}")

    def console(self, number: int) -> Wire:
        """A virtconsole: no baud rate, no modem lines, fast."""
        return Wire(self.directory / f"console{number}", f"/dev/hvc{number}")

    # -- the machine

    @property
    def version(self) -> str:
        """The kernel's release."""
        return (PARTS / "version").read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def tail(self, lines: int = 40) -> str:
        """What console and QEMU said last."""
        said = []
        for path in (self.console_log, self.directory / "qemu.log"):
            with contextlib.suppress(OSError):
                said += path.read_text(errors="replace").splitlines()[-lines:]
        return "; it said last:\n" + "\n".join(said) if said else ""

    def close(self) -> None:
        """Switch it off and leave nothing behind."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._log.close()
        for name in ("_agent", "_monitor"):
            connection = getattr(self, name, None)
            if connection is not None:
                connection.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def qmp(self, command: str, arguments: Mapping[str, object] | None = None, timeout: float = 60) -> object:
        """A command of QEMU's monitor protocol; gives what it returned. Raises GuestError."""
        number = next(self._numbers)
        message = {"execute": command, "arguments": dict(arguments or {}), "id": number}
        self._monitor.sendall(json.dumps(message).encode() + b"\n")
        if not self.wait_until(lambda: number in self._answers, timeout):
            raise GuestError(f"QEMU did not answer {command} within {timeout:g} s{self.tail()}")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise GuestError(f"QEMU refuses {command} {dict(arguments or {})}: {answer['error']}")
        return answer["return"]

    def wait_deleted(self, device: str, timeout: float) -> None:
        """Wait for QEMU's word that a device is gone. Raises GuestError."""
        if not self.wait_until(lambda: device in self._deleted, timeout):
            raise GuestError(f"{device} did not leave the guest within {timeout:g} s{self.tail()}")

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until something the guest says makes ``condition`` hold. Raises GuestError where it ends meanwhile."""
        limit = time.monotonic() + timeout
        with self._changed:
            while not condition():
                left = limit - time.monotonic()
                if left <= 0:
                    return False
                if not self.running:
                    raise GuestError(f"the guest has ended (status {self._process.returncode}){self.tail()}")
                self._changed.wait(min(left, 0.5))
        return True

    def send(self, frame: Frame) -> None:
        """To the agent. Raises GuestError."""
        try:
            with self._sending:
                self._agent.sendall(frame.encode())
        except OSError as error:
            self._process.poll()
            raise GuestError(f"the guest takes no orders ({error}){self.tail()}") from None

    def _command(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        command = [setpriv, "--pdeathsig", "KILL"] if setpriv else []  # it dies with the thread that starts it
        options = {
            "share": self.share,
            "python": Path(sys.executable),
            "agent": Path(__file__).with_name("agent.py"),
            "home": ROOT,
        }
        words = " ".join(f"guest.{name}={value}" for name, value in options.items())
        command += [QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-M", "q35,usb=off"]
        command += [
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "Nehalem",
            "-smp",
            "1",
            "-m",
            MEMORY,
        ]  # two take more of a busy host
        command += ["-kernel", str(PARTS / "vmlinux"), "-initrd", str(PARTS / "initramfs")]
        command += [
            "-append",
            f"console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off nokaslr no_timer_check {words}",
        ]
        command += ["-chardev", f"file,id=log,path={self.console_log}", "-device", "isa-serial,chardev=log"]
        for tag, path, extra in (
            ("host", "/", "readonly=on,multidevs=remap"),
            ("share", self.share, "multidevs=remap"),
        ):
            command += ["-fsdev", f"local,id={tag},path={path},security_model=none,{extra}"]
            command += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        command += ["-device", "qemu-xhci,id=xhci,p2=8,p3=4", "-device", "virtio-rng-pci"]
        command += ["-device", "virtio-serial-pci,id=ports", "-chardev", self._listening("agent")]
        command += ["-device", f"virtserialport,bus=ports.0,chardev=agent,name={PORT}"]
        command += ["-chardev", self._listening("orders")]
        command += ["-device", f"virtserialport,bus=ports.0,chardev=orders,name={ORDERS}"]
        for number, irq in enumerate(SERIAL_IRQS):
            command += ["-chardev", self._listening(f"serial{number}")]
            command += ["-device", f"isa-serial,chardev=serial{number},irq={irq}"]
            command += ["-chardev", self._listening(f"console{number}")]
            command += ["-device", f"virtconsole,bus=ports.0,chardev=console{number}"]
        return [*command, "-chardev", self._listening("qmp"), "-mon", "chardev=qmp,mode=control"]

    def _listening(self, name: str) -> str:
        return f"socket,id={name},path={self.directory / name},server=on,wait=off"

    def _connect(self, name: str) -> socket.socket:
        limit = time.monotonic() + BOOT_S
        while time.monotonic() < limit:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(str(self.directory / name))
                return end
            except OSError:
                end.close()
                if not self.running:
                    break
                time.sleep(0.01)
        raise GuestError(f"QEMU did not start{self.tail()}")

    def _add_socket(self, name: str, path: str | Path, server: bool) -> None:
        address = {"type": "unix", "data": {"path": str(path)}}
        data = {"addr": address, "server": server} | ({"wait": False} if server else {})
        self.qmp("chardev-add", {"id": name, "backend": {"type": "socket", "data": data}})

    def _read_agent(self) -> None:
        frames = Frames()
        while data := self._received(self._agent):
            with self._changed:
                for frame in frames.feed(data):
                    if frame.kind == Kind.READY:
                        self._ready = True
                    elif frame.job in self._jobs:
                        self._jobs[frame.job].take(frame)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_monitor(self) -> None:
        heard = bytearray()
        while data := self._received(self._monitor):
            heard += data
            while (end := heard.find(b"\n")) >= 0:
                message = json.loads(heard[:end])
                del heard[: end + 1]
                with self._changed:
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif message.get("event") == "DEVICE_DELETED":
                        self._deleted.add(message["data"].get("device", ""))
                    self._changed.notify_all()

    def _received(self, connection: socket.socket) -> bytes:
        try:
            return connection.recv(65_536)
        except OSError:
            return b""
