"""Settings out of the environment: typed, named in every refusal, unknown names stop the process."""

import msgspec
import pytest

from schemas.errors import Invalid
from service import environ
from service.settings import NatsSettings


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    port: int = 8080
    origins: tuple[str, ...] = ()
    secret_key: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    nats: NatsSettings
    edge: Edge = Edge()


NATS = {"ALGA_NATS_URL": "nats://user:pass@127.0.0.1:4222"}


def test_groups_and_fields_make_the_names() -> None:
    """`edge.port` is ALGA_EDGE_PORT; lists are separated by commas."""
    given = {**NATS, "ALGA_EDGE_PORT": "9000", "ALGA_EDGE_ORIGINS": "https://a.example, https://b.example"}
    settings = environ.read(Settings, environ=given)
    assert (settings.edge.port, settings.edge.origins) == (9000, ("https://a.example", "https://b.example"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ALGA_EDGE_PROT", "1", "ALGA_EDGE_PROT is not known"),
        ("ALGA_EDGE_PORT", "many", "ALGA_EDGE_PORT is not acceptable"),
        ("ALGA_NATS_URL", "", "ALGA_NATS_URL is required"),
    ],
)
def test_a_bad_setting_is_refused_by_its_name(name: str, value: str, message: str) -> None:
    """One clear line that says which variable to mend."""
    with pytest.raises(Invalid, match=message):
        environ.read(Settings, environ={**NATS, name: value})


def test_kubernetes_service_links_are_ignored() -> None:
    """A service called alga-gateway must not stop every pod beside it."""
    links = {
        "ALGA_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "ALGA_GATEWAY_SERVICE_PORT_HTTP": "80",
        "ALGA_GATEWAY_PORT": "tcp://10.0.0.1:80",
        "ALGA_GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert environ.read(Settings, environ={**NATS, **links}).edge.port == 8080


def test_secrets_are_masked_where_settings_are_shown() -> None:
    """Passwords inside addresses too."""
    settings = environ.read(Settings, environ={**NATS, "ALGA_EDGE_SECRET_KEY": "hunter2"})
    shown = str(environ.masked(settings))
    assert "hunter2" not in shown
    assert "pass@" not in shown
    assert "nats://user:***@127.0.0.1:4222" in shown
