"""LCP's options (RFC 1661, 6; RFC 1662, 7.1): what is asked for, what is granted, and a loop seen by its magic number."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.ppp.automaton import Judged
from bench.net.ppp.hdlc import ACCM_DEFAULT
from bench.net.ppp.packets import Code, Option

MRU_DEFAULT: Final = 1500
MRU_MIN: Final = 68
"""The least a peer may ask for: IPv4's least MTU (RFC 791, 3.2)."""
MRU_MAX: Final = 16_384
LOOPED_AFTER: Final = 10
"""Own magic numbers in a row that mean a looped-back line (RFC 1661, 6.4)."""


class LcpOption(IntEnum):
    """RFC 1661, 6; RFC 1662, 7.1."""

    MRU = 1
    ACCM = 2
    AUTHENTICATION = 3
    QUALITY = 4
    MAGIC = 5
    PFC = 7
    ACFC = 8


@dataclass(slots=True)
class LcpWishes:
    """What one side would like to have for what it receives."""

    mru: int = MRU_DEFAULT
    takes: int = MRU_DEFAULT
    """The longest information field it takes, whatever was agreed. Below 1500 that deviates from RFC 1661, 6.1, and must be declared."""
    accm: int | None = None
    """Control characters that the peer must escape; None leaves the default (all), and is right for links without HDLC framing."""
    compress: bool = True
    """Ask for short protocol and address fields (PFC, ACFC)."""
    magic: bool = True


@dataclass(slots=True)
class LcpAgreed:
    """What holds in one direction."""

    mru: int = MRU_DEFAULT
    accm: int = ACCM_DEFAULT
    short_protocol: bool = False
    short_address: bool = False
    magic: int = 0


class LcpNegotiator:
    """Both sides' options. ``receive`` is what the peer has granted us, ``send`` what we have granted it."""

    def __init__(self, wishes: LcpWishes, draw: Callable[[], int]) -> None:
        self.wishes = wishes
        self.draw = draw
        """Gives a fresh magic number, 1 to 2**32 - 1."""
        self.receive = LcpAgreed()
        self.send = LcpAgreed()
        self.looped = 0
        """Requests and echoes in a row that carried our own magic number."""
        self.refusal = ""
        """Why this side cannot go on with what the peer insists on."""
        self._options: dict[int, bytes] = {}
        self.magic = 0
        self.begin()

    def begin(self) -> None:
        wishes = self.wishes
        self.magic = self.draw() if wishes.magic else 0
        self.looped = 0
        self.refusal = ""
        self.receive, self.send = LcpAgreed(), LcpAgreed()
        self._options = {}
        if wishes.mru != MRU_DEFAULT:
            self._options[LcpOption.MRU] = wishes.mru.to_bytes(2, "big")
        if wishes.accm is not None:
            self._options[LcpOption.ACCM] = wishes.accm.to_bytes(4, "big")
        if wishes.magic:
            self._options[LcpOption.MAGIC] = self.magic.to_bytes(4, "big")
        if wishes.compress:
            self._options[LcpOption.PFC] = b""
            self._options[LcpOption.ACFC] = b""

    def request(self) -> tuple[Option, ...]:
        return tuple(Option(kind, value) for kind, value in self._options.items())

    def judge(self, options: tuple[Option, ...], *, insist: bool) -> Judged:
        rejected = tuple(each for each in options if not _known(each))
        if rejected:
            return Judged(Code.CONFIGURE_REJECT, rejected)
        agreed = LcpAgreed()
        better = tuple(wanted for each in options if (wanted := self._take(each, agreed)) is not None)
        if better:
            kinds = {each.kind for each in better}
            if insist and kinds != {LcpOption.MAGIC}:  # a loop must stay visible: a magic number is never given up on
                return Judged(Code.CONFIGURE_REJECT, tuple(each for each in options if each.kind in kinds))
            return Judged(Code.CONFIGURE_NAK, better)
        self.send = agreed
        return Judged(Code.CONFIGURE_ACK, options)

    def acked(self, options: tuple[Option, ...]) -> None:
        agreed = LcpAgreed()
        for each in options:
            match each.kind:
                case LcpOption.MRU:
                    agreed.mru = int.from_bytes(each.value, "big")
                case LcpOption.ACCM:
                    agreed.accm = int.from_bytes(each.value, "big")
                case LcpOption.MAGIC:
                    agreed.magic = int.from_bytes(each.value, "big")
                case LcpOption.PFC:
                    agreed.short_protocol = True
                case LcpOption.ACFC:
                    agreed.short_address = True
        self.receive = agreed

    def nakked(self, options: tuple[Option, ...]) -> None:
        for each in options:
            if each.kind == LcpOption.MRU and len(each.value) == 2:
                told = int.from_bytes(each.value, "big")
                if told <= self.wishes.takes:
                    self._options[LcpOption.MRU] = told.to_bytes(2, "big")
                elif self.wishes.takes < MRU_DEFAULT:
                    self.refusal = f"the peer wants an MRU of {told}, {self.wishes.takes} bytes are all this side takes"
                else:
                    self._options[LcpOption.MRU] = self.wishes.takes.to_bytes(2, "big")
            elif each.kind == LcpOption.ACCM and len(each.value) == 4 and LcpOption.ACCM in self._options:
                both = int.from_bytes(each.value, "big") | int.from_bytes(self._options[LcpOption.ACCM], "big")
                self._options[LcpOption.ACCM] = both.to_bytes(4, "big")
            elif each.kind == LcpOption.MAGIC and LcpOption.MAGIC in self._options:
                self.magic = self.draw()
                self._options[LcpOption.MAGIC] = self.magic.to_bytes(4, "big")

    def rejected(self, options: tuple[Option, ...]) -> None:
        for each in options:
            self._options.pop(each.kind, None)
            if each.kind == LcpOption.MAGIC:
                self.magic = 0
            elif each.kind == LcpOption.MRU and self.wishes.takes < MRU_DEFAULT:
                self.refusal = f"the peer rejects the MRU option, {self.wishes.takes} bytes are all this side takes"

    def _take(self, option: Option, agreed: LcpAgreed) -> Option | None:
        """Note an option of the peer's; gives the value that would be taken instead where this one is not."""
        number = int.from_bytes(option.value, "big")
        match option.kind:
            case LcpOption.MRU:
                if number < MRU_MIN:
                    return Option(option.kind, MRU_MIN.to_bytes(2, "big"))
                agreed.mru = min(number, MRU_MAX)
            case LcpOption.ACCM:
                agreed.accm = number
            case LcpOption.MAGIC:
                if number == 0 or (self.magic and number == self.magic):
                    self.looped += number != 0
                    return Option(option.kind, self.draw().to_bytes(4, "big"))
                self.looped = 0
                agreed.magic = number
            case LcpOption.PFC:
                agreed.short_protocol = True
            case LcpOption.ACFC:
                agreed.short_address = True
        return None


_LENGTHS: Final = {LcpOption.MRU: 2, LcpOption.ACCM: 4, LcpOption.MAGIC: 4, LcpOption.PFC: 0, LcpOption.ACFC: 0}


def _known(option: Option) -> bool:
    """No authentication and no quality reports here: they are rejected, as is what has a length of its own."""
    return _LENGTHS.get(LcpOption(option.kind)) == len(option.value) if option.kind in _KINDS else False


_KINDS: Final = frozenset(_LENGTHS)
