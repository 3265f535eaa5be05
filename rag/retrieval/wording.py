"""What a query says, word by word: the beginning of a word that it ends in, misspellings, synonyms.

Nothing of the tenant's vocabulary leaves here that was not found in the caller's own scope: a word that stands in
documents closed to the caller corrects nothing, and corrects itself as if it stood nowhere.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from rag.domain import Query
from rag.retrieval.typos import Candidate, Typed, correctable, edits_allowed, nearest, replaced
from rag.store.collections import synonyms_of
from rag.store.corpus import CollectionState
from rag.store.database import TenantConnection
from rag.store.search import Alternative, LexicalPlan, SearchScope, lexical_plan
from rag.store.vocabulary import COMMON, WordCount, count_words, near_words

_WORD: Final = re.compile(r"\w+")
_SYNONYM: Final = 0.9  # of a word's weight: what was typed comes first
_MEANT: Final = 0.5  # of a rare word's weight: the common one that it may be a misspelling of
_CANDIDATES: Final = 8  # of a misspelled word, that are looked for in the scope
_ALTERNATIVES: Final = 32


class Correction(msgspec.Struct, frozen=True):
    """A word that was typed, the one that is searched for it, and how much of that has been typed."""

    typed: Typed
    word: str
    letters: int
    edits: int
    instead: bool  # of the typed word, which no document has; else beside it


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """A query ready for the lexical leg: `text` without the `beginning` that it ends in, and what stands for what.

    `corrected` is the whole query with every correction in it, None when there is none; `instead` says that it holds
    a word in the place of one that no document has, so that the typed query is not worth embedding.
    """

    text: str
    beginning: str | None = None
    alternatives: list[Alternative] = []
    corrected: str | None = None
    instead: bool = False

    def told(self) -> dict[str, Any]:
        """What an explanation says of it; completions are left out, for they may stand in closed documents alone."""
        return {
            "corrected": self.corrected,
            "beginning": self.beginning,
            "alternatives": [[each.stands_for, each.text] for each in self.alternatives],
        }

    async def plan(self, connection: TenantConnection, scope: SearchScope, languages: set[str]) -> LexicalPlan | None:
        """The wording weighed by the tenant's statistics; None when only stop words are left."""
        return await lexical_plan(
            connection,
            scope.tenant,
            self.text,
            languages,
            beginning=self.beginning,
            alternatives=self.alternatives,
        )


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a query is read: the scope and its languages, and what more is known of the caller.

    `synonyms` are those of the searched collections; `trusting` and `confinement` as in `count_words`.
    """

    scope: SearchScope
    languages: set[str]
    synonyms: Sequence[Sequence[str]] = ()
    trusting: bool = False
    confinement: str | None = None


def fold(text: str) -> str:
    """A text as it is compared with synonyms and pins: lower case, without accents, the words alone."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(_WORD.findall(plain))


class Asked(msgspec.Struct, frozen=True):
    """What a query says, and what it asks of the lexical leg; a None plan asks nothing.

    `text` is what to embed: the query, or where a word of it stands in no document, the corrected query.
    """

    text: str
    wording: Wording
    plan: LexicalPlan | None


async def understand(
    connection: TenantConnection,
    scope: SearchScope,
    query: Query,
    text: str,
    chosen: Sequence[CollectionState],
    *,
    trusting: bool,
    confinement: str | None = None,
) -> Asked:
    """Read a query, of which `text` is the normalised form, by the words and synonyms of the chosen collections.

    `trusting` and `confinement` as in `count_words`.
    """
    numbers = [collection.collection_id for collection in chosen if collection.has_synonyms]
    reader = Reader(
        scope=scope,
        languages={collection.language for collection in chosen},
        synonyms=await synonyms_of(connection, scope.tenant, numbers) if numbers else (),
        trusting=trusting,
        confinement=confinement,
    )
    wording = await read_wording(connection, reader, text, prefix=query.prefix, correct=query.correct)
    meant = wording.corrected if wording.instead and wording.corrected else text
    return Asked(meant, wording, await wording.plan(connection, scope, reader.languages))


async def read_wording(
    connection: TenantConnection, reader: Reader, text: str, *, prefix: bool, correct: bool
) -> Wording:
    """Read a normalised query; with `prefix` its last word may go on, with `correct` its misspellings are mended."""
    corrections = await _corrections(connection, reader, text, prefix=prefix) if correct else []
    instead = [(c.typed, c.word[: c.letters]) for c in corrections if c.instead]
    searched = replaced(text, instead)
    beside = [Alternative(c.typed.word, c.word, _MEANT) for c in corrections if not c.instead]
    head, _, tail = searched.rpartition(" ")
    return Wording(
        text=head if prefix else searched,
        beginning=tail if prefix else None,
        alternatives=[*beside, *_synonyms(searched, reader.synonyms)][:_ALTERNATIVES],
        corrected=replaced(text, [(c.typed, c.word) for c in corrections]) if corrections else None,
        instead=bool(instead),
    )


async def _corrections(connection: TenantConnection, reader: Reader, text: str, *, prefix: bool) -> list[Correction]:
    typed = _unexplained(correctable(text, begins=prefix), reader.synonyms)
    rare = [(word, count) for word, count in await _counted(connection, reader, typed) if count < 2]  # noqa: PLR2004
    if not rare:
        return []
    candidates = await _candidates(connection, reader, [word for word, _ in rare])
    rest = replaced(text, [(word, "") for word, count in rare if not count])
    found = await _found(connection, reader, [c.word for near in candidates.values() for c in near], beside=rest)
    chosen = [_choose(word, count, candidates[word], found) for word, count in rare]
    return [correction for correction in chosen if correction]


async def _counted(connection: TenantConnection, reader: Reader, typed: Sequence[Typed]) -> list[tuple[Typed, int]]:
    """In how many chunks of the scope each word stands; stop words are left out."""
    if not typed:
        return []
    counts = await count_words(
        connection,
        reader.scope,
        [word.word for word in typed],
        reader.languages,
        begins=typed[-1].begins,
        confinement=reader.confinement,
        trusting=reader.trusting,
    )
    return [(word, found.chunks) for word, found in zip(typed, counts, strict=True) if found.chunks is not None]


async def _candidates(
    connection: TenantConnection, reader: Reader, rare: Sequence[Typed]
) -> dict[Typed, list[Candidate]]:
    begins = rare[-1].begins
    edits = [edits_allowed(word.word) for word in rare]
    near = await near_words(connection, reader.scope.tenant, [w.word for w in rare], edits, begins=begins)
    return {
        word: nearest(
            next((n.folded for n in near if n.typed == word.word), word.word),
            [n.word for n in near if n.typed == word.word],
            begins=word.begins,
            most=_CANDIDATES,
        )
        for word in rare
    }


async def _found(
    connection: TenantConnection, reader: Reader, words: Iterable[str], *, beside: str
) -> dict[str, WordCount]:
    """Of these words, those that the caller could find, spelled just so."""
    wanted = sorted(set(words))
    if not wanted:
        return {}
    counts = await count_words(
        connection, reader.scope, wanted, reader.languages, beside=beside, confinement=reader.confinement
    )
    return {count.word: count for count in counts if count.written}


def _choose(
    typed: Typed, count: int, candidates: Sequence[Candidate], found: dict[str, WordCount]
) -> Correction | None:
    """The nearest word that the scope has, of words as near the one that stands beside the others oftenest.

    A word that one chunk has is taken for a misspelling only of one that is common and a single mistake away.
    """

    def order(candidate: Candidate) -> tuple[int, bool, int, int]:
        word = found[candidate.word]
        return candidate.edits, candidate.word[:1] != typed.word[:1].lower(), -(word.beside or 0), -(word.chunks or 0)

    there = [candidate for candidate in candidates if candidate.word in found]
    if count:
        there = [c for c in there if c.edits == 1 and found[c.word].chunks == COMMON and not typed.begins]
    if not there:
        return None
    best = min(there, key=order)
    return Correction(typed, best.word, best.letters, best.edits, instead=not count)


def _unexplained(typed: Sequence[Typed], synonyms: Sequence[Sequence[str]]) -> list[Typed]:
    """The words that no list of synonyms knows."""
    known = {word for group in synonyms for member in group for word in fold(member).split()}
    return [word for word in typed if fold(word.word) not in known]


def _synonyms(text: str, synonyms: Sequence[Sequence[str]]) -> list[Alternative]:
    """For each member of a list of synonyms that stands in the text, the other members."""
    padded = f" {fold(text)} "
    return [
        Alternative(member, other, _SYNONYM)
        for group in synonyms
        for member in group
        if fold(member) and f" {fold(member)} " in padded
        for other in group
        if fold(other) != fold(member)
    ]
