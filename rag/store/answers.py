"""Answers as they were sent, kept for their reader and for whoever has to explain them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from rag.domain import Answer, TenantId
from rag.errors import NotFound
from rag.store.database import TenantConnection
from rag.store.erasure import subject_digest
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
    passages: Sequence[dict[str, Any]],
    user: str | None = None,
) -> None:
    """Store an answer with what it was made from and who asked.

    Nothing is stored when a document that it quotes was deleted, or the person erased, since the question was asked.
    """
    quoted = {citation.document_id for citation in answer.citations}
    quoted |= {hit.document_id for hit in (answer.refusal.nearest if answer.refusal else [])}
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
        "documents": sorted(quoted),
        "body": Jsonb(msgspec.to_builtins(answer)),
        "passages": Jsonb(msgspec.to_builtins(list(passages))),
        "user": user,
        "user_digest": subject_digest("user", tenant, user) if user is not None else None,
        "took_s": answer.took_ms / 1000,
    }
    await connection.execute(statement("answers.keep"), values)


async def get_answer(connection: TenantConnection, tenant: TenantId, answer: UUID, *, acl: Sequence[int]) -> Answer:
    """An answer, while the caller may read every document that it quotes; raises `NotFound`."""
    values = {"tenant": tenant, "answer": answer, "acl": list(acl)}
    row = await (await connection.execute(statement("answers.get"), values)).fetchone()
    if row is None:
        raise NotFound("no such answer")
    return msgspec.convert(row["body"], Answer)
