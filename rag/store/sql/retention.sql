-- name: get
-- How long a tenant has chosen to keep what ages; no row when it never chose.
SELECT answers_days, jobs_days, versions_days FROM retention WHERE tenant_id = %(tenant)s;

-- name: set
-- Choose how long to keep what ages.
INSERT INTO retention (tenant_id, answers_days, jobs_days, versions_days)
VALUES (%(tenant)s, %(answers_days)s, %(jobs_days)s, %(versions_days)s)
ON CONFLICT (tenant_id) DO UPDATE SET answers_days = EXCLUDED.answers_days, jobs_days = EXCLUDED.jobs_days,
    versions_days = EXCLUDED.versions_days;

-- name: claim
-- Tenants whose purge is due, taken by the one who asks.
SELECT tenant_id FROM claim_purges(make_interval(secs => %(every)s), %(limit)s);

-- name: purge_answers
-- Remove some of the answers that are older than they may be, with their questions.
DELETE FROM answers WHERE tenant_id = %(tenant)s AND ctid = ANY (
    ARRAY(SELECT ctid FROM answers WHERE tenant_id = %(tenant)s AND created_at < now() - make_interval(days => %(days)s)
          LIMIT %(limit)s));

-- name: purge_jobs
-- Remove some of the runs that ended longer ago than they may be kept, with the bytes of those that ended badly.
DELETE FROM ingest_runs WHERE tenant_id = %(tenant)s AND ctid = ANY (
    ARRAY(SELECT ctid FROM ingest_runs
          WHERE tenant_id = %(tenant)s AND created_at < now() - make_interval(days => %(days)s)
            AND finished_at < now() - make_interval(days => %(days)s) AND state IN ('succeeded', 'dead', 'cancelled')
          LIMIT %(limit)s));

-- name: purge_versions
-- Remove some of the texts that were superseded longer ago than they may be kept and that no kept answer quotes.
WITH old AS MATERIALIZED (
    SELECT v.document_id, v.version FROM document_versions v
    JOIN documents d ON d.tenant_id = %(tenant)s AND d.document_id = v.document_id
    WHERE v.tenant_id = %(tenant)s AND v.version < d.current_version
      AND v.created_at < now() - make_interval(days => %(days)s)
      AND EXISTS (SELECT FROM document_versions n WHERE n.tenant_id = %(tenant)s AND n.document_id = v.document_id
                  AND n.version > v.version AND n.created_at < now() - make_interval(days => %(days)s))
), quoted AS MATERIALIZED (
    SELECT DISTINCT (c ->> 'document_id')::uuid AS document_id, (c ->> 'document_version')::int AS version
    FROM answers a CROSS JOIN jsonb_array_elements(a.body -> 'citations') c
    WHERE a.tenant_id = %(tenant)s AND a.document_ids && ARRAY(SELECT o.document_id FROM old o)
)
DELETE FROM document_versions v USING (
    SELECT o.document_id, o.version FROM old o
    WHERE NOT EXISTS (SELECT FROM quoted q WHERE q.document_id = o.document_id AND q.version = o.version)
    LIMIT %(limit)s) gone
WHERE v.tenant_id = %(tenant)s AND v.document_id = gone.document_id AND v.version = gone.version;
