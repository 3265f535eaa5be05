"""A stand-in for `unstructured.nlp.tokenize`, which wants spaCy and downloads a model at first use.

Only one decision hangs on it: whether an untagged one-line text is called a title or a narrative. Headings,
lists, tables and code are decided by the markup. See docs/dependencies.md.
"""

import re
import sys
from types import ModuleType

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+|[^\w\s]")
_VERB_ENDING = re.compile(r"(?:ed|ing|ize|ise|ify)$")
_VERBS = frozenset(
    (
        "am are be been can could did do does had has have is may might must shall should was were will "
        "would add allow appear apply ask become begin build call change check choose click come connect "
        "contain create depend enable enter find follow get give go happen help hold include install keep "
        "know leave let like look make mean move need offer open provide put read remove require restart "
        "return run say see select send set show stop support take tell think try turn update use want "
        "work write came found gave got held kept knew left made meant put ran said saw sent set took "
        "thought told went wrote"
    ).split()
)


def sent_tokenize(text: str) -> list[str]:
    """Split after `.`, `!` and `?`."""
    return [sentence for sentence in _SENTENCE_END.split(text) if sentence]


def word_tokenize(text: str) -> list[str]:
    """Split into words and single punctuation marks."""
    return _WORD.findall(text)


def pos_tag(text: str) -> list[tuple[str, str]]:
    """Tag common and regular verbs `VB`, everything else `NN`."""
    return [(word, "VB" if _is_verb(word.lower()) else "NN") for word in word_tokenize(text)]


def install() -> None:
    """Put this module where unstructured looks for its tokenizer; call it before unstructured is imported."""
    stub = ModuleType("unstructured.nlp.tokenize", __doc__)
    vars(stub).update(sent_tokenize=sent_tokenize, word_tokenize=word_tokenize, pos_tag=pos_tag)
    sys.modules.setdefault(stub.__name__, stub)


def _is_verb(word: str) -> bool:
    stem = word.removesuffix("s")
    return word in _VERBS or stem in _VERBS or bool(_VERB_ENDING.search(word))
