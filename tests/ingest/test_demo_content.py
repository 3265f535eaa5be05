import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "ingest" / "demo"
HELP = sorted((DEMO / "lumen" / "help").glob("*.md"))
SHOP = sorted((DEMO / "harbor" / "shop").glob("*.md"))
PRODUCTS = [json.loads(line) for line in (DEMO / "harbor" / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()]
QUESTIONS = json.loads((DEMO / "questions.json").read_text(encoding="utf-8"))
SOURCES = {
    "lumen": {path.stem: path.read_text(encoding="utf-8") for path in HELP},
    "harbor": {path.stem: path.read_text(encoding="utf-8") for path in SHOP}
    | {product["external_id"]: product["text"] for product in PRODUCTS},
}

ASKED = [(tenant, entry) for tenant in SOURCES for entry in QUESTIONS[tenant]]


def repeated(values: list[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def headings(markdown: str, mark: str) -> list[str]:
    """The headings of one level, those inside code blocks left out."""
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.findall(rf"^{mark} (.+)$", prose, flags=re.MULTILINE)


def sentences(text: str) -> set[str]:
    return {part.strip() for part in re.split(r"(?<=[.!?])\s", text)}


def test_each_tenant_has_the_promised_number_of_documents():
    assert (len(HELP), len(SHOP), len(PRODUCTS)) == (30, 4, 200)


def test_all_content_is_ascii_and_stays_small():
    files = [path for path in DEMO.rglob("*") if path.suffix in {".md", ".json", ".jsonl"}]
    contents = [path.read_bytes() for path in files]
    assert [path.name for path, data in zip(files, contents, strict=True) if not data.isascii()] == []
    assert sum(map(len, contents)) < 400_000


@pytest.mark.parametrize("path", HELP + SHOP, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_article_opens_with_its_title_and_has_sections(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(headings(text, "#")) == 1
    assert len(headings(text, "##")) >= 3
    assert repeated(headings(text, "##")) == []
    assert 250 <= len(text.split()) <= 600
    assert len(text.encode()) <= 8_000


def test_titles_are_unique_within_a_tenant():
    lumen = [headings(text, "#")[0] for text in SOURCES["lumen"].values()]
    harbor = [headings(path.read_text(encoding="utf-8"), "#")[0] for path in SHOP]
    assert repeated(lumen) == []
    assert repeated(harbor + [product["title"] for product in PRODUCTS]) == []


def test_article_cross_references_name_an_existing_title():
    titles = {headings(text, "#")[0].partition(":")[0] for text in SOURCES["lumen"].values()}
    named = [
        name.partition(":")[0]
        for text in SOURCES["lumen"].values()
        for name in re.findall(r"(?<!\*)\*([A-Z]\w* [^*\n]+)\*(?!\*)", text)
    ]
    assert named
    assert set(named) <= titles


def test_tables_and_code_blocks_are_among_the_articles():
    texts = SOURCES["lumen"].values()
    assert sum("\n|---" in text or "\n| ---" in text for text in texts) >= 10
    assert sum("```" in text for text in texts) >= 3


def test_product_ids_and_addresses_are_unique_and_agree():
    ids = [product["external_id"] for product in PRODUCTS]
    assert ids == [f"HH-{number:04d}" for number in range(1, 201)]
    assert [product["uri"] for product in PRODUCTS] == [
        f"https://harbor.example/p/{external_id.lower()}" for external_id in ids
    ]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product["external_id"])
def test_a_product_carries_complete_metadata(product: dict):
    metadata = product["metadata"]
    assert set(product) == {"external_id", "title", "text", "uri", "metadata"}
    assert set(metadata) == {"brand", "category", "price", "currency", "color", "in_stock", "rating", "tags"}
    assert type(metadata["price"]) in {int, float}
    assert metadata["price"] > 0
    assert metadata["currency"] == "EUR"
    assert type(metadata["in_stock"]) is bool
    assert 3.1 <= metadata["rating"] <= 4.9
    assert metadata["tags"]
    assert repeated(metadata["tags"]) == []
    assert product["title"].startswith(metadata["brand"])
    assert 60 <= len(product["text"].split()) <= 110
    assert 2 <= len(sentences(product["text"])) <= 4


def test_brands_and_categories_give_filters_something_to_do():
    brands = Counter(product["metadata"]["brand"] for product in PRODUCTS)
    categories = Counter(product["metadata"]["category"] for product in PRODUCTS)
    assert (len(brands), len(categories)) == (15, 12)
    assert min(brands.values()) >= 5
    assert min(categories.values()) >= 10
    assert 0 < sum(not product["metadata"]["in_stock"] for product in PRODUCTS) < 100


def test_no_two_products_share_their_sentences():
    descriptions = [sentences(product["text"]) for product in PRODUCTS]
    assert all(len(a & b) <= 0.4 * min(len(a), len(b)) for a, b in combinations(descriptions, 2))


def test_each_tenant_has_its_questions():
    assert {tenant: len(QUESTIONS[tenant]) for tenant in SOURCES} == {"lumen": 20, "harbor": 20}
    assert {tenant: len(asked) for tenant, asked in QUESTIONS["unanswerable"].items()} == {"lumen": 8, "harbor": 8}
    assert sum(entry["source"].startswith("HH-") for entry in QUESTIONS["harbor"]) == 10
    answerable = [entry["question"] for _, entry in ASKED]
    unanswerable = [question for asked in QUESTIONS["unanswerable"].values() for question in asked]
    assert repeated(answerable + unanswerable) == []


@pytest.mark.parametrize(("tenant", "entry"), ASKED, ids=[f"{tenant}-{entry['source']}" for tenant, entry in ASKED])
def test_every_expected_answer_stands_in_its_source(tenant: str, entry: dict):
    assert entry["answer_contains"]
    source = SOURCES[tenant][entry["source"]]
    assert [answer for answer in entry["answer_contains"] if answer not in source] == []


def test_the_tenants_answer_the_same_question_differently():
    lumen, harbor = SOURCES["lumen"]["returns"], SOURCES["harbor"]["returns"]
    assert "41 days" in lumen
    assert "41 days" not in harbor
    assert "30 days" in harbor
    assert "30 days" not in lumen


@pytest.mark.parametrize(("tenant", "other"), [("lumen", "Harbor Home"), ("harbor", "Lumen")])
def test_no_tenant_mentions_the_other(tenant: str, other: str):
    assert [name for name, text in SOURCES[tenant].items() if other in text] == []
