-- name: version
-- The number of the newest migration that has been applied.
SELECT max(version) AS version FROM public.cloister_migrations;

-- name: row_security
-- Whether row-level security binds the role that asks; NULL before the first migration.
SELECT current_user AS role,
       CASE WHEN to_regclass('cloister.documents') IS NOT NULL THEN row_security_active('cloister.documents') END AS bound;
