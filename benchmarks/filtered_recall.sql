-- From `rows` to tenants as the service keeps them: a document and a chunk a row, five collections, twenty groups.
SET session_replication_role = replica;

INSERT INTO cloister.tenants (tenant_id, slug, name) SELECT DISTINCT tenant, tenant::text, '' FROM rows;

INSERT INTO cloister.corpora (tenant_id, space, chunk_count)
SELECT tenant, 'minilm_l6_v2', count(*) FROM rows GROUP BY tenant;

INSERT INTO cloister.collections (tenant_id, collection_id, name, chunk_count) OVERRIDING SYSTEM VALUE
SELECT t.tenant_id, n, (ARRAY['half', 'third', 'tenth', 'hundredth', 'rest'])[n],
       (SELECT count(*) FROM rows r WHERE r.tenant = t.tenant_id AND r.collection = n)
FROM cloister.tenants t, generate_series(1, 5) n;

INSERT INTO cloister.acl_sets (tenant_id, acl_id, groups, digest) OVERRIDING SYSTEM VALUE
SELECT tenant_id, n, ARRAY['group-' || n], sha256(('group-' || n)::bytea) FROM cloister.tenants, generate_series(1, 20) n;

INSERT INTO cloister.documents (tenant_id, document_id, collection_id, external_id, metadata, acl_id, current_version,
    chunk_count)
SELECT tenant, md5('document ' || number || ' ' || tenant)::uuid, collection, number::text,
       jsonb_build_object('bucket', bucket, 'parity', parity, 'title', 'Product number ' || number), acl, 1, 1
FROM rows;

INSERT INTO cloister.chunks (tenant_id, chunk_id, document_id, version, ordinal, collection_id, acl_id, text,
    heading_path, context, span_start, span_end, token_count, piece_count, content_sha256)
SELECT tenant, md5('chunk ' || number || ' ' || tenant)::uuid, md5('document ' || number || ' ' || tenant)::uuid, 1, 0,
       collection, acl, 'text', '{}', '', 0, 4, 1, 1, sha256(number::text::bytea)
FROM rows;

INSERT INTO cloister.embeddings_minilm_l6_v2 (tenant_id, chunk_id, document_id, collection_id, acl_id, embedding)
SELECT tenant, md5('chunk ' || number || ' ' || tenant)::uuid, md5('document ' || number || ' ' || tenant)::uuid,
       collection, acl, embedding
FROM rows;

DROP TABLE rows;
