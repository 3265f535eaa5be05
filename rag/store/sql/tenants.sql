-- name: create
-- A new tenant with an empty corpus; no row when the slug is taken.
SELECT * FROM create_tenant(%(slug)s, %(name)s, %(space)s);

-- name: list
-- Every tenant, for an operator.
SELECT * FROM list_tenants();

-- name: by_slug
-- One tenant, for an operator.
SELECT * FROM list_tenants() WHERE slug = %(slug)s;

-- name: delete
-- Remove a tenant and all that is its own.
SELECT delete_tenant(%(tenant)s) AS deleted;
