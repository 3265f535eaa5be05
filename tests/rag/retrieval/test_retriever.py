import msgspec
import psycopg
import pytest

from rag.domain import Query, SearchResult
from rag.errors import NotFound, SetupError
from rag.retrieval.filters import compile_filter
from rag.retrieval.retriever import normalise
from rag.store.collections import create_collection
from rag.store.documents import delete_document
from rag.telemetry import REGISTRY
from rag.tenancy import ALL_GROUPS

MODES = ["hybrid", "semantic", "keyword"]


def names(result: SearchResult) -> list[str]:
    return [hit.external_id for hit in result.hits]


def leaks() -> float:
    return REGISTRY.get_sample_value("cloister_leaks_caught_total") or 0.0


@pytest.fixture
async def shelf(stock, texts):
    owner = await stock("acme")
    await owner.serve_all(texts)
    return owner


@pytest.fixture
def search(retriever, shelf):
    async def run(text: str, *groups: str, **more) -> SearchResult:
        principal = msgspec.structs.replace(shelf.principal, groups=groups)
        return await retriever.search(principal, Query(text=text, **more))

    return run


@pytest.fixture
async def second(shelf):
    """A collection beside the first."""
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "shop")
    return "shop"


# ---------------------------------------------------------------- modes


async def test_a_hit_says_where_it_comes_from(shelf, search):
    await shelf.serve(
        "guide", "Oil the chain every month.", title="Care guide", uri="https://a.example", metadata={"n": 1}
    )
    hit = (await search("how often should I oil the chain?")).hits[0]
    assert (hit.external_id, hit.document_version, hit.collection) == ("guide", 1, "kb")
    assert (hit.title, hit.uri, hit.metadata) == ("Care guide", "https://a.example", {"n": 1})
    assert hit.text == "Oil the chain every month."
    assert (hit.ranks.dense, hit.ranks.lexical) == (1, 1)
    assert 0 < hit.similarity <= 1
    assert hit.explain is None


async def test_meaning_is_found_without_a_common_word(search):
    result = await search("somebody took my bike", mode="semantic")
    assert result.hits[0].external_id == "theft"
    assert all(hit.ranks.lexical is None for hit in result.hits)
    assert names(await search("somebody took my bike", mode="keyword")) == []


async def test_keywords_are_found_and_nothing_but_them(search):
    result = await search("lamps", mode="keyword")
    assert names(result) == ["lights", "lights"]
    for hit in result.hits:
        assert (hit.similarity, hit.ranks.dense) == (None, None)
        assert hit.ranks.lexical in {1, 2}
        assert 0 < hit.score <= 1


async def test_hybrid_finds_what_either_leg_finds(search):
    hybrid = await search("lamp winter", limit=50)
    for mode in ("semantic", "keyword"):
        assert set(names(await search("lamp winter", mode=mode, limit=50))) <= set(names(hybrid))
    assert hybrid.hits[0].external_id in {"lights", "battery"}


@pytest.mark.parametrize("mode", MODES)
async def test_hits_are_best_first_and_the_same_again(search, mode):
    one, two = await search("charge the lamp", mode=mode), await search("charge the lamp", mode=mode)
    assert one.hits == two.hits
    assert [hit.score for hit in one.hits] == sorted((hit.score for hit in one.hits), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in one.hits)
    assert (one.cache, one.embedding_space) == ("miss", "minilm_l6_v2")


async def test_a_question_of_stop_words_is_still_asked_by_meaning(search):
    result = await search("what is it that you can do?")
    assert len(result.hits) == 7
    assert {hit.ranks.lexical for hit in result.hits} == {None}
    assert names(await search("what is it that you can do?", mode="keyword")) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", ["?!", "🚲", "'; --", "a" * 2000, "\ufeff", "%s %(tenant)s", "\\", "() & | !"])
async def test_no_text_is_an_error(search, mode, text):
    assert len((await search(text, mode=mode, highlight=True)).hits) <= 10


async def test_an_empty_corpus_has_no_hits(stock, retriever):
    owner = await stock()
    for mode in MODES:
        result = await retriever.search(owner.principal, Query(text="brake", mode=mode))
        assert result.hits == []
        assert (result.evidence.best_sentence, result.evidence.lexical_coverage) == (0, 0)


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("mode", MODES)
async def test_pages_put_together_are_the_whole(search, shelf, mode):
    await shelf.serve_all({f"lamp-{n}": f"Lamp number {n} costs {n * 7} crowns." for n in range(35)})
    whole = (await search("lamp", mode=mode, limit=50)).hits
    assert len(whole) >= 35
    paged = [
        hit for offset in range(0, 50, 7) for hit in (await search("lamp", mode=mode, limit=7, offset=offset)).hits
    ]
    assert [hit.chunk_id for hit in paged[:50]] == [hit.chunk_id for hit in whole]
    assert len({hit.chunk_id for hit in whole}) == len(whole)


async def test_as_many_are_given_as_are_asked_for_while_there_are(search, shelf):
    await shelf.serve_all({f"lamp-{n}": f"Lamp number {n}." for n in range(80)})
    for limit in (1, 60, 87, 100):
        assert len((await search("lamp", limit=limit)).hits) == min(limit, 87)
    assert len((await search("lamp", limit=50, offset=80)).hits) == 7
    assert (await search("lamp", offset=1000)).hits == []


# ---------------------------------------------------------------- what is in scope


@pytest.mark.parametrize("mode", MODES)
async def test_collections_narrow_the_search(search, shelf, second, mode):
    await shelf.serve("offer", "A red lamp for forty crowns.", collection=second)
    where = {}
    for chosen in (None, ("kb",), ("shop",), ("shop", "kb", "shop"), ()):
        where[chosen] = {hit.collection for hit in (await search("lamp", mode=mode, collections=chosen, limit=50)).hits}
    assert where == {
        None: {"kb", "shop"},
        ("kb",): {"kb"},
        ("shop",): {"shop"},
        ("shop", "kb", "shop"): {"kb", "shop"},
        (): set(),
    }


async def test_an_unknown_collection_and_anothers_are_not_found_in_the_same_words(search, stock):
    other = await stock("bolt")
    async with other.connect() as connection:
        await create_collection(connection, other.tenant, "den")
    said = set()
    for name in ("den", "gone"):
        with pytest.raises(NotFound) as refusal:
            await search("lamp", collections=("kb", name))
        said.add(refusal.value.message.replace(name, "…"))
    assert len(said) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_filters_hold_in_both_legs(search, shelf, mode):
    for n in range(12):
        await shelf.serve(f"lamp-{n}", f"Lamp number {n}.", metadata={"price": n, "brand": ["acme", "bolt"][n % 2]})
    predicate = compile_filter({"price": {"$gte": 4}, "brand": "bolt"})
    found = await search("lamp", mode=mode, filter=predicate, limit=50)
    assert set(names(found)) == {"lamp-5", "lamp-7", "lamp-9", "lamp-11"}
    assert (await search("lamp", mode=mode, filter=compile_filter({"price": 99}))).hits == []


@pytest.mark.parametrize("mode", MODES)
async def test_groups_hold_in_both_legs(search, shelf, mode):
    await shelf.serve("staff", "The staff lamp is in the cellar.", groups=["staff"])
    await shelf.serve("board", "The board lamp is in the attic.", groups=["board"])
    await shelf.serve("either", "The lamp of staff and board is in the hall.", groups=["board", "staff"])
    private = {"staff", "board", "either"}
    seen, before = {}, leaks()
    for groups in ((), ("staff",), ("board",), ("*",), ("other",)):
        seen[groups] = private & set(names(await search("lamp", *groups, mode=mode, limit=50)))
    assert seen == {
        (): set(),
        ("other",): set(),
        ("staff",): {"staff", "either"},
        ("board",): {"board", "either"},
        ("*",): private,
    }
    assert leaks() == before, "a leg named what only the hydration held back"


@pytest.mark.parametrize("mode", MODES)
async def test_another_tenants_documents_are_never_hits(search, stock, retriever, texts, mode):
    other = await stock("bolt")
    await other.serve_all({name: text.replace("lamp", "lamp quokka") for name, text in texts.items()})
    before = leaks()
    ours = await search("lamp quokka", "*", mode=mode, limit=100)
    theirs = await retriever.search(other.principal, Query(text="lamp quokka", mode=mode, limit=100))
    assert ours.hits
    assert not {hit.chunk_id for hit in ours.hits} & {hit.chunk_id for hit in theirs.hits}
    assert not any("quokka" in hit.text for hit in ours.hits)
    assert any("quokka" in hit.text for hit in theirs.hits)
    assert leaks() == before


# ---------------------------------------------------------------- changes


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_deleted_is_gone_at_once(search, shelf, mode):
    assert "lights" in names(await search("lamp", mode=mode))
    async with shelf.connect() as connection:
        await delete_document(connection, shelf.tenant, "kb", "lights")
    assert "lights" not in names(await search("lamp", mode=mode, limit=50))


@pytest.mark.parametrize("mode", MODES)
async def test_of_a_changed_document_the_new_version_is_found_and_the_old_is_not(search, shelf, mode):
    await shelf.serve("lights", "The lamp is now a lantern.")
    hits = [hit for hit in (await search("lamp", mode=mode, limit=50)).hits if hit.external_id == "lights"]
    assert [(hit.document_version, hit.text) for hit in hits] == [(2, "The lamp is now a lantern.")]


async def test_a_document_that_waits_is_not_found(search, shelf):
    await shelf.put("zeppelin", "A zeppelin lamp.")
    assert "zeppelin" not in names(await search("zeppelin", limit=50))


# ---------------------------------------------------------------- highlights


async def test_highlights_are_the_spans_of_matching_words(search):
    hits = (await search("the charging of BATTERIES indoors", highlight=True)).hits
    battery = next(hit for hit in hits if hit.external_id == "battery")
    assert [battery.text[start:end] for start, end in battery.highlights] == ["Charge", "battery", "indoors"]
    assert (await search("battery")).hits[0].highlights == []


async def test_highlights_are_counted_in_characters(search, shelf):
    await shelf.serve("accents", "🚲 Naïve riders’ café-lamps, élan & “Lámps”.")
    hits = (await search("lamp cafe", highlight=True, mode="keyword")).hits
    hit = next(hit for hit in hits if hit.external_id == "accents")
    assert [hit.text[start:end] for start, end in hit.highlights] == ["café-lamps", "Lámps"]


async def test_by_meaning_alone_nothing_is_highlighted(search):
    assert {len(hit.highlights) for hit in (await search("lamp", highlight=True, mode="semantic")).hits} == {0}


async def test_words_are_matched_in_the_language_of_their_collection(search, shelf):
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "laden", language="german")
    await shelf.serve("lampen", "Die Lampen und die Häuser leuchten.", collection="laden")
    hits = (await search("Lampe Haus", mode="keyword", highlight=True, collections=("laden",))).hits
    assert [hit.external_id for hit in hits] == ["lampen"]
    assert [hits[0].text[start:end] for start, end in hits[0].highlights] == ["Lampen", "Häuser"]


# ---------------------------------------------------------------- how it came about


async def test_an_explanation_adds_up(search):
    result = await search("rear lamp", explain=True, limit=50)
    said = result.explain
    dense, lexical = said["dense"], said["lexical"]
    assert (dense["plan"], lexical["plan"]) == ("exact", "rarest words first")
    assert set(lexical["lexemes"]) == {"rear", "lamp"}
    assert dense["candidates"] == len(result.hits)
    assert lexical["candidates"] == sum(hit.ranks.lexical is not None for hit in result.hits)
    assert (dense["ms"], lexical["ms"]) == (said["stage_ms"]["dense"], said["stage_ms"]["lexical"])
    assert dense["weight"] + lexical["weight"] == pytest.approx(1)
    assert said["rerank"] == {"model": None, "candidates": 0, "note": "not asked for"}
    assert said["wording"] == {"corrected": None, "beginning": None, "alternatives": []}
    assert {"corpus", "embed", "wording", "lexical", "dense", "rescore", "fuse", "hydrate"} == said["stage_ms"].keys()
    for hit in result.hits:
        parts = hit.explain
        assert parts["dense"] == pytest.approx((parts["cosine"] + parts["best_sentence"]) / 2, abs=1e-5)
        weight = parts["dense_weight"]
        assert hit.score == pytest.approx(weight * parts["dense"] + (1 - weight) * parts["lexical"], abs=1e-5)
        assert (hit.similarity, weight) == (parts["cosine"], dense["weight"])


async def test_the_weight_is_the_query_s_own(search):
    short, long = [
        (await search(text, explain=True)).explain["dense"]["weight"]
        for text in ("lamp", "does the rear lamp flicker when the battery has a loose cable in winter frost?")
    ]
    assert 0 < long < short < 1


async def test_the_words_decide_where_the_encoder_does_not_read_the_language(search, shelf):
    async with shelf.connect() as connection:
        await create_collection(connection, shelf.tenant, "laden", language="german")
    await shelf.serve("lampen", "Die Lampen leuchten.", collection="laden")
    german, english, both = [
        (await search("lamp", explain=True, collections=names)).explain["dense"]["weight"]
        for names in (("laden",), ("kb",), None)
    ]
    assert german < 0.5 < english == both


async def test_statistics_are_told_to_those_who_read_everything(shelf, retriever, search):
    everyone = msgspec.structs.replace(shelf.principal, groups=ALL_GROUPS)
    whole = (await retriever.search(everyone, Query(text="rear zeppelin", explain=True))).explain["lexical"]
    part = (await search("rear zeppelin", explain=True)).explain["lexical"]
    assert whole["lexemes_known"] == 1
    assert whole["mass"] > 0
    assert (part["lexemes_known"], part["mass"]) == (None, None)  # of documents that this caller may not read


async def test_one_leg_alone_has_all_the_weight(search):
    semantic = (await search("lamp", mode="semantic", explain=True)).explain
    keyword = (await search("lamp", mode="keyword", explain=True)).explain
    assert (semantic["dense"]["weight"], keyword["dense"]["weight"]) == (1, 0)
    assert (semantic["lexical"]["plan"], keyword["dense"]["plan"]) == (None, None)
    assert "embed" not in keyword["stage_ms"]


async def test_evidence_is_the_strongest_sign_of_each_kind(search):
    near, far = await search("How do I charge the battery before winter?"), await search("What is the capital of Peru?")
    for result in (near, far):
        assert all(-1 <= sign <= 1 for sign in msgspec.structs.astuple(result.evidence))
    assert near.evidence.best_sentence > far.evidence.best_sentence
    assert near.evidence.best_chunk > far.evidence.best_chunk
    assert near.evidence.lexical_coverage > far.evidence.lexical_coverage == 0


# ---------------------------------------------------------------- what must never be


async def test_an_id_that_does_not_hydrate_is_dropped_and_counted(search, shelf, settings, servers):
    """As if a leg had named a chunk that its reader may not see."""
    await shelf.serve("staff", "The staff lamp is in the cellar.", groups=["staff"])
    name = settings.secret("database_url").split("/")[-1].split("?")[0]
    with psycopg.connect(servers.admin_url.replace("/postgres?", f"/{name}?")) as admin:
        for table in ("chunk_lexemes", "embeddings_minilm_l6_v2"):
            admin.execute(
                f"UPDATE cloister.{table} SET acl_id = (SELECT acl_id FROM cloister.acl_sets WHERE groups = '{{}}')"
            )
    before = leaks()
    result = await search("lamp in the cellar", limit=50)
    assert "staff" not in names(result)
    assert "lights" in names(result)
    assert leaks() == before + 1


async def test_vectors_of_another_model_are_not_compared(search, settings, servers):
    name = settings.secret("database_url").split("/")[-1].split("?")[0]
    with psycopg.connect(servers.admin_url.replace("/postgres?", f"/{name}?")) as admin:
        admin.execute("UPDATE cloister.embedding_spaces SET model = 'another'")
    with pytest.raises(SetupError, match="another"):
        await search("lamp")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("  two   words \n", "two words"),
        ("\ufb01le \uff21", "file A"),  # a ligature and a full-width letter
        ("e\u0301", "é"),
        ("a\u00a0b", "a b"),
        ("", ""),
    ],
)
def test_queries_are_normalised(given, expected):
    assert normalise(given) == expected
    assert normalise(expected) == expected


async def test_equal_queries_find_the_same(search):
    one, two = await search("rear  lamp"), await search(" rear lamp\n")
    assert one.hits == two.hits
