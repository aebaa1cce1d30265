"""Measuring a reader's own latency, with commands that a card answers at once.

Neutral commands: an instruction that no card has (INS 02, which ISO/IEC 7816-4 does not assign: 6D00 after a look at the header, no memory touched,
no state changed), and for the way data take, a SELECT of an application that is nowhere (a proprietary AID, which begins with F; 6A82, and the
current application stays). GET CHALLENGE would start a random generator, SELECT of a file that is there would change the state, GET RESPONSE is a
poll on the hop, VERIFY counts tries. A card that does take one of them answers 9000 or 61XX, and is told. Both kinds take turns, so that drift hits
both alike; the first rounds are thrown away, for caches and drivers warm up in them.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from bench.engine import Engine
from bench.iso7816.apdu import CommandApdu, map_to_t0
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp, TerminalPort
from bench.rig.build import Rig
from bench.rig.calibration import BARE, DATA, POLICY, Calibration, Series, WireTime, summary
from bench.rig.errors import RigError
from bench.rig.identity import reader_identity
from bench.rig.model import RigModel

ROUNDS: Final = 400
WARM_UP: Final = 20
WITHIN_S: Final = 10
"""How long one answer, and powering the card, may take."""
BARE_COMMAND: Final = CommandApdu(0x00, 0x02, 0x00, 0x00)
DATA_COMMAND: Final = CommandApdu(0x00, 0xA4, 0x04, 0x0C, b"\xf0CARDBENCH-EMPTY")
NOT_NEUTRAL: Final = (
    "the card takes {command} (it answered {sw:04X}): give another command that it does not know, with --command"
)
NO_DATA_PHASE: Final = frozenset({0x6D, 0x6E})
"""SW1 of a card that did not even look at the data."""


@dataclass(slots=True)
class _Kind:
    """One neutral command while it is measured."""

    name: str
    command: bytes
    times: list[int]
    hosts: list[int]
    sw: int = 0
    wire: int = 0


class Measuring:
    """One calibration, on a rig that has just been built."""

    def __init__(self, rig: Rig, model: RigModel, command: CommandApdu | None = None) -> None:
        self.engine: Engine = rig.engine
        self.port: TerminalPort = rig.host.link.port
        self.model = model
        self.bare = command if command is not None else BARE_COMMAND
        self.on_round: Callable[[int], None] = _nobody
        """Told after each round."""
        self._wire = WireTime()
        self._paced = not rig.unpaced
        self._ended = 0

    def run(self, key: str, rounds: int = ROUNDS, now: datetime | None = None) -> Calibration:
        """Power the card, measure, power down. Raises RigError where the reader breaks, the card is mute or takes the command."""
        atr = self._power()
        self._wire.powered(atr)
        kinds = [_Kind(BARE, self._as_sent(self.bare), [], [])]
        probe = _Kind(DATA, self._as_sent(DATA_COMMAND), [], [])
        self._neutral(kinds[0])
        if self._round(probe) and probe.sw >> 8 not in NO_DATA_PHASE and _is_error(probe.sw):
            kinds.append(probe)
        for each in kinds:
            each.times.clear()
        for number in range(WARM_UP + rounds):
            for each in kinds:
                self._round(each)
            if number == WARM_UP - 1:
                for each in kinds:
                    each.times.clear()
                    each.hosts.clear()
            self.on_round(number + 1)
        port = self.port
        result = self._result(key, atr, kinds, now or datetime.now(UTC), port)
        self.engine.call(port.power_down)
        return result

    def _result(self, key: str, atr: bytes, kinds: list[_Kind], now: datetime, port: TerminalPort) -> Calibration:
        identity = reader_identity(self.model)
        return Calibration(
            self.model.name,
            key,
            port.protocol,
            f"{port.ta1:02X}",
            port.clock_hz,
            atr.hex(" ").upper(),
            now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            identity.reader,
            identity.driver,
            version("cardbench"),
            f"{platform.system()} {platform.release()}",
            POLICY,
            tuple(
                Series(
                    each.name,
                    each.command.hex(" ").upper(),
                    f"{each.sw:04X}",
                    each.wire,
                    tuple(each.times),
                    summary(tuple(each.hosts)).median_ns if each.hosts else 0,
                )
                for each in kinds
            ),
        )

    def _power(self) -> bytes:
        ups: list[PowerUp] = []
        self.engine.call(lambda: self.port.power_up(ups.append))
        self._wait(lambda: bool(ups), "powering the card")
        if ups[0].error:
            raise RigError(f"rig {self.model.name}: no card to measure with: {ups[0].error}; put one in, any card does")
        return ups[0].atr

    def _neutral(self, kind: _Kind) -> None:
        self._round(kind)
        if not _is_error(kind.sw):
            raise RigError(NOT_NEUTRAL.format(command=kind.command.hex(" ").upper(), sw=kind.sw))

    def _round(self, kind: _Kind) -> bool:
        answers: list[Answer] = []
        self.engine.call(lambda: self.port.submit(kind.command, answers.append))
        self._wait(lambda: bool(answers), f"the answer to {kind.command.hex(' ').upper()}")
        answer = answers[0]
        if answer.error or len(answer.response) < 2:
            raise RigError(
                f"rig {self.model.name}: {kind.command.hex(' ').upper()}: {answer.error or 'no status word'}"
            )
        to_ns = self.engine.timebase.to_ns
        duration = to_ns(answer.end - answer.start)
        own = self._wire.ns(kind.command, answer.response, self.port) if self._paced else 0
        kind.wire = duration - to_ns(answer.card_ticks) if answer.characters and self._paced else own
        kind.sw = answer.response[-2] << 8 | answer.response[-1]
        kind.times.append(max(0, duration - kind.wire))
        if self._ended and self.model.real:  # in virtual time the bench takes none
            kind.hosts.append(max(0, to_ns(answer.start - self._ended)))
        self._ended = answer.end
        return True

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        timebase = self.engine.timebase
        if not self.engine.wait(done, timebase.nanoseconds(WITHIN_S * 10**9)):
            raise RigError(f"rig {self.model.name}: {what} did not come within {WITHIN_S} s")

    def _as_sent(self, command: CommandApdu) -> bytes:
        """As the port takes it: an APDU, or the TPDU of T=0 that carries it."""
        if self.port.protocol == 1 or self.port.level is ExchangeLevel.APDU:
            return command.encode()
        first = map_to_t0(command).commands[0]
        return first.header + first.data


def _is_error(sw: int) -> bool:
    """Whether the card refused: anything but 9000, 61XX (data waits), 6CXX (there would be data) and warnings."""
    return sw >> 8 not in (0x90, 0x61, 0x6C, 0x62, 0x63)


def _nobody(_: int) -> None:
    pass
