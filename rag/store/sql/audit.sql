-- name: append
-- Append events to a chain; the last statement of its transaction.
SELECT append_audit(%(chain)s, %(events)s) AS sequence;

-- name: head
-- The last event of a chain, as it is kept beside it.
SELECT sequence, hash FROM audit_chains WHERE tenant_id = %(tenant)s;

-- name: events
-- The events of a chain in order, after a cursor.
SELECT sequence, occurred_at, previous_hash, hash, event FROM audit_events
WHERE tenant_id = %(tenant)s AND sequence > %(after)s AND occurred_at >= %(since)s ORDER BY sequence LIMIT %(limit)s;

-- name: heads
-- Every chain with its head, for an operator.
SELECT * FROM audit_heads();

-- name: page
-- Events of one chain or of all, newest first, before a cursor, for an operator.
SELECT * FROM audit_page(%(chain)s, %(before)s, %(before_chain)s, %(before_sequence)s, %(limit)s);

-- name: known_keys
-- Whose these digests are or were.
SELECT * FROM known_keys(%(digests)s::bytea[]);
