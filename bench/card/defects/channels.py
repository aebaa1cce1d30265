"""Cards whose channels are wrong: opening, credit, order of turns, closing (docs/protocol.md, section 3)."""

from collections.abc import Callable
from typing import Final

from bench.card.card import Card
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.channels.channel import Channel, State
from bench.channels.message import HEADER_LENGTH, TYPE_BITS, VERSION_BITS, Cause, Message, MessageType
from bench.channels.table import ChannelTable
from bench.hop.segment import Kind

BORROWED: Final = 8
"""Messages that go beyond the credit."""
FAVOUR: Final = 8
"""Shares of the channel that is preferred."""
_CAUSE: Final = 5
"""Where the cause stands in REFUSED."""


class _Borrows(ChannelTable):
    def _opening(self, message: Message) -> None:
        super()._opening(message)
        for channel in self.channels:
            if channel.peer_number == getattr(message.body, "own", 0) and channel.state is State.OPEN:
                channel.credit += BORROWED
                channel.pump()


class _Leaks(ChannelTable):
    """What a channel took is not given back when it is closed."""

    def freed(self, channel: Channel) -> None:
        self._flows.pop(channel._flow, None)


class _DeafToShut(ChannelTable):
    def _on_open_channel(self, channel: Channel, message: Message) -> None:
        if message.type is not MessageType.SHUT:
            super()._on_open_channel(channel, message)


class _AnyVersion(ChannelTable):
    def receive(self, packet: bytes) -> None:
        super().receive(bytes((packet[0] & 0x3F | VERSION_BITS,)) + packet[1:])


class _MixesUp(ChannelTable):
    """DATA for a channel goes to the first one."""

    def _on_open_channel(self, channel: Channel, message: Message) -> None:
        first = next(each for each in self.channels if not each.transport.is_server)
        mixed = message.type is MessageType.DATA and first.state is State.OPEN
        super()._on_open_channel(first if mixed else channel, message)


def _table(kind: type[ChannelTable]) -> Callable[[Card], None]:
    return lambda card: become(card.node.table, kind)


def _sending(change: Callable[[bytes], bytes]) -> Callable[[Card], None]:
    """Its messages are altered on the way out; an empty one is not sent."""

    def alter(card: Card) -> None:
        table = card.node.table
        emit = table._emit

        def altered(packet: bytes, force: bool) -> bool:
            changed = change(packet)
            return emit(changed, force) if changed else True

        table._emit = altered

    return alter


def _type(packet: bytes) -> int:
    return packet[0] & TYPE_BITS


def _without(kind: MessageType) -> Callable[[Card], None]:
    return _sending(lambda packet: b"" if _type(packet) == kind else packet)


def _other_cause(packet: bytes) -> bytes:
    return packet[:_CAUSE] + bytes((Cause.SERVICE_ERROR,)) if _type(packet) == MessageType.REFUSED else packet


def _without_credit(packet: bytes) -> bytes:
    """Neither CREDIT nor credit in the header of other messages, but for the first."""
    if _type(packet) in (MessageType.OPEN, MessageType.OPENED):
        return packet
    return b"" if _type(packet) == MessageType.CREDIT else packet[:4] + b"\x00" + packet[HEADER_LENGTH:]


def _one_fewer(card: Card) -> None:
    card.node.table.limit -= 1


def _favours(card: Card) -> None:
    card.io1.queue.weigh = lambda kind, packet: FAVOUR if kind is Kind.CHANNEL and packet[3] & 1 else 1


def _unweighed(card: Card) -> None:
    card.io1.queue.weigh = lambda _kind, _packet: 1


def _nobody_overtakes(card: Card) -> None:
    card.io1.queue.may_overtake = lambda _kind, _packet: False


def _defect(name: str, text: str, requirement: str, card: Callable[[Card], None]) -> Defect:
    return Defect(name, text, requirement, card=card, parks=True)


DEFECTS: Final = (
    _defect("open-unanswered", "does not answer OPEN", "CH-OPEN-1", _without(MessageType.OPENED)),
    _defect("one-channel-fewer", "has one channel fewer than it declares", "CH-OPEN-3", _one_fewer),
    _defect(
        "refused-with-another-cause", "refuses an unknown service with cause 8", "CH-OPEN-4", _sending(_other_cause)
    ),
    _defect("channels-mixed-up", "takes what comes on any channel for the first one's", "CH-DATA-1", _table(_MixesUp)),
    _defect("credit-ignored", "sends eight messages beyond its credit", "CH-CREDIT-1", _table(_Borrows)),
    _defect("credit-kept", "returns no credit", "CH-CREDIT-2", _sending(_without_credit)),
    _defect("leaks-per-open", "loses the memory of every channel that is closed", "CH-CLOSE-1", _table(_Leaks)),
    _defect(
        "shut-ignored", "goes on waiting where the other side has shut its direction", "CH-CLOSE-2", _table(_DeafToShut)
    ),
    _defect(
        "strays-unanswered",
        "says nothing to messages for channels that are not open",
        "CH-CLOSE-3",
        _without(MessageType.UNREACHABLE),
    ),
    _defect("any-version-taken", "takes messages of another version", "CH-MSG-1", _table(_AnyVersion)),
    _defect("channel-starved", "gives every second channel an eighth of the others' share", "CH-FAIR-1", _favours),
    _defect("words-wait-for-bulk", "lets no short message overtake bulk", "CH-FAIR-3", _nobody_overtakes),
    _defect("weights-ignored", "gives every channel the same share, whatever it granted", "CH-FAIR-6", _unweighed),
)
"""Every card whose channels are wrong."""
