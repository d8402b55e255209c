"""`alga migrate`: brings a database to this version; `--bootstrap` prints the first operator's key, once."""

from __future__ import annotations

import asyncio

import click

from cli.output import emit, json_option, step
from registry import migrate as migrations
from schemas.errors import Invalid


@click.command()
@click.option("--dsn", required=True, help="Postgres as a superuser or as the database's owner.")
@click.option("--app-password", help="Set the password of role alga_app.")
@click.option("--system-password", help="Set the password of role alga_system.")
@click.option("--bootstrap", is_flag=True, help="Also make and print the first operator's API key.")
@json_option
def migrate(dsn: str, app_password: str | None, system_password: str | None, bootstrap: bool, as_json: bool) -> None:
    """Apply the migrations that are not applied yet."""
    if not dsn.startswith(("postgres://", "postgresql://")):
        raise Invalid("--dsn must begin with postgres:// or postgresql://")
    with step("migrating"):
        asyncio.run(migrations.migrate(dsn, app_password=app_password, system_password=system_password))
    done = {"migrated": "yes"}
    if bootstrap:
        done["operator_key"] = asyncio.run(migrations.bootstrap(dsn))
    emit(done, as_json=as_json)
