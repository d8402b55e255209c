"""What the gateway is told by its environment. Frozen; read once in `__main__`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from gateway.identity_tokens import TokenSettings
from registry.certificates import Roots
from registry.grants import OperatorLimits
from registry.install_rows import Platform
from schemas.errors import Invalid
from service.settings import LogSettings, NatsSettings, PostgresSettings, ProbeSettings, SigningSettings, StoreSettings


def _cache_directory() -> str:
    return str(Path(tempfile.gettempdir()) / "alga-gateway-cache")


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_GATEWAY_*: where it listens, and whom it hears.

    `origins`: exact origins of the host application's pages, for CORS and for state-changing calls on a session.
    `runner_tokens`: service tokens of `POST /v1/execute`. `connections_per_address` bounds one caller.
    `drain_seconds`: how long calls under way may go on when the process is told to stop. `max_upload_bytes`: of a
    packed bundle. `cache_directory` and `cache_max_bytes`: unpacked UI files on this machine's disk.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    origins: tuple[str, ...] = ()
    runner_tokens: tuple[str, ...] = ()
    connections_per_address: int = 4096
    drain_seconds: float = 65.0
    max_upload_bytes: int = 32 * 1024 * 1024
    cache_directory: str = msgspec.field(default_factory=_cache_directory)
    cache_max_bytes: int = 1024 * 1024 * 1024

    def check(self) -> None:
        """Raises Invalid naming the setting."""
        for origin in self.origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
                raise Invalid(
                    f"ALGA_GATEWAY_ORIGINS: {origin!r} is not an exact origin such as https://app.example.com"
                )


class TicketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_TICKET_*: the file of the private key that signs tickets (Ed25519, PEM)."""

    private_key_file: str


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_PLATFORM_*: what the operator decides for every install; `limits` is the ceiling of all grants."""

    limits: OperatorLimits = OperatorLimits()
    rate_per_second: float = 50.0
    rate_burst: int = 100
    install_domain: str = ""

    def platform(self, shard_count: int, roots: Roots) -> Platform:
        return Platform(
            roots=roots,
            shard_count=shard_count,
            limits=self.limits,
            rate_per_second=self.rate_per_second,
            rate_burst=self.rate_burst,
            install_domain=self.install_domain,
        )


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a gateway process."""

    nats: NatsSettings
    postgres: PostgresSettings
    store: StoreSettings
    ticket: TicketSettings
    gateway: EdgeSettings = EdgeSettings()
    jwt: TokenSettings = TokenSettings()
    platform: PlatformSettings = PlatformSettings()
    signing: SigningSettings = SigningSettings()
    probe: ProbeSettings = ProbeSettings()
    log: LogSettings = LogSettings()
