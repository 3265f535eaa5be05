-- migrate:up
-- Tenants, credentials, documents, chunks and their lexemes, ingestion runs, answers.
-- Run by the owner role, never by a superuser; the extensions and the role cloister_app exist already
-- (`cloister doctor` prints the statements that an administrator runs for that).

CREATE SCHEMA cloister;
GRANT USAGE ON SCHEMA cloister TO cloister_app;

-- ---------------------------------------------------------------- text search, accents folded
CREATE TEXT SEARCH CONFIGURATION cloister.simple (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION cloister.simple
    ALTER MAPPING FOR hword, hword_part, word WITH public.unaccent, pg_catalog.simple;

DO $$
DECLARE
    language text;
BEGIN
    FOR language IN
        SELECT c.cfgname FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace
        WHERE n.nspname = 'pg_catalog' AND c.cfgname <> 'simple'
          AND EXISTS (SELECT FROM pg_ts_dict d WHERE d.dictname = c.cfgname || '_stem')
    LOOP
        EXECUTE format('CREATE TEXT SEARCH CONFIGURATION cloister.%I (COPY = pg_catalog.%I)', language, language);
        EXECUTE format('ALTER TEXT SEARCH CONFIGURATION cloister.%I ALTER MAPPING FOR hword, hword_part, word '
                       'WITH public.unaccent, pg_catalog.%I', language, language || '_stem');
    END LOOP;
END $$;

-- ---------------------------------------------------------------- tenants and credentials
CREATE TABLE cloister.tenants (
    tenant_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cloister.api_keys (
    key_id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id    uuid REFERENCES cloister.tenants ON DELETE CASCADE,  -- NULL: an operator key
    kind         text NOT NULL CHECK (kind IN ('secret', 'publishable', 'operator')),
    digest       bytea NOT NULL UNIQUE CHECK (length(digest) = 32),   -- SHA-256; the key itself is never stored
    display      text NOT NULL,
    name         text NOT NULL DEFAULT '',
    scopes       text[] NOT NULL,
    groups       text[] NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    CHECK ((kind = 'operator') = (tenant_id IS NULL))
);
CREATE INDEX api_keys_tenant ON cloister.api_keys (tenant_id);

-- ---------------------------------------------------------------- the corpus
CREATE TABLE cloister.embedding_spaces (
    space           text PRIMARY KEY CHECK (space ~ '^[a-z][a-z0-9_]{0,40}$'),
    model           text NOT NULL,
    revision        text NOT NULL,
    dimensions      int  NOT NULL,
    normalised      boolean NOT NULL,
    chunker_version text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON cloister.embedding_spaces TO cloister_app;

CREATE TABLE cloister.corpora (
    tenant_id      uuid PRIMARY KEY REFERENCES cloister.tenants ON DELETE CASCADE,
    corpus_version bigint NOT NULL DEFAULT 1,
    space          text NOT NULL REFERENCES cloister.embedding_spaces,
    chunk_count    bigint NOT NULL DEFAULT 0,
    average_length real,               -- lexemes a chunk; NULL until the statistics are first gathered
    stats_version  bigint NOT NULL DEFAULT 0  -- the corpus version that lexeme_stats describes
);

CREATE TABLE cloister.collections (
    tenant_id         uuid NOT NULL REFERENCES cloister.tenants ON DELETE CASCADE,
    collection_id     int GENERATED ALWAYS AS IDENTITY,
    name              text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    language          text NOT NULL DEFAULT 'english',
    refusal_threshold real,
    facet_fields      text[] NOT NULL DEFAULT '{}',
    chunk_count       bigint NOT NULL DEFAULT 0,
    document_count    bigint NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, collection_id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE cloister.acl_sets (
    tenant_id uuid NOT NULL REFERENCES cloister.tenants ON DELETE CASCADE,
    acl_id    int GENERATED ALWAYS AS IDENTITY,
    groups    text[] NOT NULL,         -- sorted, distinct; empty: every reader of the tenant
    digest    bytea NOT NULL,          -- SHA-256 of the groups: many long names do not fit in an index
    PRIMARY KEY (tenant_id, acl_id),
    UNIQUE (tenant_id, digest)
);

CREATE TABLE cloister.documents (
    tenant_id       uuid NOT NULL,
    document_id     uuid NOT NULL DEFAULT gen_random_uuid(),
    collection_id   int  NOT NULL,
    external_id     text NOT NULL CHECK (length(external_id) BETWEEN 1 AND 512),
    title           text,
    uri             text,
    metadata        jsonb NOT NULL DEFAULT '{}',
    acl_id          int,
    fingerprint     bytea,             -- of everything that made the serving version
    current_version int NOT NULL DEFAULT 0,  -- 0: no version serves yet
    latest_version  int NOT NULL DEFAULT 0,  -- the highest version asked for
    media_type      text,
    size_bytes      bigint,
    chunk_count     int NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, document_id),
    UNIQUE (tenant_id, collection_id, external_id),
    FOREIGN KEY (tenant_id, collection_id) REFERENCES cloister.collections ON DELETE CASCADE,
    -- Deferred: a tenant's deletion reaches the sets and the documents in no promised order.
    FOREIGN KEY (tenant_id, acl_id) REFERENCES cloister.acl_sets DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE cloister.document_versions (
    tenant_id      uuid NOT NULL,
    document_id    uuid NOT NULL,
    version        int  NOT NULL,
    text           text NOT NULL,      -- the canonical text; every chunk and citation is a slice of it
    content_sha256 bytea NOT NULL,
    title          text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, document_id, version),
    FOREIGN KEY (tenant_id, document_id) REFERENCES cloister.documents ON DELETE CASCADE
);

CREATE TABLE cloister.chunks (
    tenant_id      uuid NOT NULL,
    chunk_id       uuid NOT NULL,
    document_id    uuid NOT NULL,
    version        int  NOT NULL,
    ordinal        int  NOT NULL,
    collection_id  int  NOT NULL,
    acl_id         int  NOT NULL,
    text           text NOT NULL,
    heading_path   text[] NOT NULL,
    context        text NOT NULL,      -- a table's repeated header; embedded, not part of the span
    page           int,
    span_start     int NOT NULL,       -- characters of the version's text
    span_end       int NOT NULL,
    token_count    int NOT NULL,       -- cl100k, for the model's budget
    piece_count    int NOT NULL,       -- word pieces of what was embedded
    content_sha256 bytea NOT NULL,     -- of what was embedded
    PRIMARY KEY (tenant_id, chunk_id),
    UNIQUE (tenant_id, document_id, ordinal),
    FOREIGN KEY (tenant_id, document_id) REFERENCES cloister.documents ON DELETE CASCADE
);
CREATE INDEX chunks_content ON cloister.chunks (tenant_id, content_sha256);

CREATE TABLE cloister.chunk_lexemes (
    tenant_id      uuid NOT NULL,
    chunk_id       uuid NOT NULL,
    document_id    uuid NOT NULL,
    collection_id  int  NOT NULL,
    acl_id         int  NOT NULL,
    average_length real NOT NULL,      -- the average that the weights were normalised by
    tsv            tsvector NOT NULL,
    bm25           public.sparsevec(1000000000) NOT NULL,
    PRIMARY KEY (tenant_id, chunk_id),
    FOREIGN KEY (tenant_id, chunk_id) REFERENCES cloister.chunks ON DELETE CASCADE
);
CREATE INDEX chunk_lexemes_tsv ON cloister.chunk_lexemes USING gin (tenant_id, tsv);

CREATE TABLE cloister.lexeme_stats (
    tenant_id          uuid NOT NULL REFERENCES cloister.tenants ON DELETE CASCADE,
    lexeme             text NOT NULL,
    document_frequency int  NOT NULL,  -- chunks that hold it
    PRIMARY KEY (tenant_id, lexeme)
);

-- ---------------------------------------------------------------- ingestion
CREATE TABLE cloister.ingest_runs (
    tenant_id     uuid NOT NULL REFERENCES cloister.tenants ON DELETE CASCADE,
    run_id        uuid NOT NULL DEFAULT gen_random_uuid(),
    document_id   uuid NOT NULL,
    collection_id int  NOT NULL,
    collection    text NOT NULL,
    external_id   text NOT NULL,
    version       int  NOT NULL,
    fingerprint   bytea NOT NULL,
    request       jsonb NOT NULL,      -- title, uri, metadata, groups, media type, file name
    size_bytes    bigint NOT NULL,
    state         text NOT NULL DEFAULT 'queued'
                  CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'dead', 'cancelled')),
    stage         text NOT NULL DEFAULT 'queued',
    done          int  NOT NULL DEFAULT 0,
    total         int  NOT NULL DEFAULT 0,
    attempts      int  NOT NULL DEFAULT 0,
    lease         uuid,                -- fences off an attempt that was presumed dead
    error         jsonb,
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    finished_at   timestamptz,
    PRIMARY KEY (tenant_id, run_id),
    UNIQUE (tenant_id, document_id, version)
);
CREATE INDEX ingest_runs_recent ON cloister.ingest_runs (tenant_id, created_at DESC, run_id DESC);
CREATE INDEX ingest_runs_open ON cloister.ingest_runs (tenant_id, state) WHERE state IN ('queued', 'running', 'failed');

CREATE TABLE cloister.ingest_sources (
    tenant_id uuid NOT NULL,
    run_id    uuid NOT NULL,
    body      bytea NOT NULL,          -- kept until the run has succeeded
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES cloister.ingest_runs ON DELETE CASCADE
);

-- ---------------------------------------------------------------- answers
CREATE TABLE cloister.answers (
    tenant_id      uuid NOT NULL REFERENCES cloister.tenants ON DELETE CASCADE,
    answer_id      uuid NOT NULL,
    key_id         uuid,
    question       text NOT NULL,
    status         text NOT NULL CHECK (status IN ('answered', 'refused')),
    refusal_code   text,
    gateway        text NOT NULL,
    corpus_version bigint NOT NULL,
    space          text NOT NULL,
    document_ids   uuid[] NOT NULL,    -- what it quotes; readable only while all of it is
    body           jsonb NOT NULL,     -- the answer as it was sent
    passages       jsonb NOT NULL,     -- chunk ids and scores that it was made from
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, answer_id)
);

-- ---------------------------------------------------------------- row-level security
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'api_keys', 'corpora', 'collections', 'acl_sets', 'documents',
        'document_versions', 'chunks', 'chunk_lexemes', 'lexeme_stats', 'ingest_runs', 'ingest_sources', 'answers']
    LOOP
        EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON cloister.%I '
                       'USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON cloister.%I TO cloister_app', name);
    END LOOP;
END $$;
REVOKE INSERT, UPDATE, DELETE ON cloister.tenants FROM cloister_app;
REVOKE DELETE ON cloister.corpora, cloister.api_keys FROM cloister_app;
REVOKE INSERT ON cloister.corpora FROM cloister_app;
