"""The vector stores that applications often begin with, asked what `filtered_recall` asks; run by it, in their Python.

    pip install langchain-postgres llama-index-vector-stores-postgres psycopg[binary]

Reads a description of the rows and questions (JSON, and the vectors beside it), writes for each store, setting and
question the numbers of the rows that came back and the seconds they took, a line of JSON each.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

Search = Callable[[list[float], str, int], list[int]]
TABLE = "peer_rows"
COPY = "COPY {} FROM STDIN"


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    rows, queries = np.load(folder / "rows.npy"), np.load(folder / "queries.npy")
    for open_store in (langchain_store, llama_store):
        for setting in ("off", "relaxed_order"):
            with psycopg.connect(asked["url"], autocommit=True) as connection:
                connection.execute(f"ALTER DATABASE {asked['database']} SET hnsw.iterative_scan = {setting}")
            try:
                name, search = open_store(asked, rows, loaded=setting != "off")
            except ImportError as error:
                say(store=open_store.__name__, missing=str(error))
                break
            for question in asked["questions"]:
                for number, (found, seconds) in enumerate(answers(search, question, queries, asked["k"])):
                    say(
                        store=name,
                        iterative=setting,
                        question=question["name"],
                        query=number,
                        found=found,
                        seconds=seconds,
                    )


def answers(search: Search, question: Any, queries: Any, k: int) -> Iterator[tuple[list[int], float]]:
    vectors = [queries[number].tolist() for number in question["queries"]]
    search(vectors[0], question["tenant"], question["below"])
    for vector in vectors:
        started = time.perf_counter()
        found = search(vector, question["tenant"], question["below"])
        yield found[:k], time.perf_counter() - started


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def langchain_store(asked: Any, rows: Any, *, loaded: bool) -> tuple[str, Search]:
    """One table, tenant and bucket as columns, its HNSW index with its defaults."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_postgres import Column, PGEngine, PGVectorStore
    from langchain_postgres.v2.indexes import HNSWIndex

    engine = PGEngine.from_connection_string(url=asked["url"].replace("postgresql://", "postgresql+psycopg://"))
    columns = [Column("tenant", "TEXT"), Column("bucket", "INTEGER"), Column("number", "INTEGER")]
    if not loaded:
        engine.init_vectorstore_table(TABLE, vector_size=rows.shape[1], metadata_columns=columns)
        with psycopg.connect(asked["url"], autocommit=True) as connection:
            copy = COPY.format(f"{TABLE} (langchain_id, content, embedding, tenant, bucket, number)")
            with connection.cursor().copy(copy) as lines:
                for number, tenant, bucket in numbered(asked):
                    lines.write_row((uuid_of(number), "", vector_text(rows[number]), tenant, bucket, number))
            connection.execute(f"CREATE INDEX ON {TABLE} (tenant)")
    store = PGVectorStore.create_sync(
        engine=engine,
        table_name=TABLE,
        embedding_service=DeterministicFakeEmbedding(size=rows.shape[1]),
        metadata_columns=["tenant", "bucket", "number"],
    )
    if not loaded:
        store.apply_vector_index(HNSWIndex())
        vacuum(asked["url"], TABLE)

    def search(vector: list[float], tenant: str, below: int) -> list[int]:
        wanted = {"$and": [{"tenant": {"$eq": tenant}}, {"bucket": {"$lt": below}}]}
        found = store.similarity_search_with_score_by_vector(vector, k=asked["k"], filter=wanted)
        return [document.metadata["number"] for document, _ in found]

    return "langchain-postgres", search


def llama_store(asked: Any, rows: Any, *, loaded: bool) -> tuple[str, Search]:
    """One table, metadata as JSON, its HNSW index with the parameters of its documentation."""
    from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters, VectorStoreQuery
    from llama_index.vector_stores.postgres import PGVectorStore

    def opened(hnsw: dict[str, Any] | None) -> Any:
        return PGVectorStore.from_params(
            connection_string=asked["url"].replace("postgresql://", "postgresql+psycopg2://"),
            async_connection_string=asked["url"].replace("postgresql://", "postgresql+asyncpg://"),
            table_name="peer_nodes",
            embed_dim=rows.shape[1],
            use_jsonb=True,
            hnsw_kwargs=hnsw,
        )

    if not loaded:
        opened(None)._initialize()  # noqa: SLF001 - the table is filled as a bulk load would
        with psycopg.connect(asked["url"], autocommit=True) as connection:
            copy = COPY.format("data_peer_nodes (text, metadata_, node_id, embedding)")
            with connection.cursor().copy(copy) as lines:
                for number, tenant, bucket in numbered(asked):
                    metadata = json.dumps({"tenant": tenant, "bucket": bucket, "number": number})
                    lines.write_row(("", metadata, str(number), vector_text(rows[number])))
    parameters = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 40}
    store = opened({**parameters, "hnsw_dist_method": "vector_cosine_ops"})
    store._initialize()  # noqa: SLF001 - makes the index
    if not loaded:
        vacuum(asked["url"], "data_peer_nodes")

    def search(vector: list[float], tenant: str, below: int) -> list[int]:
        filters = MetadataFilters(
            filters=[
                MetadataFilter(key="tenant", value=tenant),
                MetadataFilter(key="bucket", value=below, operator=FilterOperator.LT),
            ]
        )
        found = store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=asked["k"], filters=filters))
        return [int(node.metadata["number"]) for node in found.nodes or []]

    return "llama-index", search


def numbered(asked: Any) -> Iterator[tuple[int, str, int]]:
    yield from zip(range(len(asked["tenants"])), asked["tenants"], asked["buckets"], strict=True)


def vector_text(row: Any) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in row) + "]"


def uuid_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def vacuum(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"VACUUM ANALYZE {table}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
