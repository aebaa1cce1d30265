"""The I/O lines of a point's software cards as VCD, on request: a file a hop, for PulseView, GTKWave and sigrok.

    waveforms/<scenario>/<point>-hop-1.vcd

Signals: I/O, RST (low before each reset) and ``card_sends``; times since the point began. A file is drawn in one convention, that of the first answer
to reset on its line.
"""

from pathlib import Path

from bench.iso7816.atr_values import Convention
from bench.iso7816.session import Side
from bench.observe import Sink
from bench.readers.listening import LineRecorder
from bench.records.atomic import write_atomically
from bench.records.vcd import vcd_lines
from bench.records.waveform import from_bursts
from bench.rig.build import Rig, build_rig
from bench.rig.given import Given
from bench.rig.model import RigModel
from bench.scenario.runner import RigBuilder

WAVEFORMS = "waveforms"
SCALE_HZ = 10**8
"""Units of 10 ns: under a two-hundredth of the shortest etu, and so few that PulseView opens seconds of it as they are."""
_TS_INVERSE = 0x3F


class Waveforms:
    """Builds a point's rig and listens to its lines. A rig of real readers has none that could be heard."""

    def __init__(self, build: RigBuilder | None = None) -> None:
        self._build: RigBuilder = build or build_rig
        self._rig: Rig | None = None
        self._recorders: list[LineRecorder] = []

    def __call__(self, model: RigModel, given: Given, sink: Sink, seed: int, real: bool) -> Rig:
        rig = self._build(model, given, sink, seed, real)
        if rig.chain is not None:
            self._rig = rig
            self._recorders = [LineRecorder(place.reader, shared=True) for place in rig.chain.places]
        return rig

    def write(self, run: Path, scenario: str, point: str) -> list[Path]:
        """Write a file for each line that carried anything, below the run's directory."""
        written: list[Path] = []
        for hop, recorder in enumerate(self._recorders, 1):
            if self._rig is None or not recorder.spoken:
                continue
            path = run / WAVEFORMS / scenario / f"{point}-hop-{hop}.vcd"
            path.parent.mkdir(parents=True, exist_ok=True)
            waveform = from_bursts(
                recorder.spoken,
                recorder.resets,
                self._rig.engine.timebase,
                recorder.reader.clock_hz,
                _convention(recorder),
            )
            write_atomically(path, "".join(vcd_lines(waveform, SCALE_HZ)).encode("ascii"))
            written.append(path)
        return written


def _convention(recorder: LineRecorder) -> Convention:
    """What the initial character says (ISO/IEC 7816-3, 8.1)."""
    first = next((burst.data[:1] for burst, side in recorder.spoken if side is Side.CARD), b"")
    return Convention.INVERSE if first == bytes((_TS_INVERSE,)) else Convention.DIRECT
