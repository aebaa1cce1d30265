"""Runs in the guest: our raw USB reader and pyscard over pcscd and libccid, in turns, each with a reader of its own behind which the same card is.

Arguments: our device, rounds, exchanges a round. Prints a line of JSON for each command length: the ratio of each round, and the medians.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from smartcard.Exceptions import NoCardException
from smartcard.System import readers

from bench.engine import MonotonicEngine, Timebase
from bench.iso7816.port import Answer, PowerUp
from bench.readers.activation import Wishes
from bench.readers.usb import UsbReader

ECHO = bytes((0xA0, 0xEC, 0, 0))
SIZES = (1, 64, 255)
LIMIT_S = 120
SEEN_WITHIN_S = 30


def pyscard() -> Callable[[bytes, int], float]:
    """A loop over pyscard's own connection, as its user guide shows it."""
    limit = time.monotonic() + SEEN_WITHIN_S
    connection: Any = None
    while connection is None:
        assert time.monotonic() < limit, "pcscd does not see the reader, or no card in it"
        with contextlib.suppress(NoCardException, IndexError):
            there = readers()[0].createConnection()
            there.connect()
            connection = there
        time.sleep(0.1)

    def round_of(command: bytes, count: int) -> float:
        transmit, octets = connection.transmit, list(command)
        begun = time.perf_counter()
        for _ in range(count):
            _, sw1, _ = transmit(octets)
            assert sw1 in (0x61, 0x90), hex(sw1)
        return time.perf_counter() - begun

    return round_of


def raw(reader: UsbReader, engine: MonotonicEngine) -> Callable[[bytes, int], float]:
    """Our reader: each exchange is submitted when the one before has been answered."""
    reader.wishes = Wishes(ta1=0x96, classes="ABC")
    ups: list[PowerUp] = []
    engine.call(lambda: reader.power_up(ups.append))
    assert engine.wait(lambda: bool(ups), LIMIT_S * engine.timebase.hz)
    assert not ups[0].error, ups[0].error
    assert reader.ta1 == 0x96

    def round_of(command: bytes, count: int) -> float:
        left = count
        ended: list[float] = []

        def answered(answer: Answer) -> None:
            nonlocal left
            assert answer.response[-2] in (0x61, 0x90), answer
            left -= 1
            if left:
                reader.submit(command, answered)
            else:
                ended.append(time.perf_counter())

        begun = time.perf_counter()
        engine.call(lambda: reader.submit(command, answered))
        assert engine.wait(lambda: bool(ended), LIMIT_S * engine.timebase.hz)
        return ended[0] - begun

    return round_of


def main() -> None:
    device, rounds, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    engine = MonotonicEngine(Timebase.for_clocks(4_000_000)).start()
    reader = UsbReader(engine, device)
    theirs, ours = pyscard(), raw(reader, engine)
    for size in SIZES:
        command = ECHO + bytes((size,)) + bytes(range(size))
        if reader.protocol == 1:
            command += b"\x00"
        pairs = []
        for turn in range(rounds + 1):
            pair = theirs(command, count), ours(command, count)
            if turn:
                pairs.append(pair)
        ratios = [their / our for their, our in pairs]
        found = {
            "size": size,
            "protocol": reader.protocol,
            "ratios": ratios,
            "theirs_us": median(their for their, _ in pairs) / count * 1e6,
            "ours_us": median(our for _, our in pairs) / count * 1e6,
        }
        print(json.dumps(found), flush=True)
    reader.close()
    engine.stop()


if __name__ == "__main__":
    main()
