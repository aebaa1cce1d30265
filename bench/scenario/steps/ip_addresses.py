"""The addresses of the cards: given, taken away, changed; and the routes to them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as count_from
from typing import Annotated, ClassVar, Final

from pydantic import Field

from bench.net.chain_control import AddressPacket
from bench.net.chain_control import address_of as numbered
from bench.net.protocols import text
from bench.rig.hands import Move
from bench.rig.ip_network import IpNetwork, static_address
from bench.rig.software import SoftwareChain
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.hands import able_hands
from bench.scenario.steps.ip_support import HOST, VERSIONS, Pinger, Version, address_of, network, station
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Span, Truth, Whole

AGAIN: Final = Span(2 * 10**9)
"""After so long a card that does not answer is asked again."""


class ExpectAddresses(Step):
    """Waits until every card has an address of each version, known to the host, and holds that they are the right ones and nobody has one twice.

    Example:
        - expect_addresses: {within: 10 s}
          measure:
            addressing_time: {at_most: 5000, unit: ms}
    """

    verb: ClassVar[str] = "expect_addresses"
    measures: ClassVar = {
        "addressing_time": Measure("ms", "from the beginning of the step until the last card had its last address")
    }

    within: Annotated[Duration, Field(description="how long the whole chain may take")] = Span(60 * 10**9)
    cards: Annotated[Count | None, Field(description="how many cards; those of `given` where it is not said")] = None
    without: Annotated[Whole, Field(description="how many cards must be told that the pool has no address left")] = 0
    names: Annotated[Truth, Field(description="true: each card must have the name that it claims, too")] = False

    def run(self, context: StepContext) -> None:
        net, chain = network(context), context.rig.chain
        count = self.cards if self.cards is not None else context.point.given.cards
        how = context.point.given.addressing or "numbered"
        seen = _of_software(net, chain, count) if chain is not None else _of_host(net, count, how)
        begun = context.engine.now

        def done() -> bool:
            cards = seen()
            told = sum(card.told and not card.addresses for card in cards)
            served = sum(len(card.addresses) == len(net.versions) and card.agreed for card in cards)
            named = not self.names or all(card.name for card in cards)
            return served + told == count and named

        wait(context, done, self.within)
        cards = seen()
        if not done():
            have = [[text(each) for each in card.addresses] for card in cards]
            context.fail(f"not every card has its addresses within {self.within}: {have}")
        told = sum(card.told and not card.addresses for card in cards)
        if told != self.without:
            context.fail(f"{told} cards were told that there is no address, expected {self.without}")
        if chain is None:
            self._answered(context, cards)
        context.measured("addressing_time", milliseconds(context, context.engine.now - begun))
        self._check(context, cards)

    def _check(self, context: StepContext, cards: "list[Addressed]") -> None:
        """The right addresses, and no two the same."""
        net, how = network(context), context.point.given.addressing or "numbered"
        taken: set[bytes] = set(net.router.node.own)
        for number, card in enumerate(cards, 1):
            for each in card.addresses:
                if each in taken:
                    context.fail(f"card {number} has {text(each)}, which is somebody's already")
                taken.add(each)
                wanted = self._wanted(context, how, number, len(each))
                if wanted is not None and each != wanted:
                    context.fail(f"card {number} has {text(each)}, expected {text(wanted)}")
                pools = net.router.router_settings.pools
                if how == "pool" and not any(pool.holds(each) for pool in pools):
                    context.fail(f"card {number} has {text(each)}, which is not the pool's")

    def _answered(self, context: StepContext, cards: "list[Addressed]") -> None:
        """A card that shows nothing of itself has an address where it answers a ping there: it may still be on its way to the card."""
        end = context.engine.now + self.within.ticks(context.engine.timebase)
        for number, card in enumerate(cards, 1):
            for each in card.addresses:
                with Pinger(context, station(context, HOST), each) as pinger:
                    for sequence in count_from(1):
                        if pinger.ping(sequence, b"", AGAIN).back is not None:
                            break
                        if context.engine.now >= end:
                            context.fail(f"card {number} does not answer at {text(each)} within {self.within}")

    def _wanted(self, context: StepContext, how: str, number: int, size: int) -> bytes | None:
        if how == "static":
            return static_address(number, size)
        return numbered(network(context).router.prefixes[size], number) if how == "numbered" else None


@dataclass(frozen=True, slots=True)
class Addressed:
    """What is known of one card."""

    addresses: tuple[bytes, ...] = ()
    agreed: bool = True
    """The host knows each of them as this card's."""
    told: bool = False
    """It was refused an address of each version."""
    name: str = ""


def _of_software(net: IpNetwork, chain: SoftwareChain, count: int) -> Callable[[], list[Addressed]]:
    """By the cards themselves."""

    def card(number: int) -> Addressed:
        ip = chain.cards[number - 1].ip
        if ip is None:
            return Addressed()
        agreed = set(ip.addresses) <= set(net.router.addresses(number))
        return Addressed(ip.addresses, agreed, len(ip.refusals) >= len(net.versions), ip.name)

    return lambda: [card(number) for number in range(1, count + 1)]


def _of_host(net: IpNetwork, count: int, how: str) -> Callable[[], list[Addressed]]:
    """By the host, of cards that show nothing of themselves: the addresses that have come in the way that is given."""

    def card(number: int) -> Addressed:
        router = net.router
        record = router.cards.get(number)
        refused = [each for each in router.refused if isinstance(each, AddressPacket) and each.node == number]
        have = dict(record.addresses) if record is not None else {}
        given = tuple(each for each, came in have.items() if came == how)
        return Addressed(given, told=len(refused) >= len(net.versions), name=record.name if record is not None else "")

    return lambda: [card(number) for number in range(1, count + 1)]


class ExpectIpRoute(Step):
    """Holds that the host has a route to a card, or has none any more.

    Example:
        - expect_ip_route: {to: 3, present: false}
    """

    verb: ClassVar[str] = "expect_ip_route"

    to: Annotated[Count, Field(description="the card")]
    present: Annotated[Truth, Field(description="false: there must be none")] = True
    within: Annotated[Duration, Field(description="how long it may take")] = Span(30 * 10**9)

    def run(self, context: StepContext) -> None:
        router = network(context).router
        for version in network(context).versions:
            where = numbered(router.prefixes[VERSIONS[version]], self.to)
            own = [each for each in router.addresses(self.to) if len(each) == len(where)]
            wanted = own[0] if own else where

            def holds(wanted: bytes = wanted) -> bool:
                return (router.route_to(wanted) is not None) is self.present

            wait(context, holds, self.within)
            if not holds():
                word = "no" if self.present else "still a"
                context.fail(f"the host has {word} route to card {self.to} ({text(wanted)})")


class IpRemoveCard(Step):
    """Takes a card off the chain, and measures until both sides know: the host has no route to it or any card behind it, and those have no address.

    Example:
        - ip_remove_card: {card: 2}
          measure:
            known: {at_most: 5000, unit: ms}
    """

    verb: ClassVar[str] = "ip_remove_card"
    measures: ClassVar = {"known": Measure("ms", "from the removal until the side (host, cards) knew")}

    card: Annotated[Count, Field(description="which card, by its number")]
    within: Annotated[Duration, Field(description="how long it may take until both sides know")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        hands = able_hands(context, Move.PULL, self.card)
        net, rig = network(context), context.rig
        router = net.router
        where = [each for number in router.cards if number >= self.card for each in router.addresses(number)]
        begun = context.engine.now
        known: dict[str, int] = {}
        sides = ("host", "cards") if rig.chain is not None else ("host",)  # no other card tells when it knew

        def both() -> bool:
            if "host" not in known and all(router.route_to(each) is None for each in where):
                known["host"] = context.engine.now
            cards = rig.chain.cards[self.card - 1 :] if rig.chain is not None else ()
            if cards and "cards" not in known and all(card.ip is None or not card.ip.addresses for card in cards):
                known["cards"] = context.engine.now
            return len(known) == len(sides)

        rig.away = True
        hands.pull(self.card)
        wait(context, both, self.within)
        for side in sides:
            if side not in known:
                context.fail(f"the {side} did not know within {self.within} that card {self.card} was gone")
            context.measured("known", milliseconds(context, known[side] - begun), detail=side)


class IpInsertCard(Step):
    """Puts a card back, and holds that it and every card behind it have the addresses they had before.

    Example:
        - ip_insert_card: {card: 2}
          measure:
            back: {at_most: 10000, unit: ms}
    """

    verb: ClassVar[str] = "ip_insert_card"
    measures: ClassVar = {"back": Measure("ms", "from the insertion until the last card had its addresses again")}

    card: Annotated[Count, Field(description="which card, by its number")]
    within: Annotated[Duration, Field(description="how long it may take")] = Span(120 * 10**9)

    def run(self, context: StepContext) -> None:
        hands = able_hands(context, Move.INSERT, self.card)
        net, chain = network(context), context.rig.chain
        count = context.point.given.cards
        how = context.point.given.addressing or "numbered"
        seen = _of_software(net, chain, count) if chain is not None else _of_host(net, count, how)
        begun = context.engine.now
        hands.insert(self.card)

        def back() -> bool:
            return all(
                len(card.addresses) == len(net.versions)
                and all(net.router.route_to(each) is not None for each in card.addresses)
                for card in seen()[self.card - 1 :]
            )

        wait(context, back, self.within)
        context.rig.away = False
        if not back():
            context.fail(f"not every card from {self.card} on has its addresses again within {self.within}")
        context.measured("back", milliseconds(context, context.engine.now - begun))


class ReassignAddress(Step):
    """Has the host give a card another address while it is busy: the connections from the old one must end in resets (``expect_ended`` holds that).

    Example:
        - reassign_address: {card: 1}
    """

    verb: ClassVar[str] = "reassign_address"
    measures: ClassVar = {"reassigned": Measure("ms", "until the card has the new address alone")}

    card: Annotated[Count, Field(description="which card, by its number")]
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long it may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        net, chain = network(context), context.rig.chain
        size = VERSIONS[int(self.version)]
        address_of(context, str(self.card), int(self.version))
        new = static_address(100 + self.card, size)
        begun = context.engine.now
        context.engine.call(lambda: net.router.reassign(self.card, new))
        if chain is None:
            with Pinger(context, station(context, HOST), new) as pinger:
                if pinger.ping(1, b"", self.within).back is None:
                    context.fail(f"card {self.card} does not answer at {text(new)}, which it was granted")
        else:
            ip = chain.cards[self.card - 1].ip
            assert ip is not None

            def done() -> bool:
                return [each for each in ip.addresses if len(each) == size] == [new]

            wait(context, done, self.within)
            if not done():
                context.fail(f"card {self.card} has {[text(each) for each in ip.addresses]}, granted was {text(new)}")
        context.measured("reassigned", milliseconds(context, context.engine.now - begun))
