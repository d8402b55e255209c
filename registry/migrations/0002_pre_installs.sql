--What tenants decide: installs, their configuration, secrets, consents and schedules, keys, the audit log.
-- depends: 0001_pre_catalogue

-- migrate: apply

-- runner_domain is unique over all tenants: its label carries at least 128 random bits, so it tells nothing.
CREATE TABLE tenant_extension_install (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL REFERENCES tenant (tenant_id),
    registry_id uuid NOT NULL REFERENCES extension_registry (id),
    version_id uuid NOT NULL REFERENCES extension_version (id),
    granted_caps jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(granted_caps) = 'array'),
    config jsonb NOT NULL DEFAULT '{}',
    is_enabled boolean NOT NULL DEFAULT true,
    status text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled', 'pending')),
    runner_domain text UNIQUE,
    runner_status jsonb NOT NULL DEFAULT '{"state":"pending"}',
    runner_ref jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    granted_egress jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(granted_egress) = 'array'),
    granted_limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(granted_limits) = 'object'),
    pending_version_id uuid REFERENCES extension_version (id),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, registry_id)
);
CREATE INDEX tenant_extension_install_version ON tenant_extension_install (version_id);
ALTER TABLE tenant_extension_install ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_extension_install FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_extension_install
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE tenant_extension_install_config (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    install_id uuid NOT NULL,
    tenant_id text NOT NULL,
    config jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
    providers jsonb NOT NULL DEFAULT '[]',
    version uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, install_id),
    FOREIGN KEY (tenant_id, install_id) REFERENCES tenant_extension_install (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE tenant_extension_install_config ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_extension_install_config FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_extension_install_config
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE tenant_extension_install_secrets (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    install_id uuid NOT NULL,
    tenant_id text NOT NULL,
    ciphertext text NOT NULL,
    algorithm text NOT NULL,
    transit_key text,
    transit_mount text,
    version uuid NOT NULL DEFAULT gen_random_uuid(),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, install_id),
    FOREIGN KEY (tenant_id, install_id) REFERENCES tenant_extension_install (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE tenant_extension_install_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_extension_install_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_extension_install_secrets
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- Kept when the install goes: it says who once approved what.
CREATE TABLE tenant_extension_consent (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    install_id uuid NOT NULL,
    version_id uuid NOT NULL REFERENCES extension_version (id),
    capabilities jsonb NOT NULL DEFAULT '[]',
    egress jsonb NOT NULL DEFAULT '[]',
    limits jsonb NOT NULL DEFAULT '{}',
    events jsonb NOT NULL DEFAULT '[]',
    approved_by text NOT NULL,
    approved_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX tenant_extension_consent_install ON tenant_extension_consent (tenant_id, install_id, approved_at);
ALTER TABLE tenant_extension_consent ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_extension_consent FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_extension_consent
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- One lease for each schedule: lease_holder, lease_until and fencing are its row, so runs cannot overlap.
CREATE TABLE tenant_extension_schedule (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    install_id uuid NOT NULL,
    tenant_id text NOT NULL,
    endpoint_id uuid NOT NULL REFERENCES extension_api_endpoint (id),
    name varchar(128),
    cron text NOT NULL,
    timezone varchar(64) NOT NULL DEFAULT 'UTC',
    enabled boolean NOT NULL DEFAULT true,
    payload_json jsonb,
    job_id text,
    runner_schedule_id varchar(255),
    last_run_at timestamptz,
    last_run_status varchar(32),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    next_run_at timestamptz,
    generation bigint NOT NULL DEFAULT 1,
    lease_holder text,
    lease_until timestamptz,
    fencing bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, install_id) REFERENCES tenant_extension_install (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX tenant_extension_schedule_name
    ON tenant_extension_schedule (tenant_id, install_id, name) WHERE name IS NOT NULL;
CREATE INDEX tenant_extension_schedule_due ON tenant_extension_schedule (next_run_at) WHERE enabled;
ALTER TABLE tenant_extension_schedule ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_extension_schedule FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_extension_schedule
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- key_hash is unique over all tenants: it is the SHA-256 of 256 random bits, so it tells nothing.
CREATE TABLE tenant_api_key (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL REFERENCES tenant (tenant_id),
    name text,
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    permissions jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(permissions) = 'array'),
    publisher_id uuid REFERENCES extension_publisher (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
ALTER TABLE tenant_api_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_api_key FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_api_key
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE extension_audit_logs (
    tenant text NOT NULL,
    log_id uuid NOT NULL DEFAULT gen_random_uuid(),
    event_type varchar(100) NOT NULL,
    user_id text,
    user_email text,
    resource_type varchar(50),
    resource_id text,
    resource_name text,
    workflow_id text,
    status text NOT NULL DEFAULT 'success',
    error_message text,
    details jsonb NOT NULL DEFAULT '{}',
    ip_address varchar(45),
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, log_id)
);
CREATE INDEX extension_audit_logs_time ON extension_audit_logs (tenant, created_at, log_id);
ALTER TABLE extension_audit_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_audit_logs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_audit_logs
    USING (tenant = nullif(current_setting('alga.tenant', true), ''));

-- migrate: rollback
