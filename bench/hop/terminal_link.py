"""The terminal's side of a hop at work: a port with a card (or none) behind it becomes a link.

Brings the card up (answer to reset, then whatever the stack's greeting is), keeps HopTerminal's commands going over the port, puts ordinary APDUs in
between them, and notices when the card goes. Follows docs/protocol.md, 1.5 to 1.7 and 2.

Longer than other files: bringing up, hop commands and APDUs take turns at the one port.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from bench.engine import POLL, Engine, Timer
from bench.hop.link import PollPlan
from bench.hop.parking import IdlePolls, ParkingPort
from bench.hop.queue import FairQueue, Queued
from bench.hop.segment import AROUND_ENVELOPE, MAX_SEGMENT, Kind, segment_length
from bench.hop.terminal import HopDownError, HopTerminal
from bench.iso7816.apdu import CommandApdu, ResponseApdu, parse_response
from bench.iso7816.atr import AtrError, parse_atr, read_atr
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp, TerminalPort, WarmResets
from bench.iso7816.transport import ApduOverT0, takes_chains
from bench.observe import Direction, LinkChange, Packet, Sink

KIND_NAMES = {Kind.CONTROL: "control", Kind.CHANNEL: "channel", Kind.IPV4: "ipv4", Kind.IPV6: "ipv6", Kind.PPP: "ppp"}


@dataclass(frozen=True, slots=True)
class ApduOutcome:
    """An ordinary APDU's answer, or why there is none."""

    response: ResponseApdu | None
    error: str
    start: int
    end: int


@dataclass(slots=True)
class _ApduJob:
    command: CommandApdu
    done: Callable[[ApduOutcome], None]


class TerminalLink:
    """A Link over a TerminalPort. Polls while up; looks for a card every ``poll.longest`` while down."""

    def __init__(
        self, engine: Engine, port: TerminalPort, hop: int, mtu: int, poll: PollPlan, sink: Sink, *, greets: bool = True
    ) -> None:
        self.engine = engine
        self.port = port
        self.hop = hop
        self.poll = poll
        self.sink = sink
        self.greets = greets
        """False where the card has no hop: the port is powered and carries ordinary APDUs alone."""
        self.queue = FairQueue(mtu)
        self.on_packet: Callable[[Kind, bytes], None] = _no_packet
        self.on_change: Callable[[bool, str], None] = _no_change
        self.on_power: Callable[[bool], None] = _no_power
        """Called when the card has answered to reset (True: ordinary APDUs can be carried), and when it is gone or without power (False)."""
        self.greet: Callable[[], bytes] = bytes
        """Gives the packet that greets a card that has just come up; its answer arrives through ``on_packet``."""
        self.has_room: Callable[[], bool] = _always
        self.atr = b""
        self.chaining = False
        """The card says that it takes command chaining (ISO/IEC 7816-4, 12.1.1.8)."""
        self.last_error = ""
        self._mtu = mtu
        self._up = False
        self._powered = False
        self._busy = False
        self._stopped = True
        self._machine: HopTerminal | None = None
        self._apdus: deque[_ApduJob] = deque()
        self._running: _ApduJob | None = None
        self._hop_next = False
        """An ordinary APDU was the last to use the line: the hop has its turn before the next one."""
        self._timer: Timer | None = None
        self._parking = port if isinstance(port, ParkingPort) else None
        self._parked: IdlePolls | None = None

    @property
    def mtu(self) -> int:
        return self._mtu

    @property
    def up(self) -> bool:
        return self._up

    @property
    def powered(self) -> bool:
        """The card has answered to reset."""
        return self._powered

    def start(self) -> None:
        """Begin to look for a card; nothing where that has begun already."""
        if self._stopped:
            self._stopped = False
            self._look()

    def stop(self) -> None:
        """Power the card down and stay silent."""
        self._unpark()
        self._stopped = True
        self._cancel()
        self.port.power_down()
        if self._powered:
            self._went("stopped")
        self._busy = False

    def restart(self, *, warm: bool) -> None:
        """Reset the card and begin afresh; what is under way is lost. A port without warm reset says so in ``last_error`` and stays up."""
        if self._stopped:
            return
        if warm and not isinstance(self.port, WarmResets):
            self.last_error = "this port has no warm reset"
            return
        self._unpark()
        self._cancel()
        if self._powered:
            self._went("reset")
        self._busy = True
        if warm and isinstance(self.port, WarmResets):
            self.port.warm_reset(self._powered_up)
        else:
            self.port.power_up(self._powered_up)

    def greeted(self, mtu: int) -> None:
        """The card's answer to the greeting was good: the hop is up for every kind of packet."""
        if self._machine is None:
            return
        self._mtu = mtu
        self.queue.quantum = mtu
        self._machine.joiner.limit = mtu
        if not self._up:
            self._up = True
            self.sink.emit(LinkChange(self.engine.now, self.hop, "terminal", True, "hello"))
            self.on_change(True, "hello")

    def submit(self, kind: Kind, packet: bytes, flow: Hashable, *, force: bool = False) -> bool:
        if self._parked is not None:
            self._unpark()
        if not self._powered or not self.queue.push(Queued(kind, packet, flow), force=force):
            return False
        if not self._busy and self._powered:
            self._go()
        return True

    def submit_apdu(self, command: CommandApdu, done: Callable[[ApduOutcome], None]) -> None:
        """Carry an ordinary APDU, whole, between two hop exchanges."""
        self._unpark()
        self._apdus.append(_ApduJob(command, done))
        if not self._busy and self._powered:
            self._go()

    # -- coming and going ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._timer = None
        if self._stopped:
            return
        self._busy = True
        self.port.power_up(self._powered_up)

    def _powered_up(self, result: PowerUp) -> None:
        self._busy = False
        if self._stopped:
            return
        if result.error:
            self.last_error = result.error
            self._fail_apdus(result.error)
            self._cancel()
            self._timer = self.engine.after(self.poll.longest, self._look)
            return
        if result.atr != self.atr:
            self.chaining = takes_chains(_historical_bytes(result.atr))
        self.atr = result.atr
        self.last_error = ""
        self._powered = True
        inline = self.port.protocol == 1 or self.port.level is ExchangeLevel.APDU
        machine = HopTerminal(
            self.queue,
            self._mtu,
            explicit=not self.port.fetches_itself,
            inline=inline,
            period=self.poll.first,
            longest=self.poll.longest,
            segment=self._segment(result.atr),
        )
        machine.has_room = self.has_room
        machine.on_sent = lambda kind, packet: self._observe(Kind(kind), packet, Direction.OUT)
        self._machine = machine
        if self.greets:
            self.queue.push(Queued(Kind.CONTROL, self.greet(), None))
        self.on_power(True)
        self._go()

    def _segment(self, atr: bytes) -> int:
        """Segments that fill the blocks of T=1 which carry them."""
        if self.port.protocol == 0:
            return MAX_SEGMENT
        try:
            ifsc = parse_atr(atr).ifsc
        except AtrError:
            return MAX_SEGMENT  # a reader that speaks T=1 with such a card knows how it cuts blocks
        return segment_length(self.port.protocol, ifsc, AROUND_ENVELOPE)

    def _went(self, reason: str) -> None:
        was_up, was_powered = self._up, self._powered
        self._up = False
        self._powered = False
        self._machine = None
        self._hop_next = False
        self.queue.clear()
        self._fail_apdus(reason)
        if was_up:
            self.sink.emit(LinkChange(self.engine.now, self.hop, "terminal", False, reason))
            self.on_change(False, reason)
        if was_powered:
            self.on_power(False)

    def _fail_apdus(self, reason: str) -> None:
        jobs, self._apdus = self._apdus, deque()
        if self._running is not None:
            jobs.appendleft(self._running)
            self._running = None
        for job in jobs:
            job.done(ApduOutcome(None, reason, self.engine.now, self.engine.now))

    def _lost(self, error: HopDownError) -> None:
        self.last_error = str(error)
        self._went(error.reason)
        self.port.power_down()
        if not self._stopped:
            self._cancel()
            self._timer = self.engine.after(self.poll.longest, self._look)

    # -- one exchange after the other ------------------------------------------------------------------------------

    def _go(self) -> None:
        self._cancel()
        machine = self._machine
        if self._busy or machine is None or self._stopped:
            return
        if self._apdus and not machine.in_exchange and not self._hop_next:
            self._run_apdu()
            return
        if not self.greets:
            return
        now = self.engine.now
        self._busy = True  # choosing makes room in the queue, which may bring ``submit`` in again
        command = machine.next_command(now)
        self._hop_next = False
        if command is not None:
            self.port.submit(command, self._answered)
            return
        if self._apdus:
            self._run_apdu()
            return
        self._busy = False
        if machine.deadline > now:
            self._timer = self.engine.at(machine.deadline, self._go, POLL)

    def _answered(self, answer: Answer) -> None:
        self._busy = False
        machine = self._machine
        if machine is None:
            return
        try:
            if answer.error:
                machine.failed(answer.error)
                delivered = None
            else:
                delivered = machine.answered(answer.response, self.engine.now)
        except HopDownError as error:
            self._lost(error)
            return
        if delivered is not None:
            self._observe(delivered.kind, delivered.data, Direction.IN)
            self.on_packet(delivered.kind, delivered.data)
        if not self._busy and not self._park(machine, answer, delivered is None):
            self._go()

    # -- idle polls --------------------------------------------------------------------------------------------------

    def _park(self, machine: HopTerminal, answer: Answer, nothing: bool) -> bool:
        """Stop polling for as long as polls will be answered with nothing; whether that may be."""
        port = self._parking
        if port is None or machine is not self._machine or not machine.idle or self._apdus or self._stopped:
            return False
        seen = answer if nothing and machine.polled and len(answer.response) == 2 else None
        polls = port.idle(machine.poll, seen, machine.poll_due, machine.longest)
        if polls is None:
            return False
        self._parked = polls
        port.park(self._unpark, self._settle)
        return True

    def _settle(self) -> None:
        """Tell of the idle polls that are over."""
        polls, port = self._parked, self._parking
        if polls is None or port is None:
            return
        more = polls.over - polls.told
        if more > 1 and not polls.told and not polls.regular:
            port.tell(polls, 1)
            polls.told, more = 1, more - 1
        if more:
            port.tell(polls, more)
            polls.told += more

    def _unpark(self) -> None:
        """Be where polling would have led to: between two polls, or in the middle of one."""
        polls, port, machine = self._parked, self._parking, self._machine
        if polls is None or port is None or machine is None:
            return
        self._settle()
        self._parked = None
        asked, over = polls.asked, polls.told
        port.unpark(polls, over)
        if asked > over:
            machine.next_command(polls.asked_at(over))
            self._busy = True
            port.resume(polls, over, self._answered)
            return
        if over:
            machine.next_command(polls.asked_at(over - 1))
            machine.answered(polls.course.answer.response, polls.starts_at(over - 1) + polls.course.over)
        self._timer = self.engine.at(polls.asked_at(asked), self._go, POLL)

    def _observe(self, kind: Kind, packet: bytes, direction: Direction) -> None:
        if kind is Kind.CHANNEL and len(packet) >= 4:
            destination, source, channel = packet[1], packet[2], packet[3]
        else:
            destination, source, channel = -1, -1, 0
        node = self.hop - 1
        now = self.engine.now
        name = KIND_NAMES[kind]
        self.sink.emit(Packet(now, node, self.hop, direction, name, source, destination, channel, len(packet), packet))

    def _run_apdu(self) -> None:
        self._busy = True
        self._hop_next = self.greets
        self._running = self._apdus.popleft()
        _ApduRun(self, self._running).start()

    def _apdu_done(self, job: _ApduJob, outcome: ApduOutcome) -> None:
        self._busy = False
        self._running = None
        job.done(outcome)
        if outcome.error and not self.greets:  # no polls here that would notice
            self._lost(HopDownError("absent" if outcome.error == "absent" else "mute", outcome.error))
        elif not self._busy:
            self._go()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _ApduRun:
    """One ordinary APDU under way: as it is where the port takes APDUs, else as the TPDUs of ISO/IEC 7816-3, 12.2."""

    def __init__(self, link: TerminalLink, job: _ApduJob) -> None:
        self.link = link
        self.job = job
        self.begun = link.engine.now
        self.over_t0: ApduOverT0 | None = None

    def start(self) -> None:
        port = self.link.port
        if port.protocol == 0 and port.level is not ExchangeLevel.APDU:
            self.over_t0 = ApduOverT0(self.job.command, chaining=self.link.chaining)
            port.submit(self.over_t0.start().data, self._answered)
        else:
            port.submit(self.job.command.encode(), self._answered)

    def _answered(self, answer: Answer) -> None:
        if answer.error or len(answer.response) < 2:
            self._end(None, answer.error or "an answer without a status word", answer.end)
            return
        if self.over_t0 is None:
            self._end(parse_response(answer.response), "", answer.end)
            return
        step = self.over_t0.step(answer.response)
        if isinstance(step, ResponseApdu):
            self._end(step, "", answer.end)
        else:
            self.link.port.submit(step.data, self._answered)

    def _end(self, response: ResponseApdu | None, error: str, end: int) -> None:
        self.link._apdu_done(self.job, ApduOutcome(response, error, self.begun, end))


def _no_packet(_kind: Kind, _packet: bytes) -> None:
    pass


def _no_change(_up: bool, _reason: str) -> None:
    pass


def _no_power(_on: bool) -> None:
    pass


def _always() -> bool:
    return True


def _historical_bytes(answer: bytes) -> bytes:
    atr = read_atr(answer).atr
    return b"" if atr is None else atr.historical_bytes
