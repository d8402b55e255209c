"""Lines of a guest as they reach the live log."""

from __future__ import annotations

import orjson
import pytest

from schemas.guest_http import GuestRequest
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.invocation import ExecuteRequest, Limits, Origin, Trigger
from schemas.ticket import Ticket
from worker.supervisor import invocation as invocations
from worker.supervisor.guest_log import (
    MAX_INVOCATION_BYTES,
    MAX_LINE_BYTES,
    NOTICE,
    REDACTED,
    InvocationLog,
    redact,
)
from worker.supervisor.invocation import Invocation


def invocation() -> Invocation:
    ticket = Ticket(
        tenant=TenantId("t1"),
        install=InstallId("install"),
        registry=RegistryId("registry"),
        version_id=VersionId("version"),
        name="com.acme.guest",
        version="1.0.0",
        content_hash=ContentHash("sha256:" + "0" * 64),
        grants=frozenset(),
        egress=(),
        limits=Limits(),
        issued=0,
        expires=1,
        shard=0,
    )
    origin = Origin(
        request_id="r1", trigger=Trigger.HTTP, method="GET", path="/", endpoint_template="/", principal_kind="service"
    )
    request = ExecuteRequest(
        invocation="i1",
        ticket=b"",
        origin=origin,
        request=GuestRequest(method="GET", url="/"),
        sender="s",
        sent_unix_ms=0,
        left_ms=1,
        started_unix_ms=0,
    )
    return invocations.accept(request, ticket, None, received=0.0, now_unix=0.0, left_ms=1)


class Lines:
    """What was published, decoded, and how many lines were dropped."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.dropped = 0
        self.log = InvocationLog(invocation(), self._put, now=lambda: 12.5, dropped=self._drop)

    def _put(self, subject: str, data: bytes) -> None:
        assert subject.startswith("ext.log.")
        self.events.append(orjson.loads(data))

    def _drop(self) -> None:
        self.dropped += 1


def test_a_line_has_the_fields_of_the_contract_and_the_tickets_identity() -> None:
    """The host's values, whatever the text claims."""
    lines = Lines()
    lines.log.write('{"tenantId":"other"}', level="info", stream="log")

    assert lines.events == [
        {
            "ts": "12500",
            "level": "info",
            "stream": "log",
            "tenantId": "t1",
            "extensionId": "registry",
            "installId": "install",
            "requestId": "r1",
            "versionId": "version",
            "contentHash": "sha256:" + "0" * 64,
            "message": '{"tenantId":"other"}',
            "truncated": False,
        }
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ('a","level":"error', 'a","level":"error'),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2028\x00\x7f\x85", "\\u2028\\x00\\x7f\\x85"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    """One record stays one line, and no terminal is steered by it."""
    lines = Lines()
    lines.log.write(text, level="warn", stream="stderr")

    assert [event["message"] for event in lines.events] == [shown]


def test_a_long_line_is_cut_on_a_character() -> None:
    """8 KiB, and `truncated` says so."""
    lines = Lines()
    lines.log.write("é" * MAX_LINE_BYTES, level="info", stream="log")
    lines.log.write("x" * MAX_LINE_BYTES, level="info", stream="log")

    assert [(event["message"], event["truncated"]) for event in lines.events] == [
        ("é" * (MAX_LINE_BYTES // 2), True),
        ("x" * MAX_LINE_BYTES, False),
    ]


def test_after_the_cap_one_notice_and_then_only_a_count() -> None:
    """256 KiB of one invocation, however many lines it writes."""
    lines = Lines()
    for _ in range(1_000):
        lines.log.write("x" * 1024, level="info", stream="log")

    assert len(lines.events) == MAX_INVOCATION_BYTES // 1024 + 1
    assert lines.events[-1]["message"] == NOTICE
    assert lines.dropped == 1_000 - MAX_INVOCATION_BYTES // 1024


def test_a_secret_the_guest_was_given_is_not_shown() -> None:
    """By value, before anything is cut or escaped; also the head of one that the end of a line cuts off."""
    lines = Lines()
    lines.log.hide("hunter2\nhunter3")
    lines.log.write("token=hunter2\nhunter3;", level="info", stream="log")
    lines.log.write("token=hunter2\nhun", level="info", stream="log")

    assert [event["message"] for event in lines.events] == [f"token={REDACTED};", f"token={REDACTED}"]


def test_a_secret_inside_another_leaves_no_rest() -> None:
    """The longest is replaced first."""
    assert redact("abcdefgh abcd", ["abcdefgh", "abcd"]) == f"{REDACTED} {REDACTED}"
