"""A row for every table, made from the database's own catalogue: what the row security matrix is filled with.

Knows types and foreign keys from the catalogue, and in one place the few values that checks insist on. A new table
whose checks these values do not satisfy fails here, loudly: add its values to `_SPECIAL`.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

TENANT_COLUMNS = ("tenant_id", "tenant")
_COLUMNS = """
    SELECT c.relname AS table_name, a.attname AS name, format_type(a.atttypid, NULL) AS type
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT LIKE '\\_pogo%'
        AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
"""
_KEYS = """
    SELECT c.relname AS table_name, coalesce(k.conname, i.relname) AS name, x.indpred IS NOT NULL AS is_partial,
        array(SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY AS u (attnum, place)
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = u.attnum ORDER BY u.place) AS columns
    FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid JOIN pg_class AS i ON i.oid = x.indexrelid
    LEFT JOIN pg_constraint AS k ON k.conindid = x.indexrelid AND k.contype IN ('p', 'u')
    WHERE x.indisunique AND c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_pogo%'
    ORDER BY 1, 2
"""
_REFERENCES = """
    SELECT c.relname AS table_name, k.conname AS name, p.relname AS parent,
        array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, place)
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = u.attnum ORDER BY u.place) AS columns,
        array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (attnum, place)
            JOIN pg_attribute AS a ON a.attrelid = p.oid AND a.attnum = u.attnum ORDER BY u.place) AS parent_columns
    FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_class AS p ON p.oid = k.confrelid
    WHERE k.contype = 'f' AND c.relnamespace = 'public'::regnamespace
    ORDER BY 1, 2
"""
_SPECIAL: dict[tuple[str, str], str] = {
    ("tenant", "state"): "active",
    ("extension_publisher", "state"): "active",
    ("extension_version", "state"): "active",
    ("extension_publisher_key", "algorithm"): "ed25519",
    ("tenant_extension_install", "status"): "enabled",
    ("extension_event_delivery", "state"): "due",
    ("extension_execution_log", "status"): "started",
    ("extension_execution_log", "trigger"): "http",
    ("extension_idempotency", "state"): "running",
    ("ext_storage_records", "encoding"): "bytes",
    ("ext_storage_staged", "encoding"): "bytes",
    ("ext_storage_staged", "op"): "put",
    ("ext_storage_schemas", "status"): "active",
}
_ARRAYS = {"granted_caps", "granted_egress", "permissions", "capabilities", "api_endpoints"}
Row = dict[str, object]


@dataclass(frozen=True)
class Key:
    """A primary key, a unique constraint or a unique index."""

    table: str
    name: str
    columns: tuple[str, ...]
    is_partial: bool


@dataclass(frozen=True)
class Reference:
    """A foreign key."""

    table: str
    name: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """The tables of the database, as it describes itself."""

    columns: Mapping[str, Mapping[str, str]]
    """Table -> column -> type."""
    keys: tuple[Key, ...]
    references: tuple[Reference, ...]

    def tenant_column(self, table: str) -> str | None:
        """None: the table is global. `tenant` itself is: a tenant must be found before anything can be done for it."""
        if table == "tenant":
            return None
        return next((name for name in TENANT_COLUMNS if name in self.columns[table]), None)

    @property
    def tenant_tables(self) -> list[str]:
        return [table for table in self.columns if self.tenant_column(table)]

    def keys_of(self, table: str) -> list[Key]:
        return [key for key in self.keys if key.table == table]

    def references_of(self, table: str) -> list[Reference]:
        return [reference for reference in self.references if reference.table == table]


async def read_catalogue(connection: asyncpg.Connection) -> Catalogue:
    columns: dict[str, dict[str, str]] = {}
    for row in await connection.fetch(_COLUMNS):
        columns.setdefault(row["table_name"], {})[row["name"]] = row["type"]
    keys = [
        Key(row["table_name"], row["name"], tuple(row["columns"]), row["is_partial"])
        for row in await connection.fetch(_KEYS)
    ]
    references = [
        Reference(row["table_name"], row["name"], tuple(row["columns"]), row["parent"], tuple(row["parent_columns"]))
        for row in await connection.fetch(_REFERENCES)
    ]
    return Catalogue(columns, tuple(keys), tuple(references))


def parents_first(catalogue: Catalogue) -> list[str]:
    """All tables, each after those it refers to."""
    ordered: list[str] = []

    def visit(table: str) -> None:
        if table not in ordered:
            for reference in catalogue.references_of(table):
                visit(reference.parent)
            ordered.append(table)

    for table in catalogue.columns:
        visit(table)
    return ordered


def sample(catalogue: Catalogue, table: str, *, tenant: str, parents: Mapping[str, Row]) -> Row:
    """A full row of `table`: every column has a value, foreign keys are those of `parents`."""
    row: Row = {name: _value(table, name, type_) for name, type_ in catalogue.columns[table].items()}
    for reference in catalogue.references_of(table):
        parent = parents[reference.parent]
        row |= {name: parent[of] for name, of in zip(reference.columns, reference.parent_columns, strict=True)}
    column = "tenant_id" if table == "tenant" else catalogue.tenant_column(table)
    return row if column is None else {**row, column: tenant}


def _value(table: str, name: str, type_: str) -> object:
    special = _SPECIAL.get((table, name))
    if special is not None:
        return special
    if name == "content_hash":
        return f"sha256:{secrets.token_hex(32)}"
    if name in ("manifest_sha256", "sha256"):
        return secrets.token_hex(32)
    if name == "key_id":
        return secrets.token_hex(8)
    return _of_type(name, type_)


def _of_type(name: str, type_: str) -> object:
    """As SQL text, so that every value goes through the server's own input functions."""
    values: dict[str, object] = {
        "text": secrets.token_hex(6),
        "character varying": secrets.token_hex(6),
        "uuid": str(uuid.uuid4()),
        "jsonb": json.dumps([] if name in _ARRAYS else {}),
        "timestamp with time zone": "2026-01-02T03:04:05Z",
        "integer": "1",
        "bigint": "1",
        "boolean": "true",
        "bytea": f"\\x{secrets.token_hex(32)}",
    }
    return values[type_]


def insert_of(catalogue: Catalogue, table: str, row: Row, *, suffix: str = "") -> str:
    """The INSERT of a row with its values as literals; `suffix` such as `ON CONFLICT DO NOTHING`."""
    names = ", ".join(f'"{name}"' for name in row)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(literal(value) for value in row.values())}) {suffix}"


def literal(value: object) -> str:
    return "NULL" if value is None else "'{}'".format(str(value).replace("'", "''"))
