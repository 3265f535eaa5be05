"""`cloister migrate` and `cloister doctor`."""

from collections.abc import Callable

import rich_click as click

from ingest.cli.session import json_option, print_json, ready_settings, say
from rag.errors import CloisterError
from rag.settings import Settings


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the database schema up to this release, as the owner role (MIGRATION_DATABASE_URL)."""
    from rag.store.migrate import migrate as apply

    with ready_settings(migrated=False) as settings:
        count = apply(settings.secret("migration_database_url"), say=say)
    if as_json:
        print_json({"applied": count})
    else:
        say(f"{count} applied" if count else "nothing to apply")


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check the installation, and say for each fault what to run."""
    with ready_settings(migrated=False) as settings:
        checks: dict[str, Callable[[Settings], str]] = {
            "migrations": _migrations,
            "services": _services,
            "encoder": _encoder,
            "approvals": _approvals,
        }
        found = {name: _verdict(check, settings) for name, check in checks.items()}
    if as_json:
        print_json({name: {"ok": ok, "says": text} for name, (ok, text) in found.items()})
    else:
        for name, (ok, text) in found.items():
            click.echo(f"{'ok   ' if ok else 'FAULT'} {name}: {text}")
    if not all(ok for ok, _ in found.values()):
        raise SystemExit(1)


def _verdict(check: Callable[[Settings], str], settings: Settings) -> tuple[bool, str]:
    try:
        return True, check(settings)
    except CloisterError as error:
        return False, error.message


def _migrations(settings: Settings) -> str:
    from rag.errors import SetupError
    from rag.store.migrate import pending_migrations
    from rag.store.preflight import lacks_at, statements_for

    url = settings.secret("migration_database_url")
    if lacks := lacks_at(url):
        raise SetupError(f"an administrator runs, in this database:\n{statements_for(lacks)}")
    if pending := pending_migrations(url):
        raise SetupError(f"run 'cloister migrate': {len(pending)} pending, from {pending[0]}")
    return "up to date"


def _services(settings: Settings) -> str:
    import asyncio

    from rag.cache.base import CacheUnavailable
    from rag.services import open_cache
    from rag.store.database import Database

    async def look() -> str:
        database = await Database.open(settings.secret("database_url"), size=1)
        await database.ping()
        await database.close()
        cache = open_cache(settings)
        try:
            await cache.ping()
        except CacheUnavailable as error:
            return f"PostgreSQL answers; no cache ({error.message}), so searches are not cached"
        finally:
            await cache.close()
        return "PostgreSQL and the cache answer"

    return asyncio.run(look())


def _encoder(settings: Settings) -> str:
    import asyncio

    from rag.services import open_encoder

    async def look() -> str:
        encoder = open_encoder(settings)
        vector = await encoder.embed_query("doctor")
        await encoder.close()
        return f"{encoder.model}, {len(vector)} dimensions, build {encoder.fingerprint}"

    return asyncio.run(look())


def _approvals(settings: Settings) -> str:
    if settings.approvals_required:
        return "required: another operator has to grant a privileged act"
    return "OFF: one operator alone can delete a tenant or loosen a setting (CLOISTER_APPROVALS=required changes that)"
