"""What a gateway counts, and its Prometheus text (exposition format 0.0.4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "cardbench_gateway_"
MAX_SERIES: Final = 2048
"""Label values come from cards: so many series, and what is new beyond them is counted under ``other``."""


class Kind(StrEnum):
    """What the exposition format calls a metric's type."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: name (without the prefix), kind, help, the labels' names."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A value read when asked for."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


OPENED: Final = Metric(
    "connections_total", Kind.COUNTER, "Connections made, by who asked for them.", ("card", "protocol", "direction")
)
CLOSED: Final = Metric("closed_total", Kind.COUNTER, "Connections ended, by cause.", ("card", "cause"))
REFUSED: Final = Metric("refused_total", Kind.COUNTER, "Requests and connections refused, by cause.", ("card", "cause"))
BYTES: Final = Metric("bytes_total", Kind.COUNTER, "Bytes carried over sockets.", ("card", "direction"))
DATAGRAMS_DROPPED: Final = Metric("datagrams_dropped_total", Kind.COUNTER, "Datagrams dropped.", ("card", "reason"))
APDUS: Final = Metric("apdus_total", Kind.COUNTER, "Ordinary APDUs carried through the APDU port.")
LOOKUPS: Final = Metric("lookups_total", Kind.COUNTER, "Names resolved.", ("result",))
FAULTS: Final = Metric("faults_total", Kind.COUNTER, "Errors of the gateway's own; each is in the log.")


class Metrics:
    """Counters. Gauges are read when the text is made."""

    def __init__(self) -> None:
        self._series: dict[tuple[Metric, tuple[str, ...]], float] = {}

    def add(self, metric: Metric, *labels: str | int, amount: float = 1) -> None:
        """Count."""
        key = (metric, tuple(map(str, labels)))
        if key not in self._series and len(self._series) >= MAX_SERIES:
            key = (metric, ("other",) * len(labels))
        self._series[key] = self._series.get(key, 0) + amount

    def value(self, metric: Metric, *labels: str | int) -> float:
        """What a counter stands at; labels that are left out at the end are summed over."""
        wanted = tuple(map(str, labels))
        return sum(
            value
            for (known, found), value in self._series.items()
            if known is metric and found[: len(wanted)] == wanted
        )

    def text(self, gauges: Iterable[Sample] = ()) -> str:
        """Everything, as Prometheus reads it."""
        samples = [Sample(metric, value, labels) for (metric, labels), value in self._series.items()]
        samples += gauges
        by_metric: dict[Metric, list[Sample]] = {}
        for sample in samples:
            by_metric.setdefault(sample.metric, []).append(sample)
        lines = []
        for metric, found in sorted(by_metric.items(), key=lambda item: item[0].name):
            name = PREFIX + metric.name
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
            lines += [
                f"{name}{_labels(metric, each)} {_number(each.value)}"
                for each in sorted(found, key=lambda each: each.labels)
            ]
        return "\n".join(lines) + "\n"


def _labels(metric: Metric, sample: Sample) -> str:
    if not metric.labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, sample.labels, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
