-- Secrets of installs: one envelope each. Every statement runs with the tenant set.

-- name: get_secrets
-- The envelope of an install, and what it is bound to.
SELECT ciphertext, algorithm, transit_key, transit_mount, version, expires_at
FROM tenant_extension_install_secrets
WHERE tenant_id = $1 AND install_id = $2::uuid

-- name: find_install
-- Whether the tenant has this install.
SELECT i.id FROM tenant_extension_install AS i WHERE i.tenant_id = $1 AND i.id = $2::uuid

-- name: lock_install
-- The install, locked, so that two writers of its secrets take turns.
SELECT i.id FROM tenant_extension_install AS i WHERE i.tenant_id = $1 AND i.id = $2::uuid FOR UPDATE

-- name: put_secrets
-- The whole envelope, under a new version.
INSERT INTO tenant_extension_install_secrets (
    tenant_id, install_id, ciphertext, algorithm, transit_key, version, expires_at
) VALUES ($1, $2::uuid, $3, $4, $5, $6::uuid, $7)
ON CONFLICT (tenant_id, install_id) DO UPDATE SET
    ciphertext = excluded.ciphertext, algorithm = excluded.algorithm, transit_key = excluded.transit_key,
    transit_mount = NULL, version = excluded.version, expires_at = excluded.expires_at, updated_at = now()

-- name: delete_secrets
-- The last key was deleted.
DELETE FROM tenant_extension_install_secrets WHERE tenant_id = $1 AND install_id = $2::uuid
