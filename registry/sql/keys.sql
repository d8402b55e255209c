-- API keys: of tenants under row security, of operators and platforms in a global table. Only hashes are stored.

-- name: create_tenant_key
-- A key of the tenant of this transaction.
INSERT INTO tenant_api_key (id, tenant_id, name, key_hash, permissions, publisher_id, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: create_service_credential
-- A key of the platform or of an operator; its name taken already is a unique violation.
INSERT INTO service_credential (id, name, key_hash, permissions, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: find_by_hash
-- Whose key has this hash, wherever it is: both places are always looked at.
SELECT id, tenant_id, NULL AS name, permissions, publisher_id, expires_at, revoked_at, last_used_at,
    tenant_state = 'active' AS is_active
FROM find_api_key($1)
UNION ALL
SELECT id, NULL, name, permissions, NULL, expires_at, revoked_at, last_used_at, true
FROM find_service_credential($1)

-- name: list_tenant_keys
-- The keys of the tenant of this transaction, newest first.
SELECT id, tenant_id, name, permissions, publisher_id, expires_at, revoked_at, last_used_at, true AS is_active
FROM tenant_api_key WHERE tenant_id = $1 ORDER BY created_at DESC, id

-- name: list_service_credentials
-- The keys of operators and platforms, newest first.
SELECT id, NULL AS tenant_id, name, permissions, NULL AS publisher_id, expires_at, revoked_at, last_used_at,
    true AS is_active
FROM service_credential ORDER BY created_at DESC, id

-- name: revoke_tenant_key
-- From now on the key opens nothing; one revoked earlier keeps its time.
UPDATE tenant_api_key SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2

-- name: revoke_service_credential
-- From now on the key opens nothing; one revoked earlier keeps its time.
UPDATE service_credential SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1

-- name: touch_tenant_key
-- Remember that a key of the tenant of this transaction was used.
UPDATE tenant_api_key SET last_used_at = now() WHERE tenant_id = $1 AND id = $2

-- name: touch_service_credential
-- Remember that a key of the platform or of an operator was used.
UPDATE service_credential SET last_used_at = now() WHERE id = $1
