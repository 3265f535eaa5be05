"""What the owner of the tables can do about rows that were deleted and are still in PostgreSQL's files."""

from typing import Final

import psycopg
from psycopg import sql

from rag.errors import DatabaseUnavailable
from rag.store.statements import statement

_CAN_CLEAR_SAMPLES: Final = 180_000  # the version of the server


def vacuum_all(owner_url: str) -> int:
    """Vacuum and analyse every table of tenants, and the queue; gives back how many.

    Dead rows are then free space, which later rows overwrite, and the planner's statistics hold no sample of them.
    Before PostgreSQL 18 the statistics of a table that is empty now stay as they are.
    """
    try:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            names = [("cloister", str(row[0])) for row in connection.execute(statement("erasure.tables")).fetchall()]
            names += [("jobs", "procrastinate_jobs"), ("jobs", "procrastinate_events")]
            if connection.info.server_version >= _CAN_CLEAR_SAMPLES:
                connection.execute(statement("erasure.clear_samples"))  # analysing an empty table would keep them
            for name in names:
                connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(*name)))
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable("PostgreSQL does not answer at MIGRATION_DATABASE_URL") from error
    return len(names)
