"""Cards whose PPP is wrong: packets of LCP that are left out (RFC 1661). The link is the reference one, but for what it sends."""

from collections.abc import Callable
from typing import Final

from bench.card.card import Card
from bench.card.defects import Defect
from bench.card.defects.parts import become
from bench.card.ppp import CardPpp
from bench.net.ppp.link import PppLink
from bench.net.ppp.packets import Code, PppProtocol

Change = Callable[[PppLink], None]


def _linked(change: Change) -> Callable[[Card], None]:
    """Each link of the card is altered, also those after a reset."""

    class Altered(CardPpp):
        def _begin(self) -> None:
            super()._begin()
            change(self.link)

    def alter(card: Card) -> None:
        if not isinstance(card.ip, CardPpp):
            raise ValueError("this defect is one of PPP: 'given' must say 'addressing: ppp'")
        become(card.ip, Altered)
        change(card.ip.link)

    return alter


def _without(code: Code) -> Change:
    """LCP packets of this code are not sent."""
    head = PppProtocol.LCP.to_bytes(2, "big") + bytes((code,))

    def change(link: PppLink) -> None:
        send = link.send
        link.send = lambda frame: None if frame.startswith(head) else send(frame)

    return change


def _any_length(link: PppLink) -> None:
    link.settings.ipv6_least = 0


def _defect(name: str, text: str, requirement: str, change: Change) -> Defect:
    return Defect(name, text, requirement, card=_linked(change), parks=True)


DEFECTS: Final = (
    _defect(
        "unknown-codes-passed-over",
        "does not reject codes that it does not know",
        "PPP-LCP-8",
        _without(Code.CODE_REJECT),
    ),
    _defect(
        "unknown-protocols-passed-over",
        "does not reject protocols that it does not know",
        "PPP-LCP-9",
        _without(Code.PROTOCOL_REJECT),
    ),
    _defect("echo-unanswered", "does not answer echo requests", "PPP-LCP-10", _without(Code.ECHO_REPLY)),
    _defect(
        "terminate-unanswered", "does not acknowledge that the link ends", "PPP-LCP-11", _without(Code.TERMINATE_ACK)
    ),
    _defect(
        "options-not-rejected",
        "does not reject options that it does not know",
        "PPP-LCP-4",
        _without(Code.CONFIGURE_REJECT),
    ),
    _defect(
        "ipv6-over-a-short-mru", "offers IPv6 where the MRU does not carry 1280 bytes", "PPP-IPV6CP-3", _any_length
    ),
)
"""Every card whose PPP is wrong."""
