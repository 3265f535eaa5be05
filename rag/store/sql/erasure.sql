-- name: enter
-- Begin a tenant's transaction: its rows and no others, its timeout, and whether the tenant is erased.
SELECT enter_tenant(%(tenant)s, %(timeout)s, %(writes)s) AS erased;

-- name: await_writes
-- Wait for the tenant's writes under way; those that come later wait until this transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('writes:' || %(tenant)s::text, 0));

-- name: close
-- Close a tenant and begin its erasure; NULL when there is no such tenant, or its erasure has begun.
SELECT close_tenant(%(tenant)s, %(digest)s, %(subject)s, %(by)s, %(step)s) AS erasure_id;

-- name: begin
-- A new erasure; no row when the same one is open already.
INSERT INTO erasures (tenant_id, kind, digest, subject, requested_by, step)
VALUES (%(tenant)s, %(kind)s, %(digest)s, %(subject)s, %(by)s, %(step)s)
ON CONFLICT (tenant_id, digest) WHERE finished_at IS NULL DO NOTHING RETURNING erasure_id;

-- name: begun
-- The open erasure of the same subject.
SELECT erasure_id FROM erasures WHERE tenant_id = %(tenant)s AND digest = %(digest)s AND finished_at IS NULL;

-- name: lock
-- An erasure that is not finished, for the one who takes its next step.
SELECT erasure_id, tenant_id, kind, subject, step, removed FROM erasures
WHERE tenant_id = %(tenant)s AND erasure_id = %(erasure)s AND finished_at IS NULL FOR UPDATE;

-- name: record
-- What a step has removed so far, in its own transaction, and which step is next.
UPDATE erasures SET removed = %(removed)s, step = %(step)s, subject = %(subject)s
WHERE tenant_id = %(tenant)s AND erasure_id = %(erasure)s AND finished_at IS NULL;

-- name: finish
-- The receipt: the subject is forgotten with the rest.
UPDATE erasures SET removed = %(removed)s, remaining = %(remaining)s, subject = NULL, step = NULL,
    finished_at = clock_timestamp()
WHERE tenant_id = %(tenant)s AND erasure_id = %(erasure)s AND finished_at IS NULL;

-- name: find
-- Receipts of any tenant, newest first, before a cursor.
SELECT * FROM find_erasures(%(erasure)s, %(tenant_id)s, %(open)s, %(before_time)s, %(before)s, %(limit)s);

-- name: tables
-- Every table that holds rows of tenants, as the schema has them; but for a partition that is being built, which is
-- brought up to the rows it copies, or dropped, before anybody reads it.
SELECT k.relname::text AS name FROM pg_catalog.pg_class k JOIN pg_catalog.pg_attribute a ON a.attrelid = k.oid
WHERE k.relnamespace = 'cloister'::regnamespace AND k.relkind IN ('r', 'p') AND NOT k.relispartition
  AND k.relname !~ '^partition_[0-9]+$'
  AND a.attname = 'tenant_id' AND NOT a.attisdropped ORDER BY 1;

-- name: batch
-- Remove some of a tenant's rows from one store.
DELETE FROM {store} WHERE tenant_id = %(tenant)s AND ctid = ANY (
    ARRAY(SELECT ctid FROM {store} WHERE tenant_id = %(tenant)s LIMIT %(limit)s));

-- name: count
-- How many rows of a tenant a store has.
SELECT count(*) AS rows FROM {store} WHERE tenant_id = %(tenant)s;

-- name: count_all
-- How many rows of the tenant each store has.
SELECT store, rows FROM count_rows(%(tenant)s);

-- name: queue
-- Take what waits for a worker off the queue: ids of the tenant and of its runs. A delivery in a worker's hands
-- finds nothing to do and removes itself.
DELETE FROM jobs.procrastinate_jobs
WHERE args ->> 'tenant' = %(tenant)s::text AND %(tenant)s::uuid = current_setting('app.tenant_id')::uuid
  AND (%(runs)s::uuid[] IS NULL OR (args ->> 'run')::uuid = ANY (%(runs)s::uuid[])) AND status = 'todo';

-- name: document_ids
-- The ids under which a document is or was known by its names; one that was deleted is known by its runs.
SELECT d.document_id FROM documents d JOIN collections c USING (tenant_id, collection_id)
WHERE d.tenant_id = %(tenant)s AND c.name = %(collection)s AND d.external_id = %(external_id)s
UNION
SELECT r.document_id FROM ingest_runs r
WHERE r.tenant_id = %(tenant)s AND r.collection = %(collection)s AND r.external_id = %(external_id)s;

-- name: document_served
-- What the counts say of a document; its collection and then it stay as they are until the transaction ends.
SELECT d.collection_id, d.chunk_count, d.current_version > 0 AS served
FROM documents d JOIN collections c ON c.tenant_id = %(tenant)s AND c.collection_id = d.collection_id
WHERE d.tenant_id = %(tenant)s AND d.document_id = ANY (%(documents)s::uuid[]) FOR KEY SHARE OF c FOR UPDATE OF d;

-- name: document_runs
-- The runs of documents.
SELECT run_id FROM ingest_runs WHERE tenant_id = %(tenant)s AND document_id = ANY (%(documents)s::uuid[]) FOR UPDATE;

-- name: document_rows
-- Remove the rows of documents from one store.
DELETE FROM {store} WHERE tenant_id = %(tenant)s AND document_id = ANY (%(documents)s::uuid[]);

-- name: document_chunk_rows
-- Remove from one store what hangs on the chunks of documents.
DELETE FROM {store} s USING chunks c
WHERE s.tenant_id = %(tenant)s AND c.tenant_id = %(tenant)s AND c.chunk_id = s.chunk_id
  AND c.document_id = ANY (%(documents)s::uuid[]);

-- name: document_sources
-- Remove the waiting bytes of documents.
DELETE FROM ingest_sources s USING ingest_runs r
WHERE s.tenant_id = %(tenant)s AND r.tenant_id = %(tenant)s AND r.run_id = s.run_id
  AND r.document_id = ANY (%(documents)s::uuid[]);

-- name: document_requests
-- Remove what was answered to an Idempotency-Key and names the documents: answers that quote them, and their jobs.
DELETE FROM idempotency_records r WHERE r.tenant_id = %(tenant)s AND EXISTS (
    SELECT FROM unnest(%(documents)s::uuid[]) d WHERE position(convert_to(d::text, 'UTF8') IN r.body) > 0);

-- name: document_answers
-- Remove the answers that quote documents, with their questions.
DELETE FROM answers WHERE tenant_id = %(tenant)s AND document_ids && %(documents)s::uuid[];

-- name: document_pins
-- Take documents off the queries that they are pinned to.
UPDATE pins p SET external_ids = ARRAY (
    SELECT e.external_id FROM unnest(p.external_ids) WITH ORDINALITY e (external_id, place)
    WHERE NOT EXISTS (
        SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.collection_id = p.collection_id
        AND d.external_id = e.external_id AND d.document_id = ANY (%(documents)s::uuid[])) ORDER BY e.place)
WHERE p.tenant_id = %(tenant)s AND EXISTS (
    SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.collection_id = p.collection_id
    AND d.external_id = ANY (p.external_ids) AND d.document_id = ANY (%(documents)s::uuid[]));

-- name: document_left
-- How many rows of documents a store has.
SELECT count(*) AS rows FROM {store} WHERE tenant_id = %(tenant)s AND document_id = ANY (%(documents)s::uuid[]);

-- name: document_answers_left
-- How many answers quote documents.
SELECT count(*) AS rows FROM answers WHERE tenant_id = %(tenant)s AND document_ids && %(documents)s::uuid[];

-- name: lock_unused_groups
-- Sets of groups that no document has; nobody can take one up until the transaction ends.
SELECT acl_id FROM acl_sets a WHERE a.tenant_id = %(tenant)s
  AND NOT EXISTS (SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.acl_id = a.acl_id)
ORDER BY acl_id FOR UPDATE;

-- name: unused_groups
-- Remove those of the locked sets that still no document has.
DELETE FROM acl_sets a WHERE a.tenant_id = %(tenant)s AND a.acl_id = ANY (%(acl)s::int[])
  AND NOT EXISTS (SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.acl_id = a.acl_id);

-- name: user_requests
-- Remove what was answered to an Idempotency-Key with an answer to a person's question.
DELETE FROM idempotency_records r USING answers a
WHERE r.tenant_id = %(tenant)s AND a.tenant_id = %(tenant)s AND a.answer_id = r.answer_id AND a.asked_by = %(user)s;

-- name: user_answers
-- Remove some of what a person asked, with the answers.
DELETE FROM answers WHERE tenant_id = %(tenant)s AND ctid = ANY (
    ARRAY(SELECT ctid FROM answers WHERE tenant_id = %(tenant)s AND asked_by = %(user)s LIMIT %(limit)s));

-- name: user_answers_left
-- How many answers to a person's questions there are.
SELECT count(*) AS rows FROM answers WHERE tenant_id = %(tenant)s AND asked_by = %(user)s;

-- name: clear_samples
-- Drop the planner's samples of values, as the owner of the tables.
SELECT count(pg_clear_attribute_stats(schemaname, tablename, attname, inherited)) FROM pg_stats
WHERE schemaname IN ('cloister', 'jobs');
