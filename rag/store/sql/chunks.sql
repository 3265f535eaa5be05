-- name: delete
-- Take a document's chunks out of service, and with them their lexemes and vectors.
DELETE FROM chunks WHERE tenant_id = %(tenant)s AND document_id = %(document)s;

-- name: insert
-- One chunk of the version that goes into service.
INSERT INTO chunks (tenant_id, chunk_id, document_id, version, ordinal, collection_id, acl_id, text, heading_path,
    context, page, span_start, span_end, token_count, piece_count, content_sha256)
VALUES (%(tenant)s, %(chunk)s, %(document)s, %(version)s, %(ordinal)s, %(collection)s, %(acl)s, %(text)s,
    %(heading_path)s, %(context)s, %(page)s, %(start)s, %(end)s, %(tokens)s, %(pieces)s, %(sha256)s);

-- name: insert_lexemes
-- The lexemes of one chunk, those of its title and headings labelled A, with their BM25 weights.
INSERT INTO chunk_lexemes (tenant_id, chunk_id, document_id, collection_id, acl_id, average_length, tsv, bm25)
SELECT %(tenant)s, %(chunk)s, %(document)s, %(collection)s, %(acl)s, t.average, t.tsv, bm25_vector(t.tsv, t.average)
FROM (SELECT s.tsv, coalesce(%(average)s::real, lexeme_length(s.tsv)) AS average
      FROM (SELECT setweight(to_tsvector(c.language, %(headings)s), 'A') || to_tsvector(c.language, %(body)s) AS tsv
            FROM (SELECT ('cloister.' || quote_ident(%(language)s))::regconfig AS language) c) s) t;

-- name: insert_embedding
-- The vector of one chunk in its space.
INSERT INTO {embeddings} (tenant_id, chunk_id, document_id, collection_id, acl_id, embedding)
VALUES (%(tenant)s, %(chunk)s, %(document)s, %(collection)s, %(acl)s, %(embedding)s);

-- name: insert_sentence
-- The vector of one sentence of a chunk.
INSERT INTO {sentences} (tenant_id, chunk_id, ordinal, span_start, span_end, embedding)
VALUES (%(tenant)s, %(chunk)s, %(ordinal)s, %(start)s, %(end)s, %(embedding)s);

-- name: known_embeddings
-- The vectors the tenant already has of these contents.
SELECT DISTINCT ON (c.content_sha256) c.content_sha256, e.embedding
FROM chunks c JOIN {embeddings} e ON e.tenant_id = c.tenant_id AND e.chunk_id = c.chunk_id
WHERE c.tenant_id = %(tenant)s AND e.tenant_id = %(tenant)s AND c.content_sha256 = ANY (%(hashes)s);
