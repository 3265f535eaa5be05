-- name: get
-- Where a tenant's limits differ from the installation's; no row when they do not.
SELECT limits FROM tenant_limits WHERE tenant_id = %(tenant)s;

-- name: change
-- Lay changed limits over a tenant's present ones.
INSERT INTO tenant_limits AS l (tenant_id, limits) VALUES (%(tenant)s, %(limits)s)
ON CONFLICT (tenant_id) DO UPDATE SET limits = l.limits || excluded.limits, updated_at = now()
RETURNING limits;
