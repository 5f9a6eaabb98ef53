"""Metrics: what the server counts, in the words of Prometheus.

Contract: every request is counted once, by the route it met (never by its path: ids would make a series each), its
method and status, refusals included. A server has a registry of its own, so that several may live in one process.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from cleanplate.service.plates import Plates
from cleanplate.service.work import Work

_LATENCIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_PARTS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        labels = "route", "method", "status"
        self._requests = Counter("cleanplate_requests", "Requests", labels, registry=registry)
        words = "From the head of a request to the end of its answer"
        self._latency = Histogram(
            "cleanplate_request_seconds", words, ("route",), buckets=_LATENCIES, registry=registry
        )
        words = "A worker's time by what it does: decode, correct, look, finish, colours, encode"
        self._parts = Histogram("cleanplate_work_seconds", words, ("part",), buckets=_PARTS, registry=registry)
        ProcessCollector(registry=registry)

    def watch(self, plates: Plates, work: Work, held: Callable[[], int]) -> None:
        """Show what the server holds, asked for whenever the metrics are."""
        for name, words, value in (
            ("cleanplate_queue_depth", "Requests that wait for a worker", lambda: work.waiting),
            ("cleanplate_plates", "Plates kept", lambda: plates.count()[0]),
            ("cleanplate_plates_bytes", "Memory of the plates kept", lambda: plates.count()[1]),
            ("cleanplate_held_bytes", "Memory of requests and answers under way", held),
        ):
            Gauge(name, words, registry=self.registry).set_function(value)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, method, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def part(self, name: str, seconds: float) -> None:
        """Count one part of a worker's work."""
        self._parts.labels(name).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
