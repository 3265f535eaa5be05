-- name: tables
-- The tables of tenants: every one with a column tenant_id, partitions too.
SELECT c.relname AS name FROM pg_class c
WHERE c.relnamespace = 'cloister'::regnamespace AND c.relkind IN ('r', 'p')
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
ORDER BY c.relname;

-- name: definers
-- The functions that run with their owner's rights, past row-level security.
SELECT DISTINCT p.proname AS name FROM pg_proc p
WHERE p.pronamespace = 'cloister'::regnamespace AND p.prosecdef ORDER BY p.proname;

-- name: rows
-- A whole table, as text and without a condition: what comes back is what row-level security lets through.
SELECT t::text AS row FROM {store} t;

-- name: turn
-- Whether this transaction is the only one that holds the turn; it ends with the transaction, however that ends.
SELECT pg_try_advisory_xact_lock(hashtextextended('cloister:verify-isolation', 0)) AS held;
