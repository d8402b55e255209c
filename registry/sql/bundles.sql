-- Published versions and their bundles: the write side. Every table here is global. The read side is versions.sql.

-- name: find_published
-- One version as its publisher is answered, by the id made of its staging key.
SELECT r.id AS registry_id, r.name, r.publisher, r.publisher_id, v.id AS version_id, v.version, v.imports,
    v.capabilities, b.content_hash, b.storage_url
FROM extension_version AS v
JOIN extension_registry AS r ON r.id = v.registry_id
JOIN extension_bundle AS b ON b.version_id = v.id
WHERE v.id = $1::uuid

-- name: list_version_texts
-- All versions of an extension, in every state: a withdrawn one is not published again either.
SELECT v.version FROM extension_version AS v JOIN extension_registry AS r ON r.id = v.registry_id WHERE r.name = $1

-- name: find_version_of_bundle
-- The version that was published from these bytes.
SELECT r.name, v.version
FROM extension_bundle AS b
JOIN extension_version AS v ON v.id = b.version_id
JOIN extension_registry AS r ON r.id = v.registry_id
WHERE b.content_hash = $1
LIMIT 1

-- name: insert_version
-- A new version. The caller holds the extension's row.
INSERT INTO extension_version (
    id, registry_id, version, runtime, main_entry, api, ui, capabilities, api_endpoints, manifest, manifest_sha256,
    events, egress, limits, imports
) VALUES ($1::uuid, $2::uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: insert_bundle
-- Its bundle, whose signature was verified now.
INSERT INTO extension_bundle (
    version_id, content_hash, signature, precompiled, storage_url, size_bytes, statement, signature_algorithm, key_id,
    verified_at, file_index
) VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: insert_endpoints
-- Its endpoints.
INSERT INTO extension_api_endpoint (version_id, method, path, handler)
SELECT $1::uuid, e.method, e.path, e.handler
FROM unnest($2::text[], $3::text[], $4::text[]) AS e (method, path, handler)

-- name: put_cwasm
-- The compiled form for one engine; a newer build replaces an older one.
INSERT INTO extension_cwasm (
    content_hash, engine_fingerprint, storage_url, size_bytes, sha256, signature, build_key_id, built_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (content_hash, engine_fingerprint) DO UPDATE SET
    storage_url = excluded.storage_url, size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
    signature = excluded.signature, build_key_id = excluded.build_key_id, built_at = excluded.built_at

-- name: find_source
-- What a bundle must be to be compiled again: who signed it as what, and when that was verified.
SELECT r.publisher, r.name, v.manifest, v.manifest_sha256, b.content_hash, b.signature, b.verified_at, b.storage_url
FROM extension_bundle AS b
JOIN extension_version AS v ON v.id = b.version_id
JOIN extension_registry AS r ON r.id = v.registry_id
WHERE b.content_hash = $1 AND b.signature IS NOT NULL
LIMIT 1

-- name: list_uncompiled
-- Published components without code for an engine, the newest first.
SELECT b.content_hash
FROM extension_bundle AS b
JOIN extension_version AS v ON v.id = b.version_id AND v.state = 'active'
WHERE b.signature IS NOT NULL AND b.file_index ? 'dist/main.wasm'
    AND NOT EXISTS (
        SELECT FROM extension_cwasm AS c WHERE c.content_hash = b.content_hash AND c.engine_fingerprint = $1
    )
ORDER BY b.created_at DESC
LIMIT $2

-- name: list_versions
-- The versions of one extension, newest first.
SELECT v.id AS version_id, v.version, v.state, v.capabilities, v.egress, v.imports, v.created_at, b.content_hash,
    b.size_bytes, b.key_id, b.signature_algorithm
FROM extension_version AS v
JOIN extension_bundle AS b ON b.version_id = v.id
WHERE v.registry_id = $1::uuid
ORDER BY v.created_at DESC, v.id

-- name: lock_version
-- A version and whose it is, locked until its state is set.
SELECT v.id AS version_id, v.version, v.state, r.name, r.publisher_id
FROM extension_version AS v
JOIN extension_registry AS r ON r.id = v.registry_id
WHERE v.id = $1::uuid
FOR UPDATE OF v

-- name: set_state
-- Withdraw a version, quarantine it, or make it active again.
UPDATE extension_version SET state = $2 WHERE id = $1::uuid
