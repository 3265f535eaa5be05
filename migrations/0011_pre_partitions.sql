-- migrate:up
-- A large tenant's chunk vectors stand in a partition of their own, with an approximate index; all others share the
-- default partition. The app role owns nothing, so the moves are definer functions: each acts for the tenant that the
-- connection names, moves rows between two partitions of one table, and changes no row's content.

CREATE TABLE cloister.dense_partitions (
    tenant_id    uuid NOT NULL,        -- no foreign key: a deleted tenant's partition has still to be dropped
    space        text NOT NULL REFERENCES cloister.embedding_spaces ON DELETE CASCADE,
    partition_id int GENERATED ALWAYS AS IDENTITY,  -- the table is cloister.partition_<id>
    built_at     timestamptz NOT NULL DEFAULT now(),
    attached_at  timestamptz,          -- NULL: built, and read by nobody yet
    PRIMARY KEY (tenant_id, space)
);
ALTER TABLE cloister.dense_partitions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON cloister.dense_partitions USING (tenant_id = current_setting('app.tenant_id')::uuid);
-- Every transaction with a snapshot locks this table before it takes that snapshot (ACCESS SHARE, which SELECT allows),
-- and a swap locks it against them: so nobody looks with an old snapshot into a partition that was filled after it.
GRANT SELECT ON cloister.dense_partitions TO cloister_app;

-- Bring a partition that nobody reads up to the tenant's rows in the default partition: how many rows that took,
-- NULL and half done when it would have taken more than `p_most`. A chunk's vector never changes (another vector is
-- another chunk), so rows are told apart by the rest. For the owner's functions below only.
CREATE FUNCTION cloister.reconcile_partition(p_tenant uuid, p_space text, p_partition int, p_most int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp SET work_mem = '64MB'
AS $$
DECLARE
    own    text := 'partition_' || p_partition;
    shared text := 'embeddings_' || p_space || '_default';
    stale  int;
    fresh  int;
BEGIN
    EXECUTE format('DELETE FROM cloister.%I o WHERE NOT EXISTS (SELECT FROM cloister.%I s '
                   'WHERE s.tenant_id = $1 AND s.chunk_id = o.chunk_id AND s.document_id = o.document_id '
                   'AND s.collection_id = o.collection_id AND s.acl_id = o.acl_id)',
                   own, shared) USING p_tenant;
    GET DIAGNOSTICS stale = ROW_COUNT;
    EXECUTE format('INSERT INTO cloister.%I SELECT s.* FROM cloister.%I s WHERE s.tenant_id = $1 '
                   'AND NOT EXISTS (SELECT FROM cloister.%I o WHERE o.tenant_id = $1 AND o.chunk_id = s.chunk_id) '
                   'LIMIT $2', own, shared, own) USING p_tenant, p_most + 1;
    GET DIAGNOSTICS fresh = ROW_COUNT;
    RETURN CASE WHEN fresh <= p_most THEN stale + fresh END;
END
$$;
REVOKE ALL ON FUNCTION cloister.reconcile_partition FROM PUBLIC;

-- Copy a tenant's vectors into a table beside the default partition and index it. Nobody waits for it, and one runs at
-- a time. 'built' (also when it was before), 'busy' while another is being built, 'full' at 1,000 partitions a space,
-- 'absent' for a tenant or a space that there is not.
CREATE FUNCTION cloister.build_partition(p_tenant uuid, p_space text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    shared text := 'embeddings_' || p_space || '_default';
    own    text;
    number int;
    width  int;
    copied bigint;
    hnsw   text;
BEGIN
    SELECT s.dimensions INTO width FROM cloister.embedding_spaces s, cloister.corpora u
    WHERE s.space = p_space AND u.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid;
    IF width IS NULL THEN
        RETURN 'absent';
    ELSIF EXISTS (SELECT FROM cloister.dense_partitions p WHERE p.tenant_id = p_tenant AND p.space = p_space) THEN
        RETURN 'built';
    ELSIF NOT pg_try_advisory_xact_lock(hashtextextended('cloister.partitions', 0)) THEN
        RETURN 'busy';
    ELSIF (SELECT count(*) >= 1000 FROM cloister.dense_partitions p WHERE p.space = p_space) THEN
        RETURN 'full';
    END IF;
    INSERT INTO cloister.dense_partitions (tenant_id, space) VALUES (p_tenant, p_space) RETURNING partition_id INTO number;
    own := 'partition_' || number;
    EXECUTE format('CREATE TABLE cloister.%I (LIKE cloister.%I INCLUDING STORAGE INCLUDING INDEXES, '
                   'CHECK (tenant_id = %L)) WITH (autovacuum_vacuum_insert_scale_factor = 0.02)',
                   own, 'embeddings_' || p_space, p_tenant);
    -- Read through its parent it is under the parent's policy; read by itself, under none that lets anybody in.
    EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', own);
    EXECUTE format('INSERT INTO cloister.%I SELECT s.* FROM cloister.%I s WHERE s.tenant_id = $1', own, shared)
    USING p_tenant;
    GET DIAGNOSTICS copied = ROW_COUNT;
    -- Room for the whole graph, or building it takes many times as long; half a gigabyte unless the server allows more.
    PERFORM set_config('maintenance_work_mem', greatest(65536, least(
        copied * (2 * width + 1200) / 1000, greatest(524288, pg_size_bytes(current_setting('maintenance_work_mem')) / 1024)
    )) || 'kB', true);
    hnsw := format('CREATE INDEX ON cloister.%I USING hnsw (embedding public.halfvec_cosine_ops) '
                   'WITH (m = 16, ef_construction = 64)', own);
    BEGIN
        EXECUTE hnsw;
    EXCEPTION WHEN insufficient_resources THEN  -- parallel workers share memory that a container may not have
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
        EXECUTE hnsw;
    END;
    EXECUTE format('ANALYZE cloister.%I', own);
    RETURN 'built';
END
$$;

-- Bring a built partition nearer to the tenant's rows while they are being written; how many rows that took.
CREATE FUNCTION cloister.catch_up_partition(p_tenant uuid, p_space text) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    number int;
BEGIN
    SELECT p.partition_id INTO number FROM cloister.dense_partitions p
    WHERE p.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid AND p.space = p_space
      AND p.attached_at IS NULL
    FOR UPDATE;
    RETURN CASE WHEN number IS NULL THEN 0
                ELSE cloister.reconcile_partition(p_tenant, p_space, number, 2147483646) END;
END
$$;

-- Take, in the order that waits longest before it makes others wait, the locks of a swap: vacuum is sent away, then
-- writers, then searches, then everybody. Raises lock_not_available, sooner than a deadlock would be looked for.
CREATE FUNCTION cloister.lock_for_swap(p_space text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('lock_timeout', '3s', true);
    EXECUTE format('LOCK TABLE ONLY cloister.chunks, ONLY cloister.%I IN SHARE UPDATE EXCLUSIVE MODE',
                   'embeddings_' || p_space || '_default');
    PERFORM set_config('lock_timeout', '700ms', true);
    LOCK TABLE ONLY cloister.chunks IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE ONLY cloister.dense_partitions IN ACCESS EXCLUSIVE MODE;
    -- The parent, not only the partitions: a reader that has planned by the old ones would find nothing there.
    EXECUTE format('LOCK TABLE ONLY cloister.%I, ONLY cloister.%I IN ACCESS EXCLUSIVE MODE',
                   'embeddings_' || p_space, 'embeddings_' || p_space || '_default');
END
$$;
REVOKE ALL ON FUNCTION cloister.lock_for_swap FROM PUBLIC;

-- Put a built partition in the place of the tenant's rows in the default partition, in one step for every reader.
-- 'attached' (also when it was before), 'behind' when more than 500 rows were written since it caught up, 'busy' when
-- a lock could not be had in time, 'absent'.
CREATE FUNCTION cloister.attach_partition(p_tenant uuid, p_space text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    ours   cloister.dense_partitions;
    shared text := 'embeddings_' || p_space || '_default';
BEGIN
    SELECT p.* INTO ours FROM cloister.dense_partitions p
    WHERE p.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid AND p.space = p_space;
    IF ours.tenant_id IS NULL OR ours.attached_at IS NOT NULL THEN
        RETURN CASE WHEN ours.tenant_id IS NULL THEN 'absent' ELSE 'attached' END;
    ELSIF NOT pg_try_advisory_xact_lock(hashtextextended('cloister.partitions', 0)) THEN
        RETURN 'busy';
    END IF;
    PERFORM cloister.lock_for_swap(p_space);
    UPDATE cloister.dense_partitions p SET attached_at = now()
    WHERE p.tenant_id = p_tenant AND p.space = p_space AND p.partition_id = ours.partition_id AND p.attached_at IS NULL;
    IF NOT FOUND THEN
        RETURN 'busy';
    ELSIF cloister.reconcile_partition(p_tenant, p_space, ours.partition_id, 500) IS NULL THEN
        RAISE SQLSTATE 'CL001';
    END IF;
    EXECUTE format('DELETE FROM cloister.%I s WHERE s.tenant_id = $1', shared) USING p_tenant;
    EXECUTE format('ALTER TABLE cloister.%I ATTACH PARTITION cloister.%I FOR VALUES IN (%L)',
                   'embeddings_' || p_space, 'partition_' || ours.partition_id, p_tenant);
    RETURN 'attached';
EXCEPTION
    WHEN lock_not_available THEN RETURN 'busy';
    WHEN SQLSTATE 'CL001' THEN RETURN 'behind';
END
$$;

-- Put a tenant's rows back into the default partition and drop its own, in one step for every reader.
-- 'dissolved', 'busy' when a lock could not be had in time, 'absent'.
CREATE FUNCTION cloister.dissolve_partition(p_tenant uuid, p_space text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    ours   cloister.dense_partitions;
    parent text := 'embeddings_' || p_space;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('cloister.partitions', 0)) THEN
        RETURN 'busy';
    END IF;
    SELECT p.* INTO ours FROM cloister.dense_partitions p
    WHERE p.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid AND p.space = p_space;
    IF ours.tenant_id IS NULL THEN
        RETURN 'absent';
    ELSIF ours.attached_at IS NOT NULL THEN
        PERFORM cloister.lock_for_swap(p_space);
        LOCK TABLE ONLY cloister.chunks IN ACCESS EXCLUSIVE MODE;  -- its foreign key goes with the table
        EXECUTE format('ALTER TABLE cloister.%I DETACH PARTITION cloister.%I', parent, 'partition_' || ours.partition_id);
        EXECUTE format('INSERT INTO cloister.%I SELECT * FROM cloister.%I', parent, 'partition_' || ours.partition_id);
        SET CONSTRAINTS ALL IMMEDIATE;
    END IF;
    EXECUTE format('DROP TABLE cloister.%I', 'partition_' || ours.partition_id);
    DELETE FROM cloister.dense_partitions p WHERE p.tenant_id = p_tenant AND p.space = p_space;
    RETURN 'dissolved';
EXCEPTION
    WHEN lock_not_available THEN RETURN 'busy';
END
$$;

-- Tenants whose vectors stand in the wrong place, those with a job for it left out: over `p_over` chunks without a
-- partition that is read, or with one and under `p_under`, or deleted.
CREATE FUNCTION cloister.misplaced_tenants(p_over bigint, p_under bigint, p_limit int)
RETURNS TABLE (tenant_id uuid, space text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.tenant_id, m.space
    FROM (SELECT u.tenant_id, u.space, u.chunk_count
          FROM cloister.corpora u JOIN cloister.embedding_spaces s ON s.space = u.space
          WHERE u.chunk_count > p_over AND s.dimensions <= 4000  -- the widest half-precision vectors that HNSW takes
            AND NOT EXISTS (SELECT FROM cloister.dense_partitions p WHERE p.tenant_id = u.tenant_id
                            AND p.space = u.space AND p.attached_at IS NOT NULL)
          UNION ALL
          SELECT p.tenant_id, p.space, 0
          FROM cloister.dense_partitions p LEFT JOIN cloister.corpora u ON u.tenant_id = p.tenant_id
          WHERE coalesce(u.chunk_count, 0) < p_under) m
    WHERE NOT EXISTS (SELECT FROM jobs.procrastinate_jobs j
                      WHERE j.task_name = 'ingest.placement' AND j.args ->> 'tenant' = m.tenant_id::text
                        AND j.args ->> 'space' = m.space)
    ORDER BY m.chunk_count DESC LIMIT p_limit
$$;

CREATE FUNCTION cloister.partition_totals() RETURNS TABLE (attached bigint, built bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(p.attached_at), count(*) - count(p.attached_at) FROM cloister.dense_partitions p
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['build_partition', 'catch_up_partition', 'attach_partition', 'dissolve_partition',
        'misplaced_tenants', 'partition_totals']
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION cloister.%I FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cloister.%I TO cloister_app', name);
    END LOOP;
END $$;

-- The nearest chunks by the approximate index of a tenant's own partition, as far as the first `p_fetch` of the whole
-- tenant go: what stands among them and in scope, nearest first, each with its rank among all. If that is `p_limit`
-- rows, no nearer one in scope was passed over but by the index itself; if it is fewer, there may be more.
-- With the caller's own rights. Without sorting the order can only come from the index: the planner, which knows
-- nothing of recall, has no choice.
CREATE FUNCTION cloister.nearest_chunks(
    p_tenant uuid, p_space text, p_vector public.halfvec, p_collections int[], p_acl int[], p_filter jsonpath,
    p_fetch int, p_effort int, p_limit int)
RETURNS TABLE (chunk_id uuid, score double precision, overall bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp SET enable_sort = off
AS $$
BEGIN
    PERFORM set_config('hnsw.ef_search', p_effort::text, true);
    RETURN QUERY EXECUTE format('
        WITH near AS MATERIALIZED (
            SELECT o.*, row_number() OVER () AS overall
            FROM (SELECT e.chunk_id, e.document_id, e.collection_id, e.acl_id, e.embedding <=> $2 AS distance
                  FROM cloister.%I e WHERE e.tenant_id = $1 ORDER BY e.embedding <=> $2 LIMIT $6) o
        )
        SELECT n.chunk_id, 1 - n.distance, n.overall FROM near n
        WHERE ($3 IS NULL OR n.collection_id = ANY ($3)) AND n.acl_id = ANY ($4)
          AND ($5 IS NULL OR EXISTS (SELECT FROM cloister.documents d
               WHERE d.tenant_id = $1 AND d.document_id = n.document_id AND d.metadata @@ $5))
        ORDER BY n.distance, n.chunk_id LIMIT $7', 'embeddings_' || p_space)
    USING p_tenant, p_vector, p_collections, p_acl, p_filter, p_fetch, p_limit;
END
$$;
REVOKE ALL ON FUNCTION cloister.nearest_chunks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cloister.nearest_chunks TO cloister_app;
