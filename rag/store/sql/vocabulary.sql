-- name: learn
-- Add the words of new texts, but for stop words, in one order, so that two writers never wait for each other in a ring.
INSERT INTO vocabulary (tenant_id, word)
SELECT DISTINCT %(tenant)s::uuid, t.lexeme
FROM unnest(%(texts)s::text[]) written, unnest(to_tsvector('cloister.simple', written)) t
WHERE length(t.lexeme) BETWEEN 2 AND 40
  AND to_tsvector(('cloister.' || quote_ident(%(language)s))::regconfig, t.lexeme) <> ''
ORDER BY t.lexeme
ON CONFLICT (tenant_id, word) DO NOTHING;

-- name: review
-- Count each word by its commonest lexeme in the tenant's languages.
WITH lexed AS (
    SELECT v.word, coalesce(max(s.document_frequency), 0) AS document_frequency
    FROM vocabulary v
    CROSS JOIN (SELECT DISTINCT c.language FROM collections c WHERE c.tenant_id = %(tenant)s) l
    CROSS JOIN LATERAL unnest(to_tsvector(('cloister.' || quote_ident(l.language))::regconfig, v.word)) t
    LEFT JOIN lexeme_stats s ON s.tenant_id = %(tenant)s AND s.lexeme = t.lexeme
    WHERE v.tenant_id = %(tenant)s GROUP BY v.word
)
UPDATE vocabulary v SET document_frequency = l.document_frequency FROM lexed l
WHERE v.tenant_id = %(tenant)s AND v.word = l.word AND v.document_frequency <> l.document_frequency;

-- name: forget
-- Drop the words whose lexemes no chunk holds any more; fresh statistics are the measure.
DELETE FROM vocabulary v WHERE v.tenant_id = %(tenant)s AND NOT EXISTS (
    SELECT FROM collections c
    CROSS JOIN LATERAL unnest(to_tsvector(('cloister.' || quote_ident(c.language))::regconfig, v.word)) t
    JOIN lexeme_stats s ON s.tenant_id = %(tenant)s AND s.lexeme = t.lexeme
    WHERE c.tenant_id = %(tenant)s);

-- name: forget_unwritten
-- Drop the words that no chunk spells, though one may hold another word of the stem: reads all of the tenant's text.
WITH written AS MATERIALIZED (
    SELECT DISTINCT t.lexeme FROM chunks c
    JOIN document_versions d ON d.tenant_id = c.tenant_id AND d.document_id = c.document_id AND d.version = c.version
    CROSS JOIN LATERAL unnest(to_tsvector('cloister.simple',
        concat_ws(E'\n', d.title, array_to_string(c.heading_path, E'\n'), c.context, c.text))) t
    WHERE c.tenant_id = %(tenant)s
)
DELETE FROM vocabulary v WHERE v.tenant_id = %(tenant)s AND v.word NOT IN (SELECT lexeme FROM written);

-- name: count
-- In how many chunks of the scope each word stands, up to a bound, and in how many beside the other words.
SELECT word, chunks, beside, written FROM word_counts(%(tenant)s, %(words)s::text[], %(begins)s, %(languages)s::text[],
    %(beside)s::text, %(collections)s::int[], %(acl)s::int[], %(confinement)s::jsonpath, %(most)s, %(trusting)s);

-- name: near
-- The tenant's words that each of these may be a misspelling of.
SELECT typed, folded, word, document_frequency
FROM near_words(%(tenant)s, %(words)s::text[], %(edits)s::int[], %(begins)s, %(limit)s);
