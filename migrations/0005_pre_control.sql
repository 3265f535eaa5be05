-- migrate:up
-- What must be known before a tenant is: who a credential belongs to, which tenants there are.
-- Each function hands out no more than its name says.

CREATE FUNCTION cloister.authenticate(p_digest bytea)
RETURNS TABLE (key_id uuid, tenant_id uuid, slug text, kind text, scopes text[], groups text[], expires_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cloister.api_keys k SET last_used_at = now()
    WHERE k.digest = p_digest AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute');
    RETURN QUERY
    SELECT k.key_id, k.tenant_id, t.slug, k.kind, k.scopes, k.groups, k.expires_at
    FROM cloister.api_keys k LEFT JOIN cloister.tenants t USING (tenant_id)
    WHERE k.digest = p_digest AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
END
$$;

CREATE FUNCTION cloister.create_tenant(p_slug text, p_name text, p_space text)
RETURNS TABLE (tenant_id uuid, slug text, name text, created_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made cloister.tenants;
BEGIN
    INSERT INTO cloister.tenants AS t (slug, name) VALUES (p_slug, p_name)
    ON CONFLICT ON CONSTRAINT tenants_slug_key DO NOTHING RETURNING t.* INTO made;
    IF made.tenant_id IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO cloister.corpora (tenant_id, space) VALUES (made.tenant_id, p_space);
    RETURN QUERY SELECT made.tenant_id, made.slug, made.name, made.created_at;
END
$$;

CREATE FUNCTION cloister.list_tenants()
RETURNS TABLE (tenant_id uuid, slug text, name text, created_at timestamptz, documents bigint, chunks bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.tenant_id, t.slug, t.name, t.created_at,
           (SELECT coalesce(sum(c.document_count), 0)::bigint FROM cloister.collections c WHERE c.tenant_id = t.tenant_id),
           coalesce(u.chunk_count, 0)
    FROM cloister.tenants t LEFT JOIN cloister.corpora u USING (tenant_id) ORDER BY t.slug
$$;

CREATE FUNCTION cloister.delete_tenant(p_tenant uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM cloister.tenants t WHERE t.tenant_id = p_tenant;
    RETURN FOUND;
END
$$;

CREATE FUNCTION cloister.create_operator_key(p_digest bytea, p_display text, p_name text, p_expires_at timestamptz)
RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO cloister.api_keys (tenant_id, kind, digest, display, name, scopes, expires_at)
    VALUES (NULL, 'operator', p_digest, p_display, p_name, '{manage}', p_expires_at) RETURNING key_id
$$;

CREATE FUNCTION cloister.list_operator_keys()
RETURNS TABLE (key_id uuid, kind text, display text, name text, scopes text[], groups text[],
               created_at timestamptz, expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT key_id, kind, display, name, scopes, groups, created_at, expires_at, revoked_at, last_used_at
    FROM cloister.api_keys WHERE tenant_id IS NULL ORDER BY created_at
$$;

CREATE FUNCTION cloister.revoke_operator_key(p_key uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cloister.api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = p_key AND tenant_id IS NULL;
    RETURN FOUND;
END
$$;

-- For the gauges: sums over all tenants, no tenant's own.
CREATE FUNCTION cloister.ingest_backlog()
RETURNS TABLE (state text, runs bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT state, count(*), extract(epoch FROM now() - min(created_at))::double precision
    FROM cloister.ingest_runs GROUP BY state
$$;

-- Open runs that nobody will come for: their delivery was lost. A worker delivers them again.
CREATE FUNCTION cloister.undelivered_runs(p_limit int) RETURNS TABLE (tenant_id uuid, run_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.tenant_id, r.run_id FROM cloister.ingest_runs r
    WHERE r.state IN ('queued', 'running', 'failed') AND r.created_at < now() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM jobs.procrastinate_jobs j
                      WHERE j.task_name = 'ingest.document' AND j.args ->> 'run' = r.run_id::text)
    LIMIT p_limit
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['authenticate', 'create_tenant', 'list_tenants', 'delete_tenant',
        'create_operator_key', 'list_operator_keys', 'revoke_operator_key', 'ingest_backlog', 'undelivered_runs']
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION cloister.%I FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cloister.%I TO cloister_app', name);
    END LOOP;
END $$;
