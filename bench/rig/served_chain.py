"""The served chain: reference cards of virtual time, the first of them for somebody outside. Taken at its contacts, or as a card of whole APDUs."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.card.card import Card
from bench.engine import Timebase, VirtualEngine
from bench.hop.limit import T0Limit
from bench.hop.link import PollPlan
from bench.iso7816.atr import parse_atr
from bench.iso7816.line import CardEnd
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import T0Timing
from bench.observe import NullSink
from bench.rig.given import Given
from bench.rig.orders import ServeOrder, Told
from bench.rig.software import SoftwareChain
from bench.serve.pace import Pace
from bench.serve.vpcd import ServedCard


@dataclass(frozen=True, slots=True)
class ServedChain:
    """A fresh chain, at tick 0 of its own engine and without power."""

    engine: VirtualEngine
    chain: SoftwareChain
    given: Given
    order: ServeOrder

    @property
    def card(self) -> Card:
        """The first card."""
        return self.chain.cards[0]

    @property
    def atr(self) -> bytes:
        return self.card.profile.atr

    @property
    def end(self) -> CardEnd:
        """The first card's contacts, with whatever defect it has; on no line yet."""
        place = self.chain.places[0]
        place.reader.remove()
        return place.end

    @property
    def paced(self) -> bool:
        return self.order.paced

    def whole_apdus(self) -> ServedCard:
        """The first card for a transport that has no line: paced, if at all, by what its line would take."""
        given, timebase, card = self.given, self.engine.timebase, self.card
        timing = T0Timing.at_rate(parse_atr(card.profile.atr), Rate(given.ta1), given.clock_hz, timebase)
        pace = Pace(T0Limit(timing.etu, timing.pitch_to_card, given.card_time.ticks(timebase)))
        if card.ip is not None:
            # its time goes on at the pace of this line, which its contacts do not show
            card.ip.etu = lambda: timing.etu
        return ServedCard(card, card.profile.atr, self.engine, pace, self.order.paced)

    def told(self) -> Told:
        """What the first card sees at its contacts now."""
        contacts = self.card.contacts
        if not contacts.powered:
            return Told(False)
        return Told(True, contacts.rate.f, contacts.rate.d, 1 if contacts.ifsd else 0)


def serve_chain(order: ServeOrder, clocks: Sequence[int] = ()) -> ServedChain:
    """A fresh chain as ordered, in a timebase that has room for the reader's ``clocks`` too. Raises RigNotAble, RigError and ValueError."""
    given = Given.model_validate(order.given)
    engine = VirtualEngine(Timebase.for_clocks(given.clock_hz, *clocks))
    timebase = engine.timebase
    if given.poll is not None:
        poll = PollPlan(given.poll.ticks(timebase), given.poll.ticks(timebase))
    else:
        first, longest = (round(ms * 10**6) for ms in (order.polls.first_ms, order.polls.longest_ms))
        poll = PollPlan(timebase.nanoseconds(first), timebase.nanoseconds(longest))
    chain = SoftwareChain(engine, given, poll, False, NullSink())
    if given.defect is None:
        chain.park_idle_polls()
    return ServedChain(engine, chain, given, order)
