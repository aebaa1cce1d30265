"""A line that disturbs: what one burst suffers, what a whole exchange makes of it, and that nothing ever hangs.

Every injected error is one of three: correctable (delivered intact), detectable (a named error within the waiting time), or undetectable (an even
number of inverted bits in one character, which parity cannot see: it is delivered, and the test counts it as residual).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.card.profile import CardProfile
from bench.iso7816.disturbance import (
    CHARACTER_CELLS,
    PPM,
    Delivery,
    Disturbance,
    End,
    Fault,
    NoiseBurst,
    Towards,
    carry,
)
from bench.iso7816.line import Burst
from bench.iso7816.port import Answer, PowerUp
from tests.support import Chain, profile

ETU = 31_000
CYCLE = 1000
DATA = bytes(range(40))
NAMES = ("mute", "parity: ", "protocol: ")


def burst_of(data: bytes = DATA, etu: int = ETU, start: int = 100 * ETU) -> Burst:
    return Burst(data, start, 12 * etu, etu)


def carried(
    faults: dict[int, Fault] | None = None,
    *,
    burst: Burst | None = None,
    sender: End | None = None,
    receiver: End | None = None,
    signals: bool = True,
    jitter: int = 0,
    seed: int = 1,
) -> Delivery:
    burst = burst or burst_of()
    disturbance = Disturbance(seed, jitter=jitter)
    return carry(
        burst,
        faults or {},
        sender or End(burst.etu),
        receiver or End(ETU, CYCLE),
        signals=signals,
        disturbance=disturbance,
    )


def sound(delivery: Delivery) -> bytes:
    return bytes(heard.value for heard in delivery.heard if heard.sound)


# -- one burst ------------------------------------------------------------------------------------------------------------


def test_without_faults_everything_is_heard_where_it_was_sent() -> None:
    burst = burst_of()
    delivery = carried(burst=burst)
    assert delivery.signalled is None
    assert [(heard.value, heard.sound, heard.start) for heard in delivery.heard] == [
        (value, True, burst.start + index * burst.pitch) for index, value in enumerate(DATA)
    ]
    assert delivery.ended == burst.taken
    assert delivery.pieces(burst.pitch, ETU) == [(burst, frozenset())]


@pytest.mark.parametrize("bit", range(1, 11))
@pytest.mark.parametrize("index", [0, 3, 39])
def test_7_3_one_inverted_bit_stops_the_sender_at_that_character(bit: int, index: int) -> None:
    delivery = carried({index: Fault(flips=1 << bit)})
    assert delivery.signalled == index
    assert sound(delivery) == DATA[:index]
    assert [heard.sound for heard in delivery.heard] == [True] * index + [False]
    assert delivery.signalled_at == burst_of().start + index * 12 * ETU + 11 * ETU


@pytest.mark.parametrize("bit", range(1, 10))
def test_11_2_under_t1_nobody_is_told_and_the_character_is_marked(bit: int) -> None:
    delivery = carried({3: Fault(flips=1 << bit)}, signals=False)
    assert delivery.signalled is None
    assert len(delivery.heard) == len(DATA)
    assert [index for index, heard in enumerate(delivery.heard) if not heard.sound] == [3]


@given(st.integers(0, 0x3FF), st.integers(0, 39))
def test_7_2_parity_sees_an_odd_number_of_inverted_bits_and_no_even_one(mask: int, index: int) -> None:
    flips = mask & 0b1111111110
    delivery = carried({index: Fault(flips=flips)})
    if flips.bit_count() & 1:
        assert delivery.signalled == index
    else:
        assert delivery.signalled is None
        wrong = [at for at, heard in enumerate(delivery.heard) if heard.value != DATA[at]]
        assert wrong == ([index] if flips & 0b0111111110 else [])


def test_7_3_noise_where_the_error_signal_would_be_makes_the_sender_repeat_what_arrived() -> None:
    delivery = carried({3: Fault(flips=1 << 11)})
    assert delivery.signalled == 3
    assert sound(delivery)[:4] == DATA[:4]


def test_a_missed_start_bit_loses_the_frame_and_the_receiver_finds_its_way_back() -> None:
    delivery = carried({3: Fault(flips=1)}, burst=burst_of(bytes(200)))
    assert len(delivery.heard) < 200
    assert sound(delivery)[-100:] == bytes(100)


def test_a_lost_character_is_heard_by_nobody_and_an_extra_one_by_the_receiver() -> None:
    assert sound(carried({3: Fault(lost=True)})) == DATA[:3] + DATA[4:]
    assert sound(carried({3: Fault(extra=b"\x77\x78")})) == DATA[:4] + b"\x77\x78" + DATA[4:]


@pytest.mark.parametrize("ppm", [0, 1000, 10_000, 20_000, -10_000, -20_000])
def test_7_2_a_rate_within_2_percent_is_read(ppm: int) -> None:
    etu = ETU * (PPM + ppm) // PPM
    assert sound(carried(burst=burst_of(etu=etu))) == DATA
    assert sound(carried(sender=End(ETU, CYCLE), receiver=End(etu))) == DATA


@pytest.mark.parametrize("ppm", [50_000, -50_000, 200_000, -200_000])
def test_a_rate_5_percent_off_is_not(ppm: int) -> None:
    etu = ETU * (PPM + ppm) // PPM
    assert sound(carried(burst=burst_of(etu=etu))) != DATA


@given(st.integers(-30_000, 30_000), st.binary(min_size=1, max_size=20))
def test_where_the_ends_are_said_to_agree_sampling_says_so_too(ppm: int, data: bytes) -> None:
    """The short cut for ends that agree well enough leaves out nothing that sampling would have found."""
    etu = ETU * (PPM + ppm) // PPM
    sender, receiver = End(etu), End(ETU, CYCLE)
    burst = burst_of(data, etu)
    if receiver.bears(sender, 0):
        disturbance = Disturbance(1)
        # a receiver that comes out of a frame just before has to look at everything
        whole = carry(
            burst, {}, sender, receiver, signals=True, disturbance=disturbance, deaf_until=burst.start + 1 - ETU
        )
        late = carry(burst, {0: Fault()}, sender, receiver, signals=True, disturbance=disturbance)
        assert sound(whole) == sound(late) == data


@given(st.integers(0, 1 << 32), st.binary(min_size=1, max_size=60))
def test_7_2_jitter_of_a_tenth_of_an_etu_is_read(seed: int, data: bytes) -> None:
    assert sound(carried(burst=burst_of(data), jitter=ETU // 10, seed=seed)) == data


# -- the source of faults ---------------------------------------------------------------------------------------------------


def test_an_undisturbed_burst_draws_nothing() -> None:
    disturbance = Disturbance(1, bit_error_rate=1e-9)
    state = disturbance.random.getstate()
    for _ in range(1000):
        assert not disturbance.faults(Towards.CARD, 255)
    assert disturbance.random.getstate() == state


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 1e-2, 0.3])
def test_bits_are_inverted_as_often_as_was_asked(rate: float) -> None:
    disturbance = Disturbance(7, bit_error_rate=rate)
    bursts = 4000
    flips = sum(
        fault.flips.bit_count() for _ in range(bursts) for fault in disturbance.faults(Towards.TERMINAL, 20).values()
    )
    cells = bursts * 20 * CHARACTER_CELLS
    assert abs(flips - rate * cells) < 5 * (rate * cells) ** 0.5


def test_noise_bursts_hit_neighbours() -> None:
    disturbance = Disturbance(3, noise=NoiseBurst(1e-4, 60))
    hit = [faults for _ in range(2000) if (faults := disturbance.faults(Towards.CARD, 50))]
    assert hit
    assert sum(len(faults) for faults in hit) / len(hit) > 3


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    def drawn(seed: int) -> list[dict[int, Fault]]:
        disturbance = Disturbance(seed, 1e-3, noise=NoiseBurst(1e-4, 30))
        return [dict(disturbance.faults(Towards.CARD, 40)) for _ in range(200)]

    assert drawn(5) == drawn(5) != drawn(6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Disturbance(1, bit_error_rate=0.6),
        lambda: Disturbance(1, bit_error_rate=-0.1),
        lambda: Disturbance(1, jitter=-1),
        lambda: Disturbance(1, noise=NoiseBurst(0.1, 0)),
    ],
)
def test_what_is_no_probability_or_length_is_refused(make: Callable[[], Disturbance]) -> None:
    with pytest.raises(ValueError, match=r"probability|jitter"):
        make()


# -- a whole exchange -------------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """A reader and a card with ECHO on a line, brought up before it is disturbed."""

    disturbance: Disturbance | None = None
    mismatch_ppm: int = 0
    chain: Chain = field(init=False)

    def __post_init__(self) -> None:
        self.chain = Chain(CardProfile(identity=b"x", hop=False, ta1=0x18), ta1=0x18)
        self.reader = self.chain.readers[0]
        ups: list[PowerUp] = []
        self.reader.power_up(ups.append)
        self.chain.wait(lambda: bool(ups))
        assert not ups[0].error
        if self.disturbance is not None:
            self.reader.disturb(self.disturbance, self.mismatch_ppm)

    def send(self, command: bytes) -> Answer:
        """One exchange. Every answer is there within twice the waiting time and the time of four times its characters."""
        answers: list[Answer] = []
        self.reader.submit(command, answers.append)
        assert self.chain.engine.wait(lambda: bool(answers), self.chain.ticks(40)), "it hangs"
        answer = answers[0]
        if answer.error:
            assert answer.error.startswith(NAMES)
            assert not answer.response
        assert (answer.end - answer.start) / self.chain.engine.timebase.hz < 1.0 + 4 * 0.06 + 0.1
        return answer

    def echo(self, data: bytes) -> bytes | None:
        """What came back, None where an error was named."""
        answer = self.send(bytes((0xA0, 0xEC, 0, 0, len(data))) + data)
        if answer.error or answer.response[0] != 0x61:
            return None if answer.error else answer.response
        fetched = self.send(bytes((0x00, 0xC0, 0, 0, answer.response[1])))
        return None if fetched.error else fetched.response[:-2]


SIZE = 30
BURSTS = {Towards.CARD: (5, SIZE, 5), Towards.TERMINAL: (1, 2, SIZE + 3)}
"""How long the bursts of one echo are, each way: header, data, GET RESPONSE; INS, 61xx, answer."""
ways = st.sampled_from(Towards)


@settings(max_examples=60)
@given(ways, st.integers(0, 2), st.integers(0, SIZE), st.lists(st.integers(1, 9), min_size=1, max_size=9, unique=True))
def test_any_odd_number_of_inverted_bits_is_corrected(way: Towards, burst: int, at: int, bits: list[int]) -> None:
    bits = bits if len(bits) % 2 else bits[:-1] or [1, 2, 3]
    bits = bits[: len(bits) - 1 + len(bits) % 2]
    character = at % BURSTS[way][burst]
    fault = Fault(flips=sum(1 << bit for bit in bits))
    line = Line(Disturbance(1, planned={(way, burst): {character: fault}}))
    data = bytes(range(SIZE))
    assert line.echo(data) == data
    assert line.disturbance is not None
    assert line.disturbance.injected == 1


@settings(max_examples=40)
@given(ways, st.integers(0, 2), st.integers(0, SIZE), st.sampled_from(["lost", "extra"]))
def test_a_lost_or_extra_character_is_named_or_harmless_and_the_next_exchange_is_sound(
    way: Towards, burst: int, at: int, what: str
) -> None:
    character = at % BURSTS[way][burst]
    fault = Fault(lost=True) if what == "lost" else Fault(extra=b"\x5a")
    line = Line(Disturbance(1, planned={(way, burst): {character: fault}}))
    data = bytes(range(SIZE))
    got = line.echo(data)
    if what == "lost":
        assert got is None or got == data
    for _ in range(2):  # an extra character may be in the next one's way: parity cannot tell
        got = line.echo(data)
    assert got == data


@settings(max_examples=40)
@given(ways, st.integers(0, 2), st.integers(0, SIZE), st.sampled_from([(1, 2), (3, 8), (2, 9)]))
def test_an_even_number_is_not_seen_and_never_hangs(way: Towards, burst: int, at: int, bits: tuple[int, int]) -> None:
    character = at % BURSTS[way][burst]
    fault = Fault(flips=1 << bits[0] | 1 << bits[1])
    line = Line(Disturbance(1, planned={(way, burst): {character: fault}}))
    data = bytes(range(SIZE))
    got = line.echo(data)
    if burst == 1 and way is Towards.CARD:  # the data themselves: delivered, wrong in that one place
        assert got is not None
        assert [index for index in range(SIZE) if got[index] != data[index]] == [character]
    for _ in range(2):
        got = line.echo(data)
    assert got == data


@settings(max_examples=25)
@given(
    st.integers(0, 1 << 40),
    st.sampled_from([1e-5, 1e-4, 1e-3, 1e-2, 0.2]),
    st.sampled_from([None, 20, 400]),
    st.integers(1, 255),
)
def test_under_noise_every_exchange_ends_and_on_a_quiet_line_the_next_is_sound(
    seed: int, rate: float, length: int | None, size: int
) -> None:
    noise = None if length is None else NoiseBurst(rate / length, length)
    line = Line(Disturbance(seed, 0.0 if noise else rate, noise=noise))
    random = Random(seed)
    for _ in range(4):
        line.echo(random.randbytes(size))
    line.reader.disturb(None)
    for _ in range(3):  # what noise left in the card is over with the waiting time
        data = random.randbytes(size)
        got = line.echo(data)
    assert got == data


@settings(max_examples=20)
@given(st.integers(-60_000, 60_000), st.integers(0, 100), st.integers(0, 1 << 32))
def test_any_mismatch_and_jitter_end_in_the_same_bytes_or_a_name(ppm: int, jitter_per_mille: int, seed: int) -> None:
    line = Line()
    etu = line.chain.engine.timebase.cycles(31, 3_571_200)
    ups: list[PowerUp] = []
    line.reader.disturb(Disturbance(seed, jitter=etu * jitter_per_mille // 1000), ppm)
    line.reader.power_up(ups.append)
    line.chain.wait(lambda: bool(ups), 30)
    if ups[0].error:
        assert ups[0].error.startswith(("mute", "bad ATR: ", "PPS"))
        assert abs(ppm) > 15_000
        return
    data = bytes(range(40))
    got = line.echo(data)
    if abs(ppm) <= 15_000 and not jitter_per_mille:
        assert got == data


def test_the_same_seed_gives_the_same_session_to_the_tick() -> None:
    def session() -> list[Answer]:
        line = Line(Disturbance(11, 1e-3))
        return [line.send(bytes((0xA0, 0xEC, 0, 0, 50)) + bytes(50)) for _ in range(20)]

    first = session()
    assert first == session()
    assert any(answer.retries for answer in first)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_card_that_falls_silent_is_named_mute_when_the_waiting_time_is_over(after: int) -> None:
    disturbance = Disturbance(1)
    disturbance.mute_after = after
    line = Line(disturbance)
    error = ""
    for _ in range(3):
        answer = line.send(bytes((0xA0, 0xEC, 0, 0, 20)) + bytes(20))
        error = error or answer.error
    assert error == "mute"


@pytest.mark.parametrize("what", ["lost", "flip"])
@pytest.mark.parametrize("ta1", [0x18, 0x96])  # WWT of 1.0 s and 1.4 s
@pytest.mark.parametrize("way", list(Towards))
def test_over_a_hop_that_suffers_everything_is_delivered_exactly_once(way: Towards, ta1: int, what: str) -> None:
    chain = Chain(profile(ta1=ta1), ta1=ta1).start()
    socket = chain.dial("echo")
    fault = Fault(lost=True) if what == "lost" else Fault(flips=0b1110)
    planned = {(way, burst): {0: fault} for burst in range(5, 4000, 23)}
    disturbance = Disturbance(1, planned=planned)
    chain.readers[0].disturb(disturbance)
    chain.echo(socket, Random(4).randbytes(600), 600)
    assert disturbance.injected > 1
    assert all(change.up for change in chain.link_changes)
    chain.assert_sound()
