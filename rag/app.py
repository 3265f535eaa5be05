"""The HTTP application: routes, and the services behind them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import HTTPScope, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send

from rag.api import (
    admin,
    answers,
    approvals,
    audit,
    catalogue,
    collections,
    documents,
    erasure,
    health,
    jobs,
    metrics,
    openapi,
    retention,
    search,
    spaces,
    swagger,
    usage,
)
from rag.api.access import check_access
from rag.api.addresses import Proxies
from rag.api.auth import Authenticate
from rag.api.body import StrictJson
from rag.api.cors import Preflight
from rag.api.dependencies import PROVIDED
from rag.api.door import admit
from rag.api.idempotency import Idempotency
from rag.api.lanes import KeepToLane
from rag.api.limits import RateLimit
from rag.api.parameters import check_parameters
from rag.api.paths import RestoredSegments
from rag.api.problems import answer_problem
from rag.audit import Act, Detail, Event
from rag.services import Services, open_services
from rag.settings import Settings, load_settings
from rag.store.audit import record
from rag.telemetry import configure_logging, log

_MODULES: Final = (
    search,
    answers,
    collections,
    jobs,
    admin,
    approvals,
    audit,
    spaces,
    erasure,
    retention,
    health,
    metrics,
    catalogue,
    openapi,
    swagger,
    usage,
)
_FORM_FIELDS: Final = 16


class Application(Litestar):
    """A litestar application with a door before it, which unrouted requests pass through too."""

    body_timeout_s = 30.0

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        """Answer a request."""
        if scope["type"] == ScopeType.HTTP:
            inside, http = super().__call__, cast("HTTPScope", scope)
            await admit(inside, http, cast("Receive", receive), cast("Send", send), body_timeout_s=self.body_timeout_s)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings | None = None, *, services: Services | None = None) -> Application:
    """The application; it opens its services at start and closes them at stop, unless it is given open ones.

    Without settings it reads the environment and sets up the log, as a server's worker process needs it.
    """
    if settings is None and services is None:
        settings = load_settings()
        configure_logging(settings.log_format, settings.log_level)
    used = services.settings if services else settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_services(used) as opened:
            app.state.services = opened
            await _announce(opened)
            yield

    handlers = [route for module in _MODULES for route in module.ROUTES]
    # A document in JSON takes more bytes than its content: escapes, and what stands beside it.
    uploads = Router("/", route_handlers=documents.ROUTES, request_max_body_size=_upload_bytes(used))
    application = Application(
        route_handlers=[*handlers, uploads],
        middleware=[
            Preflight(),
            Authenticate(Proxies(used.trusted_proxies)),
            RateLimit(),
            KeepToLane(),
            Idempotency(),
            RestoredSegments(),
        ],
        guards=[check_access, check_parameters],
        dependencies=PROVIDED,
        dto=StrictJson,
        return_dto=None,
        exception_handlers={Exception: answer_problem},
        request_max_body_size=used.max_body_bytes,
        multipart_form_part_limit=_FORM_FIELDS,
        state=State({"services": services} if services else {}),
        lifespan=[] if services else [lifespan],
        logging_config=None,
        openapi_config=None,
        debug=False,
    )
    application.body_timeout_s = used.body_timeout_s
    return application


async def _announce(services: Services) -> None:
    """Leave in the trail under which rules this process serves."""
    settings = services.settings
    mode = "required" if settings.approvals_required else "off"
    if mode == "off":
        log.warning("approvals_off", says="one operator alone can do a privileged act; see CLOISTER_APPROVALS")
    rules: dict[str, Detail] = {"approvals": mode, "refusal_threshold": str(settings.refusal_threshold)}
    async with services.database.control() as connection:
        await record(connection, None, Event(act=Act.SERVICE_START, detail=rules))


def _upload_bytes(settings: Settings) -> int:
    return 2 * settings.max_document_bytes + 1_000_000
