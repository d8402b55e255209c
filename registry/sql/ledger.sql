-- The execution log and the usage that is booked with it. Every statement but the first runs with the tenant set.

-- name: find_left_open
-- Invocations of any tenant that nobody closed in time, the oldest first. For alga_system.
SELECT tenant_id, invocation_id, started_at, registry_id, trigger
FROM extension_execution_log
WHERE status = 'started' AND deadline_at < $1
ORDER BY deadline_at
LIMIT $2

-- name: insert_rows
-- New rows, of records of either kind; rows that are there stay as they are. Answers which are new.
INSERT INTO extension_execution_log (
    tenant_id, invocation_id, started_at, registry_id, version_id, install_id, request_id, trigger, deadline_at,
    status, finished_at, error, metrics
)
SELECT $1, r.invocation_id::uuid, r.started_at, r.registry_id::uuid, r.version_id::uuid, r.install_id::uuid,
    r.request_id, r.trigger, r.deadline_at, r.status, r.finished_at, r.error, r.metrics::jsonb
FROM unnest(
    $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
    $10::text[], $11::timestamptz[], $12::text[], $13::text[]
) AS r (
    invocation_id, started_at, registry_id, version_id, install_id, request_id, trigger, deadline_at,
    status, finished_at, error, metrics
)
ON CONFLICT (tenant_id, invocation_id, started_at) DO NOTHING
RETURNING invocation_id, started_at

-- name: lock_rows
-- Rows that were there before, as they are now, locked in one order.
SELECT l.invocation_id, l.started_at, l.status
FROM extension_execution_log AS l
JOIN unnest($2::text[], $3::timestamptz[]) AS r (invocation_id, started_at)
    ON l.invocation_id = r.invocation_id::uuid AND l.started_at = r.started_at
WHERE l.tenant_id = $1
ORDER BY l.invocation_id, l.started_at
FOR UPDATE OF l

-- name: finish_rows
-- How invocations ended. What is known of their start stays.
UPDATE extension_execution_log AS l
SET status = r.status, finished_at = r.finished_at, error = r.error, metrics = l.metrics || r.metrics::jsonb
FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
    AS r (invocation_id, started_at, status, finished_at, error, metrics)
WHERE l.tenant_id = $1 AND l.invocation_id = r.invocation_id::uuid AND l.started_at = r.started_at

-- name: add_usage
-- What invocations used, added to their windows.
INSERT INTO extension_quota_usage AS u (
    tenant_id, registry_id, window_start, invocations, cpu_ms, mem_mb_ms, egress_bytes, fuel, event_deliveries,
    host_calls
)
SELECT $1, r.registry_id::uuid, r.window_start, r.invocations, r.cpu_ms, r.mem_mb_ms, r.egress_bytes, r.fuel,
    r.event_deliveries, r.host_calls
FROM unnest(
    $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[]
) AS r (
    registry_id, window_start, invocations, cpu_ms, mem_mb_ms, egress_bytes, fuel, event_deliveries, host_calls
)
ON CONFLICT (tenant_id, registry_id, window_start) DO UPDATE SET
    invocations = u.invocations + excluded.invocations, cpu_ms = u.cpu_ms + excluded.cpu_ms,
    mem_mb_ms = u.mem_mb_ms + excluded.mem_mb_ms, egress_bytes = u.egress_bytes + excluded.egress_bytes,
    fuel = u.fuel + excluded.fuel, event_deliveries = u.event_deliveries + excluded.event_deliveries,
    host_calls = u.host_calls + excluded.host_calls
