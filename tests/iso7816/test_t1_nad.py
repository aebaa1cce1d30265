"""Node addresses: several logical connections over one line (ISO/IEC 7816-3:2006, 11.3.2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bench.iso7816.line import Burst
from bench.iso7816.t1_block import LRC, IBlock, decode_block, encode_block, nad_of, swap_nad
from bench.iso7816.t1_outcome import T1Failure
from bench.iso7816.t1_states import CardState
from tests.iso7816.t1_pair import TIMING, Echo, Heard, Pair

TO_1 = nad_of(2, 1)
TO_3 = nad_of(2, 3)


class Named(Echo):
    """Answers with its name, so that it is seen who did."""

    def __init__(self, name: bytes) -> None:
        super().__init__()
        self.name = name

    def answer(self, apdu: bytes) -> bytes:
        return self.name + apdu + b"\x90\x00"


def two_nodes() -> tuple[Pair, Named, Named]:
    one, three = Named(b"one"), Named(b"three")
    return Pair({1: one, 3: three}), one, three


def test_two_nodes_behind_one_line() -> None:
    pair, one, three = two_nodes()
    assert pair.exchange(b"a", TO_1).response == b"onea\x90\x00"
    assert pair.exchange(b"b", TO_3).response == b"threeb\x90\x00"
    assert pair.exchange(b"c", TO_1).response == b"onec\x90\x00"
    assert (one.executed, three.executed) == ([b"a", b"c"], [b"b"])


def test_an_answer_has_sad_and_dad_exchanged() -> None:
    pair, _, _ = two_nodes()
    pair.exchange(b"a", TO_1)
    assert [burst.data[0] for _, burst in pair.bursts] == [0x12, 0x21]


def test_each_connection_counts_its_own_blocks() -> None:
    pair, _, _ = two_nodes()
    for nad in (TO_1, TO_3, TO_3, TO_1, nad_of(5, 1)):
        pair.exchange(b"", nad)
    assert [line for line in pair.lines if line.startswith(">")] == [
        "> I(0,0)", "> I(0,0)", "> I(1,0)", "> I(1,0)", "> I(0,0)",
    ]  # fmt: skip


def test_rule_6_resynchronising_one_sets_all_connections_back() -> None:
    pair, _, _ = two_nodes()
    pair.exchange(b"", TO_1)
    pair.exchange(b"", TO_3)
    pair.finish(pair.terminal.resynch(pair.engine.now, TO_3))
    pair.exchange(b"", TO_1)
    assert pair.lines[-2:] == ["> I(0,0)", "< I(0,0)"]


def test_chains_to_two_nodes_do_not_mix() -> None:
    """The card's side holds a half-gathered chain while another connection speaks."""
    pair, one, three = two_nodes()
    at = 10**12
    for nad, ns, more, inf in (
        (TO_1, 0, True, b"al"),
        (TO_3, 0, True, b"be"),
        (TO_1, 1, False, b"pha"),
        (TO_3, 1, False, b"ta"),
    ):
        data = encode_block(IBlock(nad, ns, more, inf), LRC)
        burst = pair.card.receive(Burst(data, at, TIMING.pitch_to_card, TIMING.etu), lambda _reply: None)
        assert burst is not None
        assert decode_block(burst.data, LRC).nad == swap_nad(nad)
        at = burst.last + TIMING.bgt
    assert (one.executed, three.executed) == ([b"alpha"], [b"beta"])


def test_a_block_of_another_connection_is_a_fault_of_the_card() -> None:
    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        if (direction, index) == ("<", 0):
            block = decode_block(burst.data, LRC)
            assert isinstance(block, IBlock)
            wrong = encode_block(IBlock(TO_1, block.ns, block.more, block.inf), LRC)
            return (Heard(Burst(wrong, burst.start, burst.pitch, burst.etu)),)
        return (Heard(burst),)

    one = Named(b"one")
    pair = Pair({1: one}, disturb=disturb)
    outcome = pair.exchange(b"a", TO_1)
    assert outcome.response == b"onea\x90\x00"
    assert [str(fault) for fault in outcome.faults] == ["NAD = 12 where 21 is expected (ISO/IEC 7816-3, 11.3.2.1)"]
    assert pair.bursts[2][1].data.hex() == "128200" + "90", "an R-block that says other error"
    assert one.executed == [b"a"]


def test_a_node_that_is_not_there_does_not_answer() -> None:
    pair, one, three = two_nodes()
    outcome = pair.exchange(b"a", nad_of(2, 4))
    assert outcome.failure is T1Failure.MUTE
    assert one.executed == three.executed == []
    assert pair.card.faults[0].clause == "11.3.2.1"


def test_another_connection_may_not_speak_while_the_card_executes() -> None:
    class Never(Echo):
        def execute(self, *_args: object) -> None:
            return None

    pair = Pair({1: Never(), 3: Echo()})
    at = 10**12
    for nad in (TO_1, TO_3):
        data = encode_block(IBlock(nad, 0, False, b"x"), LRC)
        assert pair.card.receive(Burst(data, at, TIMING.pitch_to_card, TIMING.etu), lambda _reply: None) is None
        at += 100 * TIMING.etu
    assert pair.card.state is CardState.BUSY
    assert pair.card.faults[0].clause == "11.3.2.1"


@given(
    st.lists(st.tuples(st.sampled_from([TO_1, TO_3, nad_of(6, 1), nad_of(7, 3)]), st.binary(max_size=80)), max_size=12)
)
def test_any_interleaving_of_connections_is_served_in_order(commands: list[tuple[int, bytes]]) -> None:
    pair, one, three = two_nodes()
    for nad, apdu in commands:
        node = one if nad >> 4 == 1 else three
        assert pair.exchange(apdu, nad).response == node.answer(apdu)
    assert one.executed == [apdu for nad, apdu in commands if nad >> 4 == 1]
    assert three.executed == [apdu for nad, apdu in commands if nad >> 4 == 3]
