"""Runs in the guest: raw USB readers of ours, driven by lines on standard input. Each is answered by one line of JSON.

NAME open DEVICE SLOT [CLOCK_HZ]     NAME up [ta1=96] [protocol=1] ...     NAME x COMMAND     NAME time COUNT COMMAND
NAME card SECONDS [LAST]     NAME fault SECONDS     NAME about     NAME down     NAME ccid NAME     NAME close     NAME user UID
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from dataclasses import replace

from bench.ccid.commands import GetParameters, GetSlotStatus, IccClock, ResetParameters
from bench.ccid.responses import Response
from bench.engine import MonotonicEngine, Timebase
from bench.iso7816.port import Answer, PowerUp
from bench.readers.activation import Wishes
from bench.readers.threads import abandoned
from bench.readers.usb import UsbLimits, UsbReader
from bench.readers.usb_errors import UsbError

WAIT_S = 90


class Program:
    """One reader."""

    def __init__(self, engine: MonotonicEngine) -> None:
        self.engine = engine
        self.reader: UsbReader | None = None
        self.faults: list[str] = []
        self.cards: list[bool] = []

    def run(self, word: str, rest: list[str]) -> dict[str, object]:
        result: dict[str, object] = getattr(self, f"do_{word}")(*rest)
        faults, self.faults[:] = list(self.faults), []
        return result | {"faults": faults}

    def do_open(self, device: str, slot: str, clock: str = "") -> dict[str, object]:
        limits = UsbLimits(20, 20, 5)
        try:
            self.reader = UsbReader(
                self.engine, device, int(slot), clock_hz=int(clock) if clock else None, limits=limits
            )
        except UsbError as error:
            return {"error": str(error)}
        self.reader.on_fault = self.faults.append
        self.reader.on_card = self.cards.append
        return self.do_about()

    def do_user(self, number: str) -> dict[str, object]:
        """Whoever asks the kernel from now on."""
        os.seteuid(int(number))
        return {}

    def do_fault(self, seconds: str) -> dict[str, object]:
        """Wait for something to be told of what broke."""
        self.engine.wait(lambda: bool(self.faults), round(float(seconds) * self.engine.timebase.hz))
        return {}

    def do_about(self) -> dict[str, object]:
        assert self.reader is not None
        able = self.reader.abilities
        return {
            "level": able.level,
            "rate": able.rate,
            "protocols": able.protocols,
            "classes": able.classes,
            "clocks": able.clocks_hz,
            "slots": able.slots,
            "rates": able.rates,
            "removal": able.removal,
        }

    def do_up(self, *options: str) -> dict[str, object]:
        reader = self.reader
        assert reader is not None
        wishes = Wishes(classes="ABC")
        for option in options:
            name, _, value = option.partition("=")
            wishes = replace(wishes, **{name: value if name == "classes" else int(value, 16)})
        reader.wishes = wishes
        ups: list[PowerUp] = []
        self.engine.call(lambda: reader.power_up(ups.append))
        assert self.engine.wait(lambda: bool(ups), WAIT_S * self.engine.timebase.hz)
        return {
            "atr": ups[0].atr.hex(),
            "error": ups[0].error,
            "protocol": reader.protocol,
            "ta1": reader.ta1,
            "clock": reader.clock_hz,
            "class": reader.operating_class,
        }

    def do_down(self) -> dict[str, object]:
        assert self.reader is not None
        self.engine.call(self.reader.power_down)
        return {}

    def do_x(self, command: str) -> dict[str, object]:
        answer = self._exchange(bytes.fromhex(command))
        return {
            "response": answer.response.hex(),
            "error": answer.error,
            "ns": self.engine.timebase.to_ns(answer.end - answer.start),
            "characters": answer.characters,
        }

    def do_time(self, count: str, command: str) -> dict[str, object]:
        """Round trips, as a step of a scenario makes them."""
        data = bytes.fromhex(command)
        took = []
        for _ in range(int(count)):
            begun = time.perf_counter()
            answer = self._exchange(data)
            took.append(time.perf_counter() - begun)
            assert not answer.error, answer.error
        return {"median_s": statistics.median(took), "total_s": sum(took)}

    def _exchange(self, data: bytes) -> Answer:
        reader = self.reader
        assert reader is not None
        answers: list[Answer] = []
        self.engine.call(lambda: reader.submit(data, answers.append))
        assert self.engine.wait(lambda: bool(answers), WAIT_S * self.engine.timebase.hz)
        return answers[0]

    def do_card(self, seconds: str, last: str = "") -> dict[str, object]:
        """What was told of cards, once something was (``last``: until a card has come, 1, or gone, 0) or so much time has passed."""

        def told_enough() -> bool:
            return bool(self.cards) and last in ("", str(int(self.cards[-1])))

        self.engine.wait(told_enough, round(float(seconds) * self.engine.timebase.hz))
        told, self.cards[:] = list(self.cards), []
        return {"cards": told}

    def do_ccid(self, name: str) -> dict[str, object]:
        """A message of the class without parameters, by its name."""
        reader = self.reader
        assert reader is not None
        answers: list[dict[str, object]] = []
        make = {"GetSlotStatus": GetSlotStatus, "GetParameters": GetParameters, "ResetParameters": ResetParameters}.get(
            name, IccClock
        )

        def done(response: Response | None, error: str) -> None:
            answers.append({"answer": type(response).__name__, "error": error})

        self.engine.call(lambda: reader.command(make, done))
        assert self.engine.wait(lambda: bool(answers), WAIT_S * self.engine.timebase.hz)
        return answers[0]

    def do_close(self) -> dict[str, object]:
        assert self.reader is not None
        own = f"reader {self.reader.wanted} slot {self.reader.slot}"
        closed, self.reader = self.reader.close(), None
        threads = [each.name for each in threading.enumerate() if each.name.startswith(own)]
        return {"closed": closed, "threads": threads, "abandoned": abandoned()}


def main() -> None:
    engine = MonotonicEngine(Timebase.for_clocks(4_000_000)).start()
    programs: dict[str, Program] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        name, word, *rest = line.split()
        program = programs.setdefault(name, Program(engine))
        print(json.dumps(program.run(word, rest)), flush=True)
    engine.stop()


if __name__ == "__main__":
    main()
