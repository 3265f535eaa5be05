"""Identity providers: their file, their keys from files and from a server of their own, what their tokens may say."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rag import issuers as module
from rag.errors import SetupError, Unauthenticated, Unavailable
from rag.issuers import Issuer, load_issuers
from rag.jwt import peek

ISSUER = "https://id.example"
SECRET = "a secret of at least thirty-two bytes"
BASE = """[[issuers]]
issuer = "https://id.example"
audience = "cloister"
algorithms = ["EdDSA", "HS256"]
tenants = ["acme"]
scopes = ["search", "answer"]
"""


class Provider:
    """An identity provider's server: publishes keys, and counts how often it is asked."""

    def __init__(self) -> None:
        self.private = {}
        self.asked = 0
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.delay_s = 0.0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                time.sleep(provider.delay_s)
                status, headers, body = provider.answer or (200, {}, provider.jwks())
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"

    def rotate(self, *kids: str) -> None:
        self.private = {kid: self.private.get(kid) or ed25519.Ed25519PrivateKey.generate() for kid in kids}

    def jwks(self) -> bytes:
        algorithm = jwt.get_algorithm_by_name("EdDSA")
        keys = [{**algorithm.to_jwk(k.public_key(), as_dict=True), "kid": kid} for kid, k in self.private.items()]
        return json.dumps({"keys": keys}).encode()

    def token(self, kid: str | None, private: ed25519.Ed25519PrivateKey | None = None, **more: object) -> str:
        headers = {"kid": kid} if kid else {}
        return jwt.encode(claims(**more), private or self.private[kid], algorithm="EdDSA", headers=headers)


def claims(**more: object) -> dict[str, object]:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": "cloister", "sub": "ann", "tenant": "acme", "iat": now, "exp": now + 60}
    return {name: value for name, value in {**base, **more}.items() if value is not None}


def shared(**more: object) -> str:
    return jwt.encode(claims(**more), SECRET, algorithm="HS256", headers={"kid": "s"})


@pytest.fixture
def provider() -> Iterator[Provider]:
    started = Provider()
    started.rotate("one")
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def write(tmp_path: Path):
    """Write the file of issuers, with a shared secret beside it."""
    (tmp_path / "secret.txt").write_text(SECRET + "\n")

    def run(more: str, base: str = BASE) -> Path:
        file = tmp_path / "issuers.toml"
        file.write_text(base + more)
        return file

    return run


@pytest.fixture
def by_secret(write) -> Issuer:
    return load_issuers(write('keys = [{kid = "s", secret_file = "secret.txt"}]'))[ISSUER]


@pytest.fixture
def by_url(write, provider) -> Issuer:
    return load_issuers(write(f'jwks_url = "{provider.url}"'))[ISSUER]


@pytest.fixture
def no_cool_down(monkeypatch) -> None:
    monkeypatch.setattr(module, "_COOL_DOWN_S", -1.0)


async def verified(issuer: Issuer, token: str):
    return await issuer.verify(token, peek(token))


# ---------------------------------------------------------------- what a token may say


async def test_a_token_stands_for_a_person_of_a_tenant(by_secret):
    person = await verified(by_secret, shared(groups=["staff", "board", "staff"]))
    assert (person.subject, person.tenant, person.groups) == ("ann", "acme", ("board", "staff"))
    assert person.scopes == {"search", "answer"}
    assert person.expires == pytest.approx(time.time() + 60, abs=5)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (None, {"search", "answer"}),
        ("search", {"search"}),
        ("search manage ingest", {"search"}),
        ("openid profile", set()),
        ("", set()),
        (["answer", "manage"], {"answer"}),
    ],
)
async def test_a_scope_is_granted_when_the_issuer_may_grant_it(by_secret, asked, granted):
    assert (await verified(by_secret, shared(scope=asked))).scopes == granted


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": "bolt"},
        {"tenant": None},
        {"tenant": ""},
        {"tenant": ["acme"]},
        {"iss": "https://other.example"},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 257},
        {"iat": None},
        {"exp": None},
        {"exp": "99999999999"},
        {"groups": ["*"]},
        {"groups": "staff"},
        {"groups": [""]},
        {"groups": ["g"] * 65},
        {"scope": 7},
    ],
)
async def test_every_bad_token_is_refused_in_the_same_words(by_secret, wrong):
    with pytest.raises(Unauthenticated, match=r"^the token is not valid$"):
        await verified(by_secret, shared(**wrong))


async def test_all_groups_are_given_only_where_the_file_says_so(write):
    file = write('all_groups = true\nkeys = [{kid = "s", secret_file = "secret.txt"}]')
    assert (await verified(load_issuers(file)[ISSUER], shared(groups=["*"]))).groups == ("*",)


async def test_a_token_names_its_key(by_secret, write):
    for headers in ({"kid": "t"}, {"kid": ""}, {"kid": "S"}):
        with pytest.raises(Unauthenticated):
            await verified(by_secret, jwt.encode(claims(), SECRET, algorithm="HS256", headers=headers))
    bare = jwt.encode(claims(), SECRET, algorithm="HS256")
    assert await verified(by_secret, bare), "there is only one it could be"
    pem = ed25519.Ed25519PrivateKey.generate().public_key()
    text = pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    two = f"keys = [{{kid = 's', secret_file = 'secret.txt'}}, {{kid = 'e', pem = '''{text}'''}}]"
    issuer = load_issuers(write(two))[ISSUER]
    assert await verified(issuer, shared())
    with pytest.raises(Unauthenticated):
        await verified(issuer, bare)
    with pytest.raises(Unauthenticated):  # the secret, under the name of the public key
        await verified(issuer, jwt.encode(claims(), SECRET, algorithm="HS256", headers={"kid": "e"}))


# ---------------------------------------------------------------- keys that change


@pytest.mark.usefixtures("no_cool_down")
async def test_keys_are_taken_from_a_url_and_follow_a_rotation(by_url, provider):
    assert provider.asked == 0, "the provider may be down while we start"
    old = provider.private["one"]
    assert await verified(by_url, provider.token("one"))
    assert await verified(by_url, provider.token("one"))
    assert provider.asked == 1
    provider.rotate("one", "two")
    assert await verified(by_url, provider.token("two"))
    assert provider.asked == 2
    provider.rotate("two")
    with pytest.raises(Unauthenticated):
        await verified(by_url, provider.token("three", old))
    with pytest.raises(Unauthenticated):
        await verified(by_url, provider.token("one", old))


async def test_tokens_that_name_invented_keys_do_not_make_us_ask_again_and_again(by_url, provider):
    assert await verified(by_url, provider.token("one"))
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await verified(by_url, provider.token(f"k{number}", provider.private["one"]))
    assert provider.asked == 1


async def test_many_at_once_ask_once(by_url, provider):
    provider.delay_s = 0.2
    await asyncio.gather(*(verified(by_url, provider.token("one")) for _ in range(10)))
    assert provider.asked == 1


async def test_old_keys_are_read_again_while_they_still_serve(by_url, provider, monkeypatch):
    assert await verified(by_url, provider.token("one"))
    monkeypatch.setattr(module, "_REFRESH_S", -1.0)
    monkeypatch.setattr(module, "_COOL_DOWN_S", -1.0)
    token = provider.token("one")
    provider.rotate("two")
    assert await verified(by_url, token)
    await by_url._ring._reading
    with pytest.raises(Unauthenticated):
        await verified(by_url, token)


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b""),
        (200, {}, b"<html>"),
        (200, {}, b'{"keys": []}'),
        (200, {}, b" " * 300_000),
        (302, {"Location": "/jwks.json"}, b""),
        (200, {"Content-Length": "1000"}, b'{"keys": ['),
    ],
)
async def test_keys_that_cannot_be_read_are_no_keys(by_url, provider, answer, monkeypatch):
    monkeypatch.setattr(module, "_FETCH_S", 1.0)
    provider.answer = answer
    with pytest.raises(Unavailable, match="keys"):
        await verified(by_url, provider.token("one"))
    assert provider.asked == 1


async def test_a_provider_that_does_not_answer_holds_nobody_up_for_long(by_url, provider, monkeypatch):
    monkeypatch.setattr(module, "_FETCH_S", 0.1)
    provider.delay_s = 1.0
    with pytest.raises(Unavailable):
        await verified(by_url, provider.token("one"))


@pytest.mark.usefixtures("no_cool_down")
async def test_a_provider_that_goes_away_leaves_its_keys_for_a_while(by_url, provider, monkeypatch):
    assert await verified(by_url, provider.token("one"))
    provider.answer = (500, {}, b"")
    monkeypatch.setattr(module, "_REFRESH_S", -1.0)
    assert await verified(by_url, provider.token("one"))
    await by_url._ring._reading
    assert await verified(by_url, provider.token("one"))
    monkeypatch.setattr(module, "_STALE_S", -1.0)
    with pytest.raises(Unavailable):
        await verified(by_url, provider.token("one"))


async def test_a_shared_secret_is_not_taken_from_a_url(by_url, provider):
    key = {"kty": "oct", "kid": "s", "k": jwt.utils.base64url_encode(SECRET.encode()).decode()}
    provider.answer = (200, {}, json.dumps({"keys": [key]}).encode())
    with pytest.raises(Unavailable):
        await verified(by_url, shared())


async def test_keys_are_taken_from_a_file_of_keys(write, provider, tmp_path):
    (tmp_path / "jwks.json").write_bytes(provider.jwks())
    issuer = load_issuers(write('jwks_file = "jwks.json"'))[ISSUER]
    assert await verified(issuer, provider.token("one"))
    assert provider.asked == 0
    provider.rotate("two")
    (tmp_path / "jwks.json").write_bytes(provider.jwks())
    assert await verified(issuer, provider.token("two"))


# ---------------------------------------------------------------- the file


def test_without_a_file_there_are_none():
    assert load_issuers(None) == {}


KEY = 'keys = [{kid = "s", secret_file = "secret.txt"}]\n'


@pytest.mark.parametrize(
    ("more", "base", "said"),
    [
        ("", BASE, "one of keys, jwks_file and jwks_url"),
        (KEY + 'jwks_url = "https://x"', BASE, "one of keys"),
        ("keys = [{kid = 's'}]", BASE, "one of pem, pem_file and secret_file"),
        ("keys = [{secret_file = 'none.txt'}]", BASE, "cannot read"),
        ("keys = [{secret_file = 'short.txt'}]", BASE, "32"),
        ("keys = [{pem = 'x'}]", BASE, "no public key"),
        ("jwks_file = 'none.json'", BASE, "cannot read"),
        ("jwks_url = 'http://id.example/jwks'", BASE, "https"),
        ("jwks_url = 'file:///etc/passwd'", BASE, "https"),
        (KEY, BASE.replace('"HS256"', '"none"'), "Invalid enum value 'none'"),
        (KEY, BASE.replace(', "HS256"', ""), "no key for EdDSA"),
        (KEY, BASE.replace('["EdDSA", "HS256"]', "[]"), "length >= 1"),
        (KEY, BASE.replace('tenants = ["acme"]\n', ""), "tenants"),
        (KEY, BASE.replace('"answer"', '"root"'), "root"),
        (KEY + "surprise = 1", BASE, "surprise"),
        (KEY + BASE + KEY, BASE, "twice"),
        ("keys = [{kid='s', secret_file='secret.txt'}, {kid='s', secret_file='secret.txt'}]", BASE, "same kid"),
        ("]", BASE, "issuers.toml"),
    ],
)
def test_what_is_wrong_in_the_file_ends_the_start(write, tmp_path, more, base, said):
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(SetupError, match=said) as error:
        load_issuers(write(more, base))
    assert SECRET not in error.value.message


def test_a_file_that_is_not_there_ends_the_start(tmp_path):
    with pytest.raises(SetupError, match="cannot read"):
        load_issuers(tmp_path / "none.toml")
