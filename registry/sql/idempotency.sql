-- Answers kept for idempotency keys. Every statement runs with the tenant set, except the reaper's look.

-- name: claim
-- The first caller with a key: a row of its own until `lease_until`. Takes over what has expired, and what was left
-- running beyond its lease by a caller with the same body. No row: somebody else has the key.
INSERT INTO extension_idempotency (
    tenant_id, install_id, scope_hash, body_sha256, state, invocation_id, lease_until, expires_at
) VALUES (
    $1, $2::uuid, $3, $4, 'running', $5::uuid, now() + make_interval(secs => $6), now() + make_interval(secs => $7)
)
ON CONFLICT (tenant_id, install_id, scope_hash) DO UPDATE SET
    body_sha256 = excluded.body_sha256, state = 'running', status = NULL, headers = NULL, body = NULL,
    invocation_id = excluded.invocation_id, lease_until = excluded.lease_until, expires_at = excluded.expires_at,
    created_at = now()
WHERE extension_idempotency.expires_at <= now()
    OR (
        extension_idempotency.state = 'running' AND extension_idempotency.lease_until <= now()
        AND extension_idempotency.body_sha256 = excluded.body_sha256
    )
RETURNING invocation_id

-- name: find
-- What is known of a key.
SELECT body_sha256, state, status, headers, body, lease_until <= now() AS is_left
FROM extension_idempotency
WHERE tenant_id = $1 AND install_id = $2::uuid AND scope_hash = $3 AND expires_at > now()

-- name: finish
-- Keep the answer, if the key is still this call's.
UPDATE extension_idempotency
SET state = $5, status = $6, headers = $7, body = $8, lease_until = NULL,
    expires_at = now() + make_interval(secs => $9)
WHERE tenant_id = $1 AND install_id = $2::uuid AND scope_hash = $3 AND invocation_id = $4::uuid AND state = 'running'

-- name: abandon
-- Free the key: nothing came of this call that may be replayed.
DELETE FROM extension_idempotency
WHERE tenant_id = $1 AND install_id = $2::uuid AND scope_hash = $3 AND invocation_id = $4::uuid AND state = 'running'

-- name: find_expired_tenants
-- Tenants with expired keys. For alga_system.
SELECT DISTINCT tenant_id FROM extension_idempotency WHERE expires_at <= now() LIMIT $1

-- name: delete_expired
-- A tenant's expired keys.
DELETE FROM extension_idempotency WHERE tenant_id = $1 AND expires_at <= now()
