"""Call an app in plain CPython: for authors' own unit tests.

    host = FakeHost(secrets={"api_token": "t"}, responses={"https://hooks.example/": Response(202)})
    answer = TestClient(app, host).post("/notes", json={"text": "hello"})

The fake stands below `Host`, so that an app is tested with the same wrappers a component has. Storage is in memory with
revisions; what was not configured is refused as the platform refuses it. No limits, no quotas, no expiry.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

from alga_guest.app import App
from alga_guest.host import Host
from alga_guest.messages import Request, Response

STORED_AT = "2026-01-01T00:00:00Z"


class Refusal(Exception):
    """As the generated bindings raise it: the case in `value`."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        case = SimpleNamespace(name=code.upper().replace("-", "_"))
        self.value = SimpleNamespace(code=case, message=message)


class _Encoding(Enum):
    TEXT = 0
    BASE64 = 1


@dataclass
class FakeHost:
    """What the platform would answer, and what it was told: `logs`, `events`, `metrics`, `requests`."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    responses: Mapping[str, Response] = field(default_factory=dict)
    user: Mapping[str, Any] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    logs: list[tuple[str, str]] = field(default_factory=list)
    events: list[SimpleNamespace] = field(default_factory=list)
    metrics: list[tuple[str, str, float]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    records: dict[tuple[str, str], SimpleNamespace] = field(default_factory=dict)

    def imports(self) -> SimpleNamespace:
        """The world's interfaces as the generated bindings offer them."""
        return SimpleNamespace(
            types=_AnyRecord(),
            logging=SimpleNamespace(
                log_info=lambda text: self.logs.append(("info", text)),
                log_warn=lambda text: self.logs.append(("warn", text)),
                log_error=lambda text: self.logs.append(("error", text)),
            ),
            secrets=SimpleNamespace(get=self._secret, list_keys=lambda: sorted(self.secrets)),
            http=SimpleNamespace(fetch=self._fetch),
            ui_proxy=SimpleNamespace(call_route=_refuses("route-not-found")),
            user_v2=SimpleNamespace(get_user=self._user),
            context_v2=_FakeContext(self),
            storage_v2=_FakeStorage(self.records),
            metrics=_FakeMetrics(self.metrics),
            events=SimpleNamespace(OutgoingEvent=SimpleNamespace, emit=self._emit),
            scheduler=SimpleNamespace(list_schedules=_refuses("denied"), get_schedule=_refuses("denied")),
            invoicing=SimpleNamespace(create_manual_invoice=_denied_result),
            clients=SimpleNamespace(list_clients=_refuses("not-allowed"), get_client=_refuses("not-allowed")),
            services=SimpleNamespace(list_services=_refuses("not-allowed"), get_service=_refuses("not-allowed")),
        )

    def _secret(self, key: str) -> str:
        if key not in self.secrets:
            raise Refusal("missing")
        return self.secrets[key]

    def _fetch(self, request: Any) -> SimpleNamespace:
        headers = {header.name: header.value for header in request.headers}
        self.requests.append(Request(request.method, request.url, headers, request.body or b""))
        matching = [prefix for prefix in self.responses if request.url.startswith(prefix)]
        if not matching:
            raise Refusal("not-allowed")
        answer = self.responses[max(matching, key=len)]
        listed = [SimpleNamespace(name=name, value=value) for name, value in answer.headers]
        return SimpleNamespace(status=answer.status, headers=listed, body=answer.body)

    def _user(self) -> SimpleNamespace:
        if self.user is None:
            raise Refusal("not-available")
        fields = ("tenant_id", "client_name", "user_id", "user_email", "user_name")
        defaults: dict[str, Any] = {
            **dict.fromkeys(fields, ""),
            "user_type": "internal",
            "client_id": None,
            "additional_fields": [],
        }
        return SimpleNamespace(**{**defaults, **self.user})

    def _emit(self, event: SimpleNamespace) -> str:
        self.events.append(SimpleNamespace(topic=event.topic, payload=json.loads(event.payload), id=event.id))
        return event.id or f"event-{len(self.events)}"


class TestClient:
    """Requests to an app, answered without a platform."""

    __test__ = False

    def __init__(self, app: App, host: FakeHost) -> None:
        self._app, self._host = app, Host(host.imports())

    def request(self, method: str, url: str, *, json: object = None, body: bytes = b"", **headers: str) -> Response:
        content = body if json is None else _dumped(json)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._app(Request(method, url, given, content), self._host)

    def get(self, url: str) -> Response:
        return self.request("GET", url)

    def post(self, url: str, *, json: object = None, body: bytes = b"") -> Response:
        return self.request("POST", url, json=json, body=body)

    def delete(self, url: str) -> Response:
        return self.request("DELETE", url)

    def deliver(self, topic: str, payload: Mapping[str, object], *, event_id: str = "event-1") -> Response:
        """An event as the platform delivers it to /events/{topic}."""
        kind = topic.upper().replace(".", "_")
        envelope = {"id": event_id, "eventType": kind, "timestamp": STORED_AT, "payload": payload}
        return self.post(f"/events/{topic}", json=envelope)


class _AnyRecord:
    """Stands for the generated types: any record, made of its keywords."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace


class _FakeContext:
    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def get_context(self) -> SimpleNamespace:
        names = ("request_id", "invocation_id", "tenant_id", "extension_id", "install_id", "version_id")
        more = ("extension_name", "version", "content_hash")
        fields: dict[str, Any] = {name: f"test-{name.replace('_', '-')}" for name in (*names, *more)}
        fields |= {"attempt": 1, "idempotency_key": None, "traceparent": None, "capabilities": [], "egress_hosts": []}
        fields |= {"trigger": SimpleNamespace(name="HTTP"), "event": None, "schedule": None}
        fields["limits"] = SimpleNamespace(timeout_ms=5000, memory_mb=128, max_body_bytes=2 * 1024 * 1024)
        fields["config"] = list(self._host.config.items())
        return SimpleNamespace(**{**fields, **self._host.context})

    def get_config(self, key: str) -> str | None:
        return self._host.config.get(key)

    def remaining_ms(self) -> int:
        return 5000

    def now_unix_ms(self) -> int:
        return 1_767_225_600_000

    def random_hex(self, count: int) -> str:
        return "5a" * count


class _FakeStorage:
    """Records in memory, by (namespace, key), with the revisions and conflicts of the platform."""

    ValueEncoding = _Encoding
    PutItem = SimpleNamespace
    ListQuery = SimpleNamespace

    def __init__(self, records: dict[tuple[str, str], SimpleNamespace]) -> None:
        self._records = records

    def get(self, namespace: str, key: str) -> SimpleNamespace | None:
        return self._records.get((namespace, key))

    def get_many(self, namespace: str, keys: list[str]) -> list[SimpleNamespace]:
        return [record for key in keys if (record := self.get(namespace, key))]

    def put(self, namespace: str, item: SimpleNamespace) -> SimpleNamespace:
        self._check(namespace, item)
        revision = self._revision(namespace, item.key) + 1
        # A value given as base64 reads back as text where it is UTF-8, as on the platform.
        value, encoding = _stored(item)
        self._records[namespace, item.key] = SimpleNamespace(
            key=item.key,
            value=value,
            encoding=encoding,
            revision=revision,
            metadata=item.metadata,
            expires_at=None,
            updated_at=STORED_AT,
        )
        return SimpleNamespace(key=item.key, revision=revision, expires_at=None)

    def put_many(self, namespace: str, items: list[SimpleNamespace]) -> list[SimpleNamespace]:
        for item in items:
            self._check(namespace, item)
        return [self.put(namespace, item) for item in items]

    def delete(self, namespace: str, key: str, if_revision: int | None) -> bool:
        if if_revision is not None and if_revision != self._revision(namespace, key):
            raise Refusal("conflict")
        return self._records.pop((namespace, key), None) is not None

    def delete_many(self, namespace: str, keys: list[str]) -> int:
        return sum(self.delete(namespace, key, None) for key in keys)

    def list_entries(self, namespace: str, query: SimpleNamespace) -> SimpleNamespace:
        keys = sorted(key for known, key in self._records if known == namespace)
        after = [key for key in keys if key.startswith(query.prefix or "") and key > (query.cursor or "")]
        shown = after[: query.limit or 25]
        cursor = shown[-1] if len(after) > len(shown) else None
        return SimpleNamespace(items=[self._records[namespace, key] for key in shown], next_cursor=cursor)

    def _check(self, namespace: str, item: SimpleNamespace) -> None:
        revision = self._revision(namespace, item.key)
        if item.create_only and item.if_revision is not None:
            raise Refusal("invalid")
        if (item.create_only and revision) or (item.if_revision is not None and item.if_revision != revision):
            raise Refusal("conflict")

    def _revision(self, namespace: str, key: str) -> int:
        known = self._records.get((namespace, key))
        return int(known.revision) if known else 0


class _FakeMetrics:
    def __init__(self, calls: list[tuple[str, str, float]]) -> None:
        self._calls = calls

    def add_counter(self, name: str, value: float, labels: object) -> None:
        self._calls.append(("counter", name, value))

    def set_gauge(self, name: str, value: float, labels: object) -> None:
        self._calls.append(("gauge", name, value))

    def record_histogram(self, name: str, value: float, labels: object) -> None:
        self._calls.append(("histogram", name, value))


def _stored(item: SimpleNamespace) -> tuple[str, _Encoding]:
    if item.encoding is _Encoding.TEXT:
        return item.value, _Encoding.TEXT
    try:
        return base64.b64decode(item.value).decode(), _Encoding.TEXT
    except UnicodeDecodeError:
        return item.value, _Encoding.BASE64


def _refuses(code: str) -> Any:
    def refuse(*_arguments: object) -> None:
        raise Refusal(code)

    return refuse


def _denied_result(*_arguments: object) -> SimpleNamespace:
    return SimpleNamespace(success=False, error="Permission denied", field_errors=None)


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()
