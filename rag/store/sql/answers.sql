-- name: keep
-- An answer as it was sent, with what it was made from; not when a document that it quotes was deleted meanwhile, or
-- the person who asked was erased since.
WITH held AS (
    SELECT FROM documents WHERE tenant_id = %(tenant)s AND document_id = ANY (%(documents)s::uuid[])
    ORDER BY document_id FOR KEY SHARE
)
INSERT INTO answers (tenant_id, answer_id, key_id, question, status, refusal_code, gateway, corpus_version, space,
    document_ids, body, passages, asked_by)
SELECT %(tenant)s, %(answer)s, %(key)s, %(question)s, %(status)s, %(refusal_code)s, %(gateway)s,
    %(corpus_version)s, %(space)s, %(documents)s::uuid[], %(body)s, %(passages)s, %(user)s
WHERE (SELECT count(*) FROM held) = cardinality(%(documents)s::uuid[])
  AND NOT EXISTS (SELECT FROM erasures e WHERE e.tenant_id = %(tenant)s AND e.digest = %(user_digest)s::bytea
                  AND e.started_at > now() - make_interval(secs => %(took_s)s));

-- name: get
-- An answer, while the caller may read every document that it quotes.
SELECT a.body FROM answers a
WHERE a.tenant_id = %(tenant)s AND a.answer_id = %(answer)s
  AND NOT EXISTS (
      SELECT FROM unnest(a.document_ids) quoted
      WHERE NOT EXISTS (SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.document_id = quoted
                        AND d.acl_id = ANY (%(acl)s::int[])));

-- name: forget_document
-- Answers that quote a deleted document go with it.
DELETE FROM answers WHERE tenant_id = %(tenant)s AND %(document)s = ANY (document_ids);

-- name: forget_collection
-- Answers that quote a document of a collection about to be deleted go with it.
DELETE FROM answers a WHERE a.tenant_id = %(tenant)s AND EXISTS (
    SELECT FROM documents d WHERE d.tenant_id = %(tenant)s AND d.collection_id = %(collection)s
      AND d.document_id = ANY (a.document_ids));
