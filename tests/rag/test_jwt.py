"""Tokens that are not what they say. They are made with PyJWT and by hand: what PyJWT refuses to sign is forged."""

import base64
import contextlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import SetupError, Unauthenticated
from rag.jwt import LEEWAY_S, LONGEST, key_of_pem, key_of_secret, keys_of_jwks, peek, verify

SECRET = "a secret of at least thirty-two bytes"
ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
REQUIRED = ("exp", "iat", "iss", "aud", "sub")


def pem_of(private) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def claims(**more):
    now = int(time.time())
    return {"iss": "idp", "aud": "cloister", "sub": "ann", "iat": now, "exp": now + 60, **more}


def encode(part) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header, payload, secret: bytes = b"") -> str:
    text = f"{encode(header)}.{encode(payload)}"
    return f"{text}.{encode(hmac.digest(secret, text.encode(), 'sha256') if secret else b'')}"


def check(token, key):
    return verify(token, key, required=REQUIRED, issuer="idp", audience="cloister")


ED_KEY, RSA_KEY, HS_KEY = key_of_pem(pem_of(ED), "k"), key_of_pem(pem_of(RSA), "k"), key_of_secret(SECRET, "k")


@pytest.mark.parametrize(
    ("private", "algorithm", "key"), [(ED, "EdDSA", ED_KEY), (RSA, "RS256", RSA_KEY), (SECRET, "HS256", HS_KEY)]
)
def test_a_token_of_each_algorithm_is_verified(private, algorithm, key):
    assert key.algorithm == algorithm
    token = jwt.encode(claims(), private, algorithm=algorithm, headers={"kid": "k"})
    assert check(token, key)["sub"] == "ann"
    assert (peek(token).kid, peek(token).issuer) == ("k", "idp")


@pytest.mark.parametrize("key", [ED_KEY, RSA_KEY, HS_KEY], ids=lambda key: key.algorithm)
def test_no_signature_is_no_signature(key):
    for name in ("none", "None", "NONE", "", "HS256", key.algorithm):
        with pytest.raises(Unauthenticated):
            check(forged({"alg": name, "kid": "k"}, claims()), key)
    with pytest.raises(Unauthenticated):
        check(forged({"kid": "k"}, claims()), key)


@pytest.mark.parametrize("private", [RSA, ED])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_public_key_does_not_pass_for_a_shared_secret(private, form, encoding):
    """The classic: the token says HS256, and its HMAC key is the public key that everybody has."""
    if private is ED and form is PublicFormat.PKCS1:
        pytest.skip("a form of RSA's")
    public = private.public_key().public_bytes(encoding, form)
    key = RSA_KEY if private is RSA else ED_KEY
    for secret in (public, public.strip()):
        with pytest.raises(Unauthenticated):
            check(forged({"alg": "HS256", "kid": "k"}, claims(), secret), key)


def test_a_key_verifies_its_own_algorithm_and_no_relative():
    other = jwt.encode(claims(), RSA, algorithm="RS512", headers={"kid": "k"})
    for token, key in ((other, RSA_KEY), (jwt.encode(claims(), RSA, algorithm="PS256"), RSA_KEY)):
        with pytest.raises(Unauthenticated):
            check(token, key)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"exp": 1}, "the token has expired"),
        ({"iat": 99_999_999_999}, "the token is not valid yet"),
        ({"nbf": 99_999_999_999}, "the token is not valid yet"),
        ({"aud": "another"}, "the token is not valid"),
        ({"aud": ["another", "third"]}, "the token is not valid"),
        ({"iss": "another"}, "the token is not valid"),
        ({"exp": "never"}, "the token is not valid"),
        ({"exp": float("inf")}, "the token is not valid"),
        ({"exp": float("nan")}, "the token is not valid"),
        ({"sub": 7}, "the token is not valid"),
    ],
)
def test_a_claim_that_is_wrong_is_refused(more, said):
    with pytest.raises(Unauthenticated) as refusal:
        check(forged({"alg": "HS256", "kid": "k"}, claims(**more), SECRET.encode()), HS_KEY)
    assert refusal.value.message == said


@pytest.mark.parametrize("name", REQUIRED)
def test_a_claim_that_is_missing_is_refused(name):
    left = {key: value for key, value in claims().items() if key != name}
    with pytest.raises(Unauthenticated):
        check(forged({"alg": "HS256", "kid": "k"}, left, SECRET.encode()), HS_KEY)


def test_clocks_may_differ_a_little_and_no_more():
    for apart in ({"exp": time.time() - LEEWAY_S - 1}, {"iat": time.time() + LEEWAY_S + 60}):
        with pytest.raises(Unauthenticated):
            check(jwt.encode(claims(**apart), SECRET, algorithm="HS256"), HS_KEY)
    late = claims(exp=time.time() - LEEWAY_S / 2, iat=time.time() + LEEWAY_S / 2)
    assert check(jwt.encode(late, SECRET, algorithm="HS256"), HS_KEY)


def test_of_a_token_that_expired_nothing_is_said_unless_its_signature_is_good():
    token = forged({"alg": "HS256"}, claims(exp=1), b"x" * 40)
    with pytest.raises(Unauthenticated, match=r"^the token is not valid$"):
        check(token, HS_KEY)


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "...", "a.b.c", "a.b", "a" * LONGEST + ".b.c", "é.é.é", "\ud800.a.b",
        forged([], {}), forged({}, []), forged({"kid": 7}, {}), forged({"kid": "k" * 201}, {}), forged({}, {"iss": 7}),
        forged(b"[" * 3000, {}), forged({}, b"[" * 3000), forged(b"\xff", {}),
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused_before_a_key_is_looked_for(token):
    with pytest.raises(Unauthenticated, match="not valid"):
        peek(token)
    with pytest.raises(Unauthenticated):
        check(token, HS_KEY)


def test_a_token_over_the_bound_is_not_parsed():
    token = jwt.encode(claims(pad="x" * LONGEST), SECRET, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        peek(token)
    with pytest.raises(Unauthenticated):
        check(token, HS_KEY)


@given(st.text(max_size=60))
def test_no_text_is_an_error(text):
    with contextlib.suppress(Unauthenticated):
        peek(text)


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("secret", ["", "short", "x" * 31, "é" * 15])
def test_a_secret_that_can_be_guessed_is_refused(secret):
    with pytest.raises(SetupError, match="32"):
        key_of_secret(secret)


def test_a_key_shows_nothing_of_itself():
    assert SECRET not in repr(HS_KEY)


def test_only_public_keys_of_our_kinds_are_read():
    private = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(SetupError, match="private"):
        key_of_pem(private)
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is to be refused
    with pytest.raises(SetupError, match="short"):
        key_of_pem(pem_of(small))
    for text in (pem_of(ec.generate_private_key(ec.SECP256R1())), pem_of(ed448.Ed448PrivateKey.generate()), "x", ""):
        with pytest.raises(SetupError, match="no public key"):
            key_of_pem(text)


def jwk(private, **more):
    name = "RS256" if private is RSA else "EdDSA"
    return {**jwt.get_algorithm_by_name(name).to_jwk(private.public_key(), as_dict=True), **more}


def test_of_a_set_only_signing_keys_of_our_kinds_are_taken():
    shared = {"kty": "oct", "k": encode(SECRET.encode()), "kid": "s"}
    found = [
        *[jwk(RSA, kid="r"), jwk(ED, kid="e"), shared, "x", {"kty": "EC", "crv": "P-256", "kid": "c"}],
        *[jwk(RSA, kid="enc", use="enc"), jwk(RSA, kid="rs512", alg="RS512"), jwk(RSA, kid=7)],
    ]
    raw = json.dumps({"keys": found}).encode()
    assert [(key.kid, key.algorithm) for key in keys_of_jwks(raw, secrets=True)] == [
        ("r", "RS256"), ("e", "EdDSA"), ("s", "HS256"),
    ]  # fmt: skip
    assert [key.kid for key in keys_of_jwks(raw, secrets=False)] == ["r", "e"]


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b'{"keys":' + b"[" * 5000,
        json.dumps({"keys": [{}] * 65}).encode(),
        json.dumps({"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}).encode(),
        json.dumps({"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_set_is_refused(raw):
    with pytest.raises(SetupError):
        keys_of_jwks(raw, secrets=True)
