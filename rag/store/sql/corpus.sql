-- name: state
-- What a request must know of a tenant's corpus: its version, its space, what the caller's groups open, its collections.
SELECT u.corpus_version, u.space, u.chunk_count, s.model, s.revision, s.dimensions,
       (SELECT coalesce(array_agg(a.acl_id ORDER BY a.acl_id), '{}') FROM acl_sets a
        WHERE a.tenant_id = %(tenant)s
          AND (%(all_groups)s OR a.groups = '{}' OR a.groups && %(groups)s::text[])) AS acl_ids,
       EXISTS (SELECT FROM acl_sets a WHERE a.tenant_id = %(tenant)s
               AND NOT (%(all_groups)s OR a.groups = '{}' OR a.groups && %(groups)s::text[])) AS restricted,
       EXISTS (SELECT FROM dense_partitions p WHERE p.tenant_id = %(tenant)s
               AND p.space = u.space AND p.attached_at IS NOT NULL) AS partitioned,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'collection_id', c.collection_id, 'name', c.name, 'language', c.language,
                   'chunk_count', c.chunk_count, 'refusal_threshold', c.refusal_threshold,
                   'facet_fields', c.facet_fields, 'has_synonyms', c.synonyms <> '[]',
                   'has_pins', EXISTS (SELECT FROM pins p WHERE p.tenant_id = c.tenant_id
                                       AND p.collection_id = c.collection_id))), '[]')
        FROM collections c WHERE c.tenant_id = %(tenant)s) AS collections
FROM corpora u JOIN embedding_spaces s USING (space)
WHERE u.tenant_id = %(tenant)s;

-- name: touch
-- Make every answer computed before this write a stale one.
UPDATE corpora SET corpus_version = corpus_version + 1, chunk_count = chunk_count + %(chunks)s
WHERE tenant_id = %(tenant)s RETURNING corpus_version, space;

-- name: writing
-- The space that new chunks of a tenant go to, and the average length its lexical weights are normalised by.
SELECT u.space, s.model, s.revision, s.dimensions, s.chunker_version, u.average_length
FROM corpora u JOIN embedding_spaces s USING (space) WHERE u.tenant_id = %(tenant)s;

-- name: stats_due
-- Whether the tenant's lexeme statistics describe an older corpus.
SELECT corpus_version > stats_version AS due, corpus_version FROM corpora WHERE tenant_id = %(tenant)s;

-- name: stats_lock
-- Let one refresh of a tenant's statistics run at a time; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('stats:' || %(tenant)s::text, 0));

-- name: stats_refresh
-- Count in how many of the tenant's chunks each lexeme stands.
WITH fresh AS MATERIALIZED (
    SELECT word AS lexeme, ndoc AS document_frequency
    FROM ts_stat(format('SELECT tsv FROM cloister.chunk_lexemes WHERE tenant_id = %%L', %(tenant)s::uuid))
), gone AS (
    DELETE FROM lexeme_stats s WHERE s.tenant_id = %(tenant)s
      AND NOT EXISTS (SELECT FROM fresh f WHERE f.lexeme = s.lexeme)
)
INSERT INTO lexeme_stats (tenant_id, lexeme, document_frequency)
SELECT %(tenant)s, f.lexeme, f.document_frequency FROM fresh f
ON CONFLICT (tenant_id, lexeme) DO UPDATE SET document_frequency = EXCLUDED.document_frequency
WHERE lexeme_stats.document_frequency <> EXCLUDED.document_frequency;

-- name: stats_measure
-- The average length of the tenant's chunks; NULL when it has none.
SELECT avg(lexeme_length(l.tsv))::real AS average FROM chunk_lexemes l WHERE l.tenant_id = %(tenant)s;

-- name: stats_keep
-- Keep the average length, and which corpus the statistics describe; last, as in every write of a tenant.
UPDATE corpora SET stats_version = %(corpus_version)s, average_length = %(average)s WHERE tenant_id = %(tenant)s;

-- name: stats_renormalise
-- Rewrite the weights whose average length is more than a tenth off the present one.
UPDATE chunk_lexemes SET bm25 = bm25_vector(tsv, %(average)s::real), average_length = %(average)s
WHERE tenant_id = %(tenant)s AND abs(average_length / %(average)s::real - 1) > 0.1;
