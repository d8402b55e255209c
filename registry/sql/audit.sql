-- The audit log: one row for every administrative action, never changed or deleted by us.

-- name: write_entry
-- What was done to what, by whom, in the tenant of this transaction.
INSERT INTO extension_audit_logs (
    tenant, event_type, user_id, user_email, resource_type, resource_id, resource_name, workflow_id,
    status, error_message, details
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: list_entries
-- A page, newest first, strictly before the given time and id.
SELECT log_id, event_type, user_id, user_email, resource_type, resource_id, resource_name, status, error_message,
    details, created_at
FROM extension_audit_logs
WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (created_at, log_id) < ($2, $3))
ORDER BY created_at DESC, log_id DESC LIMIT $4
