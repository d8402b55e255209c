"""Every metric of the fleet, named here, with bounded labels.

Labels are trigger, code, shard and the like, never ids of tenants, installs or users: those are in the execution
log. A process makes one `Metrics` at its start and hands it in; nothing is registered globally.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MEMORY_MB = (4, 8, 16, 32, 64, 96, 128, 192, 256)
_FUEL = (1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 5e10)


class Metrics:
    """The metrics of one process; each process uses those of its part."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.http_requests = Counter(
            "alga_http_requests", "Requests answered by the gateway", ["route", "method", "status"], registry=registry
        )
        self.http_seconds = Histogram(
            "alga_http_request_seconds", "Time to answer a request", ["route"], buckets=_SECONDS, registry=registry
        )
        self.invocations = Counter(
            "alga_invocations", "Invocations that ended in this worker", ["trigger", "code"], registry=registry
        )
        self.invocation_seconds = Histogram(
            "alga_invocation_seconds", "Wall time in the executor", ["trigger"], buckets=_SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "alga_queue_wait_seconds", "Wait for a slot", ["trigger"], buckets=_SECONDS, registry=registry
        )
        self.invocation_memory = Histogram(
            "alga_invocation_memory_megabytes", "Peak guest memory", buckets=_MEMORY_MB, registry=registry
        )
        self.invocation_fuel = Histogram("alga_invocation_fuel", "Fuel burnt", buckets=_FUEL, registry=registry)
        self.egress_bytes = Counter("alga_egress_bytes", "Bytes of http.fetch, both ways", registry=registry)
        self.refused = Counter("alga_refused", "Invocations a worker did not start", ["code"], registry=registry)
        self.late = Counter("alga_late", "Invocations dropped because their deadline had passed", registry=registry)
        self.slots_busy = Gauge("alga_slots_busy", "Slots that run a call now", registry=registry)
        self.slots = Gauge("alga_slots", "Slots of this worker", registry=registry)
        self.executors = Gauge("alga_executors", "Executor processes alive", ["state"], registry=registry)
        self.executor_exits = Counter("alga_executor_exits", "Executors that ended", ["reason"], registry=registry)
        self.modules = Counter("alga_module_loads", "Compiled components fetched", ["source"], registry=registry)
        self.modules_refused = Counter(
            "alga_modules_refused", "Compiled components that did not verify", ["reason"], registry=registry
        )
        self.host_calls = Counter(
            "alga_host_calls", "Host calls answered", ["interface", "function", "outcome"], registry=registry
        )
        self.log_lines_dropped = Counter("alga_guest_log_dropped", "Guest log lines over the cap", registry=registry)
        self.records = Counter("alga_records", "Records written by the ledger", ["status"], registry=registry)
        self.records_refused = Counter(
            "alga_records_refused", "Records the ledger could not read", ["reason"], registry=registry
        )
        self.records_lost = Counter("alga_records_lost", "Invocations closed as lost", registry=registry)
        self.published = Counter("alga_published", "Publish requests", ["code"], registry=registry)
        self.compile_seconds = Histogram(
            "alga_compile_seconds",
            "Compile time in the jail",
            buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 40, 90),
            registry=registry,
        )
        self.host_requests = Counter(
            "alga_host_requests", "Host service requests", ["interface", "function", "code"], registry=registry
        )

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
