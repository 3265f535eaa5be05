"""`cloister jobs`."""

from uuid import UUID

import rich_click as click

from ingest.cli.session import find_tenant, json_option, print_json, print_table, say, tenant_option, with_database
from rag.domain import Job, JobState
from rag.services import Services
from rag.store import ingestion
from rag.store.database import Database

_STATES = ["queued", "running", "succeeded", "failed", "dead", "cancelled"]


@click.group()
def jobs() -> None:
    """List, show, retry and cancel ingestion jobs."""


@jobs.command("list")
@tenant_option
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_(tenant: str, state: JobState | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""

    async def work(database: Database) -> list[Job]:
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner) as connection:
            return await ingestion.list_jobs(connection, owner, state=state, limit=limit)

    _print(with_database(work), as_json=as_json)


@jobs.command()
@click.argument("job_id", type=click.UUID)
@tenant_option
@json_option
def show(job_id: UUID, tenant: str, as_json: bool) -> None:
    """Show one job, with its error if it has one."""

    async def work(database: Database) -> Job:
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner) as connection:
            return await ingestion.get_job(connection, owner, job_id)

    job = with_database(work)
    _print([job], as_json=as_json, one=True)
    if job.error and not as_json:
        say(f"{job.error.code}: {job.error.message}")
        if job.error.hint:
            say(f"hint: {job.error.hint}")


@jobs.command()
@click.argument("job_id", type=click.UUID)
@tenant_option
@json_option
def retry(job_id: UUID, tenant: str, as_json: bool) -> None:
    """Queue a dead or cancelled job again."""
    from ingest.cli.session import with_services

    async def work(services: Services) -> Job:
        owner = await find_tenant(services.database, tenant)
        async with services.database.tenant(owner) as connection:
            return await ingestion.retry_job(connection, services.delivery, owner, job_id)

    _print([with_services(work)], as_json=as_json, one=True)


@jobs.command()
@click.argument("job_id", type=click.UUID)
@tenant_option
@json_option
def cancel(job_id: UUID, tenant: str, as_json: bool) -> None:
    """Stop a job that has not ended."""

    async def work(database: Database) -> Job:
        owner = await find_tenant(database, tenant)
        async with database.tenant(owner) as connection:
            return await ingestion.cancel_job(connection, owner, job_id)

    _print([with_database(work)], as_json=as_json, one=True)


def _print(found: list[Job], *, as_json: bool, one: bool = False) -> None:
    if as_json:
        print_json(found[0] if one else found)
        return
    rows: list[list[object]] = [
        [j.job_id, j.status, j.progress.stage, j.collection, j.external_id, j.version, j.attempts,
         j.error.code if j.error else None]
        for j in found
    ]  # fmt: skip
    print_table(["job", "status", "stage", "collection", "document", "version", "attempts", "error"], rows)
