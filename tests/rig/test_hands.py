"""Hands: commands, an operator at a terminal, the software card, nobody."""

import os
import pty
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.files.units import Span
from bench.observe import NullSink
from bench.rig.build import build_rig
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.hands import LabHands, Move, NoHands, OrderedHands, Side, hands_of, run_command
from bench.rig.loader import default_rig_file, parse_rig_file
from bench.rig.model import HandsModel, RigModel
from bench.rig.operator import NO_TERMINAL, Operator

SECOND = Span(10**9)


def lab_rig(hands: str) -> RigModel:
    text = (
        f"station: l\nrigs:\n  - name: a\n    reader: {{kind: pcsc, name: R}}\n    cards: [{{}}]\n    hands: {hands}\n"
    )
    return parse_rig_file(text, Path("lab.yaml")).rigs[0]


def test_a_command_gets_the_cards_number_and_no_shell(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    script = f"import sys; open({str(noted)!r}, 'w').write('|'.join(sys.argv[1:])); print('relay on')"
    command = f'{sys.executable} -c "{script}" {{card}} {{to}} {{rig}} "$(reboot)"'
    done = run_command(command, {"card": "2", "to": "other", "rig": "a"}, SECOND)
    assert noted.read_text() == "2|other|a|$(reboot)"
    assert done.by == "command"
    assert "status 0" in done.text
    assert "relay on" in done.text


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(RigError, match=r"ended with status 3; it said: no such port"):
        run_command("sh -c 'echo no such port >&2; exit 3'", {}, SECOND)


def test_a_command_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    begun = time.monotonic()
    with pytest.raises(RigError, match="did not end within 300 ms; it said: waiting"):
        run_command(f"sh -c 'sleep 60 & echo $! > {pids}; echo waiting; wait'", {}, Span(300 * 10**6))
    assert time.monotonic() - begun < 5
    child = int(pids.read_text())
    limit = time.monotonic() + 5
    while _alive(child) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("command", ["/no/such/program {card}", "sh -c 'unclosed"])
def test_a_command_that_cannot_be_run_is_the_rig_files_mistake(command: str) -> None:
    with pytest.raises(RigError, match="mend 'hands' in the rig file"):
        run_command(command, {}, SECOND)


class Desk:
    """A terminal, and somebody who may sit at it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.name = os.ttyname(slave)
        self._slave = slave
        self.seen = b""
        self._thread: threading.Thread | None = None

    def answers(self, text: bytes) -> None:
        """Type ``text`` once the question is there."""

        def sit() -> None:
            while b"press Enter" not in self.seen:
                self.seen += os.read(self.master, 1024)
            os.write(self.master, text)

        self._thread = threading.Thread(target=sit, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(5)
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def test_the_operator_is_told_what_to_do_and_waited_for(desk: Desk) -> None:
    desk.answers(b"\n")
    hands = LabHands("shelf-two", HandsModel.model_validate({"operator": "true", "within": "5 s"}), Operator(desk.name))
    assert hands.why_not(Move.PULL, 1) == ""
    assert hands.pull(1).by == "operator"
    assert b"rig shelf-two: pull card 1 out, then press Enter" in desk.seen


def test_an_operator_who_cannot_do_it_makes_the_point_not_applicable(desk: Desk) -> None:
    desk.answers(b"n\n")
    with pytest.raises(RigNotAble, match="the operator could not do it: put card 1 back in"):
        Operator(desk.name).ask("put card 1 back in", SECOND)


def test_an_operator_who_is_away_makes_the_point_not_applicable(desk: Desk) -> None:
    begun = time.monotonic()
    with pytest.raises(RigNotAble, match="nobody answered within 200 ms"):
        Operator(desk.name).ask("pull card 1 out", Span(200 * 10**6))
    assert time.monotonic() - begun < 2


def test_what_was_typed_before_the_question_is_no_answer(desk: Desk) -> None:
    os.write(desk.master, b"\n")
    time.sleep(0.05)
    with pytest.raises(RigNotAble, match="nobody answered"):
        Operator(desk.name).ask("pull card 1 out", Span(200 * 10**6))


@pytest.mark.parametrize("terminal", ["/no/such/tty", "/dev/null"])
def test_where_nobody_sits_nobody_is_asked(terminal: str) -> None:
    assert Operator(terminal).absent() == NO_TERMINAL
    hands = LabHands("a", HandsModel.model_validate({"operator": "true"}), Operator(terminal))
    assert hands.why_not(Move.PULL, 1) == NO_TERMINAL
    with pytest.raises(RigNotAble, match="unattended"):
        hands.pull(1)


def test_a_rig_without_hands_says_what_is_missing() -> None:
    nobody = hands_of(
        parse_rig_file(
            "station: l\nrigs:\n  - {name: a, reader: {kind: pcsc, name: R}, cards: [{}]}\n", Path("x")
        ).rigs[0]
    )
    assert isinstance(nobody, NoHands)
    assert "give the rig 'hands:'" in nobody.why_not(Move.PULL, 1)
    half = hands_of(lab_rig("{pull: 'true'}"))
    assert half.why_not(Move.PULL, 1) == ""
    assert "no command for 'insert'" in half.why_not(Move.INSERT, 1)


def test_a_command_comes_before_the_operator(desk: Desk) -> None:
    hands = LabHands("a", HandsModel.model_validate({"pull": "true", "operator": "true"}), Operator(desk.name))
    assert hands.pull(1).by == "command"


def test_the_served_card_is_moved_by_orders() -> None:
    orders: list[str] = []
    hands = OrderedHands(lambda card: orders.append(f"pull {card}"), lambda card: orders.append(f"insert {card}"), 2)
    hands.pull(2)
    hands.insert(2)
    assert orders == ["pull 2", "insert 2"]
    assert "one reader only" in hands.why_not(Move.MOVE, 1)
    with pytest.raises(RigNotAble, match="the chain has 2 cards, not 3"):
        hands.pull(3)


def test_the_software_card_moves_to_the_other_reader_and_back(tmp_path: Path) -> None:
    model = default_rig_file(tmp_path)[0].rigs[0]
    rig = build_rig(model, Given(cards=2), NullSink(), 0, False)
    try:
        assert rig.chain is not None
        reader = rig.chain.places[0].reader
        rig.hands.move(1, Side.OTHER)
        assert not reader.present
        with pytest.raises(RigNotAble, match="card 1 is in the other reader"):
            rig.hands.move(2, Side.OTHER)
        rig.hands.move(1, Side.HOME)
        assert reader.present
        with pytest.raises(RigNotAble, match="card 1 is not in the other reader"):
            rig.hands.move(1, Side.HOME)
        assert rig.hands.why_not(Move.PULL, 3) == "the chain has 2 cards, not 3"
    finally:
        rig.close()
