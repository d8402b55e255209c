--What was executed and used, what may be used, and the answers kept for idempotency keys.
-- depends: 0003_pre_events

-- migrate: apply

-- started_at is part of every key, so that this table can be partitioned by time.
CREATE TABLE extension_execution_log (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    registry_id uuid NOT NULL,
    version_id uuid NOT NULL,
    request_id text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    status text NOT NULL CHECK (
        status IN ('started', 'ok', 'upstream_error', 'error', 'timeout', 'oom', 'policy_denied', 'lost')
    ),
    metrics jsonb NOT NULL DEFAULT '{}',
    error text,
    install_id uuid NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('http', 'event', 'schedule')),
    invocation_id uuid NOT NULL,
    deadline_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id, started_at),
    UNIQUE (tenant_id, invocation_id, started_at)
);
CREATE INDEX extension_execution_log_registry ON extension_execution_log (tenant_id, registry_id, started_at);
CREATE INDEX extension_execution_log_time ON extension_execution_log (tenant_id, started_at);
CREATE INDEX extension_execution_log_open ON extension_execution_log (deadline_at) WHERE status = 'started';
ALTER TABLE extension_execution_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_execution_log FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_execution_log
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE extension_quota_usage (
    tenant_id text NOT NULL,
    registry_id uuid NOT NULL,
    window_start timestamptz NOT NULL,
    cpu_ms bigint NOT NULL DEFAULT 0,
    mem_mb_ms bigint NOT NULL DEFAULT 0,
    invocations bigint NOT NULL DEFAULT 0,
    egress_bytes bigint NOT NULL DEFAULT 0,
    fuel bigint NOT NULL DEFAULT 0,
    event_deliveries bigint NOT NULL DEFAULT 0,
    host_calls bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, registry_id, window_start)
);
ALTER TABLE extension_quota_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_quota_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_quota_usage
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- registry_id null: all extensions of the tenant together.
CREATE TABLE extension_quota_limit (
    tenant_id text NOT NULL,
    registry_id uuid,
    metric text NOT NULL,
    window_seconds integer NOT NULL CHECK (window_seconds > 0),
    "limit" bigint NOT NULL CHECK ("limit" >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (tenant_id, registry_id, metric)
);
ALTER TABLE extension_quota_limit ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_quota_limit FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_quota_limit
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE extension_quota_lease (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    registry_id uuid,
    window_start timestamptz NOT NULL,
    metric text NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    holder text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX extension_quota_lease_window
    ON extension_quota_lease (tenant_id, registry_id, metric, window_start);
CREATE INDEX extension_quota_lease_expiry ON extension_quota_lease (expires_at);
ALTER TABLE extension_quota_lease ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_quota_lease FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_quota_lease
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- scope_hash is the SHA-256 of method, path and key. lease_until: how long the first caller may take to answer.
CREATE TABLE extension_idempotency (
    tenant_id text NOT NULL,
    install_id uuid NOT NULL,
    scope_hash bytea NOT NULL CHECK (octet_length(scope_hash) = 32),
    body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
    state text NOT NULL CHECK (state IN ('running', 'done', 'too_large')),
    status integer,
    headers jsonb,
    body bytea,
    invocation_id uuid,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, install_id, scope_hash)
);
CREATE INDEX extension_idempotency_expiry ON extension_idempotency (expires_at);
ALTER TABLE extension_idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_idempotency
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- migrate: rollback
