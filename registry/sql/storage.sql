-- What guests store. Every statement runs with the tenant set; expired records are invisible to all reads.

-- name: get_entry
-- One record, unless it has expired.
SELECT namespace, key, value, encoding, revision, metadata, ttl_expires_at, updated_at
FROM ext_storage_records
WHERE tenant = $1 AND extension_install_id = $2::uuid AND namespace = $3 AND key = $4
    AND (ttl_expires_at IS NULL OR ttl_expires_at > now())

-- name: get_entries
-- Several records of one namespace, in any order.
SELECT namespace, key, value, encoding, revision, metadata, ttl_expires_at, updated_at
FROM ext_storage_records
WHERE tenant = $1 AND extension_install_id = $2::uuid AND namespace = $3 AND key = ANY($4::text[])
    AND (ttl_expires_at IS NULL OR ttl_expires_at > now())

-- name: list_entries
-- Records by key bytes, strictly after a key, below a literal prefix: so many that `limit` or the bytes of values stop
-- it, but at least `at_least`. `candidates` counts one beyond the limit where there is one.
WITH candidate AS (
    SELECT key, value_size_bytes
    FROM ext_storage_records
    WHERE tenant = $1 AND extension_install_id = $2::uuid AND namespace = $3
        AND key COLLATE "C" > $4 AND key COLLATE "C" >= $5 AND starts_with(key, $5)
        AND (ttl_expires_at IS NULL OR ttl_expires_at > now())
    ORDER BY key COLLATE "C"
    LIMIT $6 + 1
), counted AS (
    SELECT key, row_number() OVER by_key AS place, sum(value_size_bytes) OVER by_key AS so_far,
        count(*) OVER () AS candidates
    FROM candidate
    WINDOW by_key AS (ORDER BY key COLLATE "C" ROWS UNBOUNDED PRECEDING)
)
SELECT r.namespace, r.key, CASE WHEN $9 THEN r.value ELSE ''::bytea END AS value, r.encoding, r.revision, r.metadata,
    r.ttl_expires_at, r.updated_at, c.candidates
FROM counted AS c
JOIN ext_storage_records AS r
    ON r.tenant = $1 AND r.extension_install_id = $2::uuid AND r.namespace = $3 AND r.key = c.key
WHERE c.place <= $6 AND (c.place <= $8 OR NOT $9 OR c.so_far <= $7)
ORDER BY c.place

-- name: get_usage
-- The counters of an install.
SELECT bytes_used, keys_count, namespaces_count
FROM ext_storage_usage WHERE tenant = $1 AND extension_install_id = $2::uuid

-- name: lock_usage
-- The counters of an install that exists, locked: writers of one install take turns here, and only here.
INSERT INTO ext_storage_usage (tenant, extension_install_id)
SELECT i.tenant_id, i.id FROM tenant_extension_install AS i
WHERE i.tenant_id = $1 AND i.id = $2::uuid
FOR KEY SHARE
ON CONFLICT (tenant, extension_install_id) DO UPDATE SET updated_at = now()
RETURNING bytes_used, keys_count, namespaces_count

-- name: lock_left_usage
-- The counters, locked, whether the install is still there or not: for the reaper.
SELECT bytes_used, keys_count, namespaces_count
FROM ext_storage_usage WHERE tenant = $1 AND extension_install_id = $2::uuid
FOR UPDATE

-- name: get_existing
-- What lies under these keys, expired or not.
SELECT key, revision, value_size_bytes + metadata_size_bytes AS size_bytes,
    coalesce(ttl_expires_at <= now(), false) AS is_expired
FROM ext_storage_records
WHERE tenant = $1 AND extension_install_id = $2::uuid AND namespace = $3 AND key = ANY($4::text[])

-- name: count_keys
-- How many keys a namespace has, counting no further than needed.
SELECT count(*) FROM (
    SELECT 1 FROM ext_storage_records
    WHERE tenant = $1 AND extension_install_id = $2::uuid AND namespace = $3
    LIMIT $4
) AS counted

-- name: put_entry
-- Write a record whole. The caller holds the install's counters and has decided the revision.
INSERT INTO ext_storage_records (
    tenant, extension_install_id, namespace, key, revision, value, encoding, metadata, value_size_bytes,
    metadata_size_bytes, ttl_expires_at
) VALUES (
    $1, $2::uuid, $3, $4, $5, $6, $7, $8, octet_length($6::bytea), $9,
    now() + make_interval(secs => $10::double precision)
)
ON CONFLICT (tenant, extension_install_id, namespace, key) DO UPDATE SET
    revision = excluded.revision, value = excluded.value, encoding = excluded.encoding, metadata = excluded.metadata,
    value_size_bytes = excluded.value_size_bytes, metadata_size_bytes = excluded.metadata_size_bytes,
    ttl_expires_at = excluded.ttl_expires_at, updated_at = now(),
    created_at = CASE WHEN excluded.revision = 1 THEN now() ELSE ext_storage_records.created_at END
RETURNING key, revision, ttl_expires_at, updated_at

-- name: delete_entries
-- Remove records of one namespace, expired ones too; what they held.
DELETE FROM ext_storage_records
WHERE tenant = $1 AND extension_install_id = $2::uuid AND namespace = $3 AND key = ANY($4::text[])
RETURNING key, value_size_bytes + metadata_size_bytes AS size_bytes,
    coalesce(ttl_expires_at <= now(), false) AS is_expired

-- name: set_usage
-- The counters after a write.
UPDATE ext_storage_usage SET bytes_used = $3, keys_count = $4, namespaces_count = $5, updated_at = now()
WHERE tenant = $1 AND extension_install_id = $2::uuid

-- name: delete_expired
-- Remove an install's expired records.
DELETE FROM ext_storage_records
WHERE tenant = $1 AND extension_install_id = $2::uuid AND ttl_expires_at <= now()

-- name: count_usage
-- The counters from what is really stored: after records were reaped.
SELECT coalesce(sum(value_size_bytes + metadata_size_bytes), 0)::bigint AS bytes_used, count(*)::integer AS keys_count,
    count(DISTINCT namespace)::integer AS namespaces_count
FROM ext_storage_records WHERE tenant = $1 AND extension_install_id = $2::uuid

-- name: forget_usage
-- The counters of an install that is gone and has nothing left.
DELETE FROM ext_storage_usage AS u
WHERE u.tenant = $1 AND u.extension_install_id = $2::uuid AND u.keys_count = 0
    AND NOT EXISTS (SELECT FROM tenant_extension_install AS i WHERE i.tenant_id = u.tenant AND i.id = u.extension_install_id)

-- name: find_expired_installs
-- Installs of any tenant that have expired records. For alga_system.
SELECT DISTINCT tenant, extension_install_id
FROM ext_storage_records WHERE ttl_expires_at <= now()
LIMIT $1
