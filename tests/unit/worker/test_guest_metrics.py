"""What extensions measure: bounded whatever they send, and labelled with whose it is."""

from __future__ import annotations

import math
import random
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.invocation import Limits
from schemas.ticket import Ticket
from worker.supervisor.guest_metrics import (
    MAX_CALLS_PER_INVOCATION,
    MAX_NAMES_PER_INSTALL,
    MAX_SERIES_PER_TENANT,
    GuestMetrics,
)


def ticket(*, tenant: str = "t", install: str = "i", name: str = "com.acme.guest") -> Ticket:
    return Ticket(
        tenant=TenantId(tenant),
        install=InstallId(install),
        registry=RegistryId("r"),
        version_id=VersionId("v"),
        name=name,
        version="1.0.0",
        content_hash=ContentHash("sha256:" + "0" * 64),
        grants=frozenset(),
        egress=(),
        limits=Limits(),
        issued=0,
        expires=1,
        shard=0,
    )


def page(metrics: GuestMetrics) -> str:
    registry = CollectorRegistry()
    metrics.register(registry)
    return generate_latest(registry).decode()


def test_counters_gauges_and_histograms_are_exposed_with_whose_they_are() -> None:
    """Counters add up over invocations, gauges keep the last value, histograms cumulate."""
    metrics = GuestMetrics()
    for _ in range(2):
        invocation = metrics.open(ticket())
        invocation.record("add-counter", "orders", 2.0, [["kind", "new"]])
        invocation.record("set-gauge", "depth", 7.0, [])
        invocation.record("record-histogram", "seconds", 0.03, [])
    text = page(metrics)
    mine = 'alga_extension="com.acme.guest",alga_tenant="t"'

    assert f'alga_ext_orders_total{{{mine},kind="new"}} 4.0' in text
    assert f"alga_ext_depth_gauge{{{mine}}} 7.0" in text
    assert f'alga_ext_seconds_histogram_bucket{{{mine},le="0.025"}} 0.0' in text
    assert f'alga_ext_seconds_histogram_bucket{{{mine},le="+Inf"}} 2.0' in text
    assert list(text_string_to_metric_families(text))


@pytest.mark.parametrize(
    ("function", "name", "value", "labels"),
    [
        ("add-counter", "Orders", 1.0, []),
        ("add-counter", "or ders\n", 1.0, []),
        ("add-counter", "a" * 65, 1.0, []),
        ("add-counter", "orders", -1.0, []),
        ("set-gauge", "orders", math.nan, []),
        ("set-gauge", "orders", math.inf, []),
        ("set-gauge", "orders", 1.0, [["alga_tenant", "other"]]),
        ("set-gauge", "orders", 1.0, [["le", "1"]]),
        ("set-gauge", "orders", 1.0, [["a", "x" * 65]]),
        ("set-gauge", "orders", 1.0, [["a", "1"], ["a", "2"]]),
        ("set-gauge", "orders", 1.0, [[f"l{number}", "x"] for number in range(6)]),
        ("set-gauge", "orders", "1", []),
        ("set-gauge", "orders", 1.0, [["a"]]),
        ("set-gauge", "orders", 1.0, None),
        ("drop-table", "orders", 1.0, []),
        (None, None, None, None),
    ],
)
def test_what_breaks_a_rule_is_dropped_and_counted(
    function: object, name: object, value: object, labels: object
) -> None:
    """L4: the host's labels win; nothing a guest sends raises."""
    metrics = GuestMetrics()
    metrics.open(ticket()).record(function, name, value, labels)

    assert "alga_ext_" not in page(metrics)
    assert "alga_guest_metrics_dropped_total 1.0" in page(metrics)


def test_random_names_and_labels_stay_within_names_and_series() -> None:
    """L2: twenty names for an install, two hundred series for a tenant, and the page is quick."""
    metrics, source = GuestMetrics(), random.Random(7)
    for _ in range(2_000):
        invocation = metrics.open(ticket())
        for _ in range(MAX_CALLS_PER_INVOCATION):
            labels = [["a", str(source.random())]]
            invocation.record("add-counter", f"n{source.randrange(1_000)}", 1.0, labels)
    started = time.perf_counter()
    families = [family for family in text_string_to_metric_families(page(metrics)) if "alga_ext_" in family.name]
    samples = [sample for family in families for sample in family.samples]

    assert time.perf_counter() - started < 1
    assert len(families) == MAX_NAMES_PER_INSTALL
    assert len(samples) <= MAX_SERIES_PER_TENANT + MAX_NAMES_PER_INSTALL
    kept = sum(sample.value for sample in samples)
    assert kept + metrics.dropped == 2_000 * MAX_CALLS_PER_INVOCATION


def test_an_invocation_measures_a_hundred_times() -> None:
    """The rest is dropped and counted."""
    metrics = GuestMetrics()
    invocation = metrics.open(ticket())
    for _ in range(MAX_CALLS_PER_INVOCATION + 5):
        invocation.record("add-counter", "orders", 1.0, [])

    assert 'alga_ext_orders_total{alga_extension="com.acme.guest",alga_tenant="t"} 100.0' in page(metrics)
    assert metrics.dropped == 5


def test_one_tenants_series_are_not_another_ones() -> None:
    """The same name in two tenants is two series, each with its own count."""
    metrics = GuestMetrics()
    for tenant in ("t1", "t2", "t2"):
        metrics.open(ticket(tenant=tenant)).record("add-counter", "orders", 1.0, [])

    assert 'alga_tenant="t1"} 1.0' in page(metrics)
    assert 'alga_tenant="t2"} 2.0' in page(metrics)
