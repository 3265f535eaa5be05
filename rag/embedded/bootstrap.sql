-- What the schema cannot give itself: the roles, the database and the extensions, which take a superuser.
-- Run at every start by psql as the superuser, in the database postgres; changes nothing the second time.
SET client_min_messages = warning;

SELECT format('CREATE ROLE %I', wanted.role)
  FROM (VALUES ('cloister_owner'), ('cloister_app')) AS wanted (role)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.role)
\gexec

-- Attributes are stated at every start: neither role may ever read past row-level security.
ALTER ROLE cloister_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION;
ALTER ROLE cloister_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION;
-- A generic plan cannot choose by tenant: 2 ms become 92.
ALTER ROLE cloister_app SET plan_cache_mode = force_custom_plan;

SELECT 'CREATE DATABASE cloister OWNER cloister_owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'cloister')
\gexec

\connect cloister
SET client_min_messages = warning;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
CREATE EXTENSION IF NOT EXISTS unaccent SCHEMA public;
-- A newer wheel brings newer extensions.
ALTER EXTENSION vector UPDATE;
ALTER EXTENSION btree_gin UPDATE;
ALTER EXTENSION pg_trgm UPDATE;
ALTER EXTENSION unaccent UPDATE;
