"""The scenarios that judge USB readers catch readers that are wrong, by the requirement's own scenario."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.ccid.firmware import CcidFirmware
from bench.observe import Verdict
from bench.rig.loader import default_rig_file
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from bench.scenario.steps import ccid
from tests.scenario.fakes import Kept

ROOT = Path(__file__).resolve().parents[2]
Mend = Callable[[bytes], bytes | None]


def put(message: bytes, offset: int, value: int) -> bytes:
    return message[:offset] + bytes((value,)) + message[offset + 1 :]


def on(kind: int, offset: int, change: Callable[[int], int]) -> Mend:
    """Changes one byte of the answers of one kind."""
    return lambda message: put(message, offset, change(message[offset])) if message[0] == kind else message


WRONG: dict[str, tuple[str, Mend]] = {
    "sequence number of the command before": ("power", on(0x80, 6, lambda seq: seq - 1)),
    "another slot": ("power", on(0x81, 5, lambda _: 1)),
    "answers every command with SlotStatus": ("power", lambda message: put(message, 0, 0x81)),
    "dwLength one too many": ("power", on(0x80, 1, lambda length: length + 1)),
    "answer to reset without its last byte": (
        "power",
        lambda m: put(m[:-1], 1, m[1] - 1) if m[10:11] == b"\x3b" else m,
    ),
    "tells an inactive card as active": ("power", on(0x81, 7, lambda status: status & 0xFC)),
    "tells an empty slot as inactive": ("empty-slot", on(0x81, 7, lambda status: 1 if status == 2 else status)),
    "a mute card is a hardware error": ("empty-slot", on(0x80, 8, lambda error: 0xFB if error == 0xFE else error)),
    "notices a card that goes as one that comes": ("empty-slot", on(0x50, 1, lambda _: 0x03)),
    "takes a command for any slot": ("refusals", on(0x81, 7, lambda status: status & 0x3F)),
    "names the wrong field": ("refusals", on(0x81, 8, lambda error: error + 1 if error == 5 else error)),
    "parameters as they were": ("parameters", on(0x82, 10, lambda _: 0x11)),
    "damages an answer": ("transfers", lambda m: m[:-1] + b"\x01" if m[-2:] == b"\x90\x00" else m),
    "asks for no more time": ("more-time", lambda message: None if message[7:8] == b"\x80" else message),
    "never says that it is busy": ("more-time", lambda message: None if message[8:9] == b"\xe0" else message),
    "tells the clock that was asked for": ("rate-and-clock", on(0x84, 10, lambda _: 0xFF)),
    "changes the epilogue of a block": ("blocks", lambda m: m[:-1] + bytes((m[-1] ^ 1,)) if len(m) == 16 else m),
    "answers an Abort with a failure": ("abort", on(0x81, 7, lambda status: status | 0x40)),
    "hides the status word of an APDU": ("apdus", lambda m: m[:-1] + b"\x00" if m[-2:] == b"\x6a\x82" else m),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_reader_is_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, mend = WRONG[wrong]

    class Wrong(CcidFirmware):
        def __setattr__(self, attribute: str, value: object) -> None:
            if attribute in ("on_message", "on_interrupt") and callable(value):
                say = value
                super().__setattr__(attribute, lambda message: (told := mend(message)) is None or say(told))
            else:
                super().__setattr__(attribute, value)

    sound = ccid.reader_of

    def reader_of(*arguments: object) -> object:
        slots, firmware = sound(*arguments)  # type: ignore[arg-type]
        firmware.__class__ = Wrong
        return slots, firmware

    monkeypatch.setattr(ccid, "reader_of", reader_of)
    rig = default_rig_file(ROOT)[0].rigs[0]
    scenario = load_scenario(ROOT / "scenarios" / "ccid" / f"{name}.yaml")
    outcomes = [run_point(point, rig, 1, Kept) for point in scenario.points[Selection.ORDINARY]]
    assert {each.verdict.verdict for each in outcomes} <= {Verdict.FAIL, Verdict.PASS}, outcomes[0].trace
    assert any(each.verdict.verdict is Verdict.FAIL for each in outcomes)
