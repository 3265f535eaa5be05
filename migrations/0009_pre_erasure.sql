-- migrate:up
-- Erasure with a receipt, how long things are kept, and whose question an answer answers.

ALTER TABLE cloister.answers ADD COLUMN asked_by text;  -- the person a token stood for; NULL: a bare key asked
CREATE INDEX answers_age ON cloister.answers (tenant_id, created_at);
CREATE INDEX answers_asked_by ON cloister.answers (tenant_id, asked_by) WHERE asked_by IS NOT NULL;

-- ---------------------------------------------------------------- erasures and their receipts
CREATE TABLE cloister.erasures (
    tenant_id    uuid NOT NULL,        -- no reference: the receipt outlives the tenant
    erasure_id   uuid NOT NULL DEFAULT gen_random_uuid(),
    kind         text NOT NULL CHECK (kind IN ('tenant', 'document', 'user')),
    digest       bytea NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of kind, tenant id and the subject's names
    subject      jsonb,                -- what is to be erased, by name; NULL once it is
    requested_by text NOT NULL,        -- an identity, as in the audit trail
    step         text,                 -- the next one; NULL once finished
    removed      jsonb NOT NULL DEFAULT '{}',  -- rows removed, by store
    remaining    jsonb,                -- rows left of the subject, by store, counted at the end
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    CHECK ((finished_at IS NULL) = (subject IS NOT NULL)),
    CHECK ((finished_at IS NULL) = (step IS NOT NULL)),
    PRIMARY KEY (tenant_id, erasure_id)
);
CREATE UNIQUE INDEX erasures_open ON cloister.erasures (tenant_id, digest) WHERE finished_at IS NULL;
CREATE INDEX erasures_of_tenants ON cloister.erasures (tenant_id) WHERE kind = 'tenant';

-- ---------------------------------------------------------------- retention
CREATE TABLE cloister.retention (
    tenant_id     uuid PRIMARY KEY REFERENCES cloister.tenants ON DELETE CASCADE,
    answers_days  int CHECK (answers_days >= 0),   -- NULL: the installation's; 0: for ever
    jobs_days     int CHECK (jobs_days >= 0),
    versions_days int CHECK (versions_days >= 0),
    purged_at     timestamptz
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['erasures', 'retention'] LOOP
        EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON cloister.%I '
                       'USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON cloister.retention TO cloister_app;
-- A receipt is never deleted, and of what it says who asked, for what and when does not change.
GRANT SELECT, INSERT, UPDATE (subject, step, removed, remaining, finished_at) ON cloister.erasures TO cloister_app;

-- Begin a transaction of a tenant; true when the tenant is erased, or about to be. A write holds the tenant's lock,
-- which an erasure takes alone for a moment: what began before it has ended then, and what begins after it sees it.
-- Volatile, so that in READ COMMITTED the second look is younger than the lock. No partition is touched, so the plan
-- may be kept: planned anew each time, this costs four times as much.
CREATE FUNCTION cloister.enter_tenant(p_tenant uuid, p_timeout text, p_writes boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = auto
AS $$
BEGIN
    PERFORM pg_catalog.set_config('app.tenant_id', p_tenant::text, true),
            pg_catalog.set_config('statement_timeout', p_timeout, true);
    IF p_writes THEN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtextextended('writes:' || p_tenant, 0));
    END IF;
    RETURN EXISTS (SELECT FROM cloister.erasures e WHERE e.tenant_id = p_tenant AND e.kind = 'tenant');
END
$$;

-- Close a tenant for good: an operator's act, so that its events may stand in the control chain too. Waits for the
-- tenant's writes under way.
CREATE FUNCTION cloister.close_tenant(p_tenant uuid, p_digest bytea, p_subject jsonb, p_by text, p_step text)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made uuid;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('writes:' || p_tenant, 0));
    INSERT INTO cloister.erasures (tenant_id, kind, digest, subject, requested_by, step)
    SELECT t.tenant_id, 'tenant', p_digest, p_subject, p_by, p_step FROM cloister.tenants t WHERE t.tenant_id = p_tenant
    ON CONFLICT (tenant_id, digest) WHERE finished_at IS NULL DO NOTHING RETURNING erasure_id INTO made;
    RETURN made;
END
$$;

-- How many rows of the connection's tenant each table has, also those that the app role cannot read.
CREATE FUNCTION cloister.count_rows(p_tenant uuid) RETURNS TABLE (store text, rows bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_tenant <> current_setting('app.tenant_id')::uuid THEN
        RETURN;
    END IF;
    FOR store IN
        SELECT k.relname FROM pg_class k JOIN pg_attribute a ON a.attrelid = k.oid
        WHERE k.relnamespace = 'cloister'::regnamespace AND k.relkind IN ('r', 'p') AND NOT k.relispartition
          AND a.attname = 'tenant_id' AND NOT a.attisdropped ORDER BY k.relname
    LOOP
        EXECUTE format('SELECT count(*) FROM cloister.%I WHERE tenant_id = $1', store) INTO rows USING p_tenant;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Receipts across tenants, for operators and for the worker that finishes what was begun; no subject is in them.
CREATE FUNCTION cloister.find_erasures(
    p_erasure uuid, p_tenant uuid, p_open boolean, p_before_time timestamptz, p_before uuid, p_limit int)
RETURNS TABLE (erasure_id uuid, tenant_id uuid, kind text, digest bytea, requested_by text, step text, removed jsonb,
               remaining jsonb, started_at timestamptz, finished_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.erasure_id, e.tenant_id, e.kind, e.digest, e.requested_by, e.step, e.removed, e.remaining, e.started_at,
           e.finished_at
    FROM cloister.erasures e
    WHERE (p_erasure IS NULL OR e.erasure_id = p_erasure) AND (p_tenant IS NULL OR e.tenant_id = p_tenant)
      AND (NOT p_open OR e.finished_at IS NULL) AND (e.started_at, e.erasure_id) < (p_before_time, p_before)
    ORDER BY e.started_at DESC, e.erasure_id DESC LIMIT p_limit
$$;

-- Tenants whose purge is due, taken: of several workers that ask, one gets a tenant.
CREATE FUNCTION cloister.claim_purges(p_every interval, p_limit int) RETURNS TABLE (tenant_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO cloister.retention AS r (tenant_id, purged_at)
    SELECT t.tenant_id, now() FROM cloister.tenants t LEFT JOIN cloister.retention k USING (tenant_id)
    WHERE (k.purged_at IS NULL OR k.purged_at < now() - p_every)
      AND NOT EXISTS (SELECT FROM cloister.erasures e WHERE e.tenant_id = t.tenant_id AND e.kind = 'tenant')
    ORDER BY k.purged_at NULLS FIRST, t.tenant_id LIMIT p_limit
    ON CONFLICT (tenant_id) DO UPDATE SET purged_at = now()
    WHERE r.purged_at IS NULL OR r.purged_at < now() - p_every
    RETURNING r.tenant_id
$$;

-- Approvals that ended long ago; the audit trail says that they were.
CREATE FUNCTION cloister.purge_approvals(p_days int, p_limit int) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM cloister.approvals WHERE approval_id IN (
            SELECT a.approval_id FROM cloister.approvals a
            WHERE a.expires_at < now() - make_interval(days => p_days) LIMIT p_limit)
        RETURNING 1
    ) SELECT count(*) FROM gone
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['enter_tenant', 'close_tenant', 'count_rows', 'find_erasures', 'claim_purges',
        'purge_approvals']
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION cloister.%I FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cloister.%I TO cloister_app', name);
    END LOOP;
END $$;
