"""Target `manifests`: any bytes are a manifest or Unprocessable, and what we read is what another reader reads."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson

from schemas import manifest, strict_json
from schemas.errors import ErrorCode, Invalid, Unprocessable
from tests.fuzz.mutation import mutate
from tests.fuzz.report import Report

VALID: dict[str, Any] = {
    "name": "com.example.fuzz",
    "publisher": "Fuzz Ltd",
    "version": "1.2.3",
    "runtime": "wasm-component@1",
    "capabilities": ["cap:http.fetch", "cap:storage.kv", "cap:secrets.get"],
    "api": {
        "endpoints": [
            {"method": "GET", "path": "/a/:b", "handler": "dist/main"},
            {"method": "POST", "path": "/a", "handler": "dist/main", "idempotent": True},
        ]
    },
    "events": [{"topic": "ticket.*", "handler": "/on/ticket", "filter": {"payload.state": "open"}}],
    "egress": ["api.example.com", "*.example.org:8443", "http://plain.example"],
    "limits": {"timeout_ms": 1000, "memory_mb": 64},
    "ui": {"type": "iframe", "entry": "ui/index.html", "hooks": {"appMenu": {"label": "Fuzz"}}},
    "x-note": {"any": ["thing", 1, 2.5, None]},
}
TEXTS = (
    *("", " ", "a", "*", "/", "..", "../x", "/..", "a/b", "/:a", "/:a/:a", "//", "/a?b", "/a#b", "/%2e%2e", "\\"),
    *(
        "GET",
        "get",
        "TRACE",
        "1.2.3",
        "1.2.*",
        "01.2.3",
        "1.2.3-rc.1",
        "99999999999.0.0",
        "wasm-component@1",
        "wasm-js@1",
    ),
    *("cap:http.fetch", "http.fetch", "CAP:HTTP.FETCH ", "cap:nothing", "localhost", "127.0.0.1", "[::1]:80", "0x7f.1"),
    *(
        "example.com:0",
        "example.com:65536",
        "http://a.b",
        "https://a.b",
        "*.*",
        "*.1.2.3.4",
        "ticket.created",
        "a..b",
        "#",
    ),
    *(
        "\0",
        "\x7f",
        "\ud800",
        "\u202e",
        "é",
        "e\u0301",
        "ß",
        "İ",
        "a" * 300,
        "ui/index.html",
        "ui/../x",
        "__proto__",
        "$",
    ),
)
NUMBERS = (0, -1, 1, 2, 60_000, 60_001, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, 10**500, 0.5, -0.0, 1.0, 1e308, 1e-320)
TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\u0000",
        b"\\ud800",
        b"\\u00e9",
        b"\\/",
        b"\\x",
        b"1e999",
        b"-",
        b"+1",
    ),
    *(
        b"NaN",
        b"Infinity",
        b"-0",
        b"01",
        b"1.",
        b".5",
        b"1E+2",
        b"null",
        b"true",
        b"tru",
        b"/*",
        b"//",
        b"\xef\xbb\xbf",
    ),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0", b"\x0b", b"\xc2\xa0", b"\xe2\x80\xa8", b"'"),
)


async def run(report: Report) -> None:
    """Nothing but Unprocessable (manifest_invalid) comes out of the parser, with every problem named."""
    for rng in report.inputs_of():
        data = _document(rng)
        with report.catching(data):
            _try_reader(report, data)
            _try_parser(report, data)


def _try_reader(report: Report, data: bytes) -> None:
    """What the strict reader takes, orjson takes, and as the same value."""
    try:
        ours = strict_json.read(data, max_bytes=manifest.MAX_BYTES)
    except Invalid:
        return
    try:
        theirs = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        report.fail(f"the strict reader takes what orjson refuses: {error}", data)
        return
    if not _same(ours, theirs):
        report.fail(f"read as {ours!r}, by orjson as {theirs!r}", data)


def _try_parser(report: Report, data: bytes) -> None:
    try:
        parsed = manifest.parse(data)
    except Unprocessable as error:
        report.refused[error.code] += 1
        _check_refusal(report, error, data)
        return
    report.accepted["manifest"] += 1
    again = manifest.parse(json.dumps(parsed.document).encode())
    if _without_hash(again) != _without_hash(parsed):
        report.fail("the same value in another spelling is another manifest", data)
    if not manifest.same_document(data, json.dumps(parsed.document, indent=1).encode()):
        report.fail("the document is not itself in another spelling", data)


def _check_refusal(report: Report, error: Unprocessable, data: bytes) -> None:
    problems: Any = error.extra["problems"]
    named = all(problem["path"] and problem["message"] for problem in problems)
    if error.code is not ErrorCode.MANIFEST_INVALID or not problems or not named:
        report.fail(f"refused as {error.code} with problems {problems!r}", data)
    if len(problems) > manifest.MAX_PROBLEMS + 1:
        report.fail(f"{len(problems)} problems in one answer", data)
    # As the gateway sends it.
    orjson.dumps({"message": error.message, "problems": problems})


def _without_hash(parsed: manifest.Manifest) -> dict[str, Any]:
    return {name: getattr(parsed, name) for name in parsed.__struct_fields__ if name != "sha256"}


def _same(ours: Any, theirs: Any) -> bool:
    """Equal and of the same types all the way down."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return bool(ours == theirs)


def _document(rng: random.Random) -> bytes:
    value: Any = json.loads(json.dumps(VALID))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        value = _changed(rng, value)
    data = _spelled(rng, value)
    return mutate(rng, data, most=4, tokens=TOKENS) if rng.random() < 0.3 else data


def _changed(rng: random.Random, value: Any) -> Any:
    """The value with one thing in it replaced, removed, doubled or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.7:
            return {**value, key: _changed(rng, value[key])}
        if rng.random() < 0.5:
            return {name: child for name, child in value.items() if name != key}
        return {**value, rng.choice([*VALID, *TEXTS, "id", "main", "x-a"]): _anything(rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        if rng.random() < 0.6:
            return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]
        return value * rng.choice((2, 2, 3, 60)) if rng.random() < 0.5 else [*value, _anything(rng)]
    return _anything(rng)


def _anything(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind < 3:
        return rng.choice(TEXTS)
    if kind < 6:
        return rng.choice((*NUMBERS, None, True, False))
    if kind == 6:
        return [_anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if rng.random() < 0.05:
        return json.loads("[" * 40 + "]" * 40)
    return {rng.choice(TEXTS): _anything(rng, depth + 1) for _ in range(rng.randrange(4))}


def _spelled(rng: random.Random, value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 1)))
    if rng.random() < 0.1:
        # The same key twice: readers differ in which one counts.
        text = text.replace('"name":', '"name": "com.example.other", "name":', 1)
    return text.encode("utf-8", "surrogatepass")
