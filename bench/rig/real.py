"""Rigs in real time: a real driver under the monotonic clock, with the reference chain or a lab's own cards behind it."""

from collections.abc import Callable, Mapping
from typing import Final

from bench.engine import MonotonicEngine
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.iso7816.port import ExchangeLevel
from bench.iso7816.rates import RATE_DEFAULT
from bench.observe import Sink
from bench.readers.pcsc import DriverLimits, PcscReader
from bench.readers.wrappers import Recorded
from bench.rig.build import Rig, Tap, poll_plan
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import DEFAULT_CLOCK_HZ, Given
from bench.rig.model import RigModel
from bench.rig.served import ServeOrder
from bench.rig.served_reader import close_served_reader, served_reader
from bench.rig.software import PLAIN, profile_named

NO_RATE: Final = "PC/SC cannot choose a baud rate; the rate is only observed"
NO_CLOCK: Final = "PC/SC cannot choose the card clock"
SERVED_LIMITS: Final = DriverLimits(power=5.0, transmit=8.0, close=3.0)
"""A card of our own answers at once, so that a driver call of a few seconds means that something hangs."""

_quarantined: dict[str, str] = {}


class RealRig(Rig):
    """A rig in real time. What breaks of it ends the step that waits with RigError, and so the point with verdict error."""

    def __init__(
        self,
        engine: MonotonicEngine,
        host: Host,
        uplink: InProcessUplink,
        declares: Mapping[str, object],
        given: Given,
        tap: Tap,
        reader: PcscReader,
        on_hung: Callable[[str], None],
    ) -> None:
        super().__init__(engine, host, uplink, declares, given, None, tap)
        self.reader = reader
        self.time_resolution_ns = reader.time_resolution_ns
        self._engine = engine
        self._on_hung = on_hung
        self._closed = False

    def close(self) -> None:
        """Power down, let go of the reader, stop the clock; closing twice is no mistake. Raises RigError for what broke and nobody heard of yet."""
        if self._closed:
            return
        self._closed = True
        try:
            self._engine.call(self.host.stop)
            self.reader.close()
        finally:
            if self.reader.hung:
                self._on_hung(self.reader.hung)
            self._engine.stop()
        failure = self._engine.failure()
        if failure is not None:
            raise failure


def pcsc_rig(model: RigModel, given: Given, sink: Sink) -> Rig:
    """The rig for one point on a PC/SC reader. Raises RigNotAble and RigError."""
    if given.ta1 != RATE_DEFAULT:
        raise RigNotAble(NO_RATE)
    if given.clock_hz != DEFAULT_CLOCK_HZ:
        raise RigNotAble(NO_CLOCK)
    if cause := _quarantined.get(model.name):
        raise RigError(f"rig {model.name} is in quarantine since: {cause}")
    declares = _served_declares(given) if model.serve is not None else _declares(model, given)
    wanted = model.reader.name
    assert wanted is not None, "the rig model sees to it that a pcsc reader has a name"
    served = served_reader() if model.serve is not None else None
    if served is not None:
        paced = given.card_time.ns > 0
        served.fresh(ServeOrder(given.texts(), paced=paced), wanted)
    engine = MonotonicEngine(model.timebase(given)).start()
    try:
        reader = PcscReader(
            engine,
            wanted,
            exclusive=model.reader.access == "exclusive",
            level=ExchangeLevel.APDU if served is not None else None,
            limits=SERVED_LIMITS if served is not None else None,
        )
        reader.on_fault = lambda text: engine.fail(RigError(f"rig {model.name}: {text}"))
        if served is not None:
            reader.diagnose = served.diagnose
        tap, uplink = Tap(sink), InProcessUplink()
        port = Recorded(reader, 1, tap)
        settings = HostSettings(given.mtu, poll_plan(model, given, engine))
        host = engine.call(lambda: Host(engine, port, uplink, settings, tap, hop=_hop(model, given)))
    except BaseException:
        engine.stop()
        raise

    def hung(cause: str) -> None:
        _quarantined.setdefault(model.name, cause)
        if served is not None:
            close_served_reader()  # which also sets the thread free that hangs in it

    return RealRig(engine, host, uplink, declares, given, tap, reader, hung)


def _hop(model: RigModel, given: Given) -> bool:
    profile = given.profile if model.serve is not None else model.cards[0].profile
    return profile != PLAIN


def _served_declares(given: Given) -> dict[str, object]:
    profile = profile_named(given.profile, given, 1)
    declares: dict[str, object] = {
        "protocol": ("T=0",),
        "cards": given.cards,
        "mtu": profile.mtu,
        "ports": profile.ports,
        **_PATH,
    }
    if profile.hop:
        declares["stack"] = ("channel",)
        declares["channels"] = profile.channels
    return declares


def _declares(model: RigModel, given: Given) -> dict[str, object]:
    """What is known of a lab's own cards without their declaration: how many there are, and whether they speak the hop."""
    if given.cards != len(model.cards):
        raise RigNotAble(f"the rig has {len(model.cards)} cards, the point asks for {given.cards}")
    declares: dict[str, object] = {"protocol": ("T=0",), "cards": len(model.cards), **_PATH}
    if _hop(model, given):
        declares["stack"] = ("channel",)
    return declares


_PATH: Final[Mapping[str, object]] = {
    "level": "apdu",
    "rate": f"no ({NO_RATE})",
    "faults": "no (exchanges cannot be cut behind a real driver)",
    "removable": "no (nobody is there to move cards)",
}
"""What the path itself allows; a "no" with its reason is what a point that needs it is told."""
