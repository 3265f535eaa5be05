-- name: create
-- A new collection; no row when the name is taken.
INSERT INTO collections (tenant_id, name, language, refusal_threshold, facet_fields, synonyms)
VALUES (%(tenant)s, %(name)s, %(language)s, %(refusal_threshold)s, %(facet_fields)s, %(synonyms)s)
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING name, language, refusal_threshold, facet_fields, synonyms, document_count, chunk_count, created_at;

-- name: list
-- The tenant's collections by name, after a cursor.
SELECT name, language, refusal_threshold, facet_fields, synonyms, document_count, chunk_count, created_at
FROM collections WHERE tenant_id = %(tenant)s AND name > %(after)s ORDER BY name LIMIT %(limit)s;

-- name: get
-- One collection by name.
SELECT name, language, refusal_threshold, facet_fields, synonyms, document_count, chunk_count, created_at
FROM collections WHERE tenant_id = %(tenant)s AND name = %(name)s;

-- name: readable
-- How many documents of these collections, and chunks of theirs, a reader's groups open.
SELECT n.name, count(*)::int AS document_count, coalesce(sum(d.chunk_count), 0)::int AS chunk_count
FROM documents d JOIN collections n ON n.tenant_id = d.tenant_id AND n.collection_id = d.collection_id
WHERE d.tenant_id = %(tenant)s AND n.tenant_id = %(tenant)s AND n.name = ANY (%(names)s::text[])
  AND d.current_version > 0 AND d.acl_id = ANY (%(acl)s::int[])
GROUP BY n.name;

-- name: locate
-- The number and language of a collection, by name; it cannot be deleted until the transaction ends.
-- Every write takes this lock first and the document's after it: two writes never wait for each other in a ring.
SELECT collection_id, language FROM collections WHERE tenant_id = %(tenant)s AND name = %(name)s FOR KEY SHARE;

-- name: number
-- The number of a collection, by name, for reading.
SELECT collection_id FROM collections WHERE tenant_id = %(tenant)s AND name = %(name)s;

-- name: lock
-- A collection about to be deleted: waits for the writes under way, and the next ones wait for it.
SELECT collection_id FROM collections WHERE tenant_id = %(tenant)s AND name = %(name)s FOR UPDATE;

-- name: update
-- Change what may change of a collection.
UPDATE collections SET
    refusal_threshold = CASE WHEN %(set_threshold)s THEN %(refusal_threshold)s ELSE refusal_threshold END,
    facet_fields = coalesce(%(facet_fields)s, facet_fields),
    synonyms = coalesce(%(synonyms)s, synonyms)
WHERE tenant_id = %(tenant)s AND name = %(name)s
RETURNING name, language, refusal_threshold, facet_fields, synonyms, document_count, chunk_count, created_at;

-- name: synonyms
-- The words of one meaning of these collections.
SELECT synonyms FROM collections
WHERE tenant_id = %(tenant)s AND collection_id = ANY (%(collections)s::int[]) AND synonyms <> '[]' ORDER BY name;

-- name: delete
-- Remove a collection with all of its documents.
DELETE FROM collections WHERE tenant_id = %(tenant)s AND name = %(name)s RETURNING collection_id, chunk_count;

-- name: count
-- Keep the counts of a collection.
UPDATE collections SET chunk_count = chunk_count + %(chunks)s, document_count = document_count + %(documents)s
WHERE tenant_id = %(tenant)s AND collection_id = %(collection)s;
