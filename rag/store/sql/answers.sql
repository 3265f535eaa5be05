-- name: keep
-- An answer as it was sent, with what it was made from.
INSERT INTO answers (tenant_id, answer_id, key_id, question, status, refusal_code, gateway, corpus_version, space,
    acl_ids, body, passages)
VALUES (%(tenant)s, %(answer)s, %(key)s, %(question)s, %(status)s, %(refusal_code)s, %(gateway)s,
    %(corpus_version)s, %(space)s, %(acl)s, %(body)s, %(passages)s);

-- name: get
-- An answer, for a caller who may read all that its asker could.
SELECT body FROM answers
WHERE tenant_id = %(tenant)s AND answer_id = %(answer)s AND acl_ids <@ %(acl)s::int[];
