-- name: authenticate
-- Who a key belongs to; no row for an unknown, revoked or expired one.
SELECT * FROM authenticate(%(digest)s);

-- name: create
-- Record a tenant's new key by its digest.
INSERT INTO api_keys (tenant_id, kind, digest, display, name, scopes, groups, expires_at)
VALUES (%(tenant)s, %(kind)s, %(digest)s, %(display)s, %(name)s, %(scopes)s, %(groups)s, %(expires_at)s)
RETURNING key_id;

-- name: list
-- The keys of a tenant, oldest first, revoked ones too.
SELECT key_id, kind, display, name, scopes, groups, created_at, expires_at, revoked_at, last_used_at
FROM api_keys WHERE tenant_id = %(tenant)s ORDER BY created_at, key_id;

-- name: revoke
-- End a tenant's key now.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
WHERE tenant_id = %(tenant)s AND key_id = %(key)s RETURNING key_id;

-- name: create_operator
-- Record a new operator key by its digest.
SELECT create_operator_key(%(digest)s, %(display)s, %(name)s, %(expires_at)s) AS key_id;

-- name: list_operators
-- The operator keys.
SELECT * FROM list_operator_keys();

-- name: revoke_operator
-- End an operator key now.
SELECT revoke_operator_key(%(key)s) AS revoked;
