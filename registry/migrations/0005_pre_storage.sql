--What guests keep: records, writes staged by deliveries, schemas of namespaces, counters.
-- depends: 0004_pre_usage

-- migrate: apply

CREATE TABLE ext_storage_records (
    tenant text NOT NULL,
    extension_install_id uuid NOT NULL,
    namespace varchar(128) NOT NULL,
    key varchar(256) COLLATE "C" NOT NULL,
    revision bigint NOT NULL DEFAULT 1 CHECK (revision >= 1),
    value bytea NOT NULL,
    encoding text NOT NULL DEFAULT 'bytes' CHECK (encoding IN ('bytes', 'json')),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    value_size_bytes integer NOT NULL CHECK (value_size_bytes >= 0),
    metadata_size_bytes integer NOT NULL DEFAULT 0 CHECK (metadata_size_bytes >= 0),
    ttl_expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, extension_install_id, namespace, key)
);
CREATE INDEX ext_storage_records_expiry ON ext_storage_records (ttl_expires_at) WHERE ttl_expires_at IS NOT NULL;
ALTER TABLE ext_storage_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE ext_storage_records FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON ext_storage_records
    USING (tenant = nullif(current_setting('alga.tenant', true), ''));

-- Writes of a delivery until its row is done. base_revision null: the write asked for none; 0: the key was absent.
CREATE TABLE ext_storage_staged (
    tenant text NOT NULL,
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL CHECK (attempt >= 1),
    ordinal integer NOT NULL CHECK (ordinal >= 0),
    extension_install_id uuid NOT NULL,
    op text NOT NULL CHECK (op IN ('put', 'delete')),
    namespace varchar(128) NOT NULL,
    key varchar(256) COLLATE "C" NOT NULL,
    value bytea,
    encoding text CHECK (encoding IN ('bytes', 'json')),
    metadata jsonb,
    ttl_seconds integer,
    base_revision bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, delivery_id, attempt, ordinal)
);
ALTER TABLE ext_storage_staged ENABLE ROW LEVEL SECURITY;
ALTER TABLE ext_storage_staged FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON ext_storage_staged
    USING (tenant = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE ext_storage_schemas (
    tenant text NOT NULL,
    extension_install_id uuid NOT NULL,
    namespace varchar(128) NOT NULL,
    schema_version integer NOT NULL CHECK (schema_version >= 1),
    schema_document jsonb NOT NULL,
    status text NOT NULL DEFAULT 'draft' CHECK (status IN ('active', 'deprecated', 'draft')),
    created_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, extension_install_id, namespace, schema_version)
);
CREATE UNIQUE INDEX ext_storage_schemas_active
    ON ext_storage_schemas (tenant, extension_install_id, namespace) WHERE status = 'active';
ALTER TABLE ext_storage_schemas ENABLE ROW LEVEL SECURITY;
ALTER TABLE ext_storage_schemas FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON ext_storage_schemas
    USING (tenant = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE ext_storage_usage (
    tenant text NOT NULL,
    extension_install_id uuid NOT NULL,
    bytes_used bigint NOT NULL DEFAULT 0 CHECK (bytes_used >= 0),
    keys_count integer NOT NULL DEFAULT 0 CHECK (keys_count >= 0),
    namespaces_count integer NOT NULL DEFAULT 0 CHECK (namespaces_count >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, extension_install_id)
);
ALTER TABLE ext_storage_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE ext_storage_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON ext_storage_usage
    USING (tenant = nullif(current_setting('alga.tenant', true), ''));

-- migrate: rollback
