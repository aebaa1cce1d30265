"""A pcscd of our own, beside any other: private socket, private configuration, and no driver but the one it is started with.

It runs in a mount namespace in which its run directory lies over ``/run/pcscd`` (that place is compiled in); clients find it through
``PCSCLITE_CSOCK_NAME``. libpcsclite looks at that variable once in a process, so all daemons of one process use one directory, one after the other.
The daemon dies with the thread that started it, however that ends.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rig.errors import RigError

FRIENDLY_NAME: Final = "cardbench"
"""The readers are called ``cardbench 00 00`` and ``cardbench 00 01``."""
READER: Final = f"{FRIENDLY_NAME} 00 00"
SLOTS: Final = 2
"""vpcd makes two slots of one entry, on two ports in a row."""
READY_WITHIN_S: Final = 30.0
PREFIX: Final = "cardbench-pcscd-"
PACKAGES: Final = "pcscd vsmartcard-vpcd libccid util-linux"
VPCD_LIBRARY: Final = "libifdvpcd.so"
SERIAL_LIBRARY: Final = "libccidtwin.so"
USB_LIBRARY: Final = "libccid.so"
SEARCH_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
DRIVER_PLACES: Final = ("/usr/lib/pcsc", "/usr/local/lib/pcsc")

_SCRIPT: Final = (
    "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/pcscd && mount --bind . /run/pcscd && "
    'exec setpriv --pdeathsig KILL "$@"'
)
"""Run inside the new namespace, in the run directory: a fresh /run, so that nothing need exist there and nothing outside changes."""
_USB_SCRIPT: Final = 'mkdir -p /run/pcscd && mount --bind . /run/pcscd && exec setpriv --pdeathsig KILL "$@"'
"""The same where USB readers come and go: udevd is told of by /run/udev."""

_directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """What the daemon drives: vpcd, a serial CCID reader, or every USB reader that libccid knows."""

    library: str = VPCD_LIBRARY
    device: str = ""
    """Of the serial driver: the port and the reader's kind, ``/dev/pts/7:GemPCTwin``."""

    @classmethod
    def serial(cls, port: str, kind: str) -> "Driver":
        """libccid's serial driver with a reader of ``kind`` (GemPCTwin, GemCoreSIMPro, GemCorePOSPro) at ``port``."""
        return cls(SERIAL_LIBRARY, f"{port}:{kind}")

    @classmethod
    def usb(cls) -> "Driver":
        """libccid, for the USB readers of this machine (a virtual one, as a rule)."""
        return cls(USB_LIBRARY)


VPCD: Final = Driver()


def missing_parts(driver: Driver = VPCD) -> str:
    """What this machine lacks for a private pcscd with ``driver``, as a sentence with what to do; empty where nothing."""
    missing = [name for name in ("pcscd", "unshare", "setpriv", "mount") if _program(name) is None]
    if _library(driver) is None:
        missing.append(f"{driver.library} (the driver)")
    if not missing:
        return ""
    return f"missing {', '.join(missing)}: apt-get install --no-install-recommends {PACKAGES}"


def _program(name: str) -> str | None:
    return shutil.which(name, path=SEARCH_PATH)


def _library(driver: Driver) -> Path | None:
    for place in DRIVER_PLACES:
        for found in sorted(Path(place).rglob(f"{driver.library}*")):
            return found
    return None


def run_directory() -> Path:
    """This process's directory for its pcscd; leftovers of processes that are no more are cleared away."""
    global _directory
    if _directory is None or not _directory.is_dir():
        base = Path(tempfile.gettempdir())
        if (
            base.is_relative_to("/run") or len(str(base)) > 60
        ):  # hidden below our own /run; too long for a socket's name
            base = Path("/tmp")
        _clear_stale(base)
        made = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base) if _directory is None else str(_directory)
        _directory = Path(made)
        _directory.mkdir(exist_ok=True)
    return _directory


def _clear_stale(base: Path) -> None:
    for old in base.glob(f"{PREFIX}*"):
        owner = old.name.removeprefix(PREFIX).partition("-")[0]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists() or not Path("/proc/self").exists():
            continue
        with contextlib.suppress(OSError):
            if old.stat().st_uid == os.geteuid():
                shutil.rmtree(old, ignore_errors=True)


class PrivatePcscd:
    """One daemon: ``start``, ``stop``, and start again. ``port`` is where vpcd's first slot listens."""

    def __init__(self) -> None:
        self.directory = run_directory()
        self.socket = self.directory / "pcscd.comm"
        self.log = self.directory / "pcscd.log"
        self.port = 0
        self.driver = VPCD
        """What it was started with."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The daemon's process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def ended(self) -> str:
        """How the daemon ended by itself; empty while it runs, and where it was never started."""
        process = self._process
        if process is None or process.poll() is None:
            return ""
        return f"pcscd {exit_text(process.returncode)}{_tail(self.log)}"

    def start(self, driver: Driver = VPCD) -> None:
        """Start it with ``driver`` and wait until it takes clients. Raises RigError."""
        if reason := missing_parts(driver):
            raise RigError(f"no private pcscd: {reason}")
        self.stop()
        self.driver = driver
        for _ in range(5):
            self.port = _free_ports() if driver.library == VPCD_LIBRARY else 0
            self._launch()
            if self._ready():
                return
            taken = self.running
            self.stop()
            if not taken:
                break
        raise RigError(
            f"pcscd did not come up within {READY_WITHIN_S:.0f} s (root or user namespaces are needed){_tail(self.log)}"
        )

    def begin(self, driver: Driver) -> None:
        """Start it and do not wait: for who serves the driver's reader in the same thread. Raises RigError for what is missing."""
        if reason := missing_parts(driver):
            raise RigError(f"no private pcscd: {reason}")
        self.stop()
        self.driver = driver
        self.port = 0
        self._launch()

    def stop(self) -> None:
        """End it and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            end(process)
        self.socket.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop, and take the directory away."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _launch(self) -> None:
        configuration, drop = self.directory / "conf", self.directory / "drivers"
        shutil.rmtree(configuration, ignore_errors=True)
        configuration.mkdir()
        drop.mkdir(exist_ok=True)
        environment = {"PATH": SEARCH_PATH}
        script = _USB_SCRIPT
        if self.driver.library != USB_LIBRARY:
            script = _SCRIPT
            (configuration / "reader").write_text(self._entry())
            environment["PCSCLITE_HP_DROPDIR"] = str(drop)  # no driver, so no USB reader is touched
        self.socket.unlink(missing_ok=True)
        as_root = () if os.geteuid() == 0 else ("--map-root-user",)
        daemon = (_found("pcscd"), "--foreground", "--config", str(configuration))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                (_found("unshare"), "--mount", *as_root, "sh", "-c", script, "sh", *daemon),
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _entry(self) -> str:
        """The reader's entry of reader.conf."""
        device, channel = self.driver.device, "1"
        if not device:
            device, channel = f"/dev/null:{self.port:#06x}", f"{self.port:#06x}"
        return f'FRIENDLYNAME "{FRIENDLY_NAME}"\nDEVICENAME {device}\nLIBPATH {_library(self.driver)}\nCHANNELID {channel}\n'

    def _ready(self) -> bool:
        """The daemon takes clients, and vpcd (where it is what is driven) listens at both ports."""
        limit = time.monotonic() + READY_WITHIN_S
        while self.running and time.monotonic() < limit:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self.socket))
                return not self.port or all(_taken(self.port + slot) for slot in range(SLOTS))
            time.sleep(0.002)
        return False


def end(process: subprocess.Popen[bytes], grace_s: float = 2.0) -> None:
    """End a process of ours: politely, then not. It is waited for, so that nothing is left of it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def exit_text(status: int) -> str:
    """How a process ended, for people."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _found(name: str) -> str:
    path = _program(name)
    if path is None:
        raise RigError(f"no private pcscd: {missing_parts()}")
    return path


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
        return False


def _free_ports() -> int:
    """The first of so many free TCP ports in a row as vpcd has slots."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = int(probe.getsockname()[1])
        if port + SLOTS <= 0xFFFF and not any(_taken(port + slot) for slot in range(SLOTS)):
            return port
    raise RigError("no two free TCP ports in a row for vpcd: close some programs")


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()
        if lines:
            return "; it said last: " + " / ".join(line.strip() for line in lines[-3:])
    return ""
