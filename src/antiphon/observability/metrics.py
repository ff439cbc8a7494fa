"""Prometheus metrics: what was asked, what it cost, how the engine stands. No content, no keys."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for every counter, which nobody reads
CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
# Of an engine's figures; the others only ever grow.
GAUGES = {
    "running",
    "waiting",
    "paused",
    "retired",
    "pinned",
    "cells_used",
    "cells_total",
    "ram_bytes_used",
    "ram_bytes_total",
    "disk_bytes_used",
    "disk_bytes_total",
}

type EngineFigures = Callable[[], Mapping[str, int]]


class Metrics:
    """One registry. `engine` gives the figures of `engines.base.Engine.metrics`."""

    def __init__(self, engine: EngineFigures = dict) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine))
        requests = Counter(
            "antiphon_requests",
            "Requests answered; status 0 is a client that left before the answer began",
            ["endpoint", "status"],
            registry=self._registry,
        )
        seconds = Histogram(
            "antiphon_request_seconds",
            "From the first byte of a request to the last of its answer",
            ["endpoint"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._first_token_s = Histogram(
            "antiphon_time_to_first_token_seconds",
            "From the first byte of a request to the first token of its answer",
            buckets=SECONDS,
            registry=self._registry,
        )
        tokens = Counter(
            "antiphon_tokens",
            "Tokens of requests: input, of it reused (computed before), output",
            ["kind"],
            registry=self._registry,
        )
        # Looking a label up takes as long as counting three times.
        self._requests_of = cache(lambda endpoint, status: requests.labels(endpoint, str(status)))
        self._seconds_of = cache(seconds.labels)
        self._tokens_of = [tokens.labels(kind) for kind in ("input", "reused", "output")]

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        self._requests_of(endpoint, status).inc()
        self._seconds_of(endpoint).observe(seconds)

    def answer(self, *, input: int, reused: int, output: int, first_token_s: float | None) -> None:
        """What one call of the model cost, in tokens."""
        counts = (input, reused, output)
        for counter, count in zip(self._tokens_of, counts, strict=True):
            counter.inc(count)
        if first_token_s is not None:
            self._first_token_s.observe(first_token_s)

    def page(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engine's figures when the page is asked for."""

    def __init__(self, figures: EngineFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for name, value in self._figures().items():
            family = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
            yield family(f"antiphon_{name}", f"The engine's {name.replace('_', ' ')}", value=value)
