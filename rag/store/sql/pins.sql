-- name: list
-- The pins of a collection.
SELECT p.query, p.external_ids FROM pins p WHERE p.tenant_id = %(tenant)s AND p.collection_id = %(collection)s
ORDER BY p.query;

-- name: clear
-- Take all pins off a collection.
DELETE FROM pins WHERE tenant_id = %(tenant)s AND collection_id = %(collection)s;

-- name: put
-- Pin documents to a query.
INSERT INTO pins (tenant_id, collection_id, query, external_ids)
VALUES (%(tenant)s, %(collection)s, %(query)s, %(external_ids)s)
ON CONFLICT (tenant_id, collection_id, query) DO UPDATE SET external_ids = EXCLUDED.external_ids;
