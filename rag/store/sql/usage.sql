-- name: daily
-- What a tenant's kept answers came to, by day and person, newest first.
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, asked_by AS user, count(*) AS answers,
       count(*) FILTER (WHERE status = 'answered') AS answered,
       coalesce(sum((body -> 'usage' ->> 'input_tokens')::bigint), 0)::bigint AS input_tokens,
       coalesce(sum((body -> 'usage' ->> 'output_tokens')::bigint), 0)::bigint AS output_tokens,
       coalesce(sum((body -> 'usage' ->> 'cost_usd')::float8), 0)::float8 AS cost_usd
FROM answers
WHERE tenant_id = %(tenant)s AND created_at >= (date_trunc('day', now()) - make_interval(days => %(days)s - 1))
GROUP BY 1, 2 ORDER BY 1 DESC, 2 NULLS FIRST LIMIT %(limit)s;
