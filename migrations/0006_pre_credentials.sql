-- migrate:up
-- Credentials: where a publishable key may be used from and what it may search, rotation, and the secrets that widget
-- tokens are signed with.
SET LOCAL lock_timeout = '10s';

-- A key that anyone may read opens no document that was closed to somebody.
UPDATE cloister.api_keys SET groups = array_remove(groups, '*') WHERE kind = 'publishable';

ALTER TABLE cloister.api_keys
    ADD COLUMN origins      text[] NOT NULL DEFAULT '{}',  -- as a browser spells them; empty: no browser
    ADD COLUMN collections  text[],                        -- NULL: every collection, later ones too
    ADD COLUMN rotated_from uuid,
    ADD COLUMN rotated_at   timestamptz,                   -- when its successor was made
    ADD CONSTRAINT api_keys_tenant_key UNIQUE (tenant_id, key_id),
    ADD FOREIGN KEY (tenant_id, rotated_from) REFERENCES cloister.api_keys (tenant_id, key_id),
    ADD CHECK (kind = 'publishable' OR (origins = '{}' AND collections IS NULL)),
    ADD CHECK (kind <> 'publishable' OR NOT groups @> '{*}');
DROP INDEX cloister.api_keys_tenant;  -- the constraint's index begins with it
CREATE INDEX api_keys_origins ON cloister.api_keys USING gin (origins) WHERE kind = 'publishable';

-- Apart from the keys, so that no SELECT of the serving role reads one.
CREATE TABLE cloister.signing_secrets (
    tenant_id uuid NOT NULL,
    key_id    uuid NOT NULL,
    secret    text NOT NULL,
    PRIMARY KEY (tenant_id, key_id),
    FOREIGN KEY (tenant_id, key_id) REFERENCES cloister.api_keys (tenant_id, key_id) ON DELETE CASCADE
);
ALTER TABLE cloister.signing_secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON cloister.signing_secrets USING (tenant_id = current_setting('app.tenant_id')::uuid);
GRANT INSERT ON cloister.signing_secrets TO cloister_app;

DROP FUNCTION cloister.authenticate(bytea);
CREATE FUNCTION cloister.authenticate(p_digest bytea)
RETURNS TABLE (key_id uuid, tenant_id uuid, slug text, kind text, scopes text[], groups text[], expires_at timestamptz,
               origins text[], collections text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cloister.api_keys k SET last_used_at = now()
    WHERE k.digest = p_digest AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute');
    RETURN QUERY
    SELECT k.key_id, k.tenant_id, t.slug, k.kind, k.scopes, k.groups, k.expires_at, k.origins, k.collections
    FROM cloister.api_keys k LEFT JOIN cloister.tenants t USING (tenant_id)
    WHERE k.digest = p_digest AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
END
$$;

-- A live publishable key with the secret that its widget tokens are signed with. Nothing is noted: who names the id has
-- proved nothing yet.
CREATE FUNCTION cloister.authenticate_widget(p_key uuid)
RETURNS TABLE (key_id uuid, tenant_id uuid, slug text, kind text, scopes text[], groups text[], expires_at timestamptz,
               origins text[], collections text[], secret text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.key_id, k.tenant_id, t.slug, k.kind, k.scopes, k.groups, k.expires_at, k.origins, k.collections, s.secret
    FROM cloister.api_keys k
    JOIN cloister.tenants t ON t.tenant_id = k.tenant_id
    JOIN cloister.signing_secrets s ON s.tenant_id = k.tenant_id AND s.key_id = k.key_id
    WHERE k.key_id = p_key AND k.kind = 'publishable' AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

-- The tenant that a token of an identity provider names; no row for a slug that is not taken.
CREATE FUNCTION cloister.resolve_tenant(p_slug text) RETURNS TABLE (tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.tenant_id FROM cloister.tenants t WHERE t.slug = p_slug
$$;

-- For a browser's preflight, which carries no key: whether any live publishable key lists the origin.
CREATE FUNCTION cloister.origin_listed(p_origin text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM cloister.api_keys k
                   WHERE k.kind = 'publishable' AND k.origins @> ARRAY[p_origin] AND k.revoked_at IS NULL
                     AND (k.expires_at IS NULL OR k.expires_at > now()))
$$;

-- Beside list_operator_keys, which the release before this one calls.
CREATE FUNCTION cloister.operator_keys()
RETURNS TABLE (key_id uuid, kind text, display text, name text, scopes text[], groups text[], created_at timestamptz,
               expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz,
               rotated_from uuid, rotated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT key_id, kind, display, name, scopes, groups, created_at, expires_at, revoked_at, last_used_at,
           rotated_from, rotated_at
    FROM cloister.api_keys WHERE tenant_id IS NULL ORDER BY created_at, key_id
$$;

-- A successor beside a live operator key, which ends after the overlap; no row when there is no such key, when it has
-- ended, or when it has a successor.
CREATE FUNCTION cloister.rotate_operator_key(p_key uuid, p_digest bytea, p_display text, p_expires_at timestamptz,
                                             p_ends_at timestamptz)
RETURNS TABLE (key_id uuid, ends_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    retired cloister.api_keys;
BEGIN
    UPDATE cloister.api_keys k SET rotated_at = now(), expires_at = least(k.expires_at, p_ends_at)
    WHERE k.key_id = p_key AND k.tenant_id IS NULL AND k.rotated_at IS NULL AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
    RETURNING k.* INTO retired;
    IF retired.key_id IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    INSERT INTO cloister.api_keys AS n (tenant_id, kind, digest, display, name, scopes, expires_at, rotated_from)
    VALUES (NULL, 'operator', p_digest, p_display, retired.name, retired.scopes, p_expires_at, retired.key_id)
    RETURNING n.key_id, retired.expires_at;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['authenticate', 'authenticate_widget', 'resolve_tenant', 'origin_listed',
        'operator_keys', 'rotate_operator_key']
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION cloister.%I FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cloister.%I TO cloister_app', name);
    END LOOP;
END $$;
