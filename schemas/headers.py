"""Names of the HTTP headers that are ours, and the allowlists that decide what crosses to and from a guest."""

from __future__ import annotations

REQUEST_ID = "x-request-id"
TENANT = "x-alga-tenant"
EXTENSION = "x-alga-extension"
LEGACY_TENANT = "x-tenant-id"
API_KEY = "x-api-key"
IDEMPOTENCY_KEY = "x-idempotency-key"
IDEMPOTENCY_KEY_ALIAS = "idempotency-key"
IDEMPOTENT_REPLAY = "x-ext-idempotent-replay"
RUNNER_SERVICE_TOKEN = "x-runner-service-token"
RUNNER_AUTH = "x-runner-auth"
INSTALL_ID = "x-ext-install-id"
VERSION_ID = "x-ext-version-id"
REGISTRY_ID = "x-ext-registry-id"
TRACEPARENT = "traceparent"
SESSION_COOKIE = "alga_session"

TO_GUEST = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-type", "user-agent", "if-none-match", TRACEPARENT}
)
"""The caller's headers that a guest sees; everything else is dropped."""

TO_CALLER = frozenset(
    {"content-type", "cache-control", "etag", "last-modified", "content-disposition", "content-language", "vary"}
)
"""The guest's headers that a caller sees, beside those that start with `TO_CALLER_PREFIX`."""
TO_CALLER_PREFIX = "x-ext-"
