"""A card at its contacts that does what commands say and keeps every command it was given, for tests of what stands between it and a program."""

from dataclasses import dataclass, field

from bench.card.contacts import SOUND, Contacts, ContactTraits
from bench.engine import Engine
from bench.iso7816.apdu import CommandApdu, ResponseApdu, parse_command
from bench.iso7816.errors import ApduError
from bench.iso7816.t0 import Later, Reply
from bench.iso7816.t1_card import ApduLater, ApduReply
from bench.iso7816.transport import ApduInT0Card

NOTHING, READ, TAKE, ECHO, EXACTLY = 0x10, 0xB0, 0xD0, 0xEC, 0xB6
"""Instructions: no data; as many bytes as Le; data taken; data given back; P2 bytes and no other number."""


def pattern(count: int) -> bytes:
    return bytes(index * 7 + 3 & 0xFF for index in range(count))


def _application(command: CommandApdu) -> ResponseApdu:
    match command.ins:
        case 0x10:
            return ResponseApdu(b"", 0x9000)
        case 0xB0:
            return ResponseApdu(pattern(command.le or 0), 0x9000)
        case 0xD0:
            return ResponseApdu(b"", 0x9000)
        case 0xEC:
            return ResponseApdu(command.data, 0x9000)
        case 0xB6:
            return ResponseApdu(pattern(command.p2), 0x9000)
    return ResponseApdu(b"", 0x6D00)


@dataclass(slots=True)
class RecordingCard:
    """``contacts`` is what goes on a line. Under T=0 ``commands`` are TPDUs, under T=1 APDUs, as the card's own side of the protocol gave them."""

    engine: Engine
    atr: bytes
    traits: ContactTraits = SOUND
    ticks: int = 0
    """What each command takes."""
    commands: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    contacts: Contacts = field(init=False)
    _ordinary: ApduInT0Card = field(init=False)

    def __post_init__(self) -> None:
        self._ordinary = ApduInT0Card(lambda command, _later: _application(command))
        self.contacts = Contacts(self.engine, self.atr, 1000, self, self._reset, self.traits, {0: _Node(self)})

    def _reset(self, on: bool) -> None:
        del on
        self._ordinary.reset()

    def takes_data(self, header: bytes) -> bool:
        return header[1] in (TAKE, ECHO, 0xC2)

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        self.commands.append(header + data)
        reply = self._ordinary.execute(header, data, later)
        assert reply is not None
        reply.ticks += self.ticks
        self.responses.append(reply.data + reply.sw.to_bytes(2, "big"))
        return reply

    def apdu(self, command: bytes) -> ApduReply:
        self.commands.append(command)
        try:
            response = _application(parse_command(command)).encode()
        except ApduError:
            response = b"\x67\x00"
        self.responses.append(response)
        return ApduReply(response, self.ticks)


class _Node:
    """The card as the one node behind its line."""

    def __init__(self, card: RecordingCard) -> None:
        self.card = card

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        del later
        return self.card.apdu(apdu)
