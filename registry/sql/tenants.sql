-- Tenants: a global table, since a tenant must be found before anything can be done for it.

-- name: create_tenant
-- A new tenant; its id taken already is a unique violation.
INSERT INTO tenant (tenant_id, name, shard) VALUES ($1, $2, $3)
RETURNING tenant_id, name, shard, state, created_at

-- name: find_tenant
-- One tenant by its id.
SELECT tenant_id, name, shard, state, created_at FROM tenant WHERE tenant_id = $1

-- name: list_tenants
-- A page in the order of ids, strictly after the given one.
SELECT tenant_id, name, shard, state, created_at FROM tenant WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2

-- name: set_tenant_state
-- Suspend a tenant or make it active again.
UPDATE tenant SET state = $2, updated_at = now() WHERE tenant_id = $1
RETURNING tenant_id, name, shard, state, created_at
