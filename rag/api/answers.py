"""POST /v1/answers and GET /v1/answers/{answer_id}."""

from typing import Any, Final
from uuid import UUID

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from rag.api.access import Cost, allow
from rag.api.idempotency import REPLAYED
from rag.api.schemas import AnswerRequest
from rag.api.search import compiled
from rag.api.visits import visit_of
from rag.domain import Answer, Scope
from rag.generation.answerer import Answerer
from rag.tenancy import Principal


@post(
    "/v1/answers",
    status_code=200,
    operation_id="createAnswer",
    tags=["answers"],
    summary="Answer a question from the documents, or refuse",
    opt={**allow(Scope.ANSWER, cost=Cost.ANSWER), **REPLAYED, "problems": (404,)},
)
async def create_answer(
    data: JSONBody[AnswerRequest],
    request: Request[Any, Any, Any],
    principal: NamedDependency[Principal],
    answerer: NamedDependency[Answerer],
) -> Answer:
    """An answer whose every sentence is cited, or a refusal with the nearest sources; both are a 200."""
    visit = visit_of(request.scope)
    answer = await answerer.answer(
        principal,
        question=data.question,
        collections=None if data.collections is None else tuple(data.collections),
        filter=compiled(data.filters),
        max_citations=data.max_citations,
        request_id=visit.request_id,
    )
    visit.answer = answer.id
    return answer


@get(
    "/v1/answers/{answer_id:uuid}",
    operation_id="getAnswer",
    tags=["answers"],
    summary="Read an answer again",
    opt=allow(Scope.ANSWER),
)
async def get_answer(
    answer_id: FromPath[UUID], principal: NamedDependency[Principal], answerer: NamedDependency[Answerer]
) -> Answer:
    """The answer as it was given, for a key that may read all that it rests on."""
    return await answerer.get(principal, answer_id)


ROUTES: Final = (create_answer, get_answer)
