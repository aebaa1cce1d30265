"""Make the test guest's kernel, initial file system and udevd from unpacked Debian packages. Usage: guest-pack.py UNPACKED DIRECTORY

The kernel is taken out of the compressed image: started through its PVH entry it boots about two seconds sooner. The initial file system holds
busybox, the modules below with all they depend on, in the order in which they load, and ``tests/guest/init.sh``.
"""

import lzma
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

MODULES: Final = (
    *("virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay"),
    *("xhci_pci", "vhci_hcd", "usbmon", "usbserial", "pl2303", "ftdi_sio", "cdc_acm", "cdc_eem", "cdc_ncm"),
    *("ppp_async", "ppp_synctty", "tun", "ipv6", "veth", "bridge"),
)
"""What a test of this project may want of the kernel. A name that is built in is left out."""
INIT: Final = Path(__file__).resolve().parents[1] / "tests" / "guest" / "init.sh"
BUSYBOX: Final = ("/bin/busybox", "/usr/bin/busybox")
DIRECTORY_MODE, FILE_MODE, DEVICE_MODE = 0o040755, 0o100755, 0o020600


def vmlinux(image: bytes) -> bytes:
    """The ELF file inside a bzImage (Documentation/arch/x86/boot.rst: payload_offset and payload_length). Raises ValueError."""
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("no bzImage: the header's signature is missing")
    setup = ((image[0x1F1] or 4) + 1) * 512
    offset, length = (int.from_bytes(image[at : at + 4], "little") for at in (0x248, 0x24C))
    payload = image[setup + offset : setup + offset + length]
    if not payload.startswith(b"\xfd7zXZ"):
        raise ValueError(f"the kernel is not compressed with xz (it begins with {payload[:6].hex(' ')})")
    return lzma.LZMADecompressor().decompress(payload)  # what follows the stream is its length


def read_module(path: Path) -> bytes:
    """A module as the kernel takes it."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def load_order(found: dict[str, Path], built_in: set[str]) -> list[str]:
    """Every module that is wanted after all those it depends on. Raises ValueError where one is missing."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name in built_in:
            return
        if name not in found:
            raise ValueError(f"module {name} is not in the kernel's package")
        depends = re.search(rb"\0depends=([^\0]*)\0", read_module(found[name]))
        for other in (depends.group(1).decode() if depends else "").split(","):
            if other:
                add(other.replace("-", "_"))
        order.append(name)

    for name in MODULES:
        add(name)
    return order


class Cpio:
    """An archive in the newc format, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._count = 0

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._count += 1
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        self.content += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._pad()
        self.content += data
        self._pad()

    def end(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self.content)

    def _pad(self) -> None:
        self.content += bytes(-len(self.content) % 4)


def initramfs(modules: Path, kernel: str) -> bytes:
    """The initial file system, not compressed: QEMU loads it in no time, unpacking would cost the guest some."""
    found = {path.name.partition(".ko")[0].replace("-", "_"): path for path in modules.rglob("*.ko*")}
    builtin = (modules / "modules.builtin").read_text().split()
    built_in = {Path(line).name.partition(".ko")[0].replace("-", "_") for line in builtin}
    busybox = next((Path(path) for path in BUSYBOX if Path(path).exists()), None)
    if busybox is None:
        raise ValueError("no busybox: apt-get install --no-install-recommends busybox-static")
    archive = Cpio()
    for name in ("bin", "dev", "proc", "sys", "lower", "upper", "host", "modules"):
        archive.add(name, DIRECTORY_MODE)
    archive.add("dev/console", DEVICE_MODE, device=(5, 1))
    archive.add("bin/busybox", FILE_MODE, busybox.read_bytes())
    archive.add("init", FILE_MODE, INIT.read_bytes())
    order = load_order(found, built_in)
    for name in order:
        archive.add(f"modules/{name}.ko", FILE_MODE, read_module(found[name]))
    archive.add("modules/order", FILE_MODE, ("\n".join(order) + "\n").encode())
    archive.add("kernel", FILE_MODE, kernel.encode())
    return archive.end()


def main(unpacked: Path, directory: Path) -> None:
    (image,) = unpacked.glob("boot/vmlinuz-*")
    kernel = image.name.removeprefix("vmlinuz-")
    (modules,) = (path for path in (unpacked / "lib/modules", unpacked / "usr/lib/modules") if path.is_dir())
    (udevadm,) = (path for path in (unpacked / "bin/udevadm", unpacked / "usr/bin/udevadm") if path.is_file())
    shutil.copy(udevadm, directory / "systemd-udevd")  # the program is a daemon by its name
    for name, content in (
        ("vmlinux", vmlinux(image.read_bytes())),
        ("initramfs", initramfs(modules / kernel, kernel)),
        ("version", kernel.encode()),
    ):
        (directory / f"{name}.new").write_bytes(content)
        os.replace(directory / f"{name}.new", directory / name)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: the test guest could not be made: {error}")
