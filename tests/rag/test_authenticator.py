import hashlib
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import structlog

from rag import authenticator as module
from rag.authenticator import Authenticator
from rag.domain import Scope
from rag.errors import Unauthenticated
from rag.issuers import load_issuers
from rag.keys import generate_key
from rag.store.keys import (
    create_key,
    create_operator_key,
    create_signing_secret,
    list_keys,
    revoke_key,
    rotate_key,
)
from rag.store.tenants import delete_tenant
from rag.tenancy import Operator

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def authenticator(database) -> Authenticator:
    return Authenticator(database)


@pytest.fixture
def forgetful(monkeypatch) -> None:
    """As if the time for which a key is remembered had passed."""
    monkeypatch.setattr(module, "_TRUST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_DISTRUST_SECONDS", 0.0)


async def new_key(owner, **more):
    async with owner.connect() as connection:
        return await create_key(connection, owner.tenant, **more)


async def test_a_key_stands_for_its_principal(authenticator, acme):
    key, key_id = await new_key(acme, groups=["staff"])
    principal = await authenticator.identify(key)
    assert (principal.tenant, principal.key_id, principal.groups) == (acme.tenant, key_id, ("staff",))


async def test_an_operators_key_stands_for_an_operator(authenticator, database):
    async with database.control() as control:
        key, key_id = await create_operator_key(control)
    assert await authenticator.identify(key) == Operator(key_id)


@pytest.mark.usefixtures("forgetful")
async def test_whatever_is_wrong_with_a_key_the_words_are_the_same(authenticator, acme):
    revoked, key_id = await new_key(acme)
    expired, _ = await new_key(acme, expires_at=datetime.now(UTC) - timedelta(days=1))
    async with acme.connect() as connection:
        await revoke_key(connection, acme.tenant, key_id)
    said = set()
    for key in (revoked, expired, generate_key("secret"), "clo_sk_x", "", "é", revoked[:-1] + "x"):
        with pytest.raises(Unauthenticated) as refusal:
            await authenticator.identify(key)
        said.add(refusal.value.message)
    assert len(said) == 1


async def test_what_cannot_be_a_key_is_not_looked_up(authenticator, database):
    await database.close()
    with pytest.raises(Unauthenticated):
        await authenticator.identify("clo_sk_nonsense")


async def test_a_key_is_looked_up_once_in_a_while(authenticator, acme):
    key, _ = await new_key(acme)
    unknown = generate_key("secret")
    first = await authenticator.identify(key)
    with pytest.raises(Unauthenticated):
        await authenticator.identify(unknown)
    await acme.database.close()
    assert await authenticator.identify(key) == first
    with pytest.raises(Unauthenticated):
        await authenticator.identify(unknown)


@pytest.mark.usefixtures("forgetful")
async def test_a_revoked_key_opens_nothing_once_it_is_forgotten(authenticator, acme):
    key, key_id = await new_key(acme)
    assert await authenticator.identify(key)
    async with acme.connect() as connection:
        await revoke_key(connection, acme.tenant, key_id)
    with pytest.raises(Unauthenticated):
        await authenticator.identify(key)


def test_a_revocation_bites_within_seconds():
    assert 0 < module._DISTRUST_SECONDS <= module._TRUST_SECONDS <= 5


@pytest.mark.usefixtures("forgetful")
async def test_a_deleted_tenants_key_opens_nothing(authenticator, acme):
    key, _ = await new_key(acme)
    assert await authenticator.identify(key)
    async with acme.database.control() as control:
        await delete_tenant(control, acme.tenant)
    with pytest.raises(Unauthenticated):
        await authenticator.identify(key)


async def test_what_is_remembered_is_bounded(acme, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    authenticator = Authenticator(acme.database)
    keys = [(await new_key(acme))[0] for _ in range(5)]
    for key in keys:
        await authenticator.identify(key)
    assert len(authenticator._known) == 3


async def test_use_is_noted(authenticator, acme):
    key, _ = await new_key(acme)
    await authenticator.identify(key)
    async with acme.connect() as connection:
        (entry,) = await list_keys(connection, acme.tenant)
    assert entry.last_used_at


async def test_a_key_that_was_valid_here_is_known(authenticator, acme):
    key, _ = await new_key(acme)
    assert not authenticator.knows(key)
    await authenticator.identify(key)
    assert authenticator.knows(key)
    for other in (generate_key("secret"), "nonsense"):
        with pytest.raises(Unauthenticated):
            await authenticator.identify(other)
        assert not authenticator.knows(other)


async def test_a_flood_of_invented_keys_drives_no_real_one_out(acme, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    authenticator = Authenticator(acme.database)
    key, _ = await new_key(acme)
    first = await authenticator.identify(key)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await authenticator.identify(generate_key("secret"))
    await acme.database.close()
    assert await authenticator.identify(key) == first


@pytest.mark.usefixtures("forgetful")
async def test_a_key_that_was_unknown_is_known_once_it_is_made(authenticator, acme, monkeypatch):
    key = generate_key("secret")
    with pytest.raises(Unauthenticated):
        await authenticator.identify(key)
    monkeypatch.setattr("rag.store.keys.generate_key", lambda kind: key)
    _, key_id = await new_key(acme)
    assert (await authenticator.identify(key)).key_id == key_id


# ---------------------------------------------------------------- tokens

SHOP = "https://shop.example"


def widget_token(key_id, secret, **more) -> str:
    now = int(time.time())
    return jwt.encode({"iat": now, "exp": now + 900, **more}, secret, algorithm="HS256", headers={"kid": str(key_id)})


async def new_widget_key(owner, **more):
    async with owner.connect() as connection:
        _, key_id = await create_key(
            connection, owner.tenant, kind="publishable", scopes=[Scope.SEARCH], origins=[SHOP], **more
        )
        return key_id, await create_signing_secret(connection, owner.tenant, key_id)


@pytest.fixture
def person_token():
    """Make a token of the one issuer that `by_issuer` trusts."""

    def make(**more) -> str:
        now = int(time.time())
        claims = {"iss": "idp", "aud": "cloister", "sub": "ann", "tenant": "acme", "iat": now, "exp": now + 60}
        return jwt.encode({**claims, **more}, "s" * 32, algorithm="HS256", headers={"kid": "k"})

    return make


@pytest.fixture
def by_issuer(database, tmp_path) -> Authenticator:
    (tmp_path / "secret").write_text("s" * 32)
    file = tmp_path / "issuers.toml"
    file.write_text(
        '[[issuers]]\nissuer = "idp"\naudience = "cloister"\nalgorithms = ["HS256"]\ntenants = ["acme", "ghost"]\n'
        'scopes = ["search", "answer"]\nkeys = [{kid = "k", secret_file = "secret"}]\n'
    )
    return Authenticator(database, load_issuers(file))


async def refused(authenticator, token) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await authenticator.identify(token)
    return refusal.value.message


async def test_a_widget_token_stands_for_its_key_and_less(authenticator, acme):
    key_id, secret = await new_widget_key(acme, collections=["kb"], groups=["retail"])
    who = await authenticator.identify(widget_token(key_id, secret, sub="visitor", max_hits=5))
    assert (who.tenant, who.key_id, who.kind, who.user) == (acme.tenant, key_id, "publishable", "visitor")
    assert (who.origins, who.collections, who.groups, who.max_hits) == ((SHOP,), ("kb",), ("retail",), 5)


async def test_a_widget_token_of_another_secret_is_refused(authenticator, acme, bolt):
    key_id, secret = await new_widget_key(acme)
    other_id, other_secret = await new_widget_key(bolt)
    now = int(time.time())
    plain = {"iat": now, "exp": now + 60}
    tokens = [
        widget_token(key_id, other_secret),
        widget_token(other_id, secret),
        widget_token(acme.tenant, secret),
        widget_token("not-an-id", secret),
        jwt.encode(plain, secret, algorithm="HS256"),
        jwt.encode(plain, secret * 2, algorithm="HS512", headers={"kid": str(key_id)}),
        widget_token(key_id, secret) + "A",
        widget_token(key_id, secret).rpartition(".")[0] + ".",
    ]
    assert {await refused(authenticator, token) for token in tokens} == {"the token is not valid"}
    assert await authenticator.identify(widget_token(key_id, secret))


async def test_a_key_without_a_signing_secret_has_no_tokens(authenticator, acme):
    for kind in ("publishable", "secret"):
        _, key_id = await new_key(acme, kind=kind, scopes=[Scope.SEARCH])
        assert await refused(authenticator, widget_token(key_id, "x" * 40)) == "the token is not valid"


@pytest.mark.usefixtures("forgetful")
async def test_a_revoked_keys_tokens_end_with_it(authenticator, acme):
    key_id, secret = await new_widget_key(acme)
    token = widget_token(key_id, secret)
    assert await authenticator.identify(token)
    async with acme.connect() as connection:
        await revoke_key(connection, acme.tenant, key_id)
    assert await refused(authenticator, token) == "the token is not valid"
    assert not authenticator.knows(token)


@pytest.mark.usefixtures("forgetful")
async def test_a_rotated_keys_tokens_end_with_it_and_its_successor_has_its_own(authenticator, acme):
    key_id, secret = await new_widget_key(acme)
    token = widget_token(key_id, secret)
    async with acme.connect() as connection:
        done = await rotate_key(connection, acme.tenant, key_id, overlap=timedelta(hours=1))
    assert await authenticator.identify(token), "until the overlap is over"
    successor = widget_token(done.made.key_id, done.signing_secret)
    assert (await authenticator.identify(successor)).key_id == done.made.key_id
    await refused(authenticator, widget_token(done.made.key_id, secret))

    other_id, other_secret = await new_widget_key(acme)
    async with acme.connect() as connection:
        await rotate_key(connection, acme.tenant, other_id, overlap=timedelta(0))
    await refused(authenticator, widget_token(other_id, other_secret))


async def test_tokens_of_one_key_ask_the_database_once_and_trust_it_no_longer_than_a_key(authenticator, acme):
    key_id, secret = await new_widget_key(acme)
    first = await authenticator.identify(widget_token(key_id, secret))
    known_until, _ = authenticator._widget_keys.get(key_id)
    await acme.database.close()
    token = widget_token(key_id, secret, sub="another")
    assert (await authenticator.identify(token)).key_id == first.key_id
    until, _ = authenticator._tokens.get(hashlib.sha256(token.encode()).digest())
    assert until == known_until
    assert known_until - time.monotonic() <= 5


async def test_an_expired_widget_token_is_refused_and_told(authenticator, acme):
    key_id, secret = await new_widget_key(acme)
    token = widget_token(key_id, secret, iat=1, exp=2)
    assert await refused(authenticator, token) == "the token has expired"


async def test_a_token_is_not_remembered_past_its_end(authenticator, by_issuer, acme, person_token):
    key_id, secret = await new_widget_key(acme)
    nearly = int(time.time()) + 2
    for who, token in (
        (authenticator, widget_token(key_id, secret, exp=nearly)),
        (by_issuer, person_token(exp=nearly)),
        (authenticator, widget_token(key_id, secret, exp=nearly - 10)),  # within the leeway of clocks
    ):
        assert await who.identify(token)
        found = who._tokens.get(hashlib.sha256(token.encode()).digest())
        assert found is None or found[0] - time.monotonic() <= 2


async def test_use_of_a_token_is_noted_and_a_forged_one_is_not(authenticator, acme):
    key_id, secret = await new_widget_key(acme)
    await refused(authenticator, widget_token(key_id, "x" * 40))
    async with acme.connect() as connection:
        (before,) = await list_keys(connection, acme.tenant)
    await authenticator.identify(widget_token(key_id, secret))
    async with acme.connect() as connection:
        (after,) = await list_keys(connection, acme.tenant)
    assert (before.last_used_at, after.last_used_at is None) == (None, False)


async def test_a_persons_token_stands_for_a_person_of_the_tenant(by_issuer, acme, person_token):
    who = await by_issuer.identify(person_token(groups=["staff"], scope="search manage"))
    assert (who.tenant, who.slug, who.kind, who.user) == (acme.tenant, "acme", "token", "ann")
    assert (who.scopes, who.groups, who.collections, who.filter) == ({"search"}, ("staff",), None, None)
    assert who.key_id == (await by_issuer.identify(person_token(sub="bob"))).key_id


@pytest.mark.usefixtures("acme", "bolt")
async def test_whatever_tenant_a_token_may_not_name_the_words_are_the_same(by_issuer, authenticator, person_token):
    tokens = [person_token(tenant=slug) for slug in ("ghost", "bolt", "none")] + [person_token(iss="another")]
    assert {await refused(by_issuer, token) for token in tokens} == {"the token is not valid"}
    assert await refused(authenticator, person_token()) == "the token is not valid"  # no issuer is trusted there


async def test_a_widget_secret_signs_no_persons_token(by_issuer, acme):
    key_id, secret = await new_widget_key(acme)
    token = widget_token(key_id, secret, iss="idp", aud="cloister", sub="ann", tenant="acme")
    assert await refused(by_issuer, token) == "the token is not valid"


async def test_why_a_token_was_refused_is_in_the_log_without_the_token(by_issuer, person_token):
    token = person_token(exp=1)
    with structlog.testing.capture_logs() as lines:
        await refused(by_issuer, token)
    assert [(line["event"], line["reason"]) for line in lines] == [("token_refused", "ExpiredSignatureError")]
    assert token not in repr(lines)


# ---------------------------------------------------------------- origins


async def test_an_origin_is_listed_by_live_publishable_keys(acme, bolt):
    key_id, _ = await new_widget_key(acme)
    await new_key(bolt, kind="publishable", scopes=[Scope.SEARCH], origins=["https://old.example"], expires_at=PAST)
    assert await Authenticator(acme.database).lists_origin(SHOP)
    for origin in ("https://old.example", "https://none.example", "null", "*", ""):
        assert not await Authenticator(acme.database).lists_origin(origin)
    async with acme.connect() as connection:
        await revoke_key(connection, acme.tenant, key_id)
    assert not await Authenticator(acme.database).lists_origin(SHOP)


async def test_an_origin_is_looked_up_once_in_a_while(authenticator, acme):
    await new_widget_key(acme)
    none = "https://none.example"
    assert await authenticator.lists_origin(SHOP)
    assert not await authenticator.lists_origin(none)
    await acme.database.close()
    assert await authenticator.lists_origin(SHOP)
    assert not await authenticator.lists_origin(none)


async def test_what_is_no_origin_is_not_looked_up(authenticator, database):
    await database.close()
    for origin in ("null", "*", "", "https://shop.example/", "https://" + "a" * 10_000):
        assert not await authenticator.lists_origin(origin)
    assert len(authenticator._origins) == 0
