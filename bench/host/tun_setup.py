"""A TUN device with its addresses and routes, set up by ``ip`` (iproute2), in this network namespace or a named one."""

import shutil
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from bench.host.tun import TunDevice, TunError, check_name
from bench.net.routes import Prefix

Interface = IPv4Interface | IPv6Interface
LIMIT_S: Final = 10.0
V6_MTU_MIN: Final = 1280
"""Below this Linux has no IPv6 on an interface."""


@dataclass(frozen=True, slots=True)
class TunSetup:
    """What the kernel's end of the link is given."""

    name: str
    mtu: int = 1500
    addresses: tuple[Interface, ...] = ()
    """The machine's own on this link, each with the length of the link's prefix."""
    routes: tuple[Prefix, ...] = ()
    """What is reached over it."""
    namespace: str = ""
    """A namespace as ``ip netns`` knows it; empty: that of this process."""


def open_tun(setup: TunSetup) -> TunDevice:
    """Make the device and configure it. Raises TunError; nothing is left behind then. Closing the device undoes everything."""
    check_name(setup.name)
    if shutil.which("ip") is None:
        raise TunError("the program ip is missing: install iproute2")
    device = TunDevice("cardbench%d" if setup.namespace else setup.name)
    try:
        if setup.namespace:
            _ip(["link", "set", "dev", device.name, "netns", setup.namespace, "name", setup.name])
            device.name = setup.name
        _configure(setup)
    except BaseException:
        device.close()
        raise
    return device


def _configure(setup: TunSetup) -> None:
    within = ["-n", setup.namespace] if setup.namespace else []
    where = ["dev", setup.name]
    _ip([*within, "link", "set", *where, "mtu", str(setup.mtu)])
    for each in setup.addresses:
        if each.version == 4:
            _ip([*within, "address", "add", str(each), *where])
        elif setup.mtu >= V6_MTU_MIN:
            _ip([*within, "address", "add", str(each), *where, "nodad"])
    _ip([*within, "link", "set", *where, "up"])
    for prefix in setup.routes:
        if len(prefix.address) == 4:
            _ip([*within, "route", "add", str(prefix), *where])
        elif setup.mtu >= V6_MTU_MIN:
            _ip([*within, "-6", "route", "add", str(prefix), *where])


def _ip(words: list[str]) -> None:
    """One call. Raises TunError with what it said."""
    try:
        done = subprocess.run(
            ["ip", *words], capture_output=True, text=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TunError(f"ip {' '.join(words)}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().replace("\n", "; ") or f"status {done.returncode}"
        raise TunError(f"ip {' '.join(words)}: {said}")
