-- name: count
-- Of the documents with a chunk that matches, how many have each value of each field, and numbers in ranges.
WITH fields AS (
    SELECT f.field, f.path, f.collections, f.kept
    FROM jsonb_to_recordset(%(fields)s) AS f (field text, path text[], collections int[], kept boolean)
), matching AS MATERIALIZED (
    SELECT DISTINCT m.document_id FROM lexical_matches(
        %(tenant)s, %(terms)s::tsquery, NULL, %(collections)s::int[], %(acl)s::int[]) m
), found AS MATERIALIZED (
    SELECT f.field, k.document_id, f.value
    FROM matching m JOIN document_facets k ON k.tenant_id = %(tenant)s AND k.document_id = m.document_id
    CROSS JOIN LATERAL (SELECT f.field, k.facets -> f.field AS value FROM fields f WHERE f.kept
        AND (f.collections IS NULL OR k.collection_id = ANY (f.collections)) OFFSET 0) f
    WHERE k.tenant_id = %(tenant)s AND k.acl_id = ANY (%(acl)s::int[])
      AND EXISTS (SELECT FROM fields WHERE kept)
      AND (%(filter)s::jsonpath IS NULL OR EXISTS (
           SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.document_id = k.document_id
           AND d.metadata @@ %(filter)s::jsonpath))
    UNION ALL
    SELECT f.field, d.document_id, f.value
    FROM matching m JOIN documents d ON d.tenant_id = %(tenant)s AND d.document_id = m.document_id
    CROSS JOIN LATERAL (SELECT f.field, d.metadata #> f.path AS value FROM fields f WHERE NOT f.kept
        AND (f.collections IS NULL OR d.collection_id = ANY (f.collections)) OFFSET 0) f
    WHERE d.tenant_id = %(tenant)s AND d.acl_id = ANY (%(acl)s::int[])
      AND EXISTS (SELECT FROM fields WHERE NOT kept)
      AND (%(filter)s::jsonpath IS NULL OR d.metadata @@ %(filter)s::jsonpath)
), listed AS MATERIALIZED (
    SELECT DISTINCT field, document_id, v.value FROM found, jsonb_array_elements(found.value) AS v (value)
    WHERE jsonb_typeof(found.value) = 'array'
), held AS MATERIALIZED (  -- a document has one value of a field, or a list of them
    SELECT field, value, count(*) AS documents FROM found GROUP BY field, value
), counted AS MATERIALIZED (
    SELECT field, value, sum(documents)::bigint AS documents, jsonb_typeof(value) = 'number' AS numeric,
           CASE WHEN jsonb_typeof(value) = 'number' THEN value::float8 END AS number
    FROM (SELECT field, value, documents FROM held
          UNION ALL SELECT field, value, count(*) FROM listed GROUP BY field, value) every
    WHERE jsonb_typeof(value) IN ('string', 'boolean', 'number') GROUP BY field, value
), spreads AS MATERIALIZED (
    SELECT s.*, range_width((s.high - s.low)::numeric, %(ranges)s)::float8 AS width FROM (
        SELECT field, min(number) AS low, max(number) AS high, count(*) AS values
        FROM counted WHERE numeric GROUP BY field) s
), ranged AS (
    SELECT r.field, p.width, floor(r.value::float8 / p.width) AS range, sum(r.documents)::bigint AS documents
    FROM held r JOIN spreads p USING (field)
    WHERE p.values > %(limit)s AND jsonb_typeof(r.value) = 'number' GROUP BY 1, 2, 3
    UNION ALL
    SELECT r.field, p.width, floor(r.value::float8 / p.width), count(DISTINCT r.document_id)
    FROM listed r JOIN spreads p USING (field)
    WHERE p.values > %(limit)s AND jsonb_typeof(r.value) = 'number' GROUP BY 1, 2, 3
)
SELECT field, value, NULL::float8 AS low, NULL::float8 AS high, documents FROM (
    SELECT c.*, row_number() OVER (PARTITION BY c.field, c.numeric
        ORDER BY CASE WHEN c.numeric THEN 0 ELSE c.documents END DESC, c.value) AS rank
    FROM counted c LEFT JOIN spreads p USING (field)
    WHERE CASE WHEN c.numeric THEN p.values <= %(limit)s ELSE length(c.value #>> '{}') <= 256 END) c
WHERE rank <= %(limit)s
UNION ALL
SELECT field, NULL, range * width, (range + 1) * width, sum(documents)::bigint FROM ranged GROUP BY field, range, width
UNION ALL
SELECT field, NULL, low, high, NULL FROM spreads;

-- name: drop
-- Forget the facet fields of a collection's documents, before others are kept.
DELETE FROM document_facets WHERE tenant_id = %(tenant)s AND collection_id = %(collection)s;

-- name: keep
-- Keep the facet fields of a document, or of all that serve, when the collection names some; its row is locked by then.
INSERT INTO document_facets (tenant_id, document_id, collection_id, acl_id, facets)
SELECT d.tenant_id, d.document_id, d.collection_id, d.acl_id,
       (SELECT jsonb_object_agg(f.field, d.metadata #> string_to_array(f.field, '.'))
        FROM unnest(c.facet_fields) f (field))
FROM documents d JOIN collections c ON c.tenant_id = d.tenant_id AND c.collection_id = d.collection_id
WHERE d.tenant_id = %(tenant)s AND d.collection_id = %(collection)s AND d.current_version > 0
  AND (%(document)s::uuid IS NULL OR d.document_id = %(document)s) AND c.facet_fields <> '{}'
ON CONFLICT (tenant_id, document_id) DO UPDATE SET acl_id = EXCLUDED.acl_id, facets = EXCLUDED.facets;
