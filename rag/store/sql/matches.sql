-- name: sorted
-- The chunks that match, by a field of their documents' metadata and then by BM25; what lacks the field comes last.
SELECT s.chunk_id, s.score FROM (
    SELECT m.chunk_id, m.score, nullif(d.metadata #> %(path)s::text[], 'null') AS value,
           row_number() OVER (PARTITION BY m.document_id ORDER BY m.score DESC, m.chunk_id) AS of_document
    FROM lexical_matches(%(tenant)s, %(terms)s::tsquery, %(weights)s::sparsevec, %(collections)s::int[],
                         %(acl)s::int[]) m
    JOIN documents d ON d.tenant_id = %(tenant)s AND d.document_id = m.document_id
    WHERE d.tenant_id = %(tenant)s AND d.acl_id = ANY (%(acl)s::int[])
      AND (%(filter)s::jsonpath IS NULL OR d.metadata @@ %(filter)s::jsonpath)
) s
WHERE NOT %(by_document)s OR s.of_document = 1
ORDER BY CASE WHEN NOT %(descending)s THEN s.value END ASC NULLS LAST,
         CASE WHEN %(descending)s THEN s.value END DESC NULLS LAST, s.score DESC, s.chunk_id
LIMIT %(limit)s;

-- name: of_documents
-- The documents of these chunks, in the order of the chunks or, with a path, of that field and then of the chunks.
SELECT c.chunk_id, c.document_id
FROM unnest(%(chunks)s::uuid[]) WITH ORDINALITY AS n (chunk_id, place)
JOIN chunks c ON c.tenant_id = %(tenant)s AND c.chunk_id = n.chunk_id
JOIN documents d ON d.tenant_id = c.tenant_id AND d.document_id = c.document_id
CROSS JOIN LATERAL (SELECT nullif(d.metadata #> %(path)s::text[], 'null') AS value) v
WHERE c.tenant_id = %(tenant)s
ORDER BY CASE WHEN NOT %(descending)s THEN v.value END ASC NULLS LAST,
         CASE WHEN %(descending)s THEN v.value END DESC NULLS LAST, n.place;

-- name: pinned
-- Of each document that is pinned to a query and that the caller may see, the best chunk, in the order of the pins.
SELECT p.document_id, p.chunk_id FROM (
    SELECT DISTINCT ON (l.document_id) l.document_id, l.chunk_id, n.collection_id, e.place
    FROM pins n
    CROSS JOIN LATERAL unnest(n.external_ids) WITH ORDINALITY AS e (external_id, place)
    JOIN documents d ON d.tenant_id = n.tenant_id AND d.collection_id = n.collection_id
     AND d.external_id = e.external_id
    JOIN chunks c ON c.tenant_id = d.tenant_id AND c.document_id = d.document_id
    JOIN chunk_lexemes l ON l.tenant_id = c.tenant_id AND l.chunk_id = c.chunk_id
    WHERE n.tenant_id = %(tenant)s AND n.query = %(query)s
      AND (%(collections)s::int[] IS NULL OR n.collection_id = ANY (%(collections)s))
      AND d.acl_id = ANY (%(acl)s::int[]) AND l.acl_id = ANY (%(acl)s::int[])
      AND (%(filter)s::jsonpath IS NULL OR d.metadata @@ %(filter)s::jsonpath)
    ORDER BY l.document_id, CASE WHEN %(weights)s::sparsevec IS NULL THEN 0 ELSE l.bm25 <#> %(weights)s::sparsevec END,
             c.ordinal
) p ORDER BY p.collection_id, p.place;
