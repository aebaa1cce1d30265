"""In the guest, with pyusb in the place of the kernel's driver: echo commands of every size that matters to the card's bulk pipe."""

from __future__ import annotations

import json

import usb.core
import usb.util

VENDOR, PRODUCT = 0x1D6B, 0x0102
OUT, IN = 0x01, 0x82
SIZES = (0, 1, 60, 61, 62, 63, 126, 510, 1000, 1518, 2047)


def main() -> None:
    device = usb.core.find(idVendor=VENDOR, idProduct=PRODUCT)
    if device.is_kernel_driver_active(0):
        device.detach_kernel_driver(0)
    answered = []
    for size in SIZES:
        data = bytes((each * 7 + size) & 0xFF for each in range(size))
        packet = (0x8000 | size).to_bytes(2, "little") + data
        device.write(OUT, packet + (bytes(2) if len(packet) % 64 == 0 else b""), 5000)
        want = (0x8800 | size).to_bytes(2, "little") + data
        got = bytes(device.read(IN, 4096, 5000))
        while want not in got:  # advertisements of the card may come between
            got = bytes(device.read(IN, 4096, 5000))
        answered.append(size)
    print(json.dumps(answered))
    usb.util.dispose_resources(device)  # else the interface is still claimed
    device.attach_kernel_driver(0)


main()
