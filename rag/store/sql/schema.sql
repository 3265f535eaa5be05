-- name: version
-- The number of the newest migration that has been applied.
SELECT max(version) AS version FROM public.cloister_migrations;
