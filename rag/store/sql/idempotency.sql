-- name: claim
-- Hold a caller's key for a request; no row while another holds it, or once it was answered.
INSERT INTO idempotency_records AS r
    (tenant_id, caller, idempotency_key, fingerprint, lease, leased_until, expires_at)
VALUES (%(tenant)s, %(caller)s, %(key)s, %(fingerprint)s, %(lease)s,
    now() + make_interval(secs => %(lease_s)s), now() + make_interval(secs => %(kept_s)s))
ON CONFLICT (tenant_id, caller, idempotency_key) DO UPDATE SET
    fingerprint = excluded.fingerprint, lease = excluded.lease, leased_until = excluded.leased_until,
    expires_at = excluded.expires_at, status = NULL, media_type = NULL, location = NULL, body = NULL,
    answer_id = NULL, created_at = now()
WHERE r.expires_at < now() OR (r.status IS NULL AND r.leased_until < now())
RETURNING lease;

-- name: find
-- What is known of a caller's key.
SELECT fingerprint, status, media_type, location, body, answer_id FROM idempotency_records
WHERE tenant_id = %(tenant)s AND caller = %(caller)s AND idempotency_key = %(key)s;

-- name: finish
-- Keep what was answered, for whoever still holds the key.
UPDATE idempotency_records
SET status = %(status)s, media_type = %(media_type)s, location = %(location)s, body = %(body)s, answer_id = %(answer)s
WHERE tenant_id = %(tenant)s AND caller = %(caller)s AND idempotency_key = %(key)s AND lease = %(lease)s
RETURNING lease;

-- name: release
-- Let a key go that nothing was answered to, by whoever still holds it.
DELETE FROM idempotency_records
WHERE tenant_id = %(tenant)s AND caller = %(caller)s AND idempotency_key = %(key)s AND lease = %(lease)s;

-- name: forget
-- Drop what was answered to a key.
DELETE FROM idempotency_records
WHERE tenant_id = %(tenant)s AND caller = %(caller)s AND idempotency_key = %(key)s AND status IS NOT NULL;

-- name: purge
-- Drop records whose time is over, the oldest first.
WITH expired AS MATERIALIZED (
    SELECT caller, idempotency_key FROM idempotency_records
    WHERE tenant_id = %(tenant)s AND expires_at < now() ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_records r USING expired e
WHERE r.tenant_id = %(tenant)s AND r.caller = e.caller AND r.idempotency_key = e.idempotency_key;
