-- name: authenticate
-- Who a key belongs to; no row for an unknown, revoked or expired one.
SELECT * FROM authenticate(%(digest)s);

-- name: authenticate_widget
-- The live publishable key of that id with its signing secret.
SELECT * FROM authenticate_widget(%(key)s);

-- name: resolve_tenant
-- The tenant of that slug.
SELECT tenant_id FROM resolve_tenant(%(slug)s);

-- name: origin_listed
-- Whether any live publishable key lists the origin.
SELECT origin_listed(%(origin)s) AS listed;

-- name: create
-- Record a tenant's new key by its digest.
INSERT INTO api_keys (tenant_id, kind, digest, display, name, scopes, groups, origins, collections, expires_at,
                      rotated_from)
VALUES (%(tenant)s, %(kind)s, %(digest)s, %(display)s, %(name)s, %(scopes)s, %(groups)s, %(origins)s, %(collections)s,
        %(expires_at)s, %(rotated_from)s)
RETURNING key_id;

-- name: keep_secret
-- Keep what the widget tokens of a publishable key are signed with.
INSERT INTO signing_secrets (tenant_id, key_id, secret) VALUES (%(tenant)s, %(key)s, %(secret)s);

-- name: list
-- The keys of a tenant, oldest first, revoked ones too.
SELECT key_id, kind, display, name, scopes, groups, origins, collections, created_at, expires_at, revoked_at,
       last_used_at, rotated_from, rotated_at
FROM api_keys WHERE tenant_id = %(tenant)s ORDER BY created_at, key_id;

-- name: lock
-- A tenant's key, held until the transaction ends.
SELECT key_id, kind, display, name, scopes, groups, origins, collections, created_at, expires_at, revoked_at,
       last_used_at, rotated_from, rotated_at
FROM api_keys WHERE tenant_id = %(tenant)s AND key_id = %(key)s FOR UPDATE;

-- name: retire
-- Let a key that has a successor end, at the latest at that time.
UPDATE api_keys SET rotated_at = now(), expires_at = least(expires_at, %(ends_at)s)
WHERE tenant_id = %(tenant)s AND key_id = %(key)s RETURNING expires_at;

-- name: revoke
-- End a tenant's key now.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
WHERE tenant_id = %(tenant)s AND key_id = %(key)s RETURNING key_id;

-- name: note_use
-- Note that a token of a key was used, once a minute at most.
UPDATE api_keys SET last_used_at = now()
WHERE tenant_id = %(tenant)s AND key_id = %(key)s
  AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');

-- name: create_operator
-- Record a new operator key by its digest.
SELECT create_operator_key(%(digest)s, %(display)s, %(name)s, %(expires_at)s) AS key_id;

-- name: list_operators
-- The operator keys, oldest first.
SELECT * FROM operator_keys();

-- name: rotate_operator
-- A successor of a live operator key; no row when there is nothing to rotate.
SELECT key_id, ends_at
FROM rotate_operator_key(%(key)s, %(digest)s, %(display)s, %(expires_at)s, %(ends_at)s);

-- name: revoke_operator
-- End an operator key now.
SELECT revoke_operator_key(%(key)s) AS revoked;
