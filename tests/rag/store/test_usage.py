import msgspec
from psycopg.types.json import Jsonb

from rag.domain import Usage
from rag.store.usage import read_usage

INSERT = (
    "INSERT INTO answers (tenant_id, answer_id, key_id, question, status, gateway, corpus_version, space, "
    "document_ids, body, passages, asked_by, created_at) "
    "VALUES (%s, gen_random_uuid(), gen_random_uuid(), '', %s, 'claude', 1, 'minilm_l6_v2', '{}', %s, '[]', %s, "
    "now() - %s * interval '1 day')"
)

ASKED = (("answered", "ann", 0), ("refused", "ann", 0), ("answered", None, 0), ("answered", "ann", 40))


async def test_tokens_and_cost_are_summed_by_day_and_person(acme):
    used = Jsonb({"usage": msgspec.to_builtins(Usage(1000, 20, 0.25))})
    async with acme.connect() as connection:
        for status, user, ago in ASKED:
            await connection.execute(INSERT, (acme.tenant, status, used, user, ago))
        lines = await read_usage(connection, acme.tenant, days=30, limit=10)
        assert [(line.user, line.answers, line.answered, line.input_tokens, line.output_tokens) for line in lines] == [
            (None, 1, 1, 1000, 20),
            ("ann", 2, 1, 2000, 40),
        ]
        assert lines[1].cost_usd == 0.5
        assert len(await read_usage(connection, acme.tenant, days=60, limit=10)) == 3
        assert len(await read_usage(connection, acme.tenant, days=60, limit=1)) == 1
