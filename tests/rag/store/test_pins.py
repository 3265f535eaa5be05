import pytest

from rag.domain import Pin
from rag.errors import NotFound
from rag.store.corpus import read_corpus
from rag.store.pins import list_pins, replace_pins


async def test_pins_replace_those_before_them_and_outdate_what_was_searched(acme):
    async with acme.connect() as connection:
        before = (await read_corpus(connection, acme.principal)).corpus_version
        await replace_pins(connection, acme.tenant, "kb", [Pin("b", ["2", "1"]), Pin("a", ["1"])])
        assert await list_pins(connection, acme.tenant, "kb") == [Pin("a", ["1"]), Pin("b", ["2", "1"])]
        corpus = await read_corpus(connection, acme.principal)
        assert (corpus.corpus_version, corpus.collections[0].has_pins) == (before + 1, True)
        await replace_pins(connection, acme.tenant, "kb", [Pin("c", ["3"])])
        assert await list_pins(connection, acme.tenant, "kb") == [Pin("c", ["3"])]
        await replace_pins(connection, acme.tenant, "kb", [])
        assert not (await read_corpus(connection, acme.principal)).collections[0].has_pins


async def test_pins_are_the_tenants_own(acme, bolt):
    async with acme.connect() as connection:
        await replace_pins(connection, acme.tenant, "kb", [Pin("a", ["1"])])
    async with bolt.connect() as connection:
        assert await list_pins(connection, bolt.tenant, "kb") == []
        await replace_pins(connection, bolt.tenant, "kb", [])
        for name in ("den", "none"):
            with pytest.raises(NotFound):
                await list_pins(connection, bolt.tenant, name)
            with pytest.raises(NotFound):
                await replace_pins(connection, bolt.tenant, name, [])
    async with acme.connect() as connection:
        assert await list_pins(connection, acme.tenant, "kb") == [Pin("a", ["1"])]
