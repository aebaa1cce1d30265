"""The guard: what a scenario may do to the first card of a real rig.

A command that changes the card goes only to the card that the rig file names, in a point that has declared its writes (``needs: {writes: N}``),
within the rig's write budget, which is counted over all runs in a file beside the locks. A command that can use up a retry counter goes only where
the rig says ``allow_pin``, and never when one try is left. What is refused does not reach the card, and ends the point as the bench's error, for it
was not declared. Left out: commands of a card's own that no standard names; the guard cannot know what they do.

Commands: ISO/IEC 7816-4, 7816-9 and 7816-13 tables of INS; ETSI TS 102 221 and GlobalPlatform for the same codes in their classes.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bench.engine import Engine
from bench.iso7816.apdu import ResponseApdu, parse_command
from bench.iso7816.errors import ApduError
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp, TerminalPort
from bench.iso7816.transport import ApduOverT0, Tpdu
from bench.readers.wrappers import Wrapper
from bench.rig.errors import RigError
from bench.rig.locks import FileLock, file_name, lock_directory
from bench.rig.model import CardModel, RigModel

UNLIMITED: Final = 10**9
"""What a software rig declares as writes: its card wears out nowhere."""
LAST_TRY: Final = 1
"""With so many tries left, or fewer, no command with a retry counter is sent."""
COUNT_WAIT_S: Final = 5.0

INS_ENVELOPE: Final = 0xC2
INTERINDUSTRY: Final = 0xE0
"""Bits of CLA that are 0 in the classes whose ENVELOPE carries an APDU over T=0 (ISO/IEC 7816-3, 12.2)."""


class Danger(StrEnum):
    """What a command may do to a card."""

    NONE = "none"
    WRITE = "write"
    PIN = "pin"


WRITES: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x04: "DEACTIVATE FILE",
        0x0C: "ERASE RECORD",
        0x0E: "ERASE BINARY",
        0x0F: "ERASE BINARY",
        0x32: "INCREASE",
        0x44: "ACTIVATE FILE",
        0x46: "GENERATE ASYMMETRIC KEY PAIR",
        0x47: "GENERATE ASYMMETRIC KEY PAIR",
        0xD0: "WRITE BINARY",
        0xD1: "WRITE BINARY",
        0xD2: "WRITE RECORD",
        0xD4: "RESIZE FILE",
        0xD6: "UPDATE BINARY",
        0xD7: "UPDATE BINARY",
        0xD8: "PUT KEY",
        0xDA: "PUT DATA",
        0xDB: "PUT DATA",
        0xDC: "UPDATE RECORD",
        0xDD: "UPDATE RECORD",
        0xE0: "CREATE FILE",
        0xE2: "APPEND RECORD",
        0xE4: "DELETE FILE",
        0xE6: "TERMINATE DF",
        0xE8: "TERMINATE EF",
        0xF0: "SET STATUS",
        0xFE: "TERMINATE CARD USAGE",
    }
)
"""Instructions that change the card's memory."""
TRIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x20: "VERIFY",
        0x21: "VERIFY",
        0x24: "CHANGE REFERENCE DATA",
        0x25: "CHANGE REFERENCE DATA",
        0x26: "DISABLE VERIFICATION REQUIREMENT",
        0x28: "ENABLE VERIFICATION REQUIREMENT",
        0x2C: "RESET RETRY COUNTER",
        0x2D: "RESET RETRY COUNTER",
        0x2E: "PERFORM BIOMETRIC OPERATION",
        0x2F: "PERFORM BIOMETRIC OPERATION",
        0x82: "EXTERNAL AUTHENTICATE",
        0x86: "GENERAL AUTHENTICATE",
        0x87: "GENERAL AUTHENTICATE",
    }
)
"""Instructions that a card may count wrong tries of."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A command as the guard sees it."""

    danger: Danger
    name: str = ""


HARMLESS: Final = Judged(Danger.NONE)


def judge(header: bytes) -> Judged:
    """What the command with this header may do, by its INS; a class of any kind, for codes mean the same wherever they are used at all."""
    if len(header) < 2:
        return HARMLESS
    ins = header[1]
    if ins in TRIES:
        return Judged(Danger.PIN, TRIES[ins])
    return Judged(Danger.WRITE, WRITES[ins]) if ins in WRITES else HARMLESS


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of one card over all runs."""

    card: str
    written: int = 0
    """Writes sent, and those set aside by points that did not come to their end."""
    tries: int | None = None
    """Tries left, as the card said last; None where it never did."""


class Ledger:
    """The account of one card: a small file beside the locks. Its text may be edited by people."""

    def __init__(self, card: str) -> None:
        self.card = card
        self.path = lock_directory() / f"{file_name(card)}.account"

    def read(self) -> Account:
        """Raises RigError where the file cannot be read."""
        with self._lock() as lock:
            return self._read(lock)

    def set_aside(self, writes: int, budget: int) -> None:
        """Count ``writes`` before they are made. Raises RigError where the budget does not hold them."""
        with self._lock() as lock:
            account = self._read(lock)
            if account.written + writes > budget:
                raise RigError(
                    f"the write budget of {budget} does not hold {writes} more: {account.written} are counted in {self.path}"
                )
            self._write(lock, replace(account, written=account.written + writes))

    def give_back(self, writes: int) -> None:
        """Writes that were set aside and not made."""
        with self._lock() as lock:
            account = self._read(lock)
            self._write(lock, replace(account, written=max(0, account.written - writes)))

    def note_tries(self, tries: int | None) -> None:
        """How many tries the card has left, by its own word."""
        with self._lock() as lock:
            self._write(lock, replace(self._read(lock), tries=tries))

    def _lock(self) -> FileLock:
        return FileLock(self.path, f"the write count of {self.card}", COUNT_WAIT_S)

    def _read(self, lock: FileLock) -> Account:
        text = os.pread(lock.descriptor, 65_536, 0)
        if not text.strip():
            return Account(self.card)
        try:
            tree = json.loads(text)
            tries = tree["tries"]
            return Account(str(tree["card"]), int(tree["written"]), None if tries is None else int(tries))
        except (ValueError, KeyError, TypeError) as error:
            raise RigError(
                f"{self.path} is no write count ({error}): mend it, or remove it and lower the rig's write_budget accordingly"
            ) from error

    def _write(self, lock: FileLock, account: Account) -> None:
        data = json.dumps(asdict(account)).encode() + b"\n"
        os.pwrite(lock.descriptor, data, 0)
        os.ftruncate(lock.descriptor, len(data))
        os.fsync(lock.descriptor)


class Guard:
    """Judges commands for one point. ``begin`` and ``end`` outside events."""

    def __init__(self, model: RigModel, reader_key: str) -> None:
        self.rig = model.name
        self.limits = model.guard
        self.card: CardModel | None = model.cards[0] if model.cards else None
        self.named = False
        """Whether the card that is up is known to be the one that the rig names."""
        self.stranger = "the card has not been powered"
        self._ledger = Ledger(_card_key(self.card, reader_key))
        self._left = 0
        self._envelope = False

    def declares(self) -> dict[str, object]:
        """What the rig permits, to be held against ``needs``: a number of writes, PIN commands; or "no" and the reason. Raises RigError."""
        return {"writes": self._writes(), "pin": self._pin()}

    @property
    def writing(self) -> bool:
        """Whether the point may still write, so that the card must be known."""
        return self._left > 0

    def begin(self, writes: int) -> None:
        """A point that needs so many writes begins. Raises RigError where the budget does not hold them."""
        if writes:
            self._ledger.set_aside(writes, self.limits.write_budget)
            self._left = writes

    def end(self) -> None:
        """The point has ended: what it did not write is given back."""
        left, self._left = self._left, 0
        if left:
            self._ledger.give_back(left)

    def refusal(self, command: bytes) -> str:
        """Why ``command`` must not be sent; empty where it may be. A write that may be sent is counted."""
        judged = judge(self._inner(command))
        if judged.danger is Danger.PIN:
            return self._refused_try(judged.name)
        if judged.danger is Danger.WRITE:
            return self._refused_write(judged.name)
        return ""

    def heard(self, command: bytes, response: bytes) -> None:
        """Note what the answer to a command with a retry counter says of it (ISO/IEC 7816-4: 63CX, 6983)."""
        if len(response) < 2 or judge(command).danger is not Danger.PIN:
            return
        sw = response[-2] << 8 | response[-1]
        if sw & 0xFFF0 == 0x63C0:
            self._ledger.note_tries(sw & 0xF)
        elif sw == 0x6983:
            self._ledger.note_tries(0)
        elif sw == 0x9000:
            self._ledger.note_tries(None)

    def _inner(self, command: bytes) -> bytes:
        """The header that counts: an extended APDU travels over T=0 in ENVELOPEs, the first of which begins with it."""
        if len(command) >= 2 and command[0] & INTERINDUSTRY == 0 and command[1] == INS_ENVELOPE:
            goes_on, self._envelope = self._envelope, len(command) > 5
            return b"" if goes_on else command[5:9]
        self._envelope = False
        return command

    def _refused_try(self, name: str) -> str:
        if not self.limits.allow_pin:
            return f"{name} may use up a retry counter, and rig {self.rig} does not allow that (guard: {{allow_pin: true}})"
        tries = self._ledger.read().tries
        if tries is not None and tries <= LAST_TRY:
            return (
                f'{name} is not sent: the card said that {tries} tries are left (reset its counter, then set "tries" to null in '
                f"{self._ledger.path})"
            )
        return ""

    def _refused_write(self, name: str) -> str:
        if not self._left:
            return (
                f"{name} changes the card, and the scenario has not declared it, or not so often (needs: {{writes: N}})"
            )
        if not self.named:
            return f"{name} changes the card, and {self.stranger}"
        self._left -= 1
        return ""

    def _writes(self) -> object:
        if self.card is None or (self.card.atr is None and self.card.identity is None):
            return "no (the rig file does not name the card by 'atr' or 'identity')"
        if not self.limits.write_budget:
            return "no (the rig file gives no write budget: guard: {write_budget: N})"
        left = self.limits.write_budget - self._ledger.read().written
        return (
            left if left > 0 else f"no (the write budget of {self.limits.write_budget} is used up, {self._ledger.path})"
        )

    def _pin(self) -> object:
        return True if self.limits.allow_pin else "no (guard: {allow_pin: true} is not set)"


class Guarded(Wrapper):
    """A port behind the guard. Place it right above the reader, below what records."""

    def __init__(
        self, port: TerminalPort, engine: Engine, guard: Guard, on_refused: Callable[[RigError], None]
    ) -> None:
        super().__init__(port)
        self.engine = engine
        self.guard = guard
        self.on_refused = on_refused
        """Told, in an event, of a command that was not sent."""

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        guard = self.guard
        guard.named, guard.stranger = False, "the card has not been powered"
        self.port.power_up(done if not guard.writing else lambda up: self._powered(up, done))

    def power_down(self) -> None:
        self.guard.named, self.guard.stranger = False, "the card has not been powered"
        super().power_down()

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        try:
            reason = self.guard.refusal(command)
        except RigError as error:
            reason = str(error)
        if reason:
            now = self.engine.now
            self.engine.after(0, lambda: self._refuse(reason, now, done))
        elif judge(command).danger is Danger.PIN:
            self.port.submit(command, lambda answer: self._heard(command, answer, done))
        else:
            self.port.submit(command, done)

    def _refuse(self, reason: str, now: int, done: Callable[[Answer], None]) -> None:
        self.on_refused(RigError(f"the guard: {reason}"))
        done(Answer(b"", now, now, error=f"refused: {reason}"))

    def _heard(self, command: bytes, answer: Answer, done: Callable[[Answer], None]) -> None:
        self.guard.heard(command, answer.response)
        done(answer)

    def _powered(self, up: PowerUp, done: Callable[[PowerUp], None]) -> None:
        guard, card = self.guard, self.guard.card
        if up.error or card is None:
            done(up)
        elif card.atr is not None and up.atr != card.atr:
            guard.stranger = (
                f"the rig names the card with ATR {_hex(card.atr)}, in the reader is one with {_hex(up.atr)}"
            )
            done(up)
        elif card.identity is None:
            guard.named = True
            done(up)
        else:
            self._ask(list(card.identity.apdus), card.identity.answer, done)

    def _ask(self, left: list[bytes], wanted: bytes, done: Callable[[PowerUp], None]) -> None:
        """Ask for the card's identity; then power it again, so that the scenario finds it fresh."""

        def answered(response: ResponseApdu | None) -> None:
            if response is not None and left:
                self._ask(left, wanted, done)
                return
            self.guard.named = response is not None and response.data == wanted
            found = "nothing" if response is None else f"{_hex(response.data) or 'no data'} ({response.sw:04X})"
            self.guard.stranger = f"the card's identity is {found}, the rig names {_hex(wanted)}"
            self.port.power_down()
            self.port.power_up(done)

        self._apdu(left.pop(0), answered)

    def _apdu(self, command: bytes, done: Callable[[ResponseApdu | None], None]) -> None:
        if self.port.protocol == 1 or self.port.level is ExchangeLevel.APDU:
            self.port.submit(command, lambda answer: done(_response(answer.response)))
            return
        try:
            over = ApduOverT0(parse_command(command))
        except ApduError as error:
            self.on_refused(RigError(f"rig {self.guard.rig}: identity: {command.hex(' ').upper()}: {error}"))
            done(None)
            return

        def send(step: Tpdu | ResponseApdu) -> None:
            if isinstance(step, ResponseApdu):
                done(step)
            else:
                self.port.submit(step.data, heard)

        def heard(answer: Answer) -> None:
            if len(answer.response) < 2:
                done(None)
            else:
                send(over.step(answer.response))

        send(over.start())


def _response(octets: bytes) -> ResponseApdu | None:
    return ResponseApdu(octets[:-2], octets[-2] << 8 | octets[-1]) if len(octets) >= 2 else None


def _card_key(card: CardModel | None, reader_key: str) -> str:
    """What a card's writes are counted under: what only it answers, else its ATR in this reader."""
    if card is not None and card.identity is not None:
        return f"card-{card.identity.answer.hex()}"
    atr = card.atr.hex() if card is not None and card.atr is not None else "unnamed"
    return f"card-{atr}-in-{reader_key}"


def _hex(data: bytes) -> str:
    return data.hex(" ").upper()
