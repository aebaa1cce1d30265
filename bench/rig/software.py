"""The software chain: reference cards on virtual lines, as many as a point asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from bench.card.applications import DATAGRAMS
from bench.card.applications.installed import ApplicationError, carried
from bench.card.card import Card
from bench.card.defects import DEFECTS, Defect
from bench.card.pps_behaviour import PpsBehaviour
from bench.card.profile import MEMORY, Application, CardProfile
from bench.engine import Engine, Timebase
from bench.hop.link import PollPlan
from bench.hop.parking import ParkingLot
from bench.iso7816.atr import SpecificMode
from bench.iso7816.atr_values import Edc
from bench.iso7816.disturbance import Disturbance, NoiseBurst
from bench.iso7816.line import CardEnd
from bench.iso7816.port import TerminalPort
from bench.iso7816.t1_block import INF_MAX
from bench.observe import Sink
from bench.readers.activation import Wishes
from bench.readers.software import SoftwareReader
from bench.readers.wrappers import Cutting, Recorded
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.ip_network import ip_profile

PLAIN: Final = "plain"
REFERENCE: Final = "reference"
MODES: Final[Mapping[str, SpecificMode | None]] = MappingProxyType(
    {
        "negotiable": None,
        "specific": SpecificMode(0, can_change=True),
        "specific-fixed": SpecificMode(0, can_change=False),
        "implicit": SpecificMode(0, can_change=False, implicit=True),
    }
)
_NUMBER: Final = MappingProxyType({"T=0": 0, "T=1": 1})
CUT_SILENCE_NS: Final = 10 * 10**6
"""How long a cut exchange takes to be noticed; a line's own waiting time would only make the runs longer."""


def profile_named(name: str, given: Given, number: int) -> CardProfile:
    """The reference card's profile for place ``number`` of a chain. Raises RigError for a profile nobody knows."""
    card = CardProfile(
        identity=b"CB%04d" % number,
        ta1=given.ta1,
        mtu=given.mtu,
        card_time_ns=given.card_time.ns,
        applications=_applications(),
        hop=name != PLAIN,
        wi=given.wi,
        extra_guard_time=given.extra_guard_time,
        classes=given.classes or "",
        specific=_mode(given),
        protocols=_offered(given),
        ifsc=given.ifsc or INF_MAX,
        edc=Edc.CRC if given.edc == "CRC" else Edc.LRC,
        pps=given.pps or PpsBehaviour.SOUND,
        nulls=given.nulls or 0,
        wtxs=given.wtxs or 0,
        channel_stack=given.stack != "ip",
        ip=None if given.stack == "channel" or name == PLAIN else ip_profile(given, number),
        ip_applications=DATAGRAMS,
    )
    if name in (REFERENCE, PLAIN):
        return card
    if name in MEMORY:
        return card.with_memory(name)
    raise RigError(f"no profile named {name!r}: the software card has {', '.join((REFERENCE, PLAIN, *MEMORY))}")


def _applications() -> tuple[tuple[str, Application], ...]:
    try:
        return carried()
    except ApplicationError as error:
        raise RigError(str(error)) from error


def _offered(given: Given) -> tuple[int, ...]:
    """The protocols of the card. Raises RigNotAble where they do not go with the other conditions."""
    offers = given.offers or given.protocol
    protocols = (0, 1) if offers == "both" else (_NUMBER[offers],)
    if _NUMBER[given.protocol] not in protocols:
        raise RigNotAble(f"{given.protocol} is to be used, the card offers {offers} only")
    if 1 not in protocols and (given.ifsc is not None or given.edc is not None or given.wtxs):
        raise RigNotAble("IFSC, EDC and WTX requests belong to T=1, which the card does not offer")
    if 0 not in protocols and (given.wi is not None or given.nulls):
        raise RigNotAble("WI and NULL bytes belong to T=0, which the card does not offer")
    return protocols


def _mode(given: Given) -> SpecificMode | None:
    mode = MODES[given.mode or "negotiable"]
    return None if mode is None else replace(mode, protocol=_NUMBER[given.protocol])


def wishes_of(given: Given) -> Wishes:
    """What the terminal wants of the cards."""
    return Wishes(
        ta1=given.ta1,
        protocol=_NUMBER[given.protocol],
        pps2=given.pps2,
        pps3=given.pps3,
        classes=given.voltage or "A",
        fallback=bool(given.pps_fallback),
    )


def disturbance_of(given: Given, timebase: Timebase, seed: int) -> Disturbance:
    """What characters suffer on one line; each line has a seed of its own."""
    jitter = given.jitter.ticks(timebase) if given.jitter is not None else 0
    noise = given.noise or 0.0
    if given.noise_length is None:
        return Disturbance(seed, noise, jitter)
    return Disturbance(seed, 0.0, jitter, NoiseBurst(noise, given.noise_length))


def defect_named(name: str) -> Defect:
    """A defect of the reference card. Raises RigError for one nobody knows."""
    if name not in DEFECTS:
        raise RigError(f"no defect named {name!r}: the software card has {', '.join(DEFECTS)}")
    return DEFECTS[name]


@dataclass(slots=True)
class Place:
    """One place of a chain: the card, and the terminal side that the card before it (or the host) has towards it."""

    card: Card
    end: CardEnd
    """The card's end of its line, with whatever defect it has."""
    reader: SoftwareReader
    cutter: Cutting
    port: TerminalPort


class SoftwareChain:
    """Cards in a row. ``remove`` and ``insert`` are the hands."""

    def __init__(self, engine: Engine, given: Given, poll: PollPlan, detects: bool, sink: Sink, seed: int = 0) -> None:
        self.places: list[Place] = []
        self.lot = ParkingLot()
        for number in range(1, given.cards + 1):
            reader = SoftwareReader(engine, given.clock_hz, given.ta1, detects=detects)
            reader.wishes = wishes_of(given)
            defect = defect_named(given.defect) if given.defect is not None and number == 1 else None
            if given.disturbed or (defect is not None and defect.disturbs):
                reader.disturb(disturbance_of(given, engine.timebase, seed + number), given.mismatch_ppm or 0)
            cutter = Cutting(reader, engine, engine.timebase.nanoseconds(CUT_SILENCE_NS))
            port = Recorded(cutter, number, sink, now=lambda: engine.now)
            profile = profile_named(given.profile, given, number)
            card = Card(engine, profile if defect is None else defect.profile(profile), poll, sink)
            if defect is not None:
                defect.card(card)
            end = card.contacts if defect is None else defect.end(card.contacts)
            reader.insert(end)
            if self.places:
                self.places[-1].card.attach_io2(port, number)
            self.places.append(Place(card, end, reader, cutter, port))

    @property
    def cards(self) -> list[Card]:
        return [place.card for place in self.places]

    def park_idle_polls(self) -> ParkingLot:
        """From now on idle polls cost no events, where nobody wants to see each. Call it under the virtual clock, before anything is powered."""
        for place in self.places:
            place.reader.lot = self.lot
        return self.lot

    def remove(self, number: int) -> None:
        """Take card ``number`` off its hop."""
        self.places[number - 1].reader.remove()

    def close_up(self, number: int) -> None:
        """Take card ``number`` out, and put the one behind it (there must be one) in its place: every card from there on has another number."""
        gone, following = self.places[number - 1], self.places[number]
        gone.reader.remove()
        following.reader.remove()
        gone.reader.insert(following.end)
        self.places[number - 1 : number + 1] = [
            Place(following.card, following.end, gone.reader, gone.cutter, gone.port)
        ]

    def insert(self, number: int) -> None:
        """Put card ``number`` back."""
        place = self.places[number - 1]
        place.reader.insert(place.end)
