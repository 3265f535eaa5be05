-- name: enqueue
-- A new run for a version of a document.
INSERT INTO ingest_runs (tenant_id, document_id, collection_id, collection, external_id, version, fingerprint,
    request, size_bytes)
VALUES (%(tenant)s, %(document)s, %(collection_id)s, %(collection)s, %(external_id)s, %(version)s, %(fingerprint)s,
    %(request)s, %(size)s)
RETURNING run_id;

-- name: keep_source
-- The bytes of a run, until it has succeeded.
INSERT INTO ingest_sources (tenant_id, run_id, body) VALUES (%(tenant)s, %(run)s, %(body)s);

-- name: pending
-- The open run for a version of a document, if there is one.
SELECT run_id, version, fingerprint FROM ingest_runs
WHERE tenant_id = %(tenant)s AND document_id = %(document)s AND version = %(version)s
  AND state IN ('queued', 'running', 'failed');

-- name: supersede
-- Older runs of a document that have not begun need not begin.
UPDATE ingest_runs SET state = 'cancelled', stage = 'superseded', finished_at = now()
WHERE tenant_id = %(tenant)s AND document_id = %(document)s AND version < %(version)s AND state IN ('queued', 'failed')
RETURNING run_id;

-- name: cancel_document
-- The open runs of a deleted document need not go on.
UPDATE ingest_runs SET state = 'cancelled', stage = 'deleted', finished_at = now()
WHERE tenant_id = %(tenant)s AND document_id = %(document)s AND state IN ('queued', 'running', 'failed')
RETURNING run_id;

-- name: cancel_collection
-- The open runs of a deleted collection need not go on.
UPDATE ingest_runs SET state = 'cancelled', stage = 'deleted', finished_at = now()
WHERE tenant_id = %(tenant)s AND collection_id = %(collection)s AND state IN ('queued', 'running', 'failed')
RETURNING run_id;

-- name: drop_source
-- The bytes of a run that has succeeded are not kept.
DELETE FROM ingest_sources WHERE tenant_id = %(tenant)s AND run_id = %(run)s;

-- name: drop_sources
-- The bytes of a document's runs before a version are not kept, however those runs ended; one under way ends itself.
DELETE FROM ingest_sources s USING ingest_runs r
WHERE s.tenant_id = %(tenant)s AND r.tenant_id = s.tenant_id AND r.run_id = s.run_id
  AND r.document_id = %(document)s AND r.version < %(version)s AND r.state <> 'running';

-- name: forget_document
-- Of a deleted document's runs only the bare record stays.
UPDATE ingest_runs SET request = '{}', error = NULL WHERE tenant_id = %(tenant)s AND document_id = %(document)s;

-- name: forget_collection
-- Of a deleted collection's runs only the bare record stays.
WITH sources AS (
    DELETE FROM ingest_sources s USING ingest_runs r
    WHERE s.tenant_id = %(tenant)s AND r.tenant_id = s.tenant_id AND r.run_id = s.run_id
      AND r.collection_id = %(collection)s
)
UPDATE ingest_runs SET request = '{}', error = NULL WHERE tenant_id = %(tenant)s AND collection_id = %(collection)s;

-- name: backlog
-- How many runs of the tenant wait; its next one is served after as many of the others.
SELECT count(*) AS waiting FROM ingest_runs
WHERE tenant_id = %(tenant)s AND state IN ('queued', 'running', 'failed');

-- name: claim
-- Take a run for one attempt; no row when it is not to be run any more.
UPDATE ingest_runs SET state = 'running', stage = 'parsing', done = 0, total = 0, attempts = attempts + 1,
    lease = %(lease)s, started_at = coalesce(started_at, now()), error = NULL
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND state IN ('queued', 'running', 'failed')
RETURNING run_id, document_id, collection_id, collection, external_id, version, fingerprint, request, size_bytes,
    attempts;

-- name: source
-- The bytes of a run.
SELECT body FROM ingest_sources WHERE tenant_id = %(tenant)s AND run_id = %(run)s;

-- name: progress
-- Say how far a run is; no row when its lease has passed to another attempt.
UPDATE ingest_runs SET stage = %(stage)s, done = %(done)s, total = %(total)s
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND lease = %(lease)s AND state = 'running' RETURNING run_id;

-- name: finish
-- End a run; no row when its lease has passed to another attempt.
UPDATE ingest_runs SET state = %(state)s, stage = %(stage)s, done = %(total)s, total = %(total)s,
    error = %(error)s, finished_at = CASE WHEN %(state)s = 'failed' THEN NULL ELSE now() END
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND lease = %(lease)s AND state = 'running' RETURNING run_id;

-- name: list
-- The tenant's runs, newest first, before a cursor.
SELECT run_id, state, stage, done, total, collection, external_id, document_id, version, attempts, error,
       created_at, started_at, finished_at
FROM ingest_runs
WHERE tenant_id = %(tenant)s
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (created_at, run_id) < (%(before_time)s, %(before_run)s)
ORDER BY created_at DESC, run_id DESC LIMIT %(limit)s;

-- name: get
-- One run.
SELECT run_id, state, stage, done, total, collection, external_id, document_id, version, attempts, error,
       created_at, started_at, finished_at
FROM ingest_runs WHERE tenant_id = %(tenant)s AND run_id = %(run)s;

-- name: tally
-- Of these runs, how many are in which state.
SELECT state, count(*) AS runs FROM ingest_runs
WHERE tenant_id = %(tenant)s AND run_id = ANY (%(runs)s::uuid[]) GROUP BY state;

-- name: some
-- These runs.
SELECT run_id, state, stage, done, total, collection, external_id, document_id, version, attempts, error,
       created_at, started_at, finished_at
FROM ingest_runs WHERE tenant_id = %(tenant)s AND run_id = ANY (%(runs)s::uuid[]);

-- name: retry
-- Queue a run again that ended without success and whose bytes are still here.
UPDATE ingest_runs r SET state = 'queued', stage = 'queued', error = NULL, finished_at = NULL, attempts = 0, lease = NULL
WHERE r.tenant_id = %(tenant)s AND r.run_id = %(run)s AND r.state IN ('dead', 'cancelled')
  AND EXISTS (SELECT FROM ingest_sources s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.run_id)
  AND EXISTS (SELECT FROM documents d WHERE d.tenant_id = r.tenant_id AND d.document_id = r.document_id
              AND d.latest_version = r.version)
RETURNING r.run_id;

-- name: cancel
-- Stop a run that has not ended; a running attempt notices before it writes.
UPDATE ingest_runs SET state = 'cancelled', stage = 'cancelled', finished_at = now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND state IN ('queued', 'running', 'failed') RETURNING run_id;

-- name: undelivered
-- Open runs whose delivery was lost, of any tenant.
SELECT * FROM undelivered_runs(%(limit)s);

-- name: totals
-- Runs by state over all tenants, for the gauges.
SELECT * FROM ingest_backlog();
