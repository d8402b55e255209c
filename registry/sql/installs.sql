-- Installs: what a tenant runs, with which grants and configuration. Every statement runs with the tenant set.

-- name: resolve_by_id
-- What an enabled install, named by its own id or its extension's, runs as now. At most one row per kind of id.
SELECT i.id AS install_id, i.tenant_id, i.granted_caps, i.granted_egress, i.granted_limits,
    coalesce(c.config, i.config) AS config, t.shard,
    r.id AS registry_id, r.publisher, r.name,
    v.id AS version_id, v.version, v.capabilities, v.egress, v.events, v.limits, v.api_endpoints, v.ui,
    b.content_hash, b.file_index ? 'dist/main.wasm' AS has_component
FROM tenant_extension_install AS i
JOIN tenant AS t ON t.tenant_id = i.tenant_id AND t.state = 'active'
JOIN extension_registry AS r ON r.id = i.registry_id
JOIN extension_version AS v ON v.id = i.version_id AND v.state <> 'quarantined'
JOIN LATERAL (
    SELECT * FROM extension_bundle WHERE version_id = v.id ORDER BY created_at DESC LIMIT 1
) AS b ON true
LEFT JOIN extension_publisher_key AS k ON k.key_id = b.key_id
LEFT JOIN tenant_extension_install_config AS c ON c.tenant_id = i.tenant_id AND c.install_id = i.id
WHERE i.tenant_id = $1 AND (i.id = $2::uuid OR i.registry_id = $2::uuid)
    AND i.is_enabled AND i.status = 'enabled' AND (k.revoked_at IS NULL OR k.revoked_at > now())
ORDER BY i.id = $2::uuid DESC
LIMIT 1

-- name: resolve_by_name
-- The same by `publisher.name` in lower case, or by name; two rows mean that a name is not enough.
SELECT i.id AS install_id, i.tenant_id, i.granted_caps, i.granted_egress, i.granted_limits,
    coalesce(c.config, i.config) AS config, t.shard,
    r.id AS registry_id, r.publisher, r.name,
    v.id AS version_id, v.version, v.capabilities, v.egress, v.events, v.limits, v.api_endpoints, v.ui,
    b.content_hash, b.file_index ? 'dist/main.wasm' AS has_component,
    lower(r.publisher || '.' || r.name) = $2 AS is_full_name
FROM tenant_extension_install AS i
JOIN tenant AS t ON t.tenant_id = i.tenant_id AND t.state = 'active'
JOIN extension_registry AS r ON r.id = i.registry_id
JOIN extension_version AS v ON v.id = i.version_id AND v.state <> 'quarantined'
JOIN LATERAL (
    SELECT * FROM extension_bundle WHERE version_id = v.id ORDER BY created_at DESC LIMIT 1
) AS b ON true
LEFT JOIN extension_publisher_key AS k ON k.key_id = b.key_id
LEFT JOIN tenant_extension_install_config AS c ON c.tenant_id = i.tenant_id AND c.install_id = i.id
WHERE i.tenant_id = $1 AND (lower(r.publisher || '.' || r.name) = $2 OR r.name = $2)
    AND i.is_enabled AND i.status = 'enabled' AND (k.revoked_at IS NULL OR k.revoked_at > now())
ORDER BY is_full_name DESC
LIMIT 3

-- name: is_served
-- Whether an enabled install of this extension (either id) runs the bundle with this content_hash.
SELECT EXISTS (
    SELECT FROM tenant_extension_install AS i
    JOIN tenant AS t ON t.tenant_id = i.tenant_id AND t.state = 'active'
    JOIN extension_version AS v ON v.id = i.version_id AND v.state <> 'quarantined'
    JOIN extension_bundle AS b ON b.version_id = v.id
    WHERE i.tenant_id = $1 AND (i.id = $2::uuid OR i.registry_id = $2::uuid) AND b.content_hash = $3
        AND i.is_enabled AND i.status = 'enabled'
)

-- name: lookup_by_host
-- The enabled install behind an install host, whatever its tenant: one row at most, by a function of its own role.
SELECT tenant_id, install_id, extension_id, content_hash FROM lookup_by_host($1)

-- name: lock_install
-- The install of an extension (or with this id), locked until the transaction ends.
SELECT i.id AS install_id, i.registry_id, i.version_id, i.is_enabled, i.status, i.granted_caps, i.granted_egress,
    i.granted_limits
FROM tenant_extension_install AS i
WHERE i.tenant_id = $1 AND (i.id = $2::uuid OR i.registry_id = $2::uuid)
ORDER BY i.id = $2::uuid DESC
LIMIT 1
FOR UPDATE

-- name: insert_install
-- A new install. The unique key (tenant, extension) refuses a second one.
INSERT INTO tenant_extension_install (
    id, tenant_id, registry_id, version_id, granted_caps, granted_egress, granted_limits, is_enabled, status,
    runner_domain
) VALUES ($1::uuid, $2, $3::uuid, $4::uuid, $5, $6, $7, true, $8, $9)

-- name: update_install
-- Another version or other grants; what waited for consent is decided by it.
UPDATE tenant_extension_install
SET version_id = $3::uuid, granted_caps = $4, granted_egress = $5, granted_limits = $6, status = $7,
    pending_version_id = NULL, updated_at = now()
WHERE tenant_id = $1 AND id = $2::uuid

-- name: set_pending_version
-- Remember which version waits for an admin's consent.
UPDATE tenant_extension_install SET pending_version_id = $3::uuid, updated_at = now()
WHERE tenant_id = $1 AND id = $2::uuid

-- name: set_enabled
-- An admin's switch; an install that waits for consent stays pending.
UPDATE tenant_extension_install SET is_enabled = $3, status = $4, updated_at = now()
WHERE tenant_id = $1 AND id = $2::uuid

-- name: delete_install
-- The install; its configuration, secrets, schedules and subscriptions go with it.
DELETE FROM tenant_extension_install WHERE tenant_id = $1 AND id = $2::uuid

-- name: put_config
-- The whole configuration, under a new version.
INSERT INTO tenant_extension_install_config (tenant_id, install_id, config, version)
VALUES ($1, $2::uuid, $3, $4::uuid)
ON CONFLICT (tenant_id, install_id) DO UPDATE SET config = excluded.config, version = excluded.version, updated_at = now()

-- name: get_install
-- One install with its version, for people: by its id, its extension's id or its extension's name.
SELECT i.id AS install_id, i.is_enabled, i.status, i.granted_caps, i.granted_egress, i.granted_limits, i.runner_domain,
    i.created_at, i.updated_at, p.version AS pending_version,
    r.id AS registry_id, r.publisher, r.name,
    v.id AS version_id, v.version, v.state AS version_state, v.capabilities, v.egress, v.events, v.limits, v.api_endpoints,
    v.ui, b.content_hash, coalesce(c.config, i.config) AS config, c.version AS config_version
FROM tenant_extension_install AS i
JOIN extension_registry AS r ON r.id = i.registry_id
JOIN extension_version AS v ON v.id = i.version_id
JOIN LATERAL (
    SELECT * FROM extension_bundle WHERE version_id = v.id ORDER BY created_at DESC LIMIT 1
) AS b ON true
LEFT JOIN extension_version AS p ON p.id = i.pending_version_id
LEFT JOIN tenant_extension_install_config AS c ON c.tenant_id = i.tenant_id AND c.install_id = i.id
WHERE i.tenant_id = $1 AND (i.id::text = $2 OR i.registry_id::text = $2 OR lower(r.publisher || '.' || r.name) = $2 OR r.name = $2)
ORDER BY i.id::text = $2 DESC, i.registry_id::text = $2 DESC, lower(r.publisher || '.' || r.name) = $2 DESC
LIMIT 1

-- name: list_installs
-- A page of a tenant's installs by name, strictly after a name.
SELECT i.id AS install_id, i.is_enabled, i.status, i.granted_caps, i.granted_egress, i.granted_limits, i.runner_domain,
    i.created_at, i.updated_at, p.version AS pending_version,
    r.id AS registry_id, r.publisher, r.name,
    v.id AS version_id, v.version, v.state AS version_state, v.capabilities, v.egress, v.events, v.limits, v.api_endpoints,
    v.ui, b.content_hash, coalesce(c.config, i.config) AS config, c.version AS config_version
FROM tenant_extension_install AS i
JOIN extension_registry AS r ON r.id = i.registry_id
JOIN extension_version AS v ON v.id = i.version_id
JOIN LATERAL (
    SELECT * FROM extension_bundle WHERE version_id = v.id ORDER BY created_at DESC LIMIT 1
) AS b ON true
LEFT JOIN extension_version AS p ON p.id = i.pending_version_id
LEFT JOIN tenant_extension_install_config AS c ON c.tenant_id = i.tenant_id AND c.install_id = i.id
WHERE i.tenant_id = $1 AND r.name > $2
ORDER BY r.name
LIMIT $3

-- name: list_subscriptions
-- The subscriptions of an install, to keep those that did not change.
SELECT id, topic, handler FROM extension_event_subscription WHERE tenant_id = $1 AND install_id = $2::uuid

-- name: keep_subscription
-- A subscription that the new version declares too: same row, its filter as declared now.
UPDATE extension_event_subscription SET filter = $3, version_id = $4::uuid WHERE tenant_id = $1 AND id = $2::uuid

-- name: insert_subscription
-- A subscription that the version declares and the install did not have.
INSERT INTO extension_event_subscription (tenant_id, install_id, topic, handler, filter, version_id)
VALUES ($1, $2::uuid, $3, $4, $5, $6::uuid)

-- name: delete_subscription
-- A subscription that the version does not declare any more.
DELETE FROM extension_event_subscription WHERE tenant_id = $1 AND id = $2::uuid

-- name: cancel_deliveries
-- What is still owed to a subscription that goes; a leased one ends by its fencing number.
UPDATE extension_event_delivery SET state = 'cancelled', fencing = fencing + 1, finished_at = now()
WHERE tenant_id = $1 AND subscription_id = $2::uuid AND state IN ('due', 'leased')

-- name: list_schedules
-- The schedules of an install, each with its endpoint and the endpoint of the same name in another version.
SELECT s.id AS schedule_id, o.method, o.path, n.id AS endpoint_id
FROM tenant_extension_schedule AS s
JOIN extension_api_endpoint AS o ON o.id = s.endpoint_id
LEFT JOIN extension_api_endpoint AS n ON n.version_id = $3::uuid AND n.method = o.method AND n.path = o.path
WHERE s.tenant_id = $1 AND s.install_id = $2::uuid
ORDER BY s.id
FOR UPDATE OF s

-- name: remap_schedule
-- The schedule calls the new version's endpoint from now on.
UPDATE tenant_extension_schedule SET endpoint_id = $3::uuid, updated_at = now() WHERE tenant_id = $1 AND id = $2::uuid

-- name: disable_schedule
-- The new version has no such endpoint.
UPDATE tenant_extension_schedule SET enabled = false, next_run_at = NULL, last_error = $3, updated_at = now()
WHERE tenant_id = $1 AND id = $2::uuid

-- name: expire_storage
-- What an uninstalled extension stored is invisible at the end of the grace period, and reaped as any expired record.
UPDATE ext_storage_records SET ttl_expires_at = least(ttl_expires_at, now() + make_interval(secs => $3))
WHERE tenant = $1 AND extension_install_id = $2::uuid

-- name: forget_answers
-- Answers kept for idempotency keys of an install that goes.
DELETE FROM extension_idempotency WHERE tenant_id = $1 AND install_id = $2::uuid
