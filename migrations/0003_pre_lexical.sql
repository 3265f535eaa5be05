-- migrate:up
-- BM25 on plain pgvector: term weights as a sparse vector at write, an inner product with IDF weights at query.

-- A lexeme's coordinate: stable over servers and versions, which hashtext() is not promised to be.
CREATE FUNCTION cloister.lexeme_coordinate(lexeme text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN ((('x' || substr(md5(lexeme), 1, 8))::bit(32)::bigint) % 1000000000 + 1)::int;

-- The chunk's length in lexemes, counted with repetition.
CREATE FUNCTION cloister.lexeme_length(tsv tsvector) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT coalesce(sum(coalesce(cardinality(t.positions), 1)), 0)::int FROM unnest(tsv) t;
END;

-- BM25's saturated, length-normalised term weights, k1 1.2, b .75 (Robertson & Zaragoza, 2009).
-- tf (k1 + 1) / (tf + k1 (1 - b + b length / average)) is divided by k1 + 1, so that every weight lies in (0, 1)
-- and the sum of a query's IDFs is the theoretical maximum of its score.
CREATE FUNCTION cloister.bm25_vector(tsv tsvector, average real) RETURNS public.sparsevec
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH lexemes AS (
        SELECT cloister.lexeme_coordinate(t.lexeme) AS coordinate,
               coalesce(cardinality(t.positions), 1)::float8 AS tf
        FROM unnest(tsv) t
    ), weights AS (
        SELECT l.coordinate,
               max(l.tf / (l.tf + 1.2 * (0.25 + 0.75 * cloister.lexeme_length(tsv) / greatest(average, 1)))) AS weight
        FROM lexemes l GROUP BY l.coordinate
    )
    SELECT ('{' || coalesce(string_agg(w.coordinate || ':' || w.weight::real, ',' ORDER BY w.coordinate), '')
            || '}/1000000000')::public.sparsevec
    FROM weights w
$$;

-- What a query asks of the lexical leg: its IDF weights, their sum, and the terms that find candidates, rarest first
-- until about `breadth` rows are expected. A lexeme that the statistics lack counts as rare. Runs under the
-- caller's row-level security. No lexeme left after stop words: `terms` is NULL.
CREATE FUNCTION cloister.lexical_plan(p_tenant uuid, p_query text, p_languages text[], p_breadth int)
RETURNS TABLE (weights public.sparsevec, maximum real, terms tsquery, every_term tsquery, lexemes text[], known int)
-- No partition is touched here, so the plan may be kept: planning it anew costs four times what running it does.
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = auto
AS $$
    WITH size AS (
        SELECT greatest(c.chunk_count, 1)::float8 AS n FROM cloister.corpora c WHERE c.tenant_id = p_tenant
    ), asked AS (
        SELECT DISTINCT t.lexeme
        FROM unnest(p_languages) language,
             unnest(to_tsvector(('cloister.' || quote_ident(language))::regconfig, p_query)) t
    ), weighed AS (
        SELECT a.lexeme, s.document_frequency AS df,
               ln(1 + (size.n - least(coalesce(s.document_frequency, 0), size.n) + 0.5)
                      / (least(coalesce(s.document_frequency, 0), size.n) + 0.5)) AS idf
        FROM asked a CROSS JOIN size
        LEFT JOIN cloister.lexeme_stats s ON s.tenant_id = p_tenant AND s.lexeme = a.lexeme
    ), ranked AS (
        SELECT w.*, '''' || replace(replace(w.lexeme, '\', '\\'), '''', '''''') || '''' AS quoted,
               coalesce(sum(coalesce(w.df, 0)) OVER (
                   ORDER BY coalesce(w.df, 0), w.lexeme ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM weighed w
    ), coordinates AS (
        SELECT cloister.lexeme_coordinate(r.lexeme) AS coordinate, max(r.idf) AS idf FROM ranked r GROUP BY 1
    )
    SELECT ('{' || (SELECT string_agg(c.coordinate || ':' || c.idf::real, ',' ORDER BY c.coordinate)
                    FROM coordinates c) || '}/1000000000')::public.sparsevec,
           sum(r.idf)::real,
           string_agg(r.quoted, ' | ') FILTER (WHERE r.before < p_breadth)::tsquery,
           string_agg(r.quoted, ' | ')::tsquery,
           array_agg(r.lexeme ORDER BY r.idf DESC, r.lexeme),
           count(r.df)::int
    FROM ranked r
$$;

-- Ids and scores of the chunks that hold any of the terms, best first. `@@` is not leakproof, so under row-level
-- security its index would not be used: hence the definer's rights, and the tenant test inside.
-- It hands out ids and scores only; what they point at is read under row-level security.
CREATE FUNCTION cloister.lexical_candidates(
    p_tenant uuid, p_terms tsquery, p_weights public.sparsevec, p_collections int[], p_acl int[],
    p_filter jsonpath, p_limit int)
RETURNS TABLE (chunk_id uuid, score real)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    IF p_filter IS NULL THEN
        RETURN QUERY
        SELECT l.chunk_id, (-(l.bm25 <#> p_weights))::real
        FROM cloister.chunk_lexemes l
        WHERE l.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid
          AND l.tsv @@ p_terms
          AND (p_collections IS NULL OR l.collection_id = ANY (p_collections))
          AND l.acl_id = ANY (p_acl)
        ORDER BY l.bm25 <#> p_weights, l.chunk_id
        LIMIT p_limit;
    ELSE
        RETURN QUERY
        SELECT l.chunk_id, (-(l.bm25 <#> p_weights))::real
        FROM cloister.chunk_lexemes l
        JOIN cloister.documents d ON d.tenant_id = l.tenant_id AND d.document_id = l.document_id
        WHERE l.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid
          AND l.tsv @@ p_terms
          AND (p_collections IS NULL OR l.collection_id = ANY (p_collections))
          AND l.acl_id = ANY (p_acl)
          AND d.metadata @@ p_filter
        ORDER BY l.bm25 <#> p_weights, l.chunk_id
        LIMIT p_limit;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION cloister.lexical_candidates FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cloister.lexical_candidates TO cloister_app;
