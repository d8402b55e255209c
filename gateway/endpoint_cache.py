"""Endpoint tables by version: a version never changes, so its table is built once.

Owns nothing but the keeping; tables are `gateway/endpoints.py`'s.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.endpoints import EndpointTable
from schemas.ids import VersionId
from schemas.install import Resolved

MAX_KEPT = 5_000


class EndpointCache:
    """The tables of the versions met last, oldest out."""

    def __init__(self, capacity: int = MAX_KEPT) -> None:
        self._capacity = capacity
        self._tables: OrderedDict[VersionId, EndpointTable] = OrderedDict()

    def table(self, resolved: Resolved) -> EndpointTable:
        table = self._tables.get(resolved.version_id)
        if table is None:
            table = self._tables[resolved.version_id] = EndpointTable(resolved.endpoints)
            if len(self._tables) > self._capacity:
                self._tables.popitem(last=False)
        return table
