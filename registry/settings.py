"""What the registry process is told by its environment. Frozen; read once in `__main__`."""

from __future__ import annotations

import msgspec

from service.settings import LogSettings, NatsSettings, PostgresSettings, ProbeSettings, SigningSettings, StoreSettings


class TicketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_TICKET_*: the file of the public keys that tickets are verified with (Ed25519, PEM, one or more)."""

    public_keys_file: str


class BuildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_BUILD_*: the file of the private key that signs load records (Ed25519, PEM PKCS8)."""

    private_key_file: str


class SecretsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_SECRETS_*: the file of the key encryption keys; `development` also reads `inline/base64` envelopes."""

    kek_file: str
    development: bool = False


class PublishSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_PUBLISH_*: `max_packed_bytes`, the most a packed bundle may have."""

    max_packed_bytes: int = 32 * 1024 * 1024


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a registry process."""

    nats: NatsSettings
    postgres: PostgresSettings
    store: StoreSettings
    ticket: TicketSettings
    build: BuildSettings
    secrets: SecretsSettings
    signing: SigningSettings = SigningSettings()
    publish: PublishSettings = PublishSettings()
    probe: ProbeSettings = ProbeSettings()
    log: LogSettings = LogSettings()
