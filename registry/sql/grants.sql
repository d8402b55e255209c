-- Consents: who approved what, for which version. They stay when the install goes.

-- name: insert_consent
-- An admin's approval, as the install has it from now on.
INSERT INTO tenant_extension_consent (
    tenant_id, install_id, version_id, capabilities, egress, limits, events, approved_by
) VALUES ($1, $2::uuid, $3::uuid, $4, $5, $6, $7, $8)

-- name: revoke_consents
-- Earlier approvals of an install do not count any more.
UPDATE tenant_extension_consent SET revoked_at = now()
WHERE tenant_id = $1 AND install_id = $2::uuid AND revoked_at IS NULL

-- name: list_consents
-- The approvals of an install, the latest first.
SELECT id, version_id, capabilities, egress, limits, events, approved_by, approved_at, revoked_at
FROM tenant_extension_consent
WHERE tenant_id = $1 AND install_id = $2::uuid
ORDER BY approved_at DESC, id
LIMIT 100
