"""Who is at the command line: an operator by key, or else the account of the operating system."""

import os
import pwd
from typing import Final

import rich_click as click

from rag.audit import Actor, actor_of
from rag.errors import Unauthenticated
from rag.keys import digest_key
from rag.store.database import Database
from rag.store.keys import authenticate
from rag.tenancy import Operator

VARIABLE: Final = "CLOISTER_OPERATOR_KEY"
_META: Final = "cloister.operator_key"


def _keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.meta[_META] = value


operator_option = click.option(
    "--operator-key",
    metavar="KEY",
    expose_value=False,
    callback=_keep,
    help=f"Act as this operator rather than as the account; better in {VARIABLE}, where no process list shows it.",
)
approval_option = click.option("--approval", type=click.UUID, help="The approval that was granted for this.")


async def actor_at_hand(database: Database) -> Actor:
    """Who is recorded; raises `Unauthenticated` for an operator key that is not one."""
    context = click.get_current_context(silent=True)
    key = (context.meta.get(_META) if context else None) or os.environ.get(VARIABLE)
    if not key:
        return Actor(type="local", user=_account())
    digest = digest_key(key)
    async with database.control() as connection:
        who = await authenticate(connection, digest) if digest else None
    if not isinstance(who, Operator):
        raise Unauthenticated(f"{VARIABLE} or --operator-key is not a valid operator key")
    return actor_of(who)


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user often has no name
        return str(os.getuid())
