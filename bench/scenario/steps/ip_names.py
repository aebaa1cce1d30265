"""Names of cards, and the uplink they are found over."""

import ipaddress
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.net.chain_control import NamePacket
from bench.net.dns import PORT, DnsError, query, read_answer, ttl_of
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import OUTSIDE, Version, Who, network, station
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Line, Number, Span, Whole

TRIES = 3


class LookupName(Step):
    """Asks the host's name server for a card's name, over UDP, and holds that the answer is the card's address with a TTL of at most 5 s.

    Example:
        - lookup_name: {name: card-2, card: 2}
        - lookup_name: {name: card-2, card: 0}       # no address: the card is not there
    """

    verb: ClassVar[str] = "lookup_name"
    measures: ClassVar = {
        "ttl": Measure("s", "time to live of the answer"),
        "lookup_time": Measure("ms", "from the query to the answer"),
    }

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    name: Annotated[Line, Field(description="the card's name, without the zone")]
    card: Annotated[Whole, Field(description="the card that must be meant; 0: there must be no address")]
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long each of three tries may take")] = Span(20 * 10**9)

    def run(self, context: StepContext) -> None:
        net = network(context)
        origin = station(context, self.origin)
        version = int(self.version)
        server = next(each for each in net.router.node.own if len(each) == (4 if version == 4 else 16))
        name = f"{self.name}.{net.zone.origin}"
        port = context.engine.call(lambda: origin.udp.bind(remote=(server, PORT)))
        try:
            for _ in range(TRIES):
                identifier = context.random.getrandbits(16)
                try:
                    asked = query(identifier, name, version)
                except DnsError as error:
                    raise BenchFault(str(error)) from None
                begun = context.engine.now
                context.engine.call(
                    lambda asked=asked: origin.udp.send(port, server, PORT, asked, context.engine.now)  # type: ignore[misc]
                )
                wait(context, lambda: len(port) > 0, self.within)
                datagram = context.engine.call(port.take)
                if datagram is not None:
                    break
            else:
                context.fail(f"no answer for {name} after {TRIES} queries")
        finally:
            context.engine.call(lambda: origin.udp.close(port))
        context.measured("lookup_time", milliseconds(context, context.engine.now - begun))
        try:
            found = read_answer(datagram.payload, identifier, name)
        except DnsError as error:
            context.fail(f"the answer for {name}: {error}")
        ttl = ttl_of(datagram.payload)
        context.measured("ttl", ttl)
        if ttl > 5:
            context.fail(f"the answer for {name} may be believed for {ttl} s")
        have = [str(ipaddress.ip_address(each)) for each in station(context, str(self.card)).known] if self.card else []
        if self.card and (found is None or not set(found) <= set(have)):
            context.fail(f"{name} is said to be {found}, card {self.card} is {have}")
        if not self.card and found is not None:
            context.fail(f"{name} is said to be {found}, where nobody should be")


class ExpectName(Step):
    """Holds that a card has been granted the name it claims, or was refused it.

    Example:
        - expect_name: {card: 2, granted: ""}
    """

    verb: ClassVar[str] = "expect_name"

    card: Annotated[Count, Field(description="the card")]
    granted: Annotated[Line | Literal[""], Field(description="the name; empty: it must have been refused")]
    within: Annotated[Duration, Field(description="how long it may take")] = Span(30 * 10**9)

    def run(self, context: StepContext) -> None:
        told = self._by_card if context.rig.chain is not None else self._by_host
        wait(context, lambda: self._as_expected(*told(context)), self.within)
        name, refused = told(context)
        if not self._as_expected(name, refused):
            context.fail(f"card {self.card} has the name {name!r}, expected {self.granted or 'a refusal'!r}")

    def _as_expected(self, name: str, refused: bool) -> bool:
        return name == self.granted and (refused or bool(self.granted))

    def _by_card(self, context: StepContext) -> tuple[str, bool]:
        """The card's name, and whether it was refused one."""
        station(context, str(self.card))
        chain = context.rig.chain
        ip = None if chain is None else chain.cards[self.card - 1].ip
        assert ip is not None
        return ip.name, any(isinstance(each, NamePacket) for each in ip.refusals)

    def _by_host(self, context: StepContext) -> tuple[str, bool]:
        """The same, of a card that shows nothing of itself."""
        router = network(context).router
        record = router.cards.get(self.card)
        refused = any(isinstance(each, NamePacket) and each.node == self.card for each in router.refused)
        return record.name if record is not None else "", refused


class SetUplink(Step):
    """Changes the host's uplink from now on. What is not named stays as it is.

    Example:
        - set_uplink: {latency: 300 ms, bandwidth: 40000, loss: 0.02}
    """

    verb: ClassVar[str] = "set_uplink"

    latency: Annotated[Duration | None, Field(description="one way")] = None
    jitter: Annotated[Duration | None, Field(description="what chance adds to the latency, at most")] = None
    bandwidth: Annotated[Whole | None, Field(description="bits a second, each way; 0: without bound")] = None
    loss: Annotated[Number | None, Field(description="probability that a packet is lost", ge=0, le=1)] = None
    duplication: Annotated[Number | None, Field(description="probability that a packet comes twice", ge=0, le=1)] = None
    queue: Annotated[Count | None, Field(description="bytes that may wait, each way")] = None
    mtu: Annotated[
        Count | None, Field(description="longest packet; only the host knows at once, others are told", ge=576, le=9000)
    ] = None

    def run(self, context: StepContext) -> None:
        line, router = network(context).line, network(context).router
        timebase = context.engine.timebase
        old = line.settings
        new = replace(
            old,
            latency=old.latency if self.latency is None else self.latency.ticks(timebase),
            jitter=old.jitter if self.jitter is None else self.jitter.ticks(timebase),
            bandwidth=old.bandwidth if self.bandwidth is None else self.bandwidth,
            loss=old.loss if self.loss is None else self.loss,
            duplication=old.duplication if self.duplication is None else self.duplication,
            mtu=old.mtu if self.mtu is None else self.mtu,
            queue=old.queue if self.queue is None else self.queue,
        )

        def change() -> None:
            line.settings = new
            if router.uplink_interface is not None:
                router.uplink_interface.mtu = new.mtu

        context.engine.call(change)
