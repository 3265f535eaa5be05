-- migrate:up
-- Fields in BM25 (BM25F; Robertson, Zaragoza & Taylor, CIKM 2004): a word of the title or of a heading counts twice,
-- in its frequency and in the chunk's length. Such positions carry the label A in `tsv`, where `@@` and `ts_stat` do
-- not mind it. Chunks of before have no labels and count as they did until their document is ingested again.

CREATE OR REPLACE FUNCTION cloister.lexeme_length(tsv tsvector) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT coalesce(sum(coalesce(cardinality(t.positions) + cardinality(array_positions(t.weights, 'A')), 1)), 0)::int
    FROM unnest(tsv) t;
END;

CREATE OR REPLACE FUNCTION cloister.bm25_vector(tsv tsvector, average real) RETURNS public.sparsevec
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH lexemes AS (
        SELECT cloister.lexeme_coordinate(t.lexeme) AS coordinate,
               coalesce(cardinality(t.positions) + cardinality(array_positions(t.weights, 'A')), 1)::float8 AS tf
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
