"""Widget tokens: what they may narrow, what they cannot widen, and the recipes of the documentation."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from rag.authenticator import Authenticator
from rag.domain import Scope, TenantId
from rag.errors import Unauthenticated
from rag.retrieval.filters import compile_filter
from rag.store.keys import create_key, create_signing_secret
from rag.tenancy import Principal
from rag.widgets import narrowed

PAGE = Path(__file__).parents[2] / "docs" / "keys.md"


@pytest.fixture
def key(absent_id) -> Principal:
    return Principal(
        tenant=TenantId(absent_id),
        slug="acme",
        key_id=absent_id,
        kind="publishable",
        scopes=frozenset({"search"}),
        groups=("retail", "trade"),
        origins=("https://a.example", "https://b.example"),
        collections=("help", "shop"),
    )


def claims(**more: object) -> dict[str, object]:
    now = int(time.time())
    return {"iat": now, "exp": now + 900, **more}


def test_a_token_that_says_nothing_is_its_key(key):
    who, expires = narrowed(key, claims())
    assert who == key
    assert expires == pytest.approx(time.time() + 900, abs=5)


def test_what_a_token_says_narrows_its_key(key):
    told = claims(
        sub="ann",
        origins=["https://B.example:443", "https://evil.example"],
        collections=["shop", "vault"],
        groups=["trade"],
        filter={"stock": {"$gt": 0}},
        max_hits=20,
        jti="1",
        nbf=1,
    )
    who, _ = narrowed(key, told)
    assert (who.user, who.origins, who.collections, who.groups) == (
        "ann",
        ("https://b.example",),
        ("shop",),
        ("trade",),
    )
    assert (who.filter, who.max_hits) == (compile_filter({"stock": {"$gt": 0}}), 20)
    assert (who.tenant, who.kind, who.scopes, who.key_id) == (key.tenant, "publishable", key.scopes, key.key_id)


def test_null_origins_and_none_are_no_page_at_all(key):
    assert narrowed(key, claims(origins=None))[0].origins == ()
    assert narrowed(key, claims(origins=[]))[0].origins == ()


def test_a_key_without_origins_gets_none_from_a_token(key):
    bare = msgspec.structs.replace(key, origins=())
    assert narrowed(bare, claims(origins=["https://a.example"]))[0].origins == ()


def test_a_token_chooses_among_all_collections_of_a_key_that_lists_none(key):
    every = msgspec.structs.replace(key, collections=None)
    assert narrowed(every, claims())[0].collections is None
    assert narrowed(every, claims(collections=["shop"]))[0].collections == ("shop",)
    assert narrowed(key, claims(collections=["vault"]))[0].collections == ()
    assert narrowed(every, claims(collections=[]))[0].collections == ()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"filters": {"a": 1}}, "filters"),  # a claim that is misspelt would narrow nothing
        ({"tenant": "bolt"}, "tenant"),
        ({"scope": "manage"}, "scope"),
        ({"groups": ["board"]}, "groups that its key does not have"),
        ({"groups": ["*"]}, "groups that its key does not have"),
        ({"groups": None}, "groups"),
        ({"filter": {"$near": 1}}, r"/filter/\$near"),
        ({"filter": None}, "filter"),
        ({"filter": "stock > 0"}, "filter"),
        ({"max_hits": 0}, "max_hits"),
        ({"max_hits": "20"}, "max_hits"),
        ({"max_hits": None}, "max_hits"),
        ({"origins": ["null"]}, "/origins/0"),
        ({"origins": ["*"]}, "/origins/0"),
        ({"collections": None}, "collections"),
        ({"exp": 99_999_999_999}, "24 hours"),
        ({"iat": 0}, "24 hours"),
        ({"exp": "soon"}, "exp"),
    ],
)
def test_a_token_that_is_made_wrong_is_refused_with_the_reason(key, told, reason):
    with pytest.raises(Unauthenticated, match=f"^the token is not valid: .*{reason}"):
        narrowed(key, claims(**told))


# ---------------------------------------------------------------- the recipes


def recipe(language: str) -> str:
    section = PAGE.read_text("utf-8").split("\n## Widget tokens\n")[1].split("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


def interpreter(language: str) -> list[str]:
    programs = {"python": sys.executable, "js": shutil.which("node"), "sh": shutil.which("sh")}
    program = programs[language]
    if program is None:
        pytest.skip(f"there is nothing here to run {language} with")
    return [program, "-"] if language != "sh" else [program, "-s"]


def minted(language: str, *, key_id: str, secret: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        interpreter(language),
        input=recipe(language),
        env={"PATH": os.environ["PATH"], "KEY_ID": key_id, "SIGNING_SECRET": secret},
        text=True, capture_output=True, check=True,
    )  # fmt: skip


@pytest.mark.parametrize("language", ["python", "js", "sh"])
async def test_the_recipe_mints_a_token_that_holds(language, acme):
    async with acme.connect() as connection:
        _, key_id = await create_key(
            connection, acme.tenant, kind="publishable", scopes=[Scope.SEARCH], origins=["https://shop.example"]
        )
        secret = await create_signing_secret(connection, acme.tenant, key_id)
    done = minted(language, key_id=str(key_id), secret=secret)
    who = await Authenticator(acme.database).identify(done.stdout.strip())
    assert (who.tenant, who.key_id, who.kind, who.scopes) == (acme.tenant, key_id, "publishable", {"search"})
    assert (who.origins, who.collections, who.max_hits) == (("https://shop.example",), ("shop",), 20)
    assert who.filter == compile_filter({"stock": {"$gt": 0}})
    assert secret not in done.stdout
    assert done.stderr == ""
