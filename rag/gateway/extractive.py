"""An answer made of the sources' own sentences: no key, no network, no invention. Also what is left in bad times."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from rag.domain import Passage
from rag.gateway.base import Claim, Draft, Source

_SENTENCES: Final = 3
# Chosen on two public question sets; docs/answers.md has the figures.
_MARGIN: Final = 0.25  # how far below the best sentence another may score
_OVERLAP: Final = 0.3
_RELEVANCE: Final = 0.5
_NUMBER: Final = 0.1
_LIST_ITEMS: Final = 6
_LEAST_WORDS: Final = 3
_DUPLICATE: Final = 0.6
_LEAST_STEM: Final = 3
_CELL: Final = " | "
_WORD: Final = re.compile(r"\w+")
_ASKS_A_NUMBER: Final = re.compile(
    r"\b(?:how (?:many|much|long|old|far|often|big|large|high|deep|fast|heavy|hard)|when|cost|price|"
    r"(?:what|which) (?:\w+ )?(?:year|date|day|time|number|percentage|temperature|age))\b",
    re.IGNORECASE,
)
_HOLDS_A_NUMBER: Final = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand|million|half)\b", re.IGNORECASE
)
_EMPTY_WORDS: Final = frozenset(
    (
        "a an and are as at be but by can could did do does for from has have how i if in is it its me my of "
        "on or our should that the their there they this to us was we what when where which who why will with "
        "would you your"
    ).split()
)


class ExtractiveGateway:
    """Picks the sentences nearest to the question and joins them in reading order."""

    name = "extractive"

    async def answer(self, question: str, passages: Sequence[Passage], sources: Sequence[Source]) -> Draft:
        """The best sentence and those about as good; a sentence that opens a list brings the list with it."""
        scores = _scores(question, passages, sources)
        worth = [i for i, s in enumerate(sources) if _says_something(s.text) and not _heads_a_table(i, sources)]
        ranked = sorted(worth, key=lambda i: (-scores[i], i))
        if not ranked:
            return Draft([])
        chosen: list[int] = []
        for index in ranked:
            if len(chosen) == _SENTENCES or scores[index] < scores[ranked[0]] - _MARGIN:
                break
            if all(not _alike(sources[index].text, sources[other].text) for other in chosen):
                chosen.append(index)
        complete = [index for first in chosen for index in (first, *_list_after(first, sources))]
        order = {sources[index].passage: rank for rank, index in reversed(list(enumerate(complete)))}
        reading = sorted(set(complete), key=lambda i: (order[sources[i].passage], i))
        return Draft([Claim(_one_line(sources[index].text), [index]) for index in reading])


def _scores(question: str, passages: Sequence[Passage], sources: Sequence[Source]) -> list[float]:
    asked = _stems(question)
    headings = [_stems(" ".join((passage.title or "", *passage.heading_path))) for passage in passages]
    said = [{word for word in asked if _says(word, _stems(s.text) | headings[s.passage])} for s in sources]
    # A word of the question that few of these sentences hold tells more than one that they all hold.
    held = Counter(word for words in said for word in words)
    weights = {word: math.log(1 + len(sources) / count) for word, count in held.items()}
    total = sum(weights.values()) or 1.0
    number = bool(_ASKS_A_NUMBER.search(question))
    return [
        source.similarity
        + _OVERLAP * sum(weights[word] for word in words) / total
        + _RELEVANCE * source.relevance
        + (_NUMBER if number and _HOLDS_A_NUMBER.search(source.text) else 0.0)
        for source, words in zip(sources, said, strict=True)
    ]


def _says(word: str, said: set[str]) -> bool:
    if word in said:
        return True
    return any(
        min(len(word), len(other)) >= _LEAST_STEM and (other.startswith(word) or word.startswith(other))
        for other in said
    )


def _says_something(text: str) -> bool:
    return len(_WORD.findall(text)) >= _LEAST_WORDS and not text.rstrip().endswith("?")


def _heads_a_table(index: int, sources: Sequence[Source]) -> bool:
    # The first of several rows names the columns, and answers nothing.
    if _CELL not in sources[index].text:
        return False
    before, after = (sources[i] if 0 <= i < len(sources) else None for i in (index - 1, index + 1))
    here = sources[index].passage
    follows = before is not None and before.passage == here and _CELL in before.text
    return not follows and after is not None and after.passage == here and _CELL in after.text


def _list_after(index: int, sources: Sequence[Source]) -> list[int]:
    # "Do this:" says nothing without what follows it.
    if not sources[index].text.rstrip().endswith(":"):
        return []
    following = range(index + 1, min(index + 1 + _LIST_ITEMS, len(sources)))
    return [other for other in following if sources[other].passage == sources[index].passage]


def _alike(one: str, other: str) -> bool:
    a, b = _stems(one), _stems(other)
    return bool(a and b) and len(a & b) / len(a | b) > _DUPLICATE


def _stems(text: str) -> set[str]:
    # Five letters stand for a word and its inflections well enough to compare two sentences.
    return {word[:5] for word in _WORD.findall(text.lower()) if word not in _EMPTY_WORDS}


def _one_line(text: str) -> str:
    return " ".join(text.split())
