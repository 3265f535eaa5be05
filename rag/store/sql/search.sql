-- name: lexical_plan
-- The query's lexemes, their IDF weights, and the terms that find candidates.
SELECT weights, maximum, terms::text AS terms, every_term::text AS every_term, lexemes, known
FROM query_plan(%(tenant)s, %(query)s, %(languages)s::text[], %(breadth)s, %(beginning)s::text, %(alternatives)s);

-- name: lexical
-- Lexical leg: chunks that hold any of the terms, by BM25.
SELECT chunk_id, score FROM lexical_candidates(%(tenant)s, %(terms)s::tsquery, %(weights)s,
    %(collections)s::int[], %(acl)s::int[], %(filter)s::jsonpath, %(limit)s);

-- name: dense
-- Dense leg: the nearest chunks by cosine, exactly; `+ 0` keeps an approximate index out of it.
SELECT e.chunk_id, 1 - (e.embedding <=> %(vector)s) AS score
FROM {embeddings} e
WHERE e.tenant_id = %(tenant)s
  AND (%(collections)s::int[] IS NULL OR e.collection_id = ANY (%(collections)s))
  AND e.acl_id = ANY (%(acl)s::int[])
ORDER BY (e.embedding <=> %(vector)s) + 0, e.chunk_id LIMIT %(limit)s;

-- name: dense_filtered
-- Dense leg under a metadata filter, exactly.
SELECT e.chunk_id, 1 - (e.embedding <=> %(vector)s) AS score
FROM {embeddings} e JOIN documents d ON d.tenant_id = e.tenant_id AND d.document_id = e.document_id
WHERE e.tenant_id = %(tenant)s AND d.tenant_id = %(tenant)s
  AND (%(collections)s::int[] IS NULL OR e.collection_id = ANY (%(collections)s))
  AND e.acl_id = ANY (%(acl)s::int[])
  AND d.metadata @@ %(filter)s::jsonpath
ORDER BY (e.embedding <=> %(vector)s) + 0, e.chunk_id LIMIT %(limit)s;

-- name: nearest
-- Dense leg by the approximate index of the tenant's own partition: what of the nearest is in scope.
SELECT chunk_id, score, overall FROM nearest_chunks(%(tenant)s, %(space)s, %(vector)s,
    %(collections)s::int[], %(acl)s::int[], %(filter)s::jsonpath, %(fetch)s, %(effort)s, %(limit)s);

-- name: share_in_scope
-- Which part of the tenant's chunks is in scope, by a sample of its documents: their ids are random, so the first are one.
SELECT coalesce(sum(s.chunk_count) FILTER (WHERE s.inside), 0)::float8 / greatest(sum(s.chunk_count), 1) AS share
FROM (SELECT d.chunk_count, d.acl_id = ANY (%(acl)s::int[])
             AND (%(collections)s::int[] IS NULL OR d.collection_id = ANY (%(collections)s))
             AND (%(filter)s::jsonpath IS NULL OR d.metadata @@ %(filter)s::jsonpath) AS inside
      FROM documents d WHERE d.tenant_id = %(tenant)s ORDER BY d.document_id LIMIT %(sample)s) s;

-- name: rescore
-- Both legs' scores of every candidate, and its best sentence's.
SELECT e.chunk_id, 1 - (e.embedding <=> %(vector)s) AS cosine,
       (SELECT max(1 - (s.embedding <=> %(vector)s)) FROM {sentences} s
        WHERE s.tenant_id = %(tenant)s AND s.chunk_id = e.chunk_id) AS best_sentence,
       CASE WHEN %(weights)s::sparsevec IS NULL THEN 0 ELSE -(l.bm25 <#> %(weights)s::sparsevec) END AS bm25
FROM {embeddings} e JOIN chunk_lexemes l ON l.tenant_id = e.tenant_id AND l.chunk_id = e.chunk_id
WHERE e.tenant_id = %(tenant)s AND l.tenant_id = %(tenant)s AND e.chunk_id = ANY (%(chunks)s::uuid[])
  AND e.acl_id = ANY (%(acl)s::int[]);

-- name: hydrate
-- What stands behind the ids, as far as row-level security and the caller's groups let it through.
SELECT c.chunk_id, c.document_id, d.external_id, c.version AS document_version, n.name AS collection,
       coalesce(v.title, d.title) AS title, d.uri, c.heading_path, c.page, c.text, d.metadata,
       c.span_start, c.token_count, c.context
FROM chunks c
JOIN documents d ON d.tenant_id = c.tenant_id AND d.document_id = c.document_id
JOIN collections n ON n.tenant_id = c.tenant_id AND n.collection_id = c.collection_id
JOIN document_versions v ON v.tenant_id = c.tenant_id AND v.document_id = c.document_id AND v.version = c.version
WHERE c.tenant_id = %(tenant)s AND c.chunk_id = ANY (%(chunks)s::uuid[]) AND c.acl_id = ANY (%(acl)s::int[]);

-- name: matching_words
-- Which of these words the query's terms match, in any of the languages.
SELECT DISTINCT word FROM unnest(%(words)s::text[]) word, unnest(%(languages)s::text[]) language
WHERE to_tsvector(('cloister.' || quote_ident(language))::regconfig, word) @@ %(terms)s::tsquery;

-- name: sentences
-- The sentences of these chunks with their cosine to the query.
SELECT s.chunk_id, s.ordinal, s.span_start, s.span_end, 1 - (s.embedding <=> %(vector)s) AS similarity
FROM {sentences} s
WHERE s.tenant_id = %(tenant)s AND s.chunk_id = ANY (%(chunks)s::uuid[])
ORDER BY s.chunk_id, s.ordinal;
