"""The checked-in OpenAPI document is the one that the code makes, and describes each route once."""

from __future__ import annotations

from pathlib import Path

from gateway import api, openapi

DOCUMENT = Path(__file__).parents[2] / "schemas" / "json" / "openapi.json"


def test_the_document_is_fresh() -> None:
    """`python -m gateway.openapi > schemas/json/openapi.json` after a change of the interface."""
    assert DOCUMENT.read_text() == openapi.render()


def test_each_operation_has_an_id_of_its_own() -> None:
    """Client generators name functions by it."""
    described = [
        operation["operationId"]
        for methods in openapi.document()["paths"].values()
        for operation in methods.values()
        if "operationId" in operation
    ]
    assert len(described) == len(set(described)) == len(api.OPERATIONS)


def test_no_two_operations_share_a_path_and_method() -> None:
    """The router would take the first and never say so."""
    places = [(operation.method, operation.path) for operation in api.OPERATIONS]
    assert len(places) == len(set(places))
