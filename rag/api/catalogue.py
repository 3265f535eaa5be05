"""/problems/{code}: what a problem's `type` leads to."""

from collections.abc import Iterator
from typing import Final

import msgspec
from litestar import get
from litestar.params import FromPath

from rag.api.access import PUBLIC
from rag.api.problems import TYPE
from rag.errors import CloisterError, NotFound


class ProblemType(msgspec.Struct, frozen=True, kw_only=True):
    """What a code means; a `transient` problem may pass, so the same request may be sent again."""

    type: str
    code: str
    status: int
    title: str
    description: str
    transient: bool


@get(
    "/problems/{code:str}",
    operation_id="describeProblem",
    tags=["health"],
    summary="What a problem means",
    opt=PUBLIC,
)
async def describe_problem(code: FromPath[str]) -> ProblemType:
    """The meaning of the `type` of a problem document."""
    found = catalogue().get(code)
    if found is None:
        raise NotFound(f"no problem is named '{code}'")
    return found


def catalogue() -> dict[str, ProblemType]:
    """Every code that the program can raise, by code."""
    return {kind.code: _described(kind) for kind in _tree(CloisterError)}


def _tree(kind: type[CloisterError]) -> Iterator[type[CloisterError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _described(kind: type[CloisterError]) -> ProblemType:
    return ProblemType(
        type=TYPE.format(code=kind.code),
        code=kind.code,
        status=kind.status,
        title=kind.title,
        description=" ".join((kind.__doc__ or "").split()),
        transient=kind.transient,
    )


ROUTES: Final = (describe_problem,)
