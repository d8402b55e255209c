--What is published, by whom, and who the tenants are: tables without row security, shared by all tenants.
-- depends:

-- migrate: apply

CREATE TABLE tenant (
    tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^[A-Za-z0-9._-]{1,64}$' AND tenant_id !~ '^[.]+$'),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    shard integer CHECK (shard >= 0),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Keys of operators and platforms: they act for no single tenant.
CREATE TABLE service_credential (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 200),
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    permissions jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(permissions) = 'array'),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);

CREATE TABLE extension_publisher (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 100),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- key_id is the first 16 hex digits of the SHA-256 of public_key, which is the DER of the SPKI.
CREATE TABLE extension_publisher_key (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    publisher_id uuid NOT NULL REFERENCES extension_publisher (id),
    key_id text NOT NULL UNIQUE CHECK (key_id ~ '^[0-9a-f]{16}$'),
    algorithm text NOT NULL CHECK (algorithm IN ('ed25519', 'x509')),
    public_key bytea NOT NULL,
    not_before timestamptz NOT NULL DEFAULT now(),
    not_after timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX extension_publisher_key_publisher ON extension_publisher_key (publisher_id);

CREATE TABLE extension_registry (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    publisher text NOT NULL,
    name text NOT NULL UNIQUE,
    display_name text,
    description text,
    publisher_id uuid NOT NULL REFERENCES extension_publisher (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (publisher, name)
);
CREATE INDEX extension_registry_publisher ON extension_registry (publisher_id);
CREATE INDEX extension_registry_reference ON extension_registry (lower(publisher || '.' || name));

CREATE TABLE extension_version (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    registry_id uuid NOT NULL REFERENCES extension_registry (id),
    version text NOT NULL,
    runtime text NOT NULL,
    main_entry text,
    api jsonb,
    ui jsonb,
    capabilities jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(capabilities) = 'array'),
    api_endpoints jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(api_endpoints) = 'array'),
    created_at timestamptz NOT NULL DEFAULT now(),
    manifest jsonb NOT NULL,
    manifest_sha256 text NOT NULL CHECK (manifest_sha256 ~ '^[0-9a-f]{64}$'),
    events jsonb NOT NULL DEFAULT '[]',
    egress jsonb NOT NULL DEFAULT '[]',
    limits jsonb NOT NULL DEFAULT '{}',
    imports jsonb NOT NULL DEFAULT '[]',
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'withdrawn', 'quarantined')),
    UNIQUE (registry_id, version)
);

CREATE TABLE extension_bundle (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    version_id uuid NOT NULL REFERENCES extension_version (id),
    content_hash text NOT NULL CHECK (content_hash ~ '^sha256:[0-9a-f]{64}$'),
    signature text,
    precompiled jsonb,
    storage_url text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    statement jsonb,
    signature_algorithm text,
    key_id text,
    verified_at timestamptz,
    file_index jsonb NOT NULL DEFAULT '{}',
    UNIQUE (version_id, content_hash)
);
CREATE INDEX extension_bundle_content_hash ON extension_bundle (content_hash);

CREATE TABLE extension_api_endpoint (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    version_id uuid NOT NULL REFERENCES extension_version (id),
    method varchar(16) NOT NULL,
    path text NOT NULL,
    handler text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (version_id, method, path)
);

CREATE TABLE extension_cwasm (
    content_hash text NOT NULL CHECK (content_hash ~ '^sha256:[0-9a-f]{64}$'),
    engine_fingerprint text NOT NULL,
    storage_url text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    signature text NOT NULL,
    build_key_id text NOT NULL,
    built_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (content_hash, engine_fingerprint)
);

-- migrate: rollback
