"""Hosts that start anew, cards that move to another host, chains that are closed up."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.host.memory import HostMemory
from bench.net.protocols import text
from bench.rig.hands import Move, Side
from bench.rig.ip_hosts import OtherHost, other_host, restart_host
from bench.rig.software_hands import SoftwareHands
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.hands import able_hands
from bench.scenario.steps.ip_support import network
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Span, Truth

OTHER: Final = "other host"
"""The note that ``ip_move_card`` leaves."""


class RestartHost(Step):
    """Ends the host, which powers its cards down, and starts another in its place. With memory it knows the leases and names of the first one, from
    the text that is kept of them; without, nothing.

    Example:
        - restart_host: {memory: true, off: 10 s}
        - assign_addresses: {}
        - expect_addresses: {}
    """

    verb: ClassVar[str] = "restart_host"

    memory: Annotated[Truth, Field(description="whether the new one is given what the old one remembered")] = True
    off: Annotated[Duration, Field(description="how long there is no host")] = Span(5 * 10**9)

    def run(self, context: StepContext) -> None:
        net = context.rig.network
        kept = net.router.memory() if self.memory and net is not None else HostMemory()
        memory = HostMemory.decode(kept.encode())
        context.engine.call(lambda: restart_host(context.rig, memory, context.seed))
        wait(context, lambda: False, self.off)
        context.engine.call(context.rig.host.start)


class CloseUp(Step):
    """Takes a card out of the chain and puts the one behind it in its place: every card from there on has another number. Later steps count anew.

    Example:
        - close_up: {card: 1}
        - assign_addresses: {cards: 2}
        - expect_addresses: {cards: 2}
    """

    verb: ClassVar[str] = "close_up"

    card: Annotated[Count, Field(description="the card that is taken out; there must be one behind it")]
    within: Annotated[Duration, Field(description="how long it may take until the host misses the last one")] = Span(
        60 * 10**9
    )

    def run(self, context: StepContext) -> None:
        able_hands(context, Move.PULL, self.card + 1)
        chain, host = context.rig.chain, context.rig.host
        if chain is None:
            raise NotApplicable("only a software chain can be closed up by the bench")
        last = len(chain.places)
        context.engine.call(lambda: chain.close_up(self.card))
        wait(context, lambda: last not in host.cards, self.within)
        if last in host.cards:
            context.fail(f"the chain has {last - 1} cards by now, the host still lists a card {last}")


class IpMoveCard(Step):
    """Moves a card, with whatever is on its IO#2, to another host on the same network, or back, and holds that its name leads to its addresses there.

    The other host has prefixes of its own, and serves the same zone of names.

    Example:
        - ip_move_card: {card: 2}
          measure:
            named: {at_most: 10000, unit: ms}
    """

    verb: ClassVar[str] = "ip_move_card"
    measures: ClassVar = {
        "moved": Measure("ms", "from the move until the card had its addresses at the other host"),
        "named": Measure("ms", "from the move until the name led to both of them and to nothing else"),
    }

    card: Annotated[Count, Field(description="which card, by its number")]
    to: Annotated[Literal["other", "home"], Field(description="the other host, or its own again")] = "other"
    within: Annotated[Duration, Field(description="how long it may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        hands = able_hands(context, Move.MOVE, self.card)
        net, chain = network(context), context.rig.chain
        if chain is None or not isinstance(hands, SoftwareHands):
            raise NotApplicable("the other host is the bench's own: on a software rig only")
        ip = chain.cards[self.card - 1].ip
        if ip is None or not ip.name:
            context.fail(f"card {self.card} has no name: let it be granted one before the card is moved")
        name = ip.name
        begun = context.engine.now
        other = context.notes.get(OTHER)
        if other is None:
            other = context.notes[OTHER] = context.engine.call(lambda: other_host(context.rig, context.seed + 1))
        if not isinstance(other, OtherHost):
            raise BenchFault("the note of the other host holds something else")
        router = other.router if self.to == "other" else net.router
        hands.move(self.card, Side(self.to))

        def there() -> bool:
            known = {each for record in router.cards.values() for each in record.addresses}
            return len(ip.addresses) == len(net.versions) and set(ip.addresses) <= known

        def named() -> bool:
            found = [net.zone.lookup(f"{name}.{net.zone.origin}", version) or () for version in net.versions]
            return there() and {each for some in found for each in some} == set(ip.addresses) and ip.name == name

        wait(context, there, self.within)
        if not there():
            context.fail(f"card {self.card} has {[text(each) for each in ip.addresses]} at the {self.to} host")
        context.measured("moved", milliseconds(context, context.engine.now - begun))
        wait(context, named, self.within)
        if not named():
            found = net.zone.lookup(f"{name}.{net.zone.origin}", 4) or ()
            have = [text(each) for each in ip.addresses]
            context.fail(f"the name {name!r} leads to {[text(each) for each in found]}, the card has {have}")
        context.measured("named", milliseconds(context, context.engine.now - begun))
