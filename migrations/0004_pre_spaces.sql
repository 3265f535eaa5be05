-- migrate:up
-- One pair of tables an embedding space: chunk vectors, and the vectors of the sentences inside each chunk.

CREATE FUNCTION cloister.create_embedding_space(
    p_space text, p_model text, p_revision text, p_dimensions int, p_chunker_version text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    embeddings text := 'embeddings_' || p_space;
    sentences  text := 'chunk_sentences_' || p_space;
    name       text;
BEGIN
    INSERT INTO cloister.embedding_spaces (space, model, revision, dimensions, normalised, chunker_version)
    VALUES (p_space, p_model, p_revision, p_dimensions, true, p_chunker_version);

    EXECUTE format('CREATE TABLE cloister.%I (
        tenant_id     uuid NOT NULL,
        chunk_id      uuid NOT NULL,
        document_id   uuid NOT NULL,
        collection_id int  NOT NULL,
        acl_id        int  NOT NULL,
        embedding     public.halfvec(%s) NOT NULL,
        FOREIGN KEY (tenant_id, chunk_id) REFERENCES cloister.chunks ON DELETE CASCADE
    ) PARTITION BY LIST (tenant_id)', embeddings, p_dimensions);
    EXECUTE format('ALTER TABLE cloister.%I ALTER embedding SET STORAGE PLAIN', embeddings);
    EXECUTE format('CREATE TABLE cloister.%I PARTITION OF cloister.%I DEFAULT', embeddings || '_default', embeddings);
    -- A B-tree tuple holds at most 2,704 bytes: wider vectors are read from the heap.
    IF p_dimensions <= 1280 THEN
        EXECUTE format('CREATE INDEX ON cloister.%I (tenant_id, collection_id) '
                       'INCLUDE (chunk_id, document_id, acl_id, embedding)', embeddings);
    ELSE
        EXECUTE format('CREATE INDEX ON cloister.%I (tenant_id, collection_id)', embeddings);
    END IF;
    EXECUTE format('CREATE UNIQUE INDEX ON cloister.%I (tenant_id, chunk_id)', embeddings);
    -- The covering index is read without the heap only where pages are marked all-visible.
    EXECUTE format('ALTER TABLE cloister.%I SET (autovacuum_vacuum_insert_scale_factor = 0.02)',
                   embeddings || '_default');

    EXECUTE format('CREATE TABLE cloister.%I (
        tenant_id  uuid NOT NULL,
        chunk_id   uuid NOT NULL,
        ordinal    int  NOT NULL,
        span_start int  NOT NULL,
        span_end   int  NOT NULL,
        embedding  public.halfvec(%s) NOT NULL,
        PRIMARY KEY (tenant_id, chunk_id, ordinal),
        FOREIGN KEY (tenant_id, chunk_id) REFERENCES cloister.chunks ON DELETE CASCADE
    )', sentences, p_dimensions);
    EXECUTE format('ALTER TABLE cloister.%I ALTER embedding SET STORAGE PLAIN', sentences);

    FOREACH name IN ARRAY ARRAY[embeddings, sentences] LOOP
        EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON cloister.%I '
                       'USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON cloister.%I TO cloister_app', name);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION cloister.create_embedding_space FROM PUBLIC;

SELECT cloister.create_embedding_space('minilm_l6_v2', 'all-MiniLM-L6-v2', '53aa51172d14', 384, '1');
