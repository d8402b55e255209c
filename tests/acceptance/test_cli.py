"""`alga` as a stranger types it: mistakes are told, bytes are the same twice, keys and tenants are made."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.__main__ import COMMANDS, alga
from tests.dev_process import Dev
from tests.fixtures_postgres import TestDatabase

pytestmark = pytest.mark.xdist_group("alga-dev")

MANIFEST: dict[str, Any] = {
    "name": "com.acme.pages",
    "publisher": "Alga Examples",
    "version": "1.0.0",
    "runtime": "wasm-js@1",
    "ui": {"type": "iframe", "entry": "ui/index.html"},
}
UUID = "01a203ea-0dae-7b02-a4a4-b38c2d4bd732"

# Words typed, the exit code (2: yours, 1: ours), what standard error must name.
MISTAKES = [
    ("nosuch", 2, ["nosuch"]),
    ("new BAD", 2, ["NAME", "'BAD'", "two labels"]),
    ("new com.a.b --template ui-gallery", 2, ["--template", "javascript, python", "'ui-gallery'"]),
    ("create gizmo com.a.b", 2, ["gizmo", "extension"]),
    ("build --project nowhere", 2, ["--project", "nowhere"]),
    ("build", 2, ["manifest.json"]),
    ("pack", 2, ["manifest.json"]),
    ("publish", 2, ["manifest.json"]),
    ("publish . --grant cap:log.emit --grant-all", 2, ["--grant", "--grant-all"]),
    ("keygen nowhere/key", 2, ["nowhere", "No such file"]),
    ("sign nowhere --key nowhere", 2, ["nowhere"]),
    ("verify nowhere --key nowhere", 2, ["nowhere"]),
    (f"install {UUID}", 2, ["--version", "ALGA_EXTENSION_VERSION"]),
    (f"install {UUID} --version 1.0.0 --secret x", 2, ["--secret", "NAME=VALUE", "'x'"]),
    (f"install {UUID} --version 1.0.0", 2, ["not_found", "request id", "next:"]),
    ("install com.nobody.x --version 1.0.0", 2, ["EXTENSION", "registry id", "'com.nobody.x'"]),
    ("install com.nobody.x --version 1.0.0 --config nowhere", 2, ["--config", "nowhere"]),
    ("uninstall com.nobody.x", 2, ["EXTENSION", "'com.nobody.x'"]),
    ("grant com.nobody.x", 2, ["--grant", "--egress"]),
    ("grant com.nobody.x --none --grant-all", 2, ["--none", "--grant-all"]),
    ("grant com.nobody.x --grant-all", 2, ["extension_not_installed", "next:"]),
    ("logs com.nobody.x", 2, ["not_found", "request id"]),
    ("logs --limit 101", 2, ["--limit", "101", "100"]),
    ("call com.nobody.x /hello", 2, ["404", "request id", "next:"]),
    ("call com.nobody.x /hello -H x", 2, ["--header", "NAME: VALUE"]),
    ("call com.nobody.x /hello -X BA/D", 2, ["--method", "'BA/D'"]),
    ("call com.nobody.x /hello -d @nowhere", 2, ["--body", "nowhere"]),
    ("call com.nobody.x /hello --timeout -1", 2, ["--timeout", "-1"]),
    ("call com.nobody.x /hello --base-url foo", 2, ["--base-url", "'foo'"]),
    ("call com.nobody.x /hello --base-url http://127.0.0.1:1", 1, ["cannot be reached", "next:"]),
    ("call com.nobody.x /hello --api-key bad", 2, ["401", "next:"]),
    ("call com.nobody.x /hello --tenant other", 2, ["403", "next:"]),
    ("tenant create a:b", 2, ["tenant", "64", "'a:b'"]),
    ("tenant create demo", 2, ["conflict", "tenant"]),
    ("key create", 2, ["name"]),
    ("key create --for-tenant nobody", 2, ["not_found", "'nobody'"]),
    ("key create --for-tenant demo --permission foo", 2, ["permission", "extension:read", "'foo'"]),
    ("migrate --dsn foo", 2, ["--dsn", "postgres://"]),
    ("migrate --dsn postgres://127.0.0.1:1/x", 1, ["dependency_unavailable"]),
    ("gateway", 2, ["ALGA_NATS_URL"]),
    ("worker", 2, ["ALGA_NATS_URL"]),
    ("registry", 2, ["ALGA_NATS_URL"]),
    ("doctor --base-url http://127.0.0.1:1", 1, []),
]


@pytest.mark.parametrize(("typed", "code", "named"), MISTAKES, ids=[typed for typed, _, _ in MISTAKES])
def test_a_mistake_is_told_with_its_field_and_value(
    dev: Dev, tmp_path: Path, typed: str, code: int, named: list[str]
) -> None:
    """Exit 2 for what the person can correct, 1 for what we must; never a traceback, never on standard output."""
    done = dev.run(*typed.split(" "), directory=tmp_path)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert [words for words in named if words not in done.stderr] == [], done.stderr


def test_every_command_explains_itself_and_offers_json() -> None:
    """`--help` works everywhere; `--json` is missing only where a command becomes another process."""
    without = {"gateway", "worker", "registry", "events"}
    groups = {"extension": "publish", "key": "create", "tenant": "create", "publisher": "create"}
    for name in COMMANDS:
        words = [name, groups[name]] if name in groups else [name]
        told = CliRunner().invoke(alga, [*words, "--help"])
        assert (told.exit_code, told.output[:6]) == (0, "Usage:"), name
        assert ("--json" in told.output) != (name in without), name


def test_a_key_pair_is_written_once_and_for_its_owner_only(dev: Dev, tmp_path: Path) -> None:
    """A second keygen would make every bundle signed before unverifiable."""
    made = dev.json("keygen", "author.key", directory=tmp_path)
    private = tmp_path / made["private_key"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    assert dev.run("keygen", "author.key", directory=tmp_path).returncode == 2
    assert private.read_bytes() == before


def test_packing_twice_gives_the_same_bytes(dev: Dev, tmp_path: Path) -> None:
    """A content_hash names inputs, not the machine, the moment or the order of a directory."""
    first = _pages(tmp_path / "first")
    second = _pages(tmp_path / "second")
    (second / "ui" / "index.html").touch(mode=0o600)
    one = dev.json("pack", "--project", first)
    two = dev.json("pack", "--project", second, "--out", tmp_path / "two.tar.zst")
    assert one["content_hash"] == two["content_hash"]
    assert Path(one["bundle"]).read_bytes() == (tmp_path / "two.tar.zst").read_bytes()
    assert dev.run("pack", "--project", first).returncode == 2, "an existing bundle is replaced only with --force"
    dev.alga("pack", "--project", first, "--force")


def test_a_signature_holds_for_its_bundle_and_its_key_only(dev: Dev, tmp_path: Path) -> None:
    """`alga verify` says exit 0 for the signed bytes, 2 for any other bytes or key."""
    bundle = Path(dev.json("pack", "--project", _pages(tmp_path / "pages"))["bundle"])
    for name in ("author.key", "stranger.key"):
        dev.alga("keygen", name, directory=tmp_path)
    dev.alga("sign", bundle, "--key", "author.key", directory=tmp_path)
    assert dev.json("verify", bundle, "--key", "author.key.pub", directory=tmp_path)["valid"] is True

    stranger = dev.run("verify", bundle, "--key", "stranger.key.pub", directory=tmp_path)
    assert (stranger.returncode, "signature_invalid" in stranger.stderr) == (2, True), stranger
    other = Path(dev.json("pack", "--project", _pages(tmp_path / "other", text="other"))["bundle"])
    swapped = dev.run("verify", other, "--key", "author.key.pub", "--signature", f"{bundle}.sig", directory=tmp_path)
    assert (swapped.returncode, "signature_invalid" in swapped.stderr) == (2, True), swapped


def test_an_operator_makes_a_tenant_a_publisher_and_keys_that_work(dev: Dev, tmp_path: Path) -> None:
    """From nothing to an extension published by its own publisher and installed by another tenant's admin."""
    dev.alga("keygen", "acme.key", directory=tmp_path)
    publisher = dev.json("publisher", "create", "Acme", "--public-key", "acme.key.pub", directory=tmp_path)
    for tenant in ("acme", "customer"):
        dev.alga("tenant", "create", tenant, "--name", f"{tenant} Ltd")
    permissions = ("--permission", "extension:read", "--permission", "extension:write")
    author = dev.json("key", "create", "--for-tenant", "acme", "--publisher", publisher["id"], *permissions)["key"]
    admin = dev.json("key", "create", "--for-tenant", "customer", *permissions)["key"]
    project = _pages(tmp_path / "pages", publisher="Acme")
    signed = ("--key", tmp_path / "acme.key", "--no-install", "--api-key", author)

    published = dev.json("publish", project, *signed)
    again = dev.run("publish", project, *signed)
    assert (again.returncode, "version_exists" in again.stderr) == (2, True), again
    foreign = dev.run("publish", project, "--key", tmp_path / "acme.key", "--no-install")
    assert foreign.returncode == 2, "the demo publisher does not own Acme's name"
    unpublishing = dev.run("publish", project, *signed[:3], "--api-key", admin)
    assert (unpublishing.returncode, "forbidden" in unpublishing.stderr) == (2, True), unpublishing

    installed = dev.json("install", published["extension"]["id"], "--version", "1.0.*", "--api-key", admin)
    assert (installed["version"], installed["status"]) == ("1.0.0", "enabled")
    nothing = dev.run("call", "com.acme.pages", "/", "--api-key", admin)
    assert "endpoint_not_found" in nothing.stdout, "an extension of pages only has nothing to call"
    dev.alga("uninstall", "com.acme.pages", "--api-key", admin)


def test_doctor_finds_nothing_wrong_beside_a_running_fleet(dev: Dev) -> None:
    """Tools, gateway and key, a line each."""
    found = dev.json("doctor")
    assert [name for name, state in found.items() if not state.startswith("ok")] == []


async def test_migrate_bootstraps_a_database_once(dev: Dev, fresh_database: TestDatabase) -> None:
    """The first operator's key is printed once; whoever comes later is refused and told what to do instead."""
    first = dev.json("migrate", "--dsn", fresh_database.admin_dsn, "--bootstrap")
    assert first["operator_key"].startswith("alga_")
    assert dev.json("migrate", "--dsn", fresh_database.admin_dsn) == {"migrated": "yes"}
    second = dev.run("migrate", "--dsn", fresh_database.admin_dsn, "--bootstrap")
    assert (second.returncode, "alga key create" in second.stderr) == (2, True), second


def _pages(project: Path, *, publisher: str = "Alga Examples", text: str = "hello") -> Path:
    """An extension that is pages only: valid without a component, so nothing is built."""
    (project / "ui").mkdir(parents=True)
    (project / "manifest.json").write_text(json.dumps({**MANIFEST, "publisher": publisher}))
    (project / "ui" / "index.html").write_text(f"<p>{text}</p>")
    return project
