"""The command line. Heavy imports stand inside the commands, so that `cloister --help` answers at once."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

import rich_click as click

_COMMANDS: Final = {
    "up": ("ingest.cli.up", "up"),
    "serve": ("ingest.cli.run", "serve"),
    "worker": ("ingest.cli.run", "worker"),
    "migrate": ("ingest.cli.database", "migrate"),
    "doctor": ("ingest.cli.database", "doctor"),
    "tenant": ("ingest.cli.tenants", "tenant"),
    "key": ("ingest.cli.keys", "key"),
    "ingest": ("ingest.cli.load", "ingest"),
    "search": ("ingest.cli.query", "search"),
    "ask": ("ingest.cli.query", "ask"),
    "jobs": ("ingest.cli.jobs", "jobs"),
    "space": ("ingest.cli.spaces", "space"),
    "approval": ("ingest.cli.approvals", "approval"),
    "audit": ("ingest.cli.audit", "audit"),
    "erase": ("ingest.cli.erase", "erase"),
    "purge": ("ingest.cli.purge", "purge"),
    "usage": ("ingest.cli.usage", "usage"),
}
_SHORT: Final = {
    "up": "Run everything on this machine: PostgreSQL, Valkey, the API and a worker.",
    "serve": "Run the HTTP API.",
    "worker": "Run an ingestion worker.",
    "migrate": "Bring the database schema up to this release.",
    "doctor": "Check the installation and say what to mend, and how.",
    "tenant": "Create, list, show and delete tenants; limits, and how long they keep things.",
    "key": "Create, list, rotate and revoke API keys.",
    "ingest": "Load files and folders into a tenant's collection.",
    "search": "Search a tenant's documents.",
    "ask": "Ask a question; the answer is cited or refused.",
    "jobs": "List, show, retry and cancel ingestion jobs.",
    "space": "List embedding spaces, and make one the active one.",
    "approval": "List, grant and deny requests for privileged acts.",
    "audit": "Verify and export the audit trail.",
    "erase": "Erase a tenant, a document or what a person asked; receipts.",
    "purge": "Remove what is kept no longer.",
    "usage": "Show a tenant's answers, tokens and cost by day and person.",
    "eval": "Measure retrieval on your own data.",
    "verify-isolation": "Try every door of the running service as everybody who may not.",
}


_FOOT: Final = """
Every command takes --help, and each that gives a result takes --json
Exit codes: 0 ok, 1 error, 2 usage, 3 finished with dead letters
Start with: cloister up --demo"""


class _LazyGroup(click.RichGroup):
    """Imports a command's module when the command is run, not to list its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*_COMMANDS, *(point.name for point in entry_points(group="cloister.commands"))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if ctx.resilient_parsing or cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name in _COMMANDS:
            module, name = _COMMANDS[cmd_name]
            command: click.Command = getattr(import_module(module), name)
            return command
        (point,) = entry_points(group="cloister.commands", name=cmd_name)
        loaded: click.Command = point.load()
        return loaded

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table above, without importing one of them."""
        click.echo("Usage: cloister COMMAND [ARGS]…\n\nCommands:")
        for name in self.list_commands(ctx):
            click.echo(f"  {name:<16} {_SHORT.get(name, '')}")
        click.echo(_FOOT)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cloister", prog_name="cloister")
def cli() -> None:
    """Retrieval in which tenants cannot see one another and every answer is cited or refused."""


def main() -> None:
    """Run the command line; an error of ours is a sentence on stderr and exit code 1, never a traceback."""
    from rag.errors import ApprovalRequired, CloisterError

    try:
        cli(prog_name="cloister")
    except CloisterError as error:
        click.echo(f"error: {error.message}", err=True)
        if isinstance(error, ApprovalRequired) and error.approval:
            click.echo(f"approval: {error.approval}", err=True)
        raise SystemExit(1) from error
