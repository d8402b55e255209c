-- The execution log as it is read by tenants. Rows are written by the ledger. Every statement runs with the tenant set.

-- name: find_extension
-- The extension behind an install id, an extension id, `publisher.name` in lower case, or a name. Uninstalled ones too.
SELECT registry_id FROM (
    SELECT registry_id, 0 AS preference FROM tenant_extension_install WHERE tenant_id = $1 AND id::text = $2
    UNION ALL
    SELECT id, 1 FROM extension_registry WHERE id::text = $2
    UNION ALL
    SELECT id, 2 FROM extension_registry WHERE lower(publisher || '.' || name) = $2
    UNION ALL
    SELECT id, 3 FROM extension_registry WHERE name = $2
) AS found
ORDER BY preference
LIMIT 1

-- name: list_invocations
-- The newest invocations of a tenant before an instant and an id, of all extensions.
SELECT invocation_id, registry_id, install_id, version_id, request_id, trigger, started_at, finished_at, status, error,
    metrics
FROM extension_execution_log
WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR (started_at, invocation_id) < ($2, $3::uuid))
ORDER BY started_at DESC, invocation_id DESC
LIMIT $4

-- name: list_invocations_of
-- The same of one extension.
SELECT invocation_id, registry_id, install_id, version_id, request_id, trigger, started_at, finished_at, status, error,
    metrics
FROM extension_execution_log
WHERE tenant_id = $1 AND registry_id = $5 AND ($2::timestamptz IS NULL OR (started_at, invocation_id) < ($2, $3::uuid))
ORDER BY started_at DESC, invocation_id DESC
LIMIT $4
