"""`cloister verify-isolation`: a table to stdout, progress to stderr, exit code 1 on any leak."""

import asyncio
import signal
from typing import TYPE_CHECKING

import rich_click as click

from ingest.cli.session import json_option, print_json, print_table, say, with_services
from rag.services import Services

if TYPE_CHECKING:
    from eval.isolation.ledger import Report


@click.command("verify-isolation")
@click.option("--url", metavar="URL", help="Where the service answers. [default: where `up` or `serve` said it does]")
@json_option
def verify_isolation(url: str | None, as_json: bool) -> None:
    """Try every door of the running installation as everybody who may not, and show what was tried and found.

    Two throwaway tenants are made for it, filled with documents of words that nobody can guess, and removed again.
    Exit code 1: something leaked, or a route is not known here.
    """
    from ingest.cli.address import find_service

    found = url or find_service()

    async def work(services: Services) -> "Report":
        from eval.isolation.service import service_at
        from eval.isolation.verifier import verify

        _end_as_on_interrupt()
        async with service_at(found) as service:
            return await verify(services, service, follow=say)

    try:
        report = with_services(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted: the tenants are removed; what was tried until then is not shown")
        raise SystemExit(130) from None
    _print(report, as_json=as_json)
    if report.leaks:
        raise SystemExit(1)


def _end_as_on_interrupt() -> None:
    """A SIGTERM ends the check as Ctrl-C does, so that the tenants are removed."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _print(report: "Report", *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rows: list[list[object]] = [[d.door, d.attempts, d.findings, d.remark] for d in report.doors]
    print_table(["door", "attempts", "leaks", ""], [*rows, ["total", report.attempts, report.leaks, ""]])
    for finding in report.findings:
        click.echo()
        click.echo(f"LEAK  {finding.door}: {finding.name}, as {finding.caller}")
        click.echo(f"      {finding.what}")
        for leaked in finding.leaked:
            click.echo(f"      saw the {leaked}")
    say(f"{report.service}: {report.attempts} attempts in {report.took_s} s, {report.leaks} leaks")
