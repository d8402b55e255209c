"""Metrics that guests emit: named, bounded, labelled with whose they are, exposed beside our own.

Owns the caps and the collected values. What breaks a rule is dropped and counted, and the guest hears nothing. Labels
`alga_tenant` and `alga_extension` come from the ticket; a guest's own label of that name is refused.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import CollectorRegistry

from schemas.ids import InstallId, TenantId
from schemas.ticket import Ticket

MAX_NAMES_PER_INSTALL = 20
MAX_SERIES_PER_TENANT = 200
MAX_LABELS, MAX_LABEL_CHARACTERS = 5, 64
MAX_CALLS_PER_INVOCATION = 100
MAX_TENANTS = 2_000
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 100.0, 1_000.0)
OVERFLOW = (("overflow", "true"),)
PREFIX = "alga_ext_"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_KINDS = {"add-counter": "counter", "set-gauge": "gauge", "record-histogram": "histogram"}
Labels = tuple[tuple[str, str], ...]


@dataclass
class _Series:
    """One line of a metric. A histogram uses all fields, the others `value` alone."""

    value: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))


@dataclass
class _Tenant:
    """`names`: kind of each (install, name). `series`: by install, name and labels."""

    names: dict[tuple[InstallId, str], str] = field(default_factory=dict)
    series: dict[tuple[InstallId, str, Labels], _Series] = field(default_factory=dict)
    extensions: dict[InstallId, str] = field(default_factory=dict)


class GuestMetrics:
    """All guests' metrics of this worker; a collector of its registry."""

    def __init__(self) -> None:
        self._tenants: dict[TenantId, _Tenant] = {}
        self.dropped = 0

    def register(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def open(self, ticket: Ticket) -> InvocationMetrics:
        return InvocationMetrics(self, ticket)

    def record(self, ticket: Ticket, function: str, name: str, value: float, labels: Labels) -> bool:
        """Count one measurement; False when it is over a cap."""
        tenant = self._tenant(ticket.tenant)
        if tenant is None or not self._claim_name(tenant, ticket, name, _KINDS[function]):
            return False
        series = self._find_series(tenant, ticket.install, name, labels)
        _KIND_RULES[function](series, value)
        return True

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """For the metrics page."""
        families: dict[tuple[str, str], Any] = {}
        for tenant_id, tenant in self._tenants.items():
            for (install, name, labels), series in tenant.series.items():
                kind = tenant.names[install, name]
                family = families.get((name, kind))
                if family is None:
                    family = families[name, kind] = _family(name, kind)
                shown = {"alga_tenant": tenant_id, "alga_extension": tenant.extensions[install], **dict(labels)}
                _add(family, kind, shown, series)
        yield from families.values()
        yield CounterMetricFamily("alga_guest_metrics_dropped", "Guest measurements over a cap", value=self.dropped)

    def _tenant(self, name: TenantId) -> _Tenant | None:
        tenant = self._tenants.get(name)
        if tenant is None and len(self._tenants) < MAX_TENANTS:
            tenant = self._tenants[name] = _Tenant()
        return tenant

    @staticmethod
    def _claim_name(tenant: _Tenant, ticket: Ticket, name: str, kind: str) -> bool:
        known = tenant.names.get((ticket.install, name))
        if known is not None:
            return known == kind
        if sum(1 for install, _ in tenant.names if install == ticket.install) >= MAX_NAMES_PER_INSTALL:
            return False
        tenant.names[ticket.install, name] = kind
        tenant.extensions[ticket.install] = ticket.name
        return True

    @staticmethod
    def _find_series(tenant: _Tenant, install: InstallId, name: str, labels: Labels) -> _Series:
        """The series of these labels; once a tenant has its number of them, one overflow series of the name."""
        series = tenant.series.get((install, name, labels))
        if series is None:
            kept = labels if len(tenant.series) < MAX_SERIES_PER_TENANT else OVERFLOW
            series = tenant.series.setdefault((install, name, kept), _Series())
        return series


class InvocationMetrics:
    """What one invocation measures."""

    def __init__(self, metrics: GuestMetrics, ticket: Ticket) -> None:
        self._metrics, self._ticket, self._calls = metrics, ticket, 0

    def record(self, function: Any, name: Any, value: Any, labels: Any) -> None:
        self._calls += 1
        checked = _check(function, name, value, labels) if self._calls <= MAX_CALLS_PER_INVOCATION else None
        if checked is None or not self._metrics.record(self._ticket, function, name, float(value), checked):
            self._metrics.dropped += 1


def _check(function: Any, name: Any, value: Any, labels: Any) -> Labels | None:
    """The labels, sorted, of a measurement that keeps the rules; else None."""
    if function not in _KINDS or not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    if not isinstance(value, int | float) or not math.isfinite(value) or (function == "add-counter" and value < 0):
        return None
    if not isinstance(labels, list) or len(labels) > MAX_LABELS:
        return None
    pairs = []
    for label in labels:
        if not isinstance(label, list | tuple) or len(label) != 2 or not all(isinstance(part, str) for part in label):
            return None
        key, text = label
        if not _NAME.fullmatch(key) or key.startswith("alga_") or len(text) > MAX_LABEL_CHARACTERS or key == "le":
            return None
        pairs.append((key, text))
    return tuple(sorted(pairs)) if len({key for key, _ in pairs}) == len(pairs) else None


def _add_counter(series: _Series, value: float) -> None:
    series.value += value


def _set_gauge(series: _Series, value: float) -> None:
    series.value = value


def _record_histogram(series: _Series, value: float) -> None:
    series.value += value
    series.counts[bisect_left(BUCKETS, value)] += 1


_KIND_RULES = {"add-counter": _add_counter, "set-gauge": _set_gauge, "record-histogram": _record_histogram}


def _family(name: str, kind: str) -> Any:
    types = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    suffix = "" if kind == "counter" else f"_{kind}"
    return types[kind](f"{PREFIX}{name}{suffix}", "Emitted by an extension")


def _add(family: Any, kind: str, labels: dict[str, str], series: _Series) -> None:
    """Samples are added by name: every series of a family may have labels of its own."""
    if kind != "histogram":
        family.add_sample(f"{family.name}{'_total' if kind == 'counter' else ''}", labels, series.value)
        return
    for bound, count in zip(_bounds(), _cumulated(series.counts), strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_sum", labels, series.value)
    family.add_sample(f"{family.name}_count", labels, sum(series.counts))


def _bounds() -> Iterable[str]:
    return [*(str(bound) for bound in BUCKETS), "+Inf"]


def _cumulated(counts: list[int]) -> list[int]:
    total, out = 0, []
    for count in counts:
        total += count
        out.append(total)
    return out
