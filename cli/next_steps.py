"""What a person does about each error code: shown by the command line, and printed in `docs/reference/status-codes.md`.

Owns the advice only; which HTTP status a code has is `gateway/errors.py`'s.
"""

from __future__ import annotations

from schemas.errors import ErrorCode

NEXT_STEPS: dict[ErrorCode, str] = {
    ErrorCode.INVALID_REQUEST: "correct what the message names; the same request will fail again",
    ErrorCode.PAYLOAD_TOO_LARGE: "send less; the message names the limit and the size",
    ErrorCode.BUNDLE_INVALID: "build and pack again with `alga build` and `alga pack`; the message names what is wrong",
    ErrorCode.MANIFEST_INVALID: "correct manifest.json; every problem is listed with its path",
    ErrorCode.SIGNATURE_INVALID: "sign these very bytes with a registered, valid key of the publisher",
    ErrorCode.UNAUTHENTICATED: "send one valid API key or token; ask the operator for a new key if yours has expired",
    ErrorCode.FORBIDDEN: "use a key or a user with the permission that the message names",
    ErrorCode.TENANT_MISMATCH: "leave out the tenant, or state the one that the key belongs to",
    ErrorCode.CAPABILITY_DENIED: "ask a tenant admin to grant the capability to this install (`alga grant`)",
    ErrorCode.NOT_FOUND: "check the id; what belongs to another tenant looks as if it did not exist",
    ErrorCode.EXTENSION_NOT_INSTALLED: "install or enable the extension for this tenant, or grant what it waits for",
    ErrorCode.ENDPOINT_NOT_FOUND: "check method and path against the endpoints in the installed version's manifest",
    ErrorCode.CONFLICT: "look at the state there is; repeat with the consent or the override that the message names",
    ErrorCode.VERSION_EXISTS: "raise `version` in manifest.json (or write X.Y.*) and publish again",
    ErrorCode.RATE_LIMITED: "wait for Retry-After and call less often",
    ErrorCode.QUOTA_EXCEEDED: "wait for the next quota window, or ask the operator for a larger quota",
    ErrorCode.CONCURRENCY_EXCEEDED: "wait for calls under way to end; an admin may grant a higher `concurrency`",
    ErrorCode.NO_WORKER: "try again after Retry-After; operators: no worker serves this tenant's shard",
    ErrorCode.OVERLOADED: "try again after Retry-After; operators: add workers or slots",
    ErrorCode.DRAINING: "try again at once: another process takes over",
    ErrorCode.DEPENDENCY_UNAVAILABLE: "try again after Retry-After; operators: look at /healthz and the logs",
    ErrorCode.BUNDLE_INTEGRITY: "operators: stored bytes are not what was signed; restore the bundle from its backup",
    ErrorCode.DEADLINE_EXCEEDED: "check whether it took effect, then repeat; authors: do less, or ask for `timeout_ms`",
    ErrorCode.INTERNAL: "report it with the request id: this is a bug of ours",
    ErrorCode.GUEST_TRAP: "authors: the handler crashed; repeat the same request in a test of the handler",
    ErrorCode.GUEST_MEMORY: "authors: use less memory, or ask for a larger `memory_mb` in the manifest",
    ErrorCode.GUEST_BAD_RESPONSE: "authors: answer with a status of 200 to 599, sound headers, at most 2 MiB of body",
}
