"""Where the embedded servers answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

POSTGRES_SOCKET = ".s.PGSQL.5432"
VALKEY_SOCKET = "valkey.sock"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The URLs of one pair of servers, for psycopg and for `redis.Redis.from_url`.

    `admin_url` is the superuser in the database `postgres`; the other two are in `cloister`.
    `redis_url` is None where Valkey does not run.
    """

    admin_url: str
    owner_url: str
    app_url: str
    redis_url: str | None

    @classmethod
    def at(cls, sockets: Path, *, cache: bool) -> Self:
        """Name the servers whose sockets are in a folder."""
        return cls(
            admin_url=postgres_url(sockets, "postgres", "postgres"),
            owner_url=postgres_url(sockets, "cloister_owner", "cloister"),
            app_url=postgres_url(sockets, "cloister_app", "cloister"),
            redis_url=f"unix://{quote(str(sockets / VALKEY_SOCKET))}" if cache else None,
        )


def postgres_url(sockets: Path, role: str, database: str) -> str:
    """Write the URL of a role in a database, over the Unix socket in a folder."""
    return f"postgresql://{role}@/{database}?host={quote(str(sockets), safe='')}"
