-- name: read
-- Where the tenant's vectors of a space stand, and how many chunks it has; 0 of a tenant that was deleted.
SELECT coalesce((SELECT u.chunk_count FROM corpora u WHERE u.tenant_id = %(tenant)s), 0) AS chunks,
       p.tenant_id IS NOT NULL AS built, p.attached_at IS NOT NULL AS attached
FROM (SELECT 1) one LEFT JOIN dense_partitions p ON p.tenant_id = %(tenant)s AND p.space = %(space)s;

-- name: build
-- Copy the tenant's vectors into a table of their own and index it.
SELECT build_partition(%(tenant)s, %(space)s) AS outcome;

-- name: catch_up
-- Bring that table up to what was written meanwhile.
SELECT catch_up_partition(%(tenant)s, %(space)s) AS moved;

-- name: attach
-- Let it take the place of the tenant's rows in the default partition.
SELECT attach_partition(%(tenant)s, %(space)s) AS outcome;

-- name: dissolve
-- Put the tenant's rows back into the default partition.
SELECT dissolve_partition(%(tenant)s, %(space)s) AS outcome;

-- name: misplaced
-- Tenants whose vectors stand in the wrong place and for whom no job is queued.
SELECT tenant_id, space FROM misplaced_tenants(%(over)s, %(under)s, %(limit)s);

-- name: totals
-- Partitions by state over all tenants, for the gauges.
SELECT attached, built FROM partition_totals();

-- name: hold
-- Keep partitions from being swapped until this transaction ends.
LOCK TABLE ONLY dense_partitions IN ACCESS SHARE MODE;
