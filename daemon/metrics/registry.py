"""The daemon's numbers on a registry: moved as things happen, or read at each scrape.

    metrics = Metrics(CollectorRegistry(), Names(inboxes=("alice",)))
    metrics.add("dfld_scans_total", inbox="alice")
    metrics.add_reader("ledger", ledger_numbers)

Which metrics there are is `daemon.metrics.catalogue`; a name that is not there is an error. Every combination of
labels has its series from the start, so that increase() and absent() work. A reader that raises loses its own
numbers for that scrape and nothing else. Everything here may be called from any thread.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.boundary import boundary
from daemon.metrics.catalogue import BUILD_INFO, CATALOGUE, COLLECTOR_SUCCESS, FROM_CONFIG, OTHER, MetricSpec, Reader

LabelValues = tuple[str, ...]
Reading = Mapping[str, Mapping[LabelValues, float]]
"""Metric → label values, in the order the catalogue declares → value."""

READERS: tuple[Reader, ...] = ("ledger", "disk", "progress", "gpu")
SPECS: Mapping[str, MetricSpec] = {spec.name: spec for spec in CATALOGUE}
STATE_TARGET = "state"
"""`target` of the filesystem that the state folder lies on."""


@dataclass(frozen=True)
class Names:
    """The names in the configuration that may stand in labels."""

    inboxes: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Names of the [[sync]] tables."""
    machines_of: Mapping[str, tuple[str, ...]] | None = None
    """Model → its machines; None = every machine trains every model."""

    def of(self, label: str) -> tuple[str, ...]:
        if label == "target":
            return (*self.inboxes, STATE_TARGET)
        return {"inbox": self.inboxes, "machine": self.machines, "model": self.models}[label]


def new_registry() -> CollectorRegistry:
    """Return a registry that already has the process's own numbers: CPU, memory, open files, Python."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class Metrics:
    """Every metric of the catalogue, on the registry handed in."""

    def __init__(self, registry: CollectorRegistry, names: Names) -> None:
        # A second series for each counter that no rule uses; the switch is the library's, for the whole process.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        self._names = names
        self._readers: dict[Reader, Callable[[], Reading]] = {}
        self._moved: dict[str, Counter | Gauge | Histogram] = {
            spec.name: _declare(spec, registry) for spec in CATALOGUE if spec.filled_by is None
        }
        self._build_info = Gauge(BUILD_INFO.name, BUILD_INFO.help, list(BUILD_INFO.labels), registry=registry)
        self._start_series(names)
        registry.register(_ReadAtScrape(self))

    @property
    def names(self) -> Names:
        return self._names

    def add(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        """Move a counter or gauge up by `amount` (a gauge also down)."""
        series = self._series(metric, labels)
        if isinstance(series, Counter | Gauge):
            series.inc(amount)

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        series = self._series(metric, labels)
        if isinstance(series, Gauge):
            series.set(value)

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        """Put one measurement into a histogram."""
        series = self._series(metric, labels)
        if isinstance(series, Histogram):
            series.observe(value)

    def forget(self, metric: str, /, **labels: str) -> None:
        """Drop one series that no longer says anything, as the way an inbox used to be watched."""
        spec, family = SPECS[metric], self._moved[metric]
        if not spec.always and self._known(spec, labels):
            family.remove(*(labels[name] for name in spec.labels))

    def set_build_info(self, *, version: str, python: str, onnxruntime: str) -> None:
        """Say which versions run; `onnxruntime` names the package too, since only one of the two knows GPUs."""
        self._build_info.clear()
        self._build_info.labels(version, python, onnxruntime).set(1)

    def add_reader(self, name: Reader, read: Callable[[], Reading]) -> None:
        """Ask `read` at every scrape for the metrics that the catalogue says `name` fills."""
        with self._lock:
            self._readers[name] = read

    def rename(self, names: Names) -> None:
        """Take the names of a new configuration: series of names that are gone end, new ones begin."""
        with self._lock:
            old, self._names = self._names, names
        for name, family in self._moved.items():
            spec = SPECS[name]
            gone = set(combinations(spec, replace(old, machines_of=None))) - set(combinations(spec, names))
            for values in gone:
                with suppress(KeyError):  # a series that never began
                    family.remove(*values)
        self._start_series(names)

    def _series(self, metric: str, labels: Mapping[str, str]) -> Counter | Gauge | Histogram | None:
        """Return the series, or None where a name has left the configuration while work on it went on."""
        spec, family = SPECS[metric], self._moved[metric]
        if set(labels) != set(spec.labels):
            raise ValueError(f"{metric} has the labels {', '.join(spec.labels) or 'none'}, not {', '.join(labels)}")
        if not labels:
            return family
        if not self._known(spec, labels):
            return None
        values = []
        for name, allowed in spec.labels.items():
            value = labels[name]
            if allowed and value not in allowed:
                if OTHER not in allowed:
                    raise ValueError(f"{metric} knows no {name} {value!r}, only {', '.join(allowed)}")
                value = OTHER
            values.append(value)
        return family.labels(*values)

    def _known(self, spec: MetricSpec, labels: Mapping[str, str]) -> bool:
        return all(labels[name] in self._names.of(name) for name in spec.labels if name in FROM_CONFIG)

    def _start_series(self, names: Names) -> None:
        for name, family in self._moved.items():
            if SPECS[name].labels and SPECS[name].always:
                for values in combinations(SPECS[name], names):
                    family.labels(*values)

    def read(self) -> Iterator[Metric]:
        """Yield the families that readers fill, and which reader answered. For the registry."""
        with self._lock:
            readers, names = dict(self._readers), self._names
        success = GaugeMetricFamily(COLLECTOR_SUCCESS.name, COLLECTOR_SUCCESS.help, labels=["collector"])
        for reader in READERS:
            reading: Reading = {}
            ok = False
            with boundary("request", "reading metrics", collector=reader):  # the other numbers must get out
                if reader in readers:
                    reading = readers[reader]()
                ok = True
            success.add_metric([reader], float(ok))
            if ok:
                yield from (_family(spec, names, reading) for spec in CATALOGUE if spec.filled_by == reader)
        yield success


def combinations(spec: MetricSpec, names: Names) -> Iterable[LabelValues]:
    """Return every combination of label values that `spec` may have with these names."""
    values = [allowed or names.of(label) for label, allowed in spec.labels.items()]
    every = itertools.product(*values)
    if names.machines_of is None or not {"model", "machine"} <= set(spec.labels):
        return every
    labels, machines_of = list(spec.labels), names.machines_of
    model, machine = labels.index("model"), labels.index("machine")
    return (one for one in every if one[machine] in machines_of.get(one[model], ()))


class _ReadAtScrape(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return the families without asking the readers."""
        return [_family(spec, Names(), {}) for spec in CATALOGUE if spec.filled_by is not None]

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics.read()


def _declare(spec: MetricSpec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    labels = list(spec.labels)
    if spec.kind == "counter":
        return Counter(spec.name, spec.help, labels, registry=registry)
    if spec.kind == "gauge":
        return Gauge(spec.name, spec.help, labels, registry=registry)
    return Histogram(spec.name, spec.help, labels, buckets=spec.buckets, registry=registry)


def _family(spec: MetricSpec, names: Names, reading: Reading) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family = kind(spec.name, spec.help, labels=list(spec.labels))
    given = reading.get(spec.name, {})
    for values in combinations(spec, names):
        if values in given or spec.always:
            family.add_metric(values, given.get(values, 0.0))
    return family
