"""Answers as they were sent, kept for their reader and for whoever has to explain them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from rag.domain import Answer, TenantId
from rag.errors import NotFound
from rag.store.database import TenantConnection
from rag.store.statements import statement


async def keep_answer(
    connection: TenantConnection,
    tenant: TenantId,
    answer: Answer,
    *,
    key: UUID,
    question: str,
    corpus_version: int,
    space: str,
    acl: Sequence[int],
    passages: Sequence[dict[str, Any]],
) -> None:
    """Store an answer with what it was made from."""
    values = {
        "tenant": tenant,
        "answer": answer.id,
        "key": key,
        "question": question,
        "status": answer.status,
        "refusal_code": answer.refusal.code if answer.refusal else None,
        "gateway": answer.gateway,
        "corpus_version": corpus_version,
        "space": space,
        "acl": list(acl),
        "body": Jsonb(msgspec.to_builtins(answer)),
        "passages": Jsonb(msgspec.to_builtins(list(passages))),
    }
    await connection.execute(statement("answers.keep"), values)


async def get_answer(connection: TenantConnection, tenant: TenantId, answer: UUID, *, acl: Sequence[int]) -> Answer:
    """An answer, for a caller who may read all that its asker could; raises `NotFound`."""
    values = {"tenant": tenant, "answer": answer, "acl": list(acl)}
    row = await (await connection.execute(statement("answers.get"), values)).fetchone()
    if row is None:
        raise NotFound("no such answer")
    return msgspec.convert(row["body"], Answer)
