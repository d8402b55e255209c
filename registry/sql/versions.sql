-- Published versions as installs read them. The write side is bundles.sql.

-- name: list_versions
-- Every version of one extension, with its state: for X.Y.* and for the order of versions.
SELECT v.id AS version_id, v.version, v.state
FROM extension_version AS v
WHERE v.registry_id = $1::uuid

-- name: get_version
-- One version: what it asks for, its bundle, and who signed it with what.
SELECT r.id AS registry_id, r.publisher, r.name, p.state AS publisher_state,
    v.id AS version_id, v.version, v.state, v.capabilities, v.egress, v.events, v.limits, v.api_endpoints, v.ui,
    v.manifest ->> 'version' AS manifest_version, v.manifest_sha256,
    b.content_hash, b.signature, b.file_index ? 'dist/main.wasm' AS has_component,
    k.key_id, o.name AS key_publisher, k.public_key, k.not_before, k.not_after, k.revoked_at
FROM extension_version AS v
JOIN extension_registry AS r ON r.id = v.registry_id
JOIN extension_publisher AS p ON p.id = r.publisher_id
JOIN LATERAL (
    SELECT * FROM extension_bundle WHERE version_id = v.id ORDER BY created_at DESC LIMIT 1
) AS b ON true
LEFT JOIN extension_publisher_key AS k ON k.key_id = b.key_id
LEFT JOIN extension_publisher AS o ON o.id = k.publisher_id
WHERE v.id = $1::uuid
