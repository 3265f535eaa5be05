-- name: usage
-- Each embedding space with its tenants and its coverage, for an operator.
SELECT * FROM embedding_space_usage();

-- name: known
-- Whether there is an embedding space of that name.
SELECT EXISTS (SELECT FROM embedding_spaces WHERE space = %(space)s) AS known;

-- name: activate
-- Make a space the active one, of a tenant or of all; a row with missing chunks says that nothing was changed.
SELECT * FROM activate_embedding_space(%(space)s, %(subject)s);
