-- migrate:up
-- The audit trail, the approvals of privileged acts, and what an operator sees of embedding spaces.

-- ---------------------------------------------------------------- the trail
-- One chain a tenant, and the control chain, whose tenant is all zeros. No foreign key: a chain outlives its tenant.
CREATE TABLE cloister.audit_chains (
    tenant_id uuid PRIMARY KEY,
    sequence  bigint NOT NULL,         -- of the last event
    hash      bytea NOT NULL CHECK (length(hash) = 32)
);

CREATE TABLE cloister.audit_events (
    tenant_id     uuid NOT NULL,
    sequence      bigint NOT NULL,     -- from 1, without a gap
    occurred_at   timestamptz NOT NULL,
    previous_hash bytea NOT NULL,      -- zeros before the first event
    hash          bytea NOT NULL,      -- SHA-256 of previous_hash and event
    event         text NOT NULL,       -- JSON in the words of OCSF, to the byte as it was hashed
    PRIMARY KEY (tenant_id, sequence)
);
CREATE INDEX audit_events_time ON cloister.audit_events (occurred_at, tenant_id, sequence);

CREATE FUNCTION cloister.keep_audit_events() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE FUNCTION cloister.advance_audit_chain() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.tenant_id <> OLD.tenant_id OR NEW.sequence <= OLD.sequence THEN
        RAISE EXCEPTION 'an audit chain only grows' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON cloister.audit_events
    FOR EACH ROW EXECUTE FUNCTION cloister.keep_audit_events();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON cloister.audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION cloister.keep_audit_events();
CREATE TRIGGER advance BEFORE UPDATE ON cloister.audit_chains
    FOR EACH ROW EXECUTE FUNCTION cloister.advance_audit_chain();
CREATE TRIGGER keep BEFORE DELETE ON cloister.audit_chains
    FOR EACH ROW EXECUTE FUNCTION cloister.keep_audit_events();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON cloister.audit_chains
    FOR EACH STATEMENT EXECUTE FUNCTION cloister.keep_audit_events();
-- They fire for a replica's role too: only disabling them by name lets a change past.
ALTER TABLE cloister.audit_events ENABLE ALWAYS TRIGGER keep;
ALTER TABLE cloister.audit_events ENABLE ALWAYS TRIGGER keep_all;
ALTER TABLE cloister.audit_chains ENABLE ALWAYS TRIGGER advance;
ALTER TABLE cloister.audit_chains ENABLE ALWAYS TRIGGER keep;
ALTER TABLE cloister.audit_chains ENABLE ALWAYS TRIGGER keep_all;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_chains', 'audit_events'] LOOP
        EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON cloister.%I '
                       'USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
        EXECUTE format('GRANT SELECT ON cloister.%I TO cloister_app', name);
    END LOOP;
END $$;

-- The one way in. It holds the chain's lock from here to the end of the transaction, so it comes last in it.
-- A tenant's transaction writes to its own chain; one without a tenant, which is an operator's, to any.
CREATE FUNCTION cloister.append_audit(p_chain uuid, p_events jsonb) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named  text := coalesce(current_setting('app.tenant_id', true), '');
    head   cloister.audit_chains;
    entry  jsonb;
    moment timestamptz;
    line   text;
BEGIN
    IF named <> '' AND named::uuid <> p_chain THEN
        RAISE EXCEPTION 'a tenant writes to its own audit chain' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO cloister.audit_chains (tenant_id, sequence, hash)
    VALUES (p_chain, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT (tenant_id) DO NOTHING;
    SELECT * INTO STRICT head FROM cloister.audit_chains c WHERE c.tenant_id = p_chain FOR UPDATE;
    FOR entry IN SELECT value FROM jsonb_array_elements(p_events) LOOP
        moment := date_trunc('milliseconds', clock_timestamp());
        head.sequence := head.sequence + 1;
        line := (entry || jsonb_build_object(
            'time', (extract(epoch FROM moment) * 1000)::bigint,
            'metadata', (entry -> 'metadata') || jsonb_build_object('tenant_uid', p_chain, 'sequence', head.sequence)
        ))::text;
        INSERT INTO cloister.audit_events (tenant_id, sequence, occurred_at, previous_hash, hash, event)
        VALUES (p_chain, head.sequence, moment, head.hash, sha256(head.hash || convert_to(line, 'UTF8')), line)
        RETURNING hash INTO head.hash;
    END LOOP;
    UPDATE cloister.audit_chains c SET sequence = head.sequence, hash = head.hash
    WHERE c.tenant_id = p_chain AND c.sequence < head.sequence;
    RETURN head.sequence;
END
$$;

-- Every chain with its head; also one whose head or whose events are gone, which is for the verifier to say.
CREATE FUNCTION cloister.audit_heads() RETURNS TABLE (tenant_id uuid, slug text, sequence bigint, hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE found (tenant_id) AS (
        (SELECT e.tenant_id FROM cloister.audit_events e ORDER BY e.tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.tenant_id FROM cloister.audit_events e WHERE e.tenant_id > f.tenant_id
                ORDER BY e.tenant_id LIMIT 1)
        FROM found f WHERE f.tenant_id IS NOT NULL
    ), chains AS (
        SELECT f.tenant_id FROM found f WHERE f.tenant_id IS NOT NULL
        UNION SELECT c.tenant_id FROM cloister.audit_chains c
    )
    SELECT n.tenant_id, t.slug, c.sequence, c.hash
    FROM chains n LEFT JOIN cloister.audit_chains c USING (tenant_id) LEFT JOIN cloister.tenants t USING (tenant_id)
    ORDER BY n.tenant_id
$$;

-- A page of the trail for an operator, newest first, of one chain or of all.
CREATE FUNCTION cloister.audit_page(
    p_chain uuid, p_before timestamptz, p_before_chain uuid, p_before_sequence bigint, p_limit int)
RETURNS TABLE (tenant_id uuid, slug text, sequence bigint, occurred_at timestamptz, previous_hash bytea, hash bytea,
               event text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.tenant_id, t.slug, e.sequence, e.occurred_at, e.previous_hash, e.hash, e.event
    FROM cloister.audit_events e LEFT JOIN cloister.tenants t USING (tenant_id)
    WHERE (p_chain IS NULL OR e.tenant_id = p_chain)
      AND (e.occurred_at, e.tenant_id, e.sequence) < (p_before, p_before_chain, p_before_sequence)
    ORDER BY e.occurred_at DESC, e.tenant_id DESC, e.sequence DESC LIMIT p_limit
$$;

-- Whose these digests are or were: refused keys that once were valid, for the trail.
CREATE FUNCTION cloister.known_keys(p_digests bytea[]) RETURNS TABLE (digest bytea, key_id uuid, tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.digest, k.key_id, k.tenant_id FROM cloister.api_keys k WHERE k.digest = ANY (p_digests)
$$;

-- ---------------------------------------------------------------- approvals
CREATE TABLE cloister.approvals (
    approval_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    act          text NOT NULL,
    subject      uuid,                 -- the tenant it is about; NULL: all of them
    arguments    jsonb NOT NULL,
    digest       bytea NOT NULL,       -- of act, subject and arguments: what the approval is bound to
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'granted', 'denied', 'used')),
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    decided_by   text,
    decided_at   timestamptz,
    used_at      timestamptz,
    CHECK (requested_by <> decided_by OR state <> 'granted')
);
CREATE INDEX approvals_open ON cloister.approvals (digest) WHERE state IN ('pending', 'granted');
CREATE INDEX approvals_recent ON cloister.approvals (requested_at, approval_id);
-- No policy and no grant: only the functions below reach it.
ALTER TABLE cloister.approvals ENABLE ROW LEVEL SECURITY;

-- Ask for an approval, or find the request that waits for the same; no row when too many wait about this tenant.
-- What is asked for must be asked first: the transaction is kept although the act is not done.
CREATE FUNCTION cloister.request_approval(
    p_act text, p_subject uuid, p_arguments jsonb, p_digest bytea, p_by text, p_life interval, p_most int)
RETURNS SETOF cloister.approvals
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'an approval is asked for before anything is written'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    RETURN QUERY SELECT * FROM cloister.approvals a
        WHERE a.digest = p_digest AND a.requested_by = p_by AND a.state IN ('pending', 'granted')
          AND a.expires_at > now() ORDER BY a.state, a.requested_at LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY INSERT INTO cloister.approvals (act, subject, arguments, digest, requested_by, expires_at)
        SELECT p_act, p_subject, p_arguments, p_digest, p_by, now() + p_life
        WHERE (SELECT count(*) FROM cloister.approvals a WHERE a.subject IS NOT DISTINCT FROM p_subject
               AND a.state = 'pending' AND a.expires_at > now()) < p_most
        RETURNING *;
END
$$;

-- Spend a granted approval in the act's own transaction; no row unless it is granted, in time, for exactly this.
CREATE FUNCTION cloister.use_approval(p_approval uuid, p_digest bytea, p_by text) RETURNS SETOF cloister.approvals
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE cloister.approvals a SET state = 'used', used_at = now()
    WHERE a.approval_id = p_approval AND a.digest = p_digest AND a.requested_by = p_by
      AND a.state = 'granted' AND a.expires_at > now()
    RETURNING *
$$;

-- Grant or deny; no row unless it waits, in time. Nobody grants a request of their own, nor with a key that was made
-- after it, nor with one that succeeds or precedes the key that asked: one operator with two keys is still one.
CREATE FUNCTION cloister.decide_approval(p_approval uuid, p_state text, p_by text, p_key uuid)
RETURNS SETOF cloister.approvals
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE line (key_id, rotated_from) AS (
        SELECT k.key_id, k.rotated_from FROM cloister.api_keys k WHERE k.key_id = p_key
        UNION
        SELECT k.key_id, k.rotated_from FROM cloister.api_keys k JOIN line l
            ON k.key_id = l.rotated_from OR k.rotated_from = l.key_id
    )
    UPDATE cloister.approvals a SET state = p_state, decided_by = p_by, decided_at = now()
    WHERE a.approval_id = p_approval AND a.state = 'pending' AND a.expires_at > now()
      AND (p_state = 'denied' OR (p_state = 'granted' AND a.requested_by <> p_by
           AND NOT EXISTS (SELECT FROM cloister.api_keys k WHERE k.key_id = p_key AND k.created_at >= a.requested_at)
           AND NOT EXISTS (SELECT FROM line l WHERE a.requested_by = 'operator:' || l.key_id)))
    RETURNING *
$$;

CREATE FUNCTION cloister.read_approval(p_approval uuid) RETURNS SETOF cloister.approvals
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM cloister.approvals a WHERE a.approval_id = p_approval
$$;

CREATE FUNCTION cloister.list_approvals(p_state text, p_before timestamptz, p_before_approval uuid, p_limit int)
RETURNS SETOF cloister.approvals
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM cloister.approvals a
    WHERE (a.requested_at, a.approval_id) < (p_before, p_before_approval)
      AND (p_state IS NULL OR p_state = CASE
           WHEN a.state IN ('pending', 'granted') AND a.expires_at <= now() THEN 'expired' ELSE a.state END)
    ORDER BY a.requested_at DESC, a.approval_id DESC LIMIT p_limit
$$;

-- ---------------------------------------------------------------- embedding spaces
-- How many chunks of a tenant have no vector in a space.
CREATE FUNCTION cloister.chunks_without_vector(p_space text, p_tenant uuid) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM cloister.chunks c WHERE c.tenant_id = $1 AND NOT EXISTS (
        SELECT FROM cloister.%I e WHERE e.tenant_id = $1 AND e.chunk_id = c.chunk_id)', 'embeddings_' || p_space)
    INTO missing USING p_tenant;
    RETURN missing;
END
$$;

-- Each space with the tenants active on it, and how many of the tenants' chunks have a vector there.
CREATE FUNCTION cloister.embedding_space_usage()
RETURNS TABLE (space text, model text, revision text, dimensions int, chunker_version text, created_at timestamptz,
               tenants text[], chunks bigint, embedded bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    registered cloister.embedding_spaces;
    vectors    bigint;
BEGIN
    FOR registered IN SELECT * FROM cloister.embedding_spaces s ORDER BY s.space LOOP
        EXECUTE format('SELECT count(*) FROM cloister.%I', 'embeddings_' || registered.space) INTO vectors;
        RETURN QUERY SELECT registered.space, registered.model, registered.revision, registered.dimensions,
            registered.chunker_version, registered.created_at,
            ARRAY(SELECT t.slug FROM cloister.corpora u JOIN cloister.tenants t USING (tenant_id)
                  WHERE u.space = registered.space ORDER BY t.slug),
            (SELECT count(*) FROM cloister.chunks), vectors;
    END LOOP;
END
$$;

-- Make a space the active one of a tenant, or of all; when a chunk has no vector there, nothing is changed and the
-- tenants that lack some are named. The corpus is locked before it is looked at: a write under way ends after this,
-- and then sees that it was embedded for another space.
CREATE FUNCTION cloister.activate_embedding_space(p_space text, p_tenant uuid)
RETURNS TABLE (slug text, missing bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM cloister.corpora u WHERE p_tenant IS NULL OR u.tenant_id = p_tenant
        ORDER BY u.tenant_id FOR UPDATE;
    RETURN QUERY SELECT t.slug, n.missing FROM cloister.tenants t JOIN cloister.corpora u USING (tenant_id),
        LATERAL cloister.chunks_without_vector(p_space, t.tenant_id) AS n (missing)
        WHERE (p_tenant IS NULL OR t.tenant_id = p_tenant) AND u.space <> p_space AND n.missing > 0 ORDER BY t.slug;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY WITH flipped AS (
        UPDATE cloister.corpora u SET space = p_space, corpus_version = u.corpus_version + 1
        WHERE (p_tenant IS NULL OR u.tenant_id = p_tenant) AND u.space <> p_space RETURNING u.tenant_id
    ) SELECT t.slug, 0::bigint FROM flipped JOIN cloister.tenants t USING (tenant_id) ORDER BY t.slug;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['append_audit', 'audit_heads', 'audit_page', 'known_keys', 'request_approval',
        'use_approval', 'decide_approval', 'read_approval', 'list_approvals', 'embedding_space_usage',
        'activate_embedding_space']
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION cloister.%I FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cloister.%I TO cloister_app', name);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION cloister.chunks_without_vector, cloister.keep_audit_events, cloister.advance_audit_chain
    FROM PUBLIC;
