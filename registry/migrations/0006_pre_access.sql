--Who may do what: the roles' grants, look-up by functions that return one row, work across tenants.
-- depends: 0005_pre_storage

-- migrate: apply

-- Nobody is granted TRUNCATE: row security does not cover it.
GRANT USAGE ON SCHEMA public TO alga_app, alga_system, alga_lookup;

GRANT SELECT, INSERT, UPDATE ON tenant, extension_publisher, extension_publisher_key, extension_registry TO alga_app;
GRANT SELECT (id, name, permissions, created_at, expires_at, revoked_at, last_used_at), INSERT,
    UPDATE (permissions, expires_at, revoked_at, last_used_at) ON service_credential TO alga_app;
GRANT SELECT, INSERT, UPDATE (state) ON extension_version TO alga_app;
GRANT SELECT, INSERT, UPDATE (storage_url, verified_at) ON extension_bundle TO alga_app;
GRANT SELECT, INSERT ON extension_api_endpoint TO alga_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON extension_cwasm TO alga_app;

GRANT SELECT, INSERT, UPDATE, DELETE ON
    tenant_extension_install, tenant_extension_install_config, tenant_extension_install_secrets,
    tenant_extension_consent, tenant_extension_schedule,
    extension_event_subscription, extension_event, extension_event_delivery, extension_event_attempt,
    extension_quota_usage, extension_quota_limit, extension_quota_lease, extension_idempotency,
    ext_storage_records, ext_storage_staged, ext_storage_schemas, ext_storage_usage
    TO alga_app;
GRANT SELECT (id, tenant_id, name, permissions, publisher_id, created_at, expires_at, revoked_at, last_used_at),
    INSERT, UPDATE (name, permissions, expires_at, revoked_at, last_used_at) ON tenant_api_key TO alga_app;
GRANT SELECT, INSERT, UPDATE ON extension_execution_log TO alga_app;
GRANT SELECT, INSERT ON extension_audit_logs TO alga_app;

-- Work across tenants. registry/sql/system.sql lists the same tables; a process compares both before it starts.
GRANT SELECT ON tenant, extension_registry, extension_version, extension_bundle, extension_api_endpoint TO alga_system;
GRANT SELECT ON
    tenant_extension_install, tenant_extension_schedule, extension_event_subscription,
    extension_event, extension_event_delivery, extension_event_attempt,
    extension_execution_log, extension_quota_usage, extension_quota_lease
    TO alga_system;
GRANT SELECT (tenant_id, install_id, scope_hash, expires_at) ON extension_idempotency TO alga_system;
GRANT SELECT (tenant, extension_install_id, namespace, key, revision, ttl_expires_at, value_size_bytes)
    ON ext_storage_records TO alga_system;
GRANT SELECT (tenant, delivery_id, attempt, ordinal, extension_install_id, created_at)
    ON ext_storage_staged TO alga_system;
CREATE POLICY system_reads ON tenant_extension_install FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON tenant_extension_schedule FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_event_subscription FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_event FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_event_delivery FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_event_attempt FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_execution_log FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_quota_lease FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON extension_idempotency FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON ext_storage_records FOR SELECT TO alga_system USING (true);
CREATE POLICY system_reads ON ext_storage_staged FOR SELECT TO alga_system USING (true);

-- Key columns are not among those that may be updated, so no row can be moved to another tenant.
GRANT UPDATE (published_at, matched_at) ON extension_event TO alga_system;
GRANT UPDATE (
    state, attempt, due_at, lease_holder, lease_until, fencing, last_status, last_code,
    effects_committed_at, finished_at
) ON extension_event_delivery TO alga_system;
GRANT UPDATE (
    enabled, last_run_at, last_run_status, last_error, updated_at, next_run_at, generation,
    lease_holder, lease_until, fencing
) ON tenant_extension_schedule TO alga_system;
CREATE POLICY system_updates ON extension_event FOR UPDATE TO alga_system USING (true);
CREATE POLICY system_updates ON extension_event_delivery FOR UPDATE TO alga_system USING (true);
CREATE POLICY system_updates ON tenant_extension_schedule FOR UPDATE TO alga_system USING (true);

-- Under the tenant policy only: the transaction has set the tenant.
GRANT INSERT ON extension_event_delivery, extension_event_attempt TO alga_system;
GRANT UPDATE (finished_at, status, code) ON extension_event_attempt TO alga_system;
GRANT INSERT, UPDATE ON extension_execution_log, extension_quota_usage TO alga_system;

-- A function of a FORCEd table's owner would find nothing, so these belong to a role that nobody can log in as.
GRANT SELECT ON tenant, service_credential, tenant_api_key, tenant_extension_install, extension_bundle TO alga_lookup;
GRANT CREATE ON SCHEMA public TO alga_lookup;
SET LOCAL ROLE alga_lookup;

CREATE FUNCTION find_api_key(wanted bytea)
RETURNS TABLE (
    id uuid, tenant_id text, permissions jsonb, publisher_id uuid,
    expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz, tenant_state text
)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.id, k.tenant_id, k.permissions, k.publisher_id, k.expires_at, k.revoked_at, k.last_used_at, t.state
    FROM public.tenant_api_key AS k JOIN public.tenant AS t ON t.tenant_id = k.tenant_id
    WHERE k.key_hash = wanted
    LIMIT 1
$$;

CREATE FUNCTION find_service_credential(wanted bytea)
RETURNS TABLE (
    id uuid, name text, permissions jsonb, expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.id, c.name, c.permissions, c.expires_at, c.revoked_at, c.last_used_at
    FROM public.service_credential AS c
    WHERE c.key_hash = wanted
    LIMIT 1
$$;

CREATE FUNCTION lookup_by_host(wanted text)
RETURNS TABLE (tenant_id text, install_id uuid, extension_id uuid, content_hash text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.tenant_id, i.id, i.registry_id, b.content_hash
    FROM public.tenant_extension_install AS i
    JOIN public.tenant AS t ON t.tenant_id = i.tenant_id AND t.state = 'active'
    JOIN public.extension_bundle AS b ON b.version_id = i.version_id
    WHERE i.runner_domain = wanted AND i.is_enabled AND i.status = 'enabled'
    ORDER BY b.created_at DESC
    LIMIT 1
$$;

REVOKE ALL ON FUNCTION find_api_key, find_service_credential, lookup_by_host FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_api_key, find_service_credential, lookup_by_host TO alga_app;
SET LOCAL ROLE alga_owner;
REVOKE CREATE ON SCHEMA public FROM alga_lookup;

-- migrate: rollback
