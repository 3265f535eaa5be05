"""How a query is read: corrections, beginnings, synonyms, and what none of them may give away."""

import msgspec
import pytest

from rag.domain import Query, SearchResult
from rag.retrieval.wording import fold
from rag.store.collections import CollectionChange, create_collection, update_collection
from rag.store.documents import delete_document

SHOP = {
    "mouse": "A wireless mouse with two buttons.",
    "keyboard": "A wireless keyboard for gaming.",
    "headphones": "Headphones with a long cable.",
    "lamp": "A desk lamp, TN-2110.",
    "charger": "Charging at the charger of a charged phone.",
}


def names(result: SearchResult) -> list[str]:
    return [hit.external_id for hit in result.hits]


def marked(result: SearchResult) -> set[str]:
    return {hit.text[start:end] for hit in result.hits for start, end in hit.highlights}


@pytest.fixture
async def shelf(stock):
    owner = await stock("acme")
    await owner.serve_all(SHOP)
    return owner


@pytest.fixture
def search(retriever, shelf):
    async def run(text: str, *groups: str, **more) -> SearchResult:
        principal = msgspec.structs.replace(shelf.principal, groups=groups)
        query = Query(text=text, **{"mode": "keyword", "correct": True, "highlight": True, **more})
        return await retriever.search(principal, query)

    return run


# ---------------------------------------------------------------- corrections


@pytest.mark.parametrize("typed", ["haedphones", "headphnes", "headphoones", "hexdphones", "headpohnse", "HAEDPHONES"])
async def test_a_misspelled_word_is_searched_as_it_was_meant(search, typed):
    result = await search(typed)
    assert names(result) == ["headphones"]
    assert result.corrected_query == "headphones"
    assert marked(result) == {"Headphones"}


async def test_only_the_misspelled_word_is_replaced(search):
    result = await search("Wireless mosue, please")
    assert result.corrected_query == "Wireless mouse, please"
    assert names(result) == ["mouse", "keyboard"]


async def test_words_that_the_documents_have_are_left_alone(search):
    for text in ("wireless mouse", "lamps", "what is that about", "charger"):
        assert (await search(text)).corrected_query is None


async def test_article_numbers_and_short_words_are_never_corrected(search):
    for text in ("TN-2111", "tn2110x", "lmp", "a1b2c3d4e5"):
        result = await search(text)
        assert result.corrected_query is None
    assert names(await search("TN-2110")) == ["lamp"]


async def test_nothing_is_corrected_unless_it_is_asked_for(search):
    result = await search("haedphones", correct=False)
    assert (result.hits, result.corrected_query) == ([], None)


async def test_a_word_that_was_just_written_is_known(search, shelf):
    assert (await search("mousse")).corrected_query == "mouse"
    await shelf.serve("sweet", "A mousse of chocolate.")
    result = await search("mousse")
    assert (result.corrected_query, names(result)) == (None, ["sweet"])


async def test_of_words_as_near_the_one_beside_the_others_is_meant(search, shelf):
    await shelf.serve_all({f"house-{n}": "A garden house." for n in range(5)})
    assert (await search("ouse")).corrected_query == "house"
    assert (await search("wireless ouse")).corrected_query == "wireless mouse"


async def test_a_rare_word_stays_and_what_may_have_been_meant_comes_after_it(search, shelf):
    await shelf.serve("many", "\n\n".join(f"A green chair, number {n}." for n in range(70)))
    await shelf.serve("typo", "A blue chiar.")
    result = await search("chiar", limit=20)
    assert names(result)[0] == "typo"
    assert set(names(result)[1:]) == {"many"}
    assert result.corrected_query == "chair"


async def test_in_a_hybrid_query_the_corrected_words_are_embedded(search):
    clean = await search("headphones", mode="hybrid")
    typed = await search("haedphones", mode="hybrid")
    assert typed.hits == clean.hits
    assert (clean.corrected_query, typed.corrected_query) == (None, "headphones")


async def test_by_meaning_alone_nothing_is_corrected(search):
    assert (await search("haedphones", mode="semantic")).corrected_query is None


# ---------------------------------------------------------------- what is closed stays closed


async def test_a_word_of_closed_documents_corrects_nothing_for_those_who_may_not_read_them(search, shelf):
    await shelf.serve_all({"secret": "The heron flies at dawn."}, groups=["staff"])
    assert (await search("herno", "staff")).corrected_query == "heron"
    outside = await search("herno", "other")
    assert (outside.corrected_query, outside.hits) == (None, [])


async def test_a_word_of_closed_documents_is_itself_corrected_as_if_it_stood_nowhere(search, shelf):
    await shelf.serve_all({"open": "The herons of the lake.", "hero": "A hero."})
    before = await search("heronx")
    await shelf.serve_all({"secret": "heronx\n\nheronx again"}, groups=["staff"])
    after = await search("heronx")
    assert before.corrected_query == after.corrected_query
    assert before.corrected_query is not None
    assert names(before) == names(after)
    assert (await search("heronx", "staff")).corrected_query is None


async def test_a_stem_that_is_open_does_not_show_the_closed_word_of_that_stem(search, shelf):
    await shelf.serve_all({"open": "universal joints"})
    await shelf.serve_all({"closed": "the university"}, groups=["staff"])
    assert (await search("univrsity", "staff")).corrected_query == "university"
    assert (await search("univrsity")).corrected_query != "university"


async def test_another_tenants_words_correct_nothing(search, stock):
    other = await stock("bolt")
    await other.serve_all({"vault": "The quillhaven opens."})
    assert (await search("quilhaven")).corrected_query is None


async def test_words_of_collections_that_are_not_searched_correct_nothing(search, shelf):
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "den")
    await shelf.serve_all({"vault": "The quillhaven opens."}, collection="den")
    assert (await search("quilhaven")).corrected_query == "quillhaven"
    assert (await search("quilhaven", collections=("kb",))).corrected_query is None


async def test_a_word_that_was_closed_or_deleted_corrects_nothing_any_more(search, shelf):
    await shelf.serve_all({"one": "A quokka."})
    assert (await search("qoukka")).corrected_query == "quokka"
    await shelf.serve("one", "A quokka.", groups=["staff"])
    assert (await search("qoukka")).corrected_query is None
    async with shelf.connect() as connection:
        await delete_document(connection, shelf.tenant, "kb", "one")
    assert (await search("qoukka", "staff")).corrected_query is None


# ---------------------------------------------------------------- as you type


@pytest.mark.parametrize("typed", ["he", "head", "headpho", "headphones"])
async def test_the_last_word_may_go_on(search, typed):
    result = await search(typed, prefix=True)
    assert names(result) == ["headphones"]
    assert marked(result) == {"Headphones"}
    assert result.corrected_query is None


async def test_only_the_last_word_may_go_on(search):
    assert names(await search("wireless key", prefix=True))[0] == "keyboard"
    assert set(names(await search("key wireless", prefix=True))) == {"mouse", "keyboard"}
    assert names(await search("key")) == []


async def test_a_beginning_completes_words_as_they_are_written(search):
    """The stem of `Charging` is `charg`: what is typed after that is in no stem."""
    assert names(await search("chargi", prefix=True)) == ["charger"]


async def test_a_whole_word_comes_before_those_that_it_begins(search, shelf):
    await shelf.serve_all({"lampshade": "A lampshade of linen.", "lampposts": "Lampposts, a lampshade."})
    assert names(await search("lamp", prefix=True))[0] == "lamp"
    assert set(names(await search("lamp", prefix=True))) == {"lamp", "lampshade", "lampposts"}


async def test_an_article_number_may_go_on(search, shelf):
    await shelf.serve_all({"hp": "The dv7-1211ea notebook."})
    for typed in ("dv7-12", "dv7", "TN-21"):
        assert names(await search(typed, prefix=True)) == ["lamp" if typed == "TN-21" else "hp"]


async def test_a_misspelled_beginning_is_mended(search):
    result = await search("wireless keybaor", prefix=True)
    assert names(result)[0] == "keyboard"
    assert result.corrected_query == "wireless keyboard"
    assert "keyboard" in marked(result)
    assert names(await search("haedp", prefix=True)) == ["headphones"]


async def test_a_beginning_says_nothing_of_closed_documents(search, shelf):
    await shelf.serve_all({"secret": "The heron flies at dawn."}, groups=["staff"])
    assert names(await search("hero", "staff", prefix=True)) == ["secret"]
    result = await search("hero", prefix=True, explain=True)
    assert (result.hits, result.corrected_query) == ([], None)
    assert "heron" not in str(result.explain)


@pytest.mark.parametrize("text", ["?!", "the", "'", "a" * 500, "\\", "() & | !:*", "-", "wi-", "%", "x'y:*"])
async def test_no_text_is_an_error(search, text):
    for mode in ("keyword", "hybrid"):
        assert len((await search(text, prefix=True, mode=mode)).hits) <= 10


# ---------------------------------------------------------------- synonyms


@pytest.fixture
async def synonyms(shelf):
    async with shelf.connect() as connection:
        groups = [["earphones", "headphones"], ["input device", "mouse", "keyboard"], ["telly", "television"]]
        await update_collection(connection, shelf.tenant, "kb", CollectionChange(synonyms=groups))


@pytest.mark.usefixtures("synonyms")
async def test_a_synonym_finds_what_the_word_would(search):
    result = await search("Earphones")
    assert (names(result), marked(result), result.corrected_query) == (["headphones"], {"Headphones"}, None)


@pytest.mark.usefixtures("synonyms")
async def test_a_phrase_has_synonyms_and_is_one(search, shelf):
    assert set(names(await search("an input device"))) == {"mouse", "keyboard"}
    await shelf.serve_all({"device": "The input device of the year."})
    assert set(names(await search("mouse"))) == {"mouse", "device", "keyboard"}


@pytest.mark.usefixtures("synonyms")
async def test_what_was_typed_comes_before_its_synonyms(search, shelf):
    await shelf.serve_all(
        {"phrase": "One input device here.", "other": "One keyboard here now.", "same": "One mouse here now."}
    )
    assert names(await search("mouse"))[0] == "same"


@pytest.mark.usefixtures("synonyms")
async def test_a_word_that_has_synonyms_is_no_misspelling(search, shelf):
    await shelf.serve_all({"tell": "Do tell me."})
    assert (await search("telly")).corrected_query is None


@pytest.mark.usefixtures("synonyms")
async def test_a_corrected_word_has_synonyms(search, shelf):
    await shelf.serve_all({"tv": "A television.", "old": "An old telly."})
    result = await search("televison")
    assert (set(names(result)), result.corrected_query) == ({"tv", "old"}, "television")


@pytest.mark.usefixtures("synonyms")
async def test_synonyms_are_those_of_the_searched_collections(search, shelf):
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "den")
    await shelf.serve_all({"other": "Headphones."}, collection="den")
    assert names(await search("earphones", collections=("den",), correct=False)) == []
    assert set(names(await search("earphones"))) == {"headphones", "other"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [("  Flat-Screen  TV! ", "flat screen tv"), ("Café", "cafe"), ("?!", ""), ("STRASSE", "strasse")],
)
def test_texts_are_folded_to_their_words(given, expected):
    assert fold(given) == expected
    assert fold(expected) == expected
