-- migrate:up
-- Limits of a tenant that differ from the installation's, and what was answered to an Idempotency-Key.

CREATE TABLE cloister.tenant_limits (
    tenant_id  uuid PRIMARY KEY REFERENCES cloister.tenants ON DELETE CASCADE,
    limits     jsonb NOT NULL CHECK (jsonb_typeof(limits) = 'object'),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- `tenant_id` has no foreign key: for an operator's request it is the id of the operator's key, which no tenant has.
CREATE TABLE cloister.idempotency_records (
    tenant_id       uuid NOT NULL,
    caller          bytea NOT NULL CHECK (length(caller) = 32),       -- SHA-256 of the credential and all that it may
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    fingerprint     bytea NOT NULL CHECK (length(fingerprint) = 32),  -- SHA-256 of the request
    lease           uuid NOT NULL,                                    -- fences off a request that was presumed dead
    leased_until    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    status          int,                                              -- NULL while the request is under way
    media_type      text,
    location        text,
    body            bytea,             -- NULL with a status: what was answered is not kept
    answer_id       uuid,              -- the answer that the body shows: goes when that goes
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, caller, idempotency_key),
    FOREIGN KEY (tenant_id, answer_id) REFERENCES cloister.answers ON DELETE CASCADE
);
CREATE INDEX idempotency_records_expired ON cloister.idempotency_records (tenant_id, expires_at);
CREATE INDEX idempotency_records_answer ON cloister.idempotency_records (tenant_id, answer_id)
    WHERE answer_id IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenant_limits', 'idempotency_records']
    LOOP
        EXECUTE format('ALTER TABLE cloister.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON cloister.%I '
                       'USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE ON cloister.tenant_limits TO cloister_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON cloister.idempotency_records TO cloister_app;

-- In place of the foreign key: a tenant's records go with it.
CREATE FUNCTION cloister.forget_requests() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM cloister.idempotency_records r WHERE r.tenant_id = OLD.tenant_id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION cloister.forget_requests() FROM PUBLIC;
CREATE TRIGGER forget_requests AFTER DELETE ON cloister.tenants
    FOR EACH ROW EXECUTE FUNCTION cloister.forget_requests();
