-- The database itself: its roles, what alga_system may reach across tenants, and what a process checks at start.

-- name: create_roles
-- The four roles, where they do not exist yet. Roles belong to the whole server, so migrations of two of its
-- databases may race.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('alga_owner', 'NOLOGIN'),
        ('alga_app', 'LOGIN'),
        ('alga_system', 'LOGIN'),
        ('alga_lookup', 'NOLOGIN BYPASSRLS')
    ) AS role (name, attributes)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            BEGIN
                EXECUTE format(
                    'CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION %s', wanted.name, wanted.attributes);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        -- Who is not a superuser must be allowed to become the roles that own what the migrations make.
        IF wanted.attributes LIKE 'NOLOGIN%' AND NOT pg_has_role(current_user, wanted.name, 'SET') THEN
            EXECUTE format('GRANT %I TO %I WITH SET TRUE, INHERIT FALSE', wanted.name, current_user);
        END IF;
    END LOOP;
END $$

-- name: let_owner_create
-- alga_owner makes and owns the tables; alga_lookup gets the right to make its functions from it, for a moment.
GRANT USAGE, CREATE ON SCHEMA public TO alga_owner WITH GRANT OPTION

-- name: is_migrated
-- Whether there is anything here.
SELECT to_regclass('public.service_credential') IS NOT NULL AS is_migrated

-- name: show_what_is_applied
-- A process compares it with the migrations it was shipped with.
GRANT SELECT ON _pogo_migration TO PUBLIC

-- name: applied_migrations
-- What has been applied; the table itself is missing where nothing was ever migrated.
SELECT migration_id AS name FROM _pogo_migration

-- name: system_reads
-- Tables of tenants of which alga_system sees every row. Each line says what for.
SELECT name FROM (VALUES
    ('ext_storage_records'),            -- expired records, their keys and sizes only
    ('ext_storage_staged'),             -- what finished or lost deliveries left, without the values
    ('extension_event'),                -- the outbox; events not matched yet
    ('extension_event_attempt'),        -- attempts of the deliveries claimed
    ('extension_event_delivery'),       -- what is due or has outlived its lease
    ('extension_event_subscription'),   -- matching a batch of events of many tenants
    ('extension_execution_log'),        -- rows left `started`
    ('extension_idempotency'),          -- expired keys, without the answers
    ('extension_quota_lease'),          -- leases whose holder is gone
    ('tenant_extension_install'),       -- whether the install behind a claimed row still runs
    ('tenant_extension_schedule')       -- firings that are due
) AS listed (name) ORDER BY name

-- name: system_updates
-- Tables of tenants of which alga_system may lock and update every row; all its other writes set the tenant.
SELECT name FROM (VALUES
    ('extension_event'),                -- published_at, matched_at
    ('extension_event_delivery'),       -- claims, leases, results
    ('tenant_extension_schedule')       -- claims, results, the next firing
) AS listed (name) ORDER BY name

-- name: other_policies
-- Every policy that is not the tenant's own: what it lets whom do, where.
SELECT tablename::text AS name, cmd AS command, array_to_string(roles, ', ') AS roles
FROM pg_policies
WHERE schemaname = 'public' AND NOT (
    policyname = 'tenant_isolation' AND cmd = 'ALL' AND with_check IS NULL AND qual IN (
        $q$(tenant_id = NULLIF(current_setting('alga.tenant'::text, true), ''::text))$q$,
        $q$(tenant = NULLIF(current_setting('alga.tenant'::text, true), ''::text))$q$
    )
)
ORDER BY tablename, cmd

-- name: role_faults
-- Why the role of this session must not serve, the gravest first: each row a sentence. Memberships count as the role
-- itself; a superuser, who is a member of every role, is told only that.
WITH me AS (
    SELECT oid, rolsuper FROM pg_roles WHERE rolname = current_user
), mine AS (
    SELECT r.oid, r.rolname, r.rolsuper, r.rolbypassrls
    FROM pg_roles AS r, me WHERE r.oid = me.oid OR NOT me.rolsuper AND pg_has_role(me.oid, r.oid, 'MEMBER')
), relation AS (
    SELECT oid, relname, relowner FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
)
SELECT fault FROM (
    SELECT 1 AS weight, format('role %I is a superuser', rolname) AS fault FROM mine WHERE rolsuper
    UNION ALL
    SELECT 2, format('role %I has BYPASSRLS', rolname) FROM mine WHERE rolbypassrls
    UNION ALL
    SELECT 3, format('role %I owns the table %I', mine.rolname, min(relname))
        || CASE count(*) WHEN 1 THEN '' ELSE format(' and %s more', count(*) - 1) END
    FROM relation JOIN mine ON mine.oid = relowner GROUP BY mine.rolname
    UNION ALL
    SELECT 4, format('role %I may TRUNCATE the table %I', current_user, min(relname))
        || CASE count(*) WHEN 1 THEN '' ELSE format(' and %s more', count(*) - 1) END
    FROM relation, me WHERE NOT me.rolsuper AND has_table_privilege(relation.oid, 'TRUNCATE')
    HAVING count(*) > 0
) AS found
ORDER BY weight, fault

-- name: table_faults
-- What in the database would let a row past its tenant: each row a sentence.
SELECT format('table %I has a tenant column but no forced row security', c.relname) AS fault
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND c.relname <> 'tenant' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
    AND EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname IN ('tenant', 'tenant_id') AND NOT a.attisdropped
    )
UNION ALL
SELECT format('view %I runs as its owner %I: it needs security_invoker', c.relname, pg_get_userbyid(c.relowner))
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace
    AND (c.relkind = 'm' OR c.relkind = 'v' AND NOT coalesce(c.reloptions @> ARRAY['security_invoker=true'], false)
        AND NOT coalesce(c.reloptions @> ARRAY['security_invoker=on'], false))
ORDER BY fault

-- name: make_first_operator
-- The first operator's key; no row when it was made before, even if it was revoked since.
INSERT INTO service_credential (id, name, key_hash, permissions) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO NOTHING
RETURNING id
