-- name: workers
-- How many workers have given a sign of life lately.
SELECT count(*) AS alive FROM jobs.procrastinate_workers WHERE last_heartbeat > now() - interval '30 seconds';
