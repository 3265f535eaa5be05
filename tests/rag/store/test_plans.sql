-- Tenant 1 has 2,000 chunks in 400 documents, and thirteen others have 1,000 each; tenant 2 has a third
-- collection of 5,000 documents without chunks.
SET session_replication_role = replica;

INSERT INTO cloister.tenants (tenant_id, slug, name)
SELECT ('00000000-0000-4000-8000-' || lpad(t::text, 12, '0'))::uuid, 'tenant-' || t, '' FROM generate_series(1, 14) t;

INSERT INTO cloister.corpora (tenant_id, space, chunk_count)
SELECT tenant_id, 'minilm_l6_v2', 1000 FROM cloister.tenants;

INSERT INTO cloister.collections (tenant_id, collection_id, name) OVERRIDING SYSTEM VALUE
SELECT tenant_id, n, 'c' || n FROM cloister.tenants, generate_series(1, 50) n;

CREATE TEMPORARY TABLE seed AS
SELECT ('00000000-0000-4000-8000-' || lpad(t::text, 12, '0'))::uuid AS tenant_id, i,
       md5('chunk ' || i || ' ' || t)::uuid AS chunk_id, md5('document ' || i % 400 || ' ' || t)::uuid AS document_id,
       1 + i % 2 AS collection_id, 1 + i % 3 AS acl_id
FROM generate_series(1, 14) t, generate_series(1, CASE t WHEN 1 THEN 2000 ELSE 1000 END) i;

INSERT INTO cloister.documents (tenant_id, document_id, collection_id, external_id, metadata, acl_id, current_version)
SELECT DISTINCT ON (s.tenant_id, s.document_id) s.tenant_id, s.document_id, s.collection_id, s.document_id::text,
       jsonb_build_object('price', s.i % 100), s.acl_id, 1
FROM seed s;

INSERT INTO cloister.documents (tenant_id, collection_id, external_id, acl_id, current_version)
SELECT t.tenant_id, 3, 'document-' || n, 1, 1 FROM cloister.tenants t, generate_series(1, 5000) n WHERE t.slug = 'tenant-2';

INSERT INTO cloister.document_versions (tenant_id, document_id, version, text, content_sha256)
SELECT tenant_id, document_id, 1, repeat('text ', 200), '' FROM cloister.documents WHERE collection_id < 3;

INSERT INTO cloister.chunks (tenant_id, chunk_id, document_id, version, ordinal, collection_id, acl_id, text,
    heading_path, context, span_start, span_end, token_count, piece_count, content_sha256)
SELECT tenant_id, chunk_id, document_id, 1, i, collection_id, acl_id, repeat('text ', 100),
    '{}', '', 0, 500, 100, 100, sha256(chunk_id::text::bytea)
FROM seed;

INSERT INTO cloister.chunk_lexemes (tenant_id, chunk_id, document_id, collection_id, acl_id, average_length, tsv, bm25)
SELECT tenant_id, chunk_id, document_id, collection_id, acl_id, 2,
       array_to_tsvector(ARRAY['common', 'rare' || i % 500]), '{1:0.5}/1000000000'
FROM seed;

INSERT INTO cloister.embeddings_minilm_l6_v2 (tenant_id, chunk_id, document_id, collection_id, acl_id, embedding)
SELECT tenant_id, chunk_id, document_id, collection_id, acl_id,
       (array_fill(0.05::real, ARRAY[383]) || random()::real)::public.halfvec
FROM seed;

INSERT INTO cloister.chunk_sentences_minilm_l6_v2 (tenant_id, chunk_id, ordinal, span_start, span_end, embedding)
SELECT e.tenant_id, e.chunk_id, n, 0, 1, e.embedding
FROM cloister.embeddings_minilm_l6_v2 e, generate_series(0, 1) n;

INSERT INTO cloister.ingest_runs (tenant_id, document_id, collection_id, collection, external_id, version, fingerprint,
    request, size_bytes, state, created_at)
SELECT tenant_id, document_id, 1, 'kb', 'x', n, '', '{}', 1, 'succeeded', now() - random() * interval '1 day'
FROM cloister.documents, generate_series(1, 3) n WHERE collection_id < 3;

INSERT INTO cloister.api_keys (tenant_id, kind, digest, display, scopes)
SELECT tenant_id, 'secret', sha256((tenant_id::text || n)::bytea), '', '{}'
FROM cloister.tenants, generate_series(1, 100) n;

INSERT INTO cloister.answers (tenant_id, answer_id, question, status, gateway, corpus_version, space, document_ids, body,
    passages)
SELECT tenant_id, gen_random_uuid(), repeat('why ', 100), 'refused', 'extractive', 1, 'minilm_l6_v2', '{}', '{}', '[]'
FROM cloister.tenants, generate_series(1, 100) n;
