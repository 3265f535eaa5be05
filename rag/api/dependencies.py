"""What handlers ask for by name; the services themselves are opened and closed in `rag.app`."""

from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide

from rag.api.visits import visit_of
from rag.audit import Actor, actor_of
from rag.erasure import Eraser
from rag.errors import Forbidden
from rag.generation.answerer import Answerer
from rag.purge import Purger
from rag.retrieval.base import Searcher
from rag.settings import Settings
from rag.store.database import Database
from rag.tenancy import Principal


def _settings(state: State) -> Settings:
    found: Settings = state.services.settings
    return found


def _actor(request: Request[Any, Any, Any]) -> Actor:
    visit = visit_of(request.scope)
    return actor_of(request.scope.get("user"), ip=visit.address, request_id=visit.request_id)


def _database(state: State, actor: NamedDependency[Actor]) -> Database:
    # What a handler does through it is recorded as the caller's.
    found: Database = state.services.database
    return found.acting_for(actor)


def _searcher(state: State) -> Searcher:
    found: Searcher = state.services.searcher
    return found


def _answerer(state: State) -> Answerer:
    found: Answerer = state.services.answerer
    return found


def _eraser(state: State, database: NamedDependency[Database]) -> Eraser:
    services = state.services
    return Eraser(database, services.cache, approvals_required=services.settings.approvals_required)


def _purger(state: State) -> Purger:
    found: Purger = state.services.purger
    return found


def _principal(request: Request[Any, Any, Any]) -> Principal:
    who = request.user
    if not isinstance(who, Principal):
        raise Forbidden("this takes a key of a tenant")
    return who


PROVIDED: Final = {
    "settings": Provide(_settings, sync_to_thread=False),
    "actor": Provide(_actor, sync_to_thread=False),
    "database": Provide(_database, sync_to_thread=False),
    "searcher": Provide(_searcher, sync_to_thread=False),
    "answerer": Provide(_answerer, sync_to_thread=False),
    "eraser": Provide(_eraser, sync_to_thread=False),
    "purger": Provide(_purger, sync_to_thread=False),
    "principal": Provide(_principal, sync_to_thread=False),
}
