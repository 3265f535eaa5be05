-- migrate:up
-- Product search: the words of a corpus as they are written, completion, correction, synonyms, pins, facets.

-- ---------------------------------------------------------------- the vocabulary
-- Every word of a tenant's chunks but for stop words, accents folded, not stemmed. A write adds its words in its own
-- transaction and no count of them: a row that every writer updates would make them wait for one another.
CREATE TABLE cloister.vocabulary (
    tenant_id          uuid NOT NULL REFERENCES cloister.tenants ON DELETE CASCADE,
    word               text COLLATE "C" NOT NULL,
    document_frequency int  NOT NULL DEFAULT 0,  -- chunks that hold its lexeme, as of the last statistics
    PRIMARY KEY (tenant_id, word)
);

-- The strings that are left of a word when one letter is taken out.
CREATE FUNCTION cloister.one_letter_less(p_word text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT left(p_word, i - 1) || substr(p_word, i + 1) FROM generate_series(1, length(p_word)) i;
END;

-- Under which strings a word is found when it is misspelled: symmetric deletion (Garbe 2012) over its first seven
-- letters and over each shorter beginning, so that a misspelled beginning is found as well. None with a digit in it:
-- an article number that is one digit off is another article.
CREATE FUNCTION cloister.spelling_keys(p_word text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
BEGIN ATOMIC
    WITH beginnings AS (
        SELECT left(p_word, n) AS word FROM generate_series(3, least(length(p_word), 7)) n
        WHERE p_word ~ '^[^0-9]{3,40}$'
    ), less AS (
        SELECT l.word FROM beginnings b, cloister.one_letter_less(b.word) AS l (word)
    ), two_less AS (
        SELECT t.word FROM less l, cloister.one_letter_less(l.word) AS t (word) WHERE length(l.word) = 6
    )
    SELECT array_agg(k.word) FROM (
        SELECT word FROM beginnings UNION SELECT word FROM less UNION SELECT word FROM two_less
    ) k WHERE length(k.word) >= 3;
END;

-- Under which strings to look for what was typed with up to `p_edits` (1 or 2) mistakes.
CREATE FUNCTION cloister.typed_keys(p_typed text, p_edits int) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
BEGIN ATOMIC
    WITH less AS (
        SELECT l.word FROM cloister.one_letter_less(left(p_typed, 7)) AS l (word)
    ), two_less AS (
        SELECT t.word FROM less l, cloister.one_letter_less(l.word) AS t (word) WHERE p_edits > 1
    )
    SELECT array_agg(k.word) FROM (
        SELECT left(p_typed, 7) AS word UNION SELECT word FROM less UNION SELECT word FROM two_less
    ) k WHERE length(k.word) >= 3;
END;

-- Without the list of pending entries, which each look-up after a load would read from end to end.
CREATE INDEX vocabulary_spelling ON cloister.vocabulary USING gin (tenant_id, cloister.spelling_keys(word))
    WITH (fastupdate = off);

INSERT INTO cloister.vocabulary (tenant_id, word)
SELECT DISTINCT c.tenant_id, t.lexeme
FROM cloister.chunks c
JOIN cloister.document_versions v USING (tenant_id, document_id, version)
JOIN cloister.collections n USING (tenant_id, collection_id),
     unnest(to_tsvector('cloister.simple',
        concat_ws(E'\n', v.title, array_to_string(c.heading_path, E'\n'), c.context, c.text))) t
WHERE length(t.lexeme) BETWEEN 2 AND 40
  AND to_tsvector(('cloister.' || quote_ident(n.language))::regconfig, t.lexeme) <> '';

-- ---------------------------------------------------------------- what a shop's engineer sets
ALTER TABLE cloister.collections ADD COLUMN synonyms jsonb NOT NULL DEFAULT '[]';  -- lists of words of one meaning

CREATE TABLE cloister.pins (
    tenant_id     uuid NOT NULL,
    collection_id int  NOT NULL,
    query         text NOT NULL,       -- folded, as rag.retrieval.wording folds
    external_ids  text[] NOT NULL,     -- in the order in which they stand above the hits
    PRIMARY KEY (tenant_id, collection_id, query),
    FOREIGN KEY (tenant_id, collection_id) REFERENCES cloister.collections ON DELETE CASCADE
);

-- The facet fields of each document of a collection that names some: to take two numbers out of the whole metadata of
-- every match costs four times as much.
CREATE TABLE cloister.document_facets (
    tenant_id     uuid NOT NULL,
    document_id   uuid NOT NULL,
    collection_id int  NOT NULL,
    acl_id        int  NOT NULL,
    facets        jsonb NOT NULL,      -- by the fields' names, dots and all
    PRIMARY KEY (tenant_id, document_id),
    FOREIGN KEY (tenant_id, document_id) REFERENCES cloister.documents ON DELETE CASCADE
);
INSERT INTO cloister.document_facets (tenant_id, document_id, collection_id, acl_id, facets)
SELECT d.tenant_id, d.document_id, d.collection_id, d.acl_id,
       (SELECT jsonb_object_agg(f.field, d.metadata #> string_to_array(f.field, '.'))
        FROM unnest(c.facet_fields) f (field))
FROM cloister.documents d JOIN cloister.collections c USING (tenant_id, collection_id)
WHERE c.facet_fields <> '{}' AND d.current_version > 0;

-- ---------------------------------------------------------------- from words to terms
CREATE FUNCTION cloister.quoted_lexeme(p_lexeme text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN '''' || replace(replace(p_lexeme, '\', '\\'), '''', '''''') || '''';

-- The tenant's words that begin so, the most frequent first.
CREATE FUNCTION cloister.completions(p_tenant uuid, p_beginning text, p_limit int) RETURNS SETOF text
LANGUAGE sql STABLE ROWS 64 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.word FROM cloister.vocabulary v
    WHERE v.tenant_id = p_tenant AND v.word >= p_beginning COLLATE "C"
      AND v.word < (p_beginning || chr(1114111)) COLLATE "C"
    ORDER BY v.document_frequency DESC, v.word LIMIT p_limit
$$;

-- What of a last word is the beginning of one: of `wi-f` all of it while the tenant has such a word, else `f`.
CREATE FUNCTION cloister.beginning_of(p_tenant uuid, p_word text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.lexeme FROM unnest(to_tsvector('cloister.simple', p_word)) t
    ORDER BY EXISTS (SELECT FROM cloister.completions(p_tenant, t.lexeme, 1)) AND t.lexeme LIKE '%_-_%' DESC,
             t.positions[1] DESC
    LIMIT 1
$$;

-- What matches one word in any of the languages; NULL for one that is a stop word in all of them.
CREATE FUNCTION cloister.word_query(p_tenant uuid, p_word text, p_languages text[], p_begins boolean) RETURNS tsquery
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH words AS (
        SELECT p_word AS word
        UNION ALL
        SELECT c.word FROM cloister.completions(p_tenant, cloister.beginning_of(p_tenant, p_word), 16) AS c (word)
        WHERE p_begins
    )
    SELECT string_agg(c.clause, ' | ')::tsquery FROM (
        SELECT cloister.quoted_lexeme(t.lexeme) AS clause
        FROM words w, unnest(p_languages) language,
             unnest(to_tsvector(('cloister.' || quote_ident(language))::regconfig, w.word)) t
        UNION
        SELECT cloister.quoted_lexeme(b.word) || ':*' FROM cloister.beginning_of(p_tenant, p_word) AS b (word)
        WHERE p_begins AND b.word IS NOT NULL
    ) c
$$;

-- What a query asks of the lexical leg, as cloister.lexical_plan gives it, with three things besides: the last word may
-- be the beginning of one (`p_beginning`, not part of `p_query`), a word may have others that stand for it
-- (`p_alternatives`: [{"stands_for", "text", "factor"}]), and both count as one unit beside the other words.
-- A unit's completions share the IDF of all of them together, a little under that of the word itself, so that exact
-- matches come first. A unit adds to `maximum` what its best member could reach.
CREATE FUNCTION cloister.query_plan(
    p_tenant uuid, p_query text, p_languages text[], p_breadth int, p_beginning text, p_alternatives jsonb)
RETURNS TABLE (weights public.sparsevec, maximum real, terms tsquery, every_term tsquery, lexemes text[], known int)
-- No partition is touched here and every row is found by its key, so one plan does for all.
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
    WITH size AS (
        SELECT greatest(c.chunk_count, 1)::float8 AS n FROM cloister.corpora c WHERE c.tenant_id = p_tenant
    ), languages AS (
        SELECT ('cloister.' || quote_ident(language))::regconfig AS config FROM unnest(p_languages) language
    ), beginning AS (
        SELECT b.word, b.word || '*' AS unit FROM cloister.beginning_of(p_tenant, p_beginning) AS b (word)
        WHERE b.word IS NOT NULL
    ), completing AS (
        SELECT b.unit, c.word, c.word = b.word AS whole
        FROM beginning b, cloister.completions(p_tenant, b.word, 64) AS c (word)
        UNION  -- a whole word counts as one, however many more begin with it; and so do the parts of a compound
        SELECT CASE WHEN v.word = b.word THEN b.unit END, v.word, true
        FROM beginning b, unnest(to_tsvector('cloister.simple', p_beginning)) t
        JOIN cloister.vocabulary v ON v.tenant_id = p_tenant AND v.word = t.lexeme
    ), members AS (
        SELECT t.lexeme AS unit, t.lexeme, 1.0::float8 AS factor, false AS completes
        FROM languages l, unnest(to_tsvector(l.config, p_query)) t
        UNION ALL
        SELECT coalesce(c.unit, t.lexeme), t.lexeme, CASE WHEN c.whole THEN 1.0 ELSE 0.8 END, NOT c.whole
        FROM completing c, languages l, unnest(to_tsvector(l.config, c.word)) t
        UNION ALL
        SELECT coalesce(s.lexeme, a.stands_for), t.lexeme,
               a.factor / length(to_tsvector(l.config, a.text)), false  -- a phrase weighs what a word does
        FROM jsonb_to_recordset(p_alternatives) AS a (stands_for text, text text, factor float8)
        CROSS JOIN languages l
        LEFT JOIN LATERAL (SELECT t.lexeme FROM unnest(to_tsvector(l.config, a.stands_for)) t
                           ORDER BY t.positions[1] LIMIT 1) s ON true
        CROSS JOIN unnest(to_tsvector(l.config, a.text)) t
    ), counted AS (
        -- A subquery, not a join: the planner takes a query for thousands of words and would read all the statistics.
        SELECT m.unit, m.lexeme, max(m.factor) AS factor, bool_and(m.completes) AS completes,
               (SELECT s.document_frequency::float8 FROM cloister.lexeme_stats s
                WHERE s.tenant_id = p_tenant AND s.lexeme = m.lexeme) AS df
        FROM members m GROUP BY m.unit, m.lexeme
    ), weighed AS (
        SELECT c.unit, c.lexeme, c.factor, c.completes, coalesce(c.df, 0) AS df, c.df IS NOT NULL AS known
        FROM counted c
    ), units AS (
        SELECT w.unit, sum(w.df) AS df, bool_or(w.known) AS known,
               max(w.df) FILTER (WHERE w.known AND w.lexeme = w.unit) AS typed_df
        FROM weighed w GROUP BY w.unit
    ), ranked AS (
        SELECT u.*, coalesce(sum(u.df) OVER (ORDER BY u.df, u.unit
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM units u
    ), scored AS (
        SELECT w.unit, w.lexeme, r.before, r.known,
               w.factor * ln(1 + (size.n - d.df + 0.5) / (d.df + 0.5)) AS weight
        FROM weighed w JOIN ranked r USING (unit) CROSS JOIN size
        CROSS JOIN LATERAL (  -- what stands for a word is no rarer than the word
            SELECT least(CASE WHEN w.completes THEN r.df ELSE greatest(w.df, r.typed_df) END, size.n) AS df) d
    ), coordinates AS (
        SELECT cloister.lexeme_coordinate(s.lexeme) AS coordinate, max(s.weight) AS weight FROM scored s GROUP BY 1
    ), heaviest AS (
        SELECT s.unit, max(s.weight) AS weight, bool_or(s.known) AS known FROM scored s GROUP BY s.unit
    ), clauses AS (
        SELECT cloister.quoted_lexeme(s.lexeme) AS clause, s.before FROM scored s
        LEFT JOIN beginning b USING (unit) WHERE NOT coalesce(starts_with(s.lexeme, b.word), false)
        UNION
        SELECT cloister.quoted_lexeme(b.word) || ':*', r.before FROM beginning b JOIN ranked r USING (unit)
    )
    SELECT ('{' || (SELECT string_agg(c.coordinate || ':' || c.weight::real, ',' ORDER BY c.coordinate)
                    FROM coordinates c) || '}/1000000000')::public.sparsevec,
           (SELECT sum(h.weight)::real FROM heaviest h),
           string_agg(c.clause, ' | ' ORDER BY c.before, c.clause) FILTER (WHERE c.before < p_breadth)::tsquery,
           string_agg(c.clause, ' | ' ORDER BY c.before, c.clause)::tsquery,
           (SELECT array_agg(h.unit ORDER BY h.weight DESC, h.unit) FROM heaviest h),
           (SELECT count(*)::int FROM heaviest h WHERE h.known)
    FROM clauses c
$$;

-- ---------------------------------------------------------------- behind a definer's rights
-- As with cloister.lexical_candidates: `@@` and `&&` are not leakproof, so under row-level security their indexes would
-- not be used. Each tests the tenant itself.

-- In how many chunks of a scope each word stands, counted up to `p_most`; NULL for a stop word. With `p_trusting`, for a
-- caller to whom nothing is closed, the statistics are believed of a word that they call common. `beside` counts those
-- that hold a word of `p_beside` as well; `written`, asked for with it, says whether one of the first hundred spells the
-- word just so: a stem is shared by words that the scope may not hold. Tells no more than searching for the word would.
CREATE FUNCTION cloister.word_counts(
    p_tenant uuid, p_words text[], p_begins boolean, p_languages text[], p_beside text, p_collections int[],
    p_acl int[], p_filter jsonpath, p_most int, p_trusting boolean)
RETURNS TABLE (word text, chunks int, beside int, written boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    others tsquery := cloister.word_query(p_tenant, p_beside, p_languages, false);
    asked  tsquery;
    begins boolean;
    found  uuid[];
BEGIN
    IF p_tenant <> current_setting('app.tenant_id')::uuid THEN
        RETURN;
    END IF;
    FOR word, begins IN
        SELECT w.word, p_begins AND w.n = cardinality(p_words) FROM unnest(p_words) WITH ORDINALITY w (word, n)
    LOOP
        asked := cloister.word_query(p_tenant, word, p_languages, begins);
        chunks := NULL; beside := NULL; written := NULL;
        IF p_trusting AND NOT begins THEN
            SELECT p_most INTO chunks FROM unnest(p_languages) language,
                 unnest(to_tsvector(('cloister.' || quote_ident(language))::regconfig, word)) t
            JOIN cloister.lexeme_stats s ON s.tenant_id = p_tenant AND s.lexeme = t.lexeme
            WHERE s.document_frequency >= p_most LIMIT 1;
        END IF;
        IF chunks IS NULL AND asked IS NOT NULL THEN
            SELECT count(*), count(*) FILTER (WHERE l.tsv @@ others), array_agg(l.chunk_id) INTO chunks, beside, found
            FROM (
                SELECT l.chunk_id, l.tsv FROM cloister.chunk_lexemes l
                WHERE l.tenant_id = p_tenant AND l.tsv @@ asked
                  AND (p_collections IS NULL OR l.collection_id = ANY (p_collections)) AND l.acl_id = ANY (p_acl)
                  AND (p_filter IS NULL OR EXISTS (
                       SELECT FROM cloister.documents d WHERE d.tenant_id = l.tenant_id
                       AND d.document_id = l.document_id AND d.metadata @@ p_filter))
                LIMIT p_most) l;
        END IF;
        IF p_beside IS NOT NULL THEN
            written := EXISTS (
                SELECT FROM cloister.chunks c JOIN cloister.document_versions v
                  ON v.tenant_id = c.tenant_id AND v.document_id = c.document_id AND v.version = c.version
                WHERE c.tenant_id = p_tenant AND c.chunk_id = ANY (found[1:100])
                  AND to_tsvector('cloister.simple', concat_ws(E'\n', v.title,
                          array_to_string(c.heading_path, E'\n'), c.context, c.text))
                      @@ cloister.quoted_lexeme(word)::tsquery);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- The tenant's words that what was typed may be a misspelling of, the most frequent first. The caller measures the
-- distance, and must not show a word that it has not found in the scope of its own caller (cloister.word_counts).
CREATE FUNCTION cloister.near_words(p_tenant uuid, p_typed text[], p_edits int[], p_begins boolean, p_limit int)
RETURNS TABLE (typed text, folded text, word text, document_frequency int)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    edits int;
    begins boolean;
BEGIN
    FOR typed, folded, edits, begins IN
        SELECT w.word, s.word, w.edits, p_begins AND w.n = cardinality(p_typed)
        FROM unnest(p_typed, p_edits) WITH ORDINALITY w (word, edits, n),
             array_to_string(tsvector_to_array(to_tsvector('cloister.simple', w.word)), '') AS s (word)
    LOOP
        RETURN QUERY
        SELECT typed, folded, v.word, v.document_frequency FROM cloister.vocabulary v
        WHERE v.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid
          AND cloister.spelling_keys(v.word) && cloister.typed_keys(folded, edits)
          AND v.word <> folded AND length(v.word) >= length(folded) - edits
          AND (begins OR length(v.word) <= length(folded) + edits)
        ORDER BY v.document_frequency DESC, v.word LIMIT p_limit;
    END LOOP;
END
$$;

-- Every chunk of a scope that holds any of the terms (all chunks for NULL), with its document and BM25; no filter: the
-- caller reads the documents, under row-level security.
CREATE FUNCTION cloister.lexical_matches(
    p_tenant uuid, p_terms tsquery, p_weights public.sparsevec, p_collections int[], p_acl int[])
RETURNS TABLE (chunk_id uuid, document_id uuid, score real)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    IF p_terms IS NULL THEN
        RETURN QUERY
        SELECT l.chunk_id, l.document_id, 0::real FROM cloister.chunk_lexemes l
        WHERE l.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid
          AND (p_collections IS NULL OR l.collection_id = ANY (p_collections)) AND l.acl_id = ANY (p_acl);
    ELSE
        RETURN QUERY
        SELECT l.chunk_id, l.document_id,
               CASE WHEN p_weights IS NULL THEN 0 ELSE -(l.bm25 <#> p_weights) END::real
        FROM cloister.chunk_lexemes l
        WHERE l.tenant_id = p_tenant AND p_tenant = current_setting('app.tenant_id')::uuid
          AND l.tsv @@ p_terms
          AND (p_collections IS NULL OR l.collection_id = ANY (p_collections)) AND l.acl_id = ANY (p_acl);
    END IF;
END
$$;

-- ---------------------------------------------------------------- numbers in ranges
-- The width of about `p_ranges` equal ranges over a spread: 1, 2 or 5 times a power of ten.
CREATE FUNCTION cloister.range_width(p_spread numeric, p_ranges int) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT min(w.width) FROM (
        SELECT s.step * 10::numeric ^ (floor(log(greatest(p_spread, 1e-9))) - p.below) AS width
        FROM (VALUES (1), (2), (5)) s (step), generate_series(-1, 2) AS p (below)
    ) w WHERE w.width * p_ranges >= p_spread;
END;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['vocabulary', 'pins', 'document_facets'] LOOP
        EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON cloister.%I '
                       'USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON cloister.%I TO cloister_app', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['word_counts', 'near_words', 'lexical_matches'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION cloister.%I FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cloister.%I TO cloister_app', name);
    END LOOP;
END $$;
