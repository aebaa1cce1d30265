"""Addresses that cards claim while they run, that are kept or not, and prefixes that change."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.card.ip_stack import CardIp
from bench.net.chain_control import AddressPacket, Refusal
from bench.net.chain_control import address_of as numbered
from bench.net.protocols import address, text
from bench.net.routes import Prefix
from bench.rig.ip_network import static_address
from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_packets import Named
from bench.scenario.steps.ip_support import VERSIONS, Version, address_of, network, station
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Span

KNOWN: Final = "ip addresses"
"""The note that ``note_addresses`` leaves: who had which."""
REFUSALS: Final = {
    "in-use": Refusal.IN_USE,
    "exhausted": Refusal.EXHAUSTED,
    "not-permitted": Refusal.NOT_PERMITTED,
}
SETTLE: Final = Span(2 * 10**9)
"""How long a card that was refused is watched."""
NEW: Final = {
    4: (Prefix.parse("10.79.32.0/24"), Prefix.parse("10.79.33.0/24")),
    6: (Prefix.parse("fd79:32::/64"), Prefix.parse("fd79:33::/64")),
}
"""Prefixes that a chain may be given instead of its own."""


class ClaimAddress(Step):
    """Has a card claim an address while it runs, and holds that it is granted, or refused for the reason that is expected and then not used.

    Example:
        - claim_address: {card: 3, address: any}                      # one of the pool
        - claim_address: {card: 3, address: 1, expect: in-use}        # that of card 1
        - claim_address: {card: 3, address: 198.51.100.7, expect: not-permitted}
        - claim_address: {card: 3, address: static, version: 6}       # one from where cards may bring theirs
    """

    verb: ClassVar[str] = "claim_address"
    measures: ClassVar = {"answered": Measure("ms", "until the card knew")}

    card: Annotated[Count, Field(description="which card, by its number")]
    wanted: Annotated[
        Named,
        Field(
            alias="address",
            description="an address, `static`, `any`, or whose it is: a card's number, `host`, `outside`",
        ),
    ]
    expect: Annotated[
        Literal["granted", "in-use", "exhausted", "not-permitted"], Field(description="what the host must answer")
    ] = "granted"
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long the answer may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        ip = _card(context, self.card)
        wanted = self._wanted(context)
        before = set(ip.addresses)
        refused = len(ip.refusals)
        begun = context.engine.now
        context.engine.call(lambda: ip.claim(wanted))

        def fresh() -> list[bytes]:
            return [each for each in ip.addresses if each not in before and len(each) == len(wanted)]

        wait(context, lambda: bool(fresh()) or len(ip.refusals) > refused, self.within)
        context.measured("answered", milliseconds(context, context.engine.now - begun))
        told = [each for each in ip.refusals[refused:] if isinstance(each, AddressPacket)]
        became = next((name for name, why in REFUSALS.items() if told and told[0].reason is why), "no answer")
        if not told and fresh():
            became = "granted"
        what = f"the claim of card {self.card} to {text(wanted)}"
        if became != self.expect:
            context.fail(f"{what}: {became}, expected {self.expect}")
        wait(context, lambda: False, SETTLE)
        if told and (wanted in ip.addresses and wanted not in before):
            context.fail(f"{what} was refused ({became}), and the card uses it all the same")
        if self.expect == "granted" and any(wanted) and fresh() != [wanted]:
            context.fail(f"{what} was granted; the card has {[text(each) for each in fresh()]}")

    def _wanted(self, context: StepContext) -> bytes:
        size = VERSIONS[int(self.version)]
        if self.wanted == "any":
            return bytes(size)
        if self.wanted == "static":
            return static_address(200 + self.card, size)
        try:
            return address(self.wanted)
        except ValueError:
            return address_of(context, self.wanted, int(self.version))


class NoteAddresses(Step):
    """Remembers which card has which addresses, and tells how many have others than when that was done before.

    A card is known by its identity, wherever it is by now.

    Example:
        - note_addresses: {}
        - restart_host: {memory: true}
        - expect_addresses: {}
        - note_addresses: {}
          measure:
            changed: {equals: 0, unit: cards}
    """

    verb: ClassVar[str] = "note_addresses"
    measures: ClassVar = {"changed": Measure("cards", "cards that have other addresses than at the step before")}

    def run(self, context: StepContext) -> None:
        network(context)
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("cards that show nothing of themselves cannot be told apart: a software rig can")
        now = {card.profile.identity: frozenset(card.ip.addresses) for card in chain.cards if card.ip is not None}
        before = context.notes.get(KNOWN)
        if isinstance(before, dict):
            context.measured("changed", sum(before.get(who, have) != have for who, have in now.items()))
        context.notes[KNOWN] = now


class Renumber(Step):
    """Has the host give the chain another prefix while it runs, and holds that every card has the address of its number in it alone.

    Example:
        - renumber: {version: 6}
    """

    verb: ClassVar[str] = "renumber"
    measures: ClassVar = {"renumbered": Measure("ms", "until the last card had its new address alone")}

    version: Version = "4"
    within: Annotated[Duration, Field(description="how long it may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        router = network(context).router
        size = VERSIONS[int(self.version)]
        new = next(each for each in NEW[int(self.version)] if router.prefixes.get(size) != each)
        cards = {number: _card(context, number) for number in router.cards}
        begun = context.engine.now
        context.engine.call(lambda: router.renumber(new))

        def wrong() -> list[int]:
            return [
                number
                for number, ip in cards.items()
                if [each for each in ip.addresses if len(each) == size] != [numbered(new, number)]
            ]

        wait(context, lambda: not wrong(), self.within)
        if late := wrong():
            have = [text(each) for each in cards[late[0]].addresses]
            context.fail(f"card {late[0]} has {have}, the prefix is {new} by now")
        context.measured("renumbered", milliseconds(context, context.engine.now - begun))


def _card(context: StepContext, number: int) -> CardIp:
    chain = context.rig.chain
    station(context, str(number))
    ip = chain.cards[number - 1].ip if chain is not None else None
    if ip is None:
        raise NotApplicable(f"card {number} is not of this process: it cannot be told what to claim")
    return ip
