--Events, the subscriptions that want them, the deliveries owed and the attempts made.
-- depends: 0002_pre_installs

-- migrate: apply

CREATE TABLE extension_event_subscription (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    install_id uuid NOT NULL,
    topic text NOT NULL,
    handler text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    filter jsonb,
    ordering_path text,
    enabled boolean NOT NULL DEFAULT true,
    disabled_at timestamptz,
    disabled_reason text,
    first_failure_at timestamptz,
    version_id uuid NOT NULL REFERENCES extension_version (id),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, install_id) REFERENCES tenant_extension_install (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX extension_event_subscription_topic ON extension_event_subscription (tenant_id, topic);
CREATE INDEX extension_event_subscription_install ON extension_event_subscription (tenant_id, install_id);
ALTER TABLE extension_event_subscription ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_event_subscription FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_event_subscription
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- published_at null: still in the outbox. matched_at null: its deliveries are not yet made.
CREATE TABLE extension_event (
    tenant_id text NOT NULL REFERENCES tenant (tenant_id),
    event_id text NOT NULL CHECK (char_length(event_id) BETWEEN 1 AND 256),
    topic text NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    subject text,
    depth integer NOT NULL DEFAULT 0,
    envelope jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    matched_at timestamptz,
    PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX extension_event_outbox ON extension_event (received_at) WHERE published_at IS NULL;
CREATE INDEX extension_event_unmatched ON extension_event (published_at) WHERE matched_at IS NULL;
CREATE INDEX extension_event_time ON extension_event (tenant_id, received_at);
ALTER TABLE extension_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_event FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_event
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- The only queue of deliveries. Subscription and install may be gone while the row is kept.
CREATE TABLE extension_event_delivery (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    event_id text NOT NULL,
    subscription_id uuid NOT NULL,
    install_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'leased', 'done', 'dead', 'cancelled')),
    attempt integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease_holder text,
    lease_until timestamptz,
    fencing bigint NOT NULL DEFAULT 0,
    ordering_key text,
    last_status integer,
    last_code text,
    effects_committed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, event_id, subscription_id),
    FOREIGN KEY (tenant_id, event_id) REFERENCES extension_event (tenant_id, event_id) ON DELETE CASCADE
);
CREATE INDEX extension_event_delivery_due ON extension_event_delivery (due_at) WHERE state = 'due';
CREATE INDEX extension_event_delivery_leased ON extension_event_delivery (lease_until) WHERE state = 'leased';
CREATE INDEX extension_event_delivery_state ON extension_event_delivery (tenant_id, state, due_at);
CREATE INDEX extension_event_delivery_ordered ON extension_event_delivery
    (tenant_id, subscription_id, ordering_key) WHERE ordering_key IS NOT NULL AND state IN ('due', 'leased');
ALTER TABLE extension_event_delivery ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_event_delivery FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_event_delivery
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

CREATE TABLE extension_event_attempt (
    tenant_id text NOT NULL,
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL CHECK (attempt >= 1),
    invocation_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    status integer,
    code text,
    PRIMARY KEY (tenant_id, delivery_id, attempt),
    FOREIGN KEY (tenant_id, delivery_id) REFERENCES extension_event_delivery (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE extension_event_attempt ENABLE ROW LEVEL SECURITY;
ALTER TABLE extension_event_attempt FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON extension_event_attempt
    USING (tenant_id = nullif(current_setting('alga.tenant', true), ''));

-- migrate: rollback
