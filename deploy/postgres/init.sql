-- Run once, by psql as the superuser, when the cluster is made: what the migrations cannot give themselves.
-- The passwords are files in $CLOISTER_SECRETS, /run/secrets when it is not set.

-- A failing statement would be logged with the password in it.
SET log_min_error_statement = panic;
SET log_statement = none;

\set owner_password `cat "${CLOISTER_SECRETS:-/run/secrets}/owner_password"`
\set app_password `cat "${CLOISTER_SECRETS:-/run/secrets}/app_password"`
SELECT least(length(:'owner_password'), length(:'app_password')) < 16 AS too_short
\gset
\if :too_short
    DO $$ BEGIN RAISE 'the secrets owner_password and app_password take 16 characters or more'; END $$;
\endif

-- Neither role may ever read past row-level security.
CREATE ROLE cloister_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION
    PASSWORD :'owner_password';
CREATE ROLE cloister_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION
    PASSWORD :'app_password';
-- A generic plan cannot choose by tenant: 2 ms become 92.
ALTER ROLE cloister_app SET plan_cache_mode = force_custom_plan;

CREATE DATABASE cloister OWNER cloister_owner;
REVOKE CONNECT, TEMPORARY ON DATABASE cloister FROM PUBLIC;
GRANT CONNECT ON DATABASE cloister TO cloister_app;
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;

\connect cloister
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE EXTENSION vector SCHEMA public;
CREATE EXTENSION btree_gin SCHEMA public;
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE EXTENSION unaccent SCHEMA public;
