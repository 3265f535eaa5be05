-- name: claim
-- The document under an external id, made if need be, locked until the transaction ends.
INSERT INTO documents (tenant_id, collection_id, external_id)
VALUES (%(tenant)s, %(collection)s, %(external_id)s)
ON CONFLICT (tenant_id, collection_id, external_id) DO UPDATE SET external_id = EXCLUDED.external_id
RETURNING document_id, current_version, latest_version, fingerprint;

-- name: next_version
-- Number the next version of a document.
UPDATE documents SET latest_version = latest_version + 1
WHERE tenant_id = %(tenant)s AND document_id = %(document)s RETURNING latest_version;

-- name: get
-- One document by collection and external id, if the caller may read it.
SELECT d.document_id, d.external_id, c.name AS collection, nullif(d.current_version, 0) AS version, d.title, d.uri,
       d.metadata, coalesce(a.groups, '{}') AS groups, d.media_type, d.size_bytes, d.chunk_count,
       d.created_at, d.updated_at
FROM documents d JOIN collections c USING (tenant_id, collection_id) LEFT JOIN acl_sets a USING (tenant_id, acl_id)
WHERE d.tenant_id = %(tenant)s AND c.name = %(collection)s AND d.external_id = %(external_id)s
  AND (%(acl)s::int[] IS NULL OR d.acl_id = ANY (%(acl)s));

-- name: list
-- The documents of a collection by external id, after a cursor, as far as the caller may read them.
-- The collection comes as a number, so that the index gives the order.
SELECT d.document_id, d.external_id, %(collection)s::text AS collection, nullif(d.current_version, 0) AS version, d.title,
       d.uri, d.metadata, coalesce(a.groups, '{}') AS groups, d.media_type, d.size_bytes, d.chunk_count,
       d.created_at, d.updated_at
FROM documents d LEFT JOIN acl_sets a ON a.tenant_id = %(tenant)s AND a.acl_id = d.acl_id
WHERE d.tenant_id = %(tenant)s AND d.external_id > %(after)s
  AND d.collection_id = %(collection_id)s
  AND (%(acl)s::int[] IS NULL OR d.acl_id = ANY (%(acl)s))
ORDER BY d.external_id LIMIT %(limit)s;

-- name: versions
-- The versions of a document, newest first, before a cursor.
SELECT v.version, v.title, v.version = d.current_version AS serving, length(v.text) AS length, v.created_at
FROM document_versions v JOIN documents d USING (tenant_id, document_id)
WHERE v.tenant_id = %(tenant)s AND v.document_id = %(document)s AND v.version < %(before)s
ORDER BY v.version DESC LIMIT %(limit)s;

-- name: version_text
-- The canonical text of one version.
SELECT text FROM document_versions
WHERE tenant_id = %(tenant)s AND document_id = %(document)s AND version = %(version)s;

-- name: spans
-- What the stored versions say at these spans.
SELECT v.document_id, v.version, s.span_start, s.span_end,
       substr(v.text, s.span_start + 1, s.span_end - s.span_start) AS text
FROM unnest(%(documents)s::uuid[], %(versions)s::int[], %(starts)s::int[], %(ends)s::int[])
         AS s (document_id, version, span_start, span_end)
JOIN document_versions v ON v.document_id = s.document_id AND v.version = s.version
WHERE v.tenant_id = %(tenant)s;

-- name: delete
-- Remove a document with all its versions, chunks, lexemes and vectors.
DELETE FROM documents
WHERE tenant_id = %(tenant)s AND collection_id = %(collection)s AND external_id = %(external_id)s
RETURNING document_id, chunk_count, current_version > 0 AS served;

-- name: lock
-- The document that a run is about to write, locked; no row when it was deleted meanwhile.
SELECT current_version, chunk_count, acl_id FROM documents
WHERE tenant_id = %(tenant)s AND document_id = %(document)s FOR UPDATE;

-- name: groups
-- The groups of a set.
SELECT groups FROM acl_sets WHERE tenant_id = %(tenant)s AND acl_id = %(acl)s;

-- name: serve
-- Put a version into service.
UPDATE documents SET title = %(title)s, uri = %(uri)s, metadata = %(metadata)s, acl_id = %(acl)s,
    fingerprint = %(fingerprint)s, current_version = %(version)s, media_type = %(media_type)s,
    size_bytes = %(size)s, chunk_count = %(chunks)s, updated_at = now()
WHERE tenant_id = %(tenant)s AND document_id = %(document)s;

-- name: add_version
-- Keep the text of a version, for its citations.
INSERT INTO document_versions (tenant_id, document_id, version, text, content_sha256, title)
VALUES (%(tenant)s, %(document)s, %(version)s, %(text)s, %(sha256)s, %(title)s);

-- name: intern_acl
-- The number of a set of groups, new if need be; nobody removes it until the transaction ends.
WITH known AS (
    SELECT acl_id FROM acl_sets WHERE tenant_id = %(tenant)s AND digest = %(digest)s FOR KEY SHARE
), made AS (
    INSERT INTO acl_sets (tenant_id, groups, digest)
    SELECT %(tenant)s, %(groups)s, %(digest)s WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (tenant_id, digest) DO UPDATE SET groups = EXCLUDED.groups RETURNING acl_id
)
SELECT acl_id FROM known UNION ALL SELECT acl_id FROM made;
