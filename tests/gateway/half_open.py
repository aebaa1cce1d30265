"""A gateway in a network of its own, flooded with SYNs that nobody will acknowledge. Run as ``unshare --net python -m tests.gateway.half_open``."""

import json
import random
import socket
import struct
import subprocess
import time
from pathlib import Path

from tests.gateway.support import gateway, wait

SYNS = 2000
NOBODY = "198.51.100."
"""TEST-NET-2: routed to loopback, where no such address is, so that no answer ever comes."""
BACKLOG = 128
SYN_RECV = "03"


def checksum(data: bytes) -> int:
    total = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - total if total else 0


def syn(source: str, destination: str, port: int) -> bytes:
    """An IPv4 packet with a TCP SYN (RFC 791, 9293)."""
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack(
        "!HHIIBBHHH", random.randrange(1024, 65_535), port, random.getrandbits(32), 0, 0x50, 2, 65_535, 0, 0
    )
    summed = checksum(ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head)) + head)
    tcp = head[:16] + summed.to_bytes(2, "big") + head[18:]
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + ends + tcp


def half_open(address: str) -> int:
    """Connections of ours that wait for their last ACK, as the kernel counts them."""
    own = socket.inet_aton(address)[::-1].hex().upper()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].startswith(own) and row[3] == SYN_RECV for row in rows)


def main() -> None:
    for words in ("link set lo up", f"route add {NOBODY}0/24 dev lo"):
        subprocess.run(("ip", *words.split()), check=True, timeout=30)
    with gateway(cards=2) as gate, socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        port = gate.port("echo")
        before = gate.connections
        for number in range(SYNS):
            raw.sendto(syn(f"{NOBODY}{number % 250 + 1}", gate.address, port), (gate.address, 0))
        flooded = half_open(gate.address)
        began = time.monotonic()
        used = gate.processor_s()
        for card in (1, 2):
            gate.echo(card=card)
        used = gate.processor_s() - used
        took = time.monotonic() - began
        wait(lambda: gate.connections == 0)
        print(json.dumps({"half_open": flooded, "before": before, "processor_s": used, "took_s": took}))


if __name__ == "__main__":
    main()
