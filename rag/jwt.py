"""JSON Web Tokens; the only door to PyJWT.

A key is bound to one algorithm when it is read, by what kind of key it is. A token's header picks a key by its `kid`
and never an algorithm, so that no public key can be made to pass for a shared secret.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import jwt
import msgspec
from jwt.exceptions import ExpiredSignatureError, ImmatureSignatureError, PyJWTError
from msgspec import Meta

from rag.errors import SetupError, Unauthenticated

Algorithm = Literal["EdDSA", "RS256", "HS256"]

LONGEST: Final = 8192  # characters of a token; a longer one is not looked at
LEEWAY_S: Final = 30.0
_LEAST_SECRET: Final = 32  # bytes
_MOST_KEYS: Final = 64
_SEGMENTS: Final = 3
_BOUND: Final[dict[tuple[object, object], Algorithm]] = {
    ("RSA", None): "RS256",
    ("OKP", "Ed25519"): "EdDSA",
    ("oct", None): "HS256",
}


@dataclass(frozen=True)
class VerificationKey:
    """A key with the one algorithm that it verifies."""

    kid: str | None
    algorithm: Algorithm
    material: Any = field(repr=False)


class Hint(msgspec.Struct, frozen=True):
    """What a token says of its origin, before anything of it is verified."""

    kid: str | None
    issuer: str | None


class _Header(msgspec.Struct):
    kid: Annotated[str, Meta(max_length=200)] | None = None


class _Payload(msgspec.Struct):
    iss: Annotated[str, Meta(max_length=2000)] | None = None


def peek(token: str) -> Hint:
    """Where a token says it comes from: enough to look for the key and no more; raises `Unauthenticated`."""
    segments = token.split(".") if len(token) <= LONGEST else []
    if len(segments) != _SEGMENTS:
        raise Unauthenticated("the token is not valid")
    try:
        header = msgspec.json.decode(_decoded(segments[0]), type=_Header)
        payload = msgspec.json.decode(_decoded(segments[1]), type=_Payload)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise Unauthenticated("the token is not valid") from error
    return Hint(header.kid, payload.iss)


def verify(
    token: str,
    key: VerificationKey,
    *,
    required: Iterable[str],
    issuer: str | None = None,
    audience: str | list[str] | None = None,
) -> dict[str, Any]:
    """The claims of a token that this key signed, in its time; raises `Unauthenticated`."""
    if len(token) > LONGEST:
        raise Unauthenticated("the token is not valid")
    try:
        return jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": list(required)},
        )
    except ExpiredSignatureError as error:  # the signature was good: whoever holds the token may know
        raise Unauthenticated("the token has expired") from error
    except ImmatureSignatureError as error:
        raise Unauthenticated("the token is not valid yet") from error
    except (PyJWTError, ValueError, RecursionError) as error:
        raise Unauthenticated("the token is not valid") from error


def key_of_secret(secret: str | bytes, kid: str | None = None) -> VerificationKey:
    """A shared secret, for HS256; raises `SetupError` for one shorter than 32 bytes."""
    material = secret.encode() if isinstance(secret, str) else secret
    if len(material) < _LEAST_SECRET:
        raise SetupError(
            f"a secret of {len(material)} bytes can be guessed from one token: HS256 takes {_LEAST_SECRET}"
        )
    return VerificationKey(kid, "HS256", material)


def key_of_pem(pem: str, kid: str | None = None) -> VerificationKey:
    """A public key as PEM, RSA or Ed25519; raises `SetupError` for any other kind and for a private key."""
    for name in ("RS256", "EdDSA"):
        algorithm = jwt.get_algorithm_by_name(name)
        try:
            described = algorithm.to_jwk(algorithm.prepare_key(pem), as_dict=True)
        except (PyJWTError, ValueError, TypeError):
            continue
        if found := _key_of_jwk({"kid": kid, **described}):
            return found
    raise SetupError("this is no public key of RSA or Ed25519 in PEM")


def keys_of_jwks(raw: bytes, *, secrets: bool) -> list[VerificationKey]:
    """The signing keys of a JWK set that are of a kind we verify; raises `SetupError` when it is no such set.

    Shared secrets are left out unless `secrets` says otherwise: what is published is none.
    """
    try:
        found = msgspec.json.decode(raw, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SetupError("this is no JWK set") from error
    if not isinstance(found, list) or len(found) > _MOST_KEYS:
        raise SetupError(f"a JWK set has a list of keys, at most {_MOST_KEYS}")
    keys = [_key_of_jwk(jwk) for jwk in found if isinstance(jwk, dict)]
    return [key for key in keys if key and (secrets or key.algorithm != "HS256")]


def _key_of_jwk(jwk: Mapping[str, Any]) -> VerificationKey | None:
    algorithm = _BOUND.get((jwk.get("kty"), jwk.get("crv")))
    kid = jwk.get("kid")
    if algorithm is None or jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    if not isinstance(kid, str | None):
        return None
    if algorithm != "HS256" and "d" in jwk:
        raise SetupError("this is a private key: only its owner should have it; give the public one")
    try:
        parsed = jwt.PyJWK(dict(jwk), algorithm=algorithm)
        weakness = parsed.Algorithm.check_key_length(parsed.key)
    except (PyJWTError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"a key of the set cannot be read: {type(error).__name__}") from error
    if weakness:
        raise SetupError(f"a key is too short: {weakness}")
    return VerificationKey(kid, algorithm, parsed.key)


def _decoded(segment: str) -> bytes:
    return base64.b64decode(segment.encode("ascii") + b"=" * (-len(segment) % 4), altchars=b"-_", validate=True)
