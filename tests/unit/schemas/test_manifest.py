"""Manifest v2: what is accepted and how it is normalised, every problem named, nothing unknown let through."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import capability, manifest
from schemas.errors import ErrorCode, Unprocessable
from schemas.manifest import RequestedLimits

MINIMAL: dict[str, Any] = {
    "name": "com.acme.reports",
    "publisher": "Acme Software GmbH",
    "version": "1.2.0",
    "runtime": "wasm-component@1",
}
FULL = json.loads("""
{"name":"com.acme.reports","publisher":"Acme","version":"1.2.0","runtime":"wasm-js@1","capabilities":["cap:http.fetch","cap:storage.kv"],
 "egress":["api.acme.example","*.files.acme.example:8443"],"limits":{"timeout_ms":8000,"memory_mb":128},
 "ui":{"type":"iframe","entry":"ui/index.html","hooks":{"appMenu":{"label":"Reports"},"clientPortalMenu":{"label":"Reports"}}},
 "api":{"endpoints":[{"method":"GET","path":"/api/reports/:id","handler":"dist/main"}]},
 "events":[{"topic":"ticket.created","handler":"/on/ticket","filter":{"priority":["high","urgent"]}}],"assets":["ui/**/*"],"sbom":"sbom.spdx.json"}
""")


def _bytes(**fields: Any) -> bytes:
    return json.dumps({**MINIMAL, **fields}).encode()


def _parse(**fields: Any) -> manifest.Manifest:
    return manifest.parse(_bytes(**fields))


def _problems(data: bytes) -> dict[str, str]:
    with pytest.raises(Unprocessable) as refused:
        manifest.parse(data)
    assert refused.value.code is ErrorCode.MANIFEST_INVALID
    problems = refused.value.extra["problems"]
    assert isinstance(problems, list)
    return {problem["path"]: problem["message"] for problem in problems}


def test_the_documented_example_is_valid() -> None:
    """The manifest of compat.md section 5, field by field."""
    parsed = manifest.parse(json.dumps(FULL).encode())
    assert parsed.capabilities == {capability.HTTP_FETCH, capability.STORAGE_KV, capability.EVENTS_SUBSCRIBE}
    assert [(e.method, e.path, e.handler) for e in parsed.endpoints] == [("GET", "/api/reports/:id", "dist/main")]
    assert [(e.topic, e.filter) for e in parsed.events] == [("ticket.created", {"priority": ["high", "urgent"]})]
    assert parsed.egress == ("api.acme.example", "*.files.acme.example:8443")
    assert parsed.limits == RequestedLimits(timeout_ms=8000, memory_mb=128)
    assert parsed.ui is not None
    assert parsed.ui.entry == "ui/index.html"
    assert parsed.client_portal
    assert parsed.needs_component
    assert parsed.document == FULL


def test_the_least_manifest_asks_for_nothing() -> None:
    """Absent is not zero: limits nobody asked for stay absent."""
    parsed = _parse()
    assert parsed.capabilities == frozenset()
    assert (parsed.endpoints, parsed.events, parsed.egress, parsed.ui) == ((), (), (), None)
    assert parsed.limits == RequestedLimits()
    assert not parsed.client_portal
    assert not parsed.needs_component


def test_all_problems_are_answered_at_once_with_their_paths() -> None:
    """An author fixes a manifest in one round."""
    problems = _problems(
        json.dumps(
            {
                "name": "Acme",
                "version": 1,
                "runtime": "wasm-js@2",
                "api": {"endpoints": [{"method": "get", "path": "/a b"}, 3]},
                "limits": {"memory": 3, "timeout_ms": True, "concurrency": 0},
                "ui": {"type": "x", "entry": "../x"},
                "capabilities": ["foo", 1],
                "events": [{"topic": "a..b", "handler": "/x/:y", "filter": {"a..b": 1, "b": {"c": 2}}}],
                "precompiled": {"x86-64": "/abs"},
                "flavour": 1,
            }
        ).encode()
    )
    assert set(problems) == {
        "name",
        "publisher",
        "version",
        "runtime",
        "api.endpoints[0].path",
        "api.endpoints[0].handler",
        "api.endpoints[1]",
        "limits.memory",
        "limits.timeout_ms",
        "limits.concurrency",
        "ui.type",
        "ui.entry",
        "capabilities[0]",
        "capabilities[1]",
        "events[0].topic",
        "events[0].handler",
        'events[0].filter["a..b"]',
        "events[0].filter.b",
        "precompiled.x86-64",
        "flavour",
    }
    assert problems["publisher"] == "is required"
    assert problems["flavour"] == "is not a field of manifest v2"
    assert problems["limits.concurrency"] == "must be at least 1, not 0"
    assert problems["limits.timeout_ms"] == "must be an integer, not true"
    assert problems["api.endpoints[1]"] == "must be an object, not a number"


BAD = [
    ("name", "Com.acme.x"),
    ("name", "reports"),
    ("name", "com.-acme"),
    ("name", "com.acme."),
    ("name", "com.acme.größe"),
    ("name", "com.acme\n"),
    ("name", "com." + "a" * 200),
    ("publisher", ""),
    ("publisher", "   "),
    ("publisher", "a" * 101),
    ("publisher", "Acme\u0007"),
    ("version", "1.2"),
    ("version", "1.*"),
    ("version", "١.2.3"),
    ("runtime", "wasm-js@1 "),
    ("entry", "dist/other.wasm"),
    ("entry", "dist/main.wasm#"),
    ("sbom", "../sbom.json"),
    ("sbom", "/sbom.json"),
    ("sbom", ".hidden/sbom.json"),
    ("assets", "ui/**"),
    ("precompiled", ["x"]),
    ("limits", {"timeout_ms": 99}),
    ("limits", {"timeout_ms": 60_001}),
    ("limits", {"timeout_ms": "5000"}),
    ("limits", {"timeout_ms": 5000.0}),
    ("limits", {"async_timeout_ms": 900_001}),
    ("limits", {"memory_mb": 15}),
    ("limits", {"memory_mb": 257}),
    ("limits", {"concurrency": 65}),
    ("limits", {"reuse": 1_001}),
    ("egress", ["https://acme.example"]),
    ("egress", ["a.example"] * 51),
    ("ui", {"type": "iframe"}),
    ("ui", {"type": "iframe", "entry": "ui/"}),
    ("ui", {"type": "iframe", "entry": "ui/../x"}),
    ("ui", {"type": "iframe", "entry": "index.html"}),
    ("ui", {"type": "iframe", "entry": "ui/i.html", "hooks": {"appMenu": {"label": "  "}}}),
    ("ui", {"type": "iframe", "entry": "ui/i.html", "hooks": {"clientPortalMenu": {}}}),
    ("api", {}),
    ("api", {"endpoints": {}}),
    ("api", {"endpoints": [{"method": "TRACE", "path": "/", "handler": "h"}]}),
    ("api", {"endpoints": [{"method": "GET", "path": "/", "handler": ""}]}),
    ("api", {"endpoints": [{"method": "GET", "path": "/", "handler": "a/../b"}]}),
    ("api", {"endpoints": [{"method": "GET", "path": "/", "handler": "h", "idempotent": "yes"}]}),
    ("api", {"endpoints": [{"method": "GET", "path": f"/{n}", "handler": "h"} for n in range(201)]}),
    ("events", [{"topic": "t", "handler": "h"}] * 51),
    ("events", [{"topic": "Ticket.Created", "handler": "h"}]),
    ("events", [{"topic": ">.a", "handler": "h"}]),
    ("events", [{"topic": "a.*b", "handler": "h"}]),
    ("events", [{"topic": "t", "handler": "../h"}]),
    ("events", [{"topic": "t", "handler": "/a?b"}]),
    ("events", [{"topic": "t", "handler": "h", "filter": []}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {"a": []}}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {"a": [[1]]}}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {"a": {"exists": 1}}}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {"a": {"prefix": 1}}}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {"a": {"not": {"not": 1}}}}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {"a": {"not": 1, "exists": True}}}]),
    ("events", [{"topic": "t", "handler": "h", "filter": {f"k{n}": 1 for n in range(17)}}]),
    ("capabilities", "cap:http.fetch"),
    ("capabilities", ["cap:everything"]),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_a_problem_of_its_field_and_of_no_other(field: str, value: Any) -> None:
    """Each rule of compat.md section 5, broken alone."""
    problems = _problems(_bytes(**{field: value}))
    assert problems
    assert all(re.match(rf"{field}\b", path) for path in problems), problems


PATHS = {
    "/": "/",
    "/api/x": "/api/x",
    "api/x": "/api/x",
    "./api/x": "/api/x",
    "././/api//x/": "/api/x",
    "/api/:id/:other_Id": "/api/:id/:other_Id",
    "/v1:batch/a.b-c_d~e%20f": "/v1:batch/a.b-c_d~e%20f",
}


@pytest.mark.parametrize("path", PATHS)
def test_endpoint_paths_are_normalised(path: str) -> None:
    """Existing manifests spell them in many ways."""
    parsed = _parse(api={"endpoints": [{"method": "post", "path": path, "handler": "h"}]})
    assert [(endpoint.method, endpoint.path) for endpoint in parsed.endpoints] == [("POST", PATHS[path])]


@pytest.mark.parametrize(
    "path",
    [
        "/a b",
        "/a\tb",
        "/a\u00a0b",
        "/a/../b",
        "/a..b",
        "/a?b",
        "/a#b",
        "/a/*",
        "/{id}",
        "/:",
        "/:1",
        "/:a-b",
        "/a\\b",
        "/" + "a" * 256,
    ],
)
def test_endpoint_paths_that_could_not_be_matched_are_refused(path: str) -> None:
    """White space, traversal, queries, patterns of other routers."""
    problems = _problems(_bytes(api={"endpoints": [{"method": "GET", "path": path, "handler": "h"}]}))
    assert list(problems) == ["api.endpoints[0].path"]


def test_two_endpoints_that_match_the_same_calls_are_refused_also_beside_other_problems() -> None:
    """Names of parameters and spelling of the path make no difference."""
    endpoints = [
        {"method": "GET", "path": "/a/:id", "handler": "h"},
        {"method": "get", "path": "a//:name/", "handler": ""},
        {"method": "POST", "path": "/a/:id", "handler": "h"},
    ]
    problems = _problems(_bytes(api={"endpoints": endpoints}))
    assert set(problems) == {"api.endpoints[1]", "api.endpoints[1].handler"}
    assert "api.endpoints[0]" in problems["api.endpoints[1]"]


def test_capability_names_are_normalised_and_merged() -> None:
    """Trimmed, lower-cased, aliases rewritten."""
    parsed = _parse(capabilities=[" HTTP.fetch ", "cap:http.fetch", "log", "secrets.get", "metrics"])
    assert parsed.capabilities == {
        capability.HTTP_FETCH,
        capability.LOG_EMIT,
        capability.SECRETS_GET,
        capability.METRICS_EMIT,
    }


def test_an_unknown_top_level_field_is_refused_unless_it_starts_with_x() -> None:
    """A misspelt wish is not dropped silently."""
    assert _problems(_bytes(capabilites=[])) == {"capabilites": "is not a field of manifest v2"}
    assert _parse(**{"x-note": {"any": ["thing"]}}).document["x-note"] == {"any": ["thing"]}


def test_fields_that_existing_manifests_carry_are_tolerated_and_kept() -> None:
    """`schedulable`, unknown hooks, ui routes."""
    ui = {
        "type": "iframe",
        "entry": "ui/i.html",
        "hooks": {"tab": {"x": 1}},
        "routes": [{"path": "/", "iframePath": "i"}],
    }
    endpoint = {"method": "GET", "path": "/a", "handler": "h", "schedulable": True}
    parsed = _parse(ui=ui, api={"endpoints": [endpoint]})
    assert parsed.document["api"]["endpoints"][0]["schedulable"] is True
    assert parsed.ui is not None
    assert parsed.ui.hooks == {"tab": {"x": 1}}
    assert not parsed.client_portal


def test_a_legacy_descriptor_manifest_is_refused_with_the_fields_to_use() -> None:
    """Its author learns what changed, not only what is unknown."""
    problems = _problems(json.dumps({"id": "acme", "name": "Acme", "main": "x.js", "extensionPoints": []}).encode())
    assert "api.endpoints" in problems["$"]
    assert "extensionPoints, id, main" in problems["$"]


@pytest.mark.parametrize(
    "data", [b"[]", b"null", b"", b"{", b'{"name":"a","name":"b"}', b"\xef\xbb\xbf{}", b"{}" + b" " * 262_144]
)
def test_a_document_that_is_no_strict_json_object_is_refused_at_its_root(data: bytes) -> None:
    """Nothing of it is looked at."""
    assert "$" in _problems(data)


def test_problems_are_bounded() -> None:
    """A hostile manifest does not make an answer of megabytes."""
    problems = _problems(_bytes(capabilities=["x" * 50] * 4_000))
    assert len(problems) == manifest.MAX_PROBLEMS + 1
    assert problems["$"] == "has 3900 further problems"


def test_an_event_calls_the_path_it_names_or_one_made_of_its_topic() -> None:
    """A handler that starts with / is a request path, another one is informative."""
    assert manifest.request_path("/on/ticket", "ticket.created") == "/on/ticket"
    assert manifest.request_path("dist/main.wasm#handle", "ticket.created") == "/events/ticket.created"


def test_two_spellings_of_one_manifest_are_the_same_document() -> None:
    """`manifestJson` in finalize must mean what the archive's manifest says."""
    ours = _bytes(limits={"timeout_ms": 5000}, **{"x-a": 1, "x-b": [True, "é"]})
    spelled = json.dumps(dict(reversed(json.loads(ours).items())), indent=2, ensure_ascii=False).encode()
    assert manifest.same_document(ours, spelled)
    assert manifest.same_document(ours, ours.replace(b'"x-a": 1', b'"x-a": 1.0'))
    assert not manifest.same_document(ours, ours.replace(b'"x-a": 1', b'"x-a": true'))
    assert not manifest.same_document(ours, _bytes())


def test_the_json_schema_names_every_field_and_closes_the_document() -> None:
    """Editors know what the parser knows."""
    schema = manifest.json_schema()
    assert set(schema["required"]) == {"name", "publisher", "version", "runtime"}
    assert schema["additionalProperties"] is False
    assert "^x-" in schema["patternProperties"]
    assert set(FULL) <= set(schema["properties"])
    for field in ("name", "publisher"):
        assert re.search(schema["properties"][field].get("pattern", ""), MINIMAL[field])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FULL, "precompiled", "entry", "x-y", "other"]), _JSON, max_size=6))
def test_whatever_stands_in_a_field_the_answer_is_a_manifest_or_problems(fields: dict[str, Any]) -> None:
    """The validator never fails in another way, and every problem has a path and a sentence."""
    try:
        manifest.parse(json.dumps({**FULL, **fields}).encode())
    except Unprocessable as refused:
        problems = refused.extra["problems"]
        assert isinstance(problems, list)
        assert all(problem["path"] and problem["message"] != "is not valid" for problem in problems), problems
