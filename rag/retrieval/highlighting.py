"""Where in a passage the words stand that a query matches."""

import re
from collections.abc import Mapping
from typing import Final

from rag.domain import ChunkId, Passage
from rag.store.database import TenantConnection
from rag.store.search import LexicalPlan, matching_words

_WORD: Final = re.compile(r"\w+(?:[-'.]\w+)*")


async def mark(
    connection: TenantConnection, passages: Mapping[ChunkId, Passage], plan: LexicalPlan | None, languages: set[str]
) -> dict[ChunkId, list[tuple[int, int]]]:
    """The spans, in characters of each passage's text, of the words that any of the plan's terms matches.

    Corrections, completions and synonyms are terms as well. No plan, no marks.
    """
    if plan is None:
        return {}
    spans = {
        chunk: [(match.start(), match.end(), match[0]) for match in _WORD.finditer(passage.text)]
        for chunk, passage in passages.items()
    }
    words = {word for found in spans.values() for _, _, word in found}
    matching = await matching_words(connection, words, plan.every_term, languages)
    return {chunk: [(start, end) for start, end, word in found if word in matching] for chunk, found in spans.items()}
