"""Measures what a small MTU buys (scenarios/sockets/word-by-mtu.yaml, its full sweep), draws docs/fairness.svg from it, and prints the table.

python -m benchmarks.draw_fairness
"""

import math
from pathlib import Path

from bench.observe import NullSink, PointVerdict
from bench.rig.loader import load_rig_file
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point

ROOT = Path(__file__).resolve().parents[1]
RATES = {"11": "9 600 Bd", "18": "115 200 Bd", "96": "223 200 Bd"}
COLOURS = {"11": "#b3261e", "18": "#1f6fb2", "96": "#3a7d34"}
LEFT, TOP, WIDTH, HEIGHT = 70, 20, 520, 320
LOW, HIGH = 1.0, 100_000.0


class _Nobody(NullSink):
    def finish(self, verdict: PointVerdict, /) -> None:
        """``run_point`` gives it back as well."""


def measure() -> dict[tuple[str, int, int], float]:
    """Longest round trip in ms by TA1, MTU and number of busy channels."""
    rig = load_rig_file(ROOT / "rigs" / "default.yaml").rigs[0]
    found = {}
    for point in load_scenario(ROOT / "scenarios" / "sockets" / "word-by-mtu.yaml").points[Selection.FULL]:
        outcome = run_point(point, rig, 1, lambda _timebase: _Nobody())
        for each in outcome.measurements:
            if each.name == "word_longest":
                values = point.values
                found[values["ta1"], int(values["mtu"]), int(values["channels"])] = each.value
    return found


def draw(found: dict[tuple[str, int, int], float]) -> str:
    """The picture: MTU across, longest round trip upward, both logarithmic; solid beside the most channels, dashed beside the fewest."""
    sizes = sorted({mtu for _, mtu, _ in found})
    counts = sorted({count for _, _, count in found})

    def x(mtu: int) -> float:
        return LEFT + WIDTH * math.log(mtu / sizes[0]) / math.log(sizes[-1] / sizes[0])

    def y(ms: float) -> float:
        return TOP + HEIGHT * (1 - math.log(ms / LOW) / math.log(HIGH / LOW))

    bits = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 120} {TOP + HEIGHT + 50}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for exponent in range(6):
        at = y(10.0**exponent)
        bits.append(
            f'<path d="M{LEFT} {at:.1f}h{WIDTH}" stroke="#ddd"/><text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10**exponent} ms</text>'
        )
    bits.extend(f'<text x="{x(mtu):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{mtu}</text>' for mtu in sizes)
    bits.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle">MTU (bytes)</text>')
    for ta1, colour in COLOURS.items():
        for count, dash in ((counts[0], "5 4"), (counts[-1], "none")):
            line = [(x(mtu), y(found[ta1, mtu, count])) for mtu in sizes if (ta1, mtu, count) in found]
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in line)
            bits.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
            )
        bits.append(f'<text x="{LEFT + WIDTH + 8}" y="{line[-1][1] + 4:.1f}" fill="{colour}">{RATES[ta1]}</text>')
    return "\n".join([*bits, "</svg>", ""])


def main() -> None:
    found = measure()
    (ROOT / "docs" / "fairness.svg").write_text(draw(found))
    sizes = sorted({mtu for _, mtu, _ in found})
    counts = sorted({count for _, _, count in found})
    print("| rate | beside | " + " | ".join(f"MTU {mtu}" for mtu in sizes) + " |")
    print("|---|---" + "|---:" * len(sizes) + "|")
    for ta1, rate in RATES.items():
        for count in counts:
            cells = [f"{found[ta1, mtu, count]:.4g}" if (ta1, mtu, count) in found else "none" for mtu in sizes]
            print(f"| {rate} | {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
