"""Groups of settings that more than one process has. No default is unsafe."""

from __future__ import annotations

import msgspec


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_NATS_*: `url` with user and password in it; `shard_count` is fixed when a cluster is made."""

    url: str
    shard_count: int = 64


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_POSTGRES_*: `dsn` as role alga_app; `system_dsn` as alga_system, events and registry process only."""

    dsn: str
    system_dsn: str | None = None
    pool_size: int = 10


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_STORE_*: `url` is file:///directory or s3://bucket/prefix; the rest is for S3."""

    url: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = None


class SigningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_SIGNING_*: `roots_file`, the PEM trust bundle for X.509 authors; none: only registered keys count."""

    roots_file: str | None = None


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_PROBE_*: where /live, /ready and /metrics answer; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_LOG_*: `format` json for machines, console for people."""

    level: str = "info"
    format: str = "json"
