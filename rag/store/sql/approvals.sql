-- name: request
-- Ask for an approval, or find the request that waits for the same; no row when too many wait.
SELECT *, requested_at = now() AS fresh
FROM request_approval(%(act)s, %(subject)s, %(arguments)s, %(digest)s, %(by)s, %(life)s, %(most)s);

-- name: use
-- Spend a granted approval; no row when it is not granted, not in time, or for something else.
SELECT * FROM use_approval(%(approval)s, %(digest)s, %(by)s);

-- name: decide
-- Grant or deny a request; no row when it does not wait, or may not be granted by this one.
SELECT * FROM decide_approval(%(approval)s, %(state)s, %(by)s, %(key)s);

-- name: get
-- One approval.
SELECT * FROM read_approval(%(approval)s);

-- name: list
-- Approvals, newest first, before a cursor.
SELECT * FROM list_approvals(%(state)s, %(before_time)s, %(before_approval)s, %(limit)s);

-- name: purge
-- Remove approvals that ended long ago, at most so many; gives how many.
SELECT purge_approvals(%(days)s, %(limit)s) AS purged;
