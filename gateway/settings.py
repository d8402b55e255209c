"""What the gateway is told by its environment. Frozen; read once in `__main__`."""

from __future__ import annotations

import msgspec

from gateway.identity_tokens import TokenSettings
from service.settings import LogSettings, NatsSettings, PostgresSettings, ProbeSettings, StoreSettings


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_GATEWAY_*: where it listens, and whom it hears.

    `origins`: exact origins of the host application's pages, for CORS and for state-changing calls on a session.
    `runner_tokens`: service tokens of `POST /v1/execute`. `connections_per_address` bounds one caller.
    `drain_seconds`: how long calls under way may go on when the process is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    origins: tuple[str, ...] = ()
    runner_tokens: tuple[str, ...] = ()
    connections_per_address: int = 4096
    drain_seconds: float = 65.0
    max_upload_bytes: int = 32 * 1024 * 1024


class TicketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_TICKET_*: the file of the private key that signs tickets (Ed25519, PEM)."""

    private_key_file: str


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a gateway process."""

    nats: NatsSettings
    postgres: PostgresSettings
    store: StoreSettings
    ticket: TicketSettings
    gateway: EdgeSettings = EdgeSettings()
    jwt: TokenSettings = TokenSettings()
    probe: ProbeSettings = ProbeSettings()
    log: LogSettings = LogSettings()
