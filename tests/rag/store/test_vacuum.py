import psycopg
import pytest

from rag.errors import DatabaseUnavailable
from rag.store.vacuum import vacuum_all


def samples(admin_url: str, word: str) -> int:
    """How many of the planner's samples of values hold a word."""
    with psycopg.connect(admin_url) as admin:
        row = admin.execute("SELECT count(*) FROM pg_statistic s WHERE s::text LIKE %s", [f"%{word}%"]).fetchone()
        return row[0]


async def test_the_planners_samples_forget_what_was_deleted(acme, owner_url, admin_url):
    await acme.serve_all({f"zyxomek-{n}": f"zyxomek {n}" for n in range(5)})
    assert vacuum_all(owner_url) > 15
    assert samples(admin_url, "zyxomek") > 0
    async with acme.connect() as connection:
        await connection.execute("DELETE FROM collections")
        await connection.execute("DELETE FROM ingest_runs")
        await connection.execute("DELETE FROM lexeme_stats")
        await connection.execute("DELETE FROM vocabulary")
    assert samples(admin_url, "zyxomek") > 0
    vacuum_all(owner_url)
    assert samples(admin_url, "zyxomek") == 0


def test_a_server_that_is_not_there_is_an_error_of_ours():
    with pytest.raises(DatabaseUnavailable):
        vacuum_all("postgresql://nobody@127.0.0.1:1/none")
