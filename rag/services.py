"""Everything a process needs, built in one place and closed in one place; only here are concrete classes chosen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rag.authenticator import Authenticator
from rag.cache.base import Cache, NullCache
from rag.cache.buckets import Buckets, FallingBack, LocalBuckets
from rag.embedding.base import Embedder
from rag.erasure import Eraser
from rag.errors import CloisterError, SetupError
from rag.gateway.base import Gateway
from rag.gateway.extractive import ExtractiveGateway
from rag.generation.answerer import Answerer
from rag.issuers import load_issuers
from rag.limits.allowances import Allowances, default_allowance, three_quarters
from rag.limits.lanes import Lanes
from rag.limits.rates import Rates
from rag.limits.strangers import Strangers
from rag.purge import Purger, standing_retention
from rag.retrieval.base import Searcher
from rag.retrieval.cached import CachedRetriever
from rag.retrieval.query_vectors import QueryVectors
from rag.retrieval.rerank import NullReranker, Reranker
from rag.retrieval.retriever import Retriever
from rag.settings import Secret, Settings
from rag.store.database import Database
from rag.store.delivery import Delivery, delivery_app
from rag.store.incidents import Incidents
from rag.store.migrate import newest_migration
from rag.telemetry import log

_PROBE_S = 2.0


@dataclass(frozen=True)
class Services:
    """The open services of one process."""

    settings: Settings
    database: Database
    incidents: Incidents
    delivery: Delivery
    encoder: Embedder
    cache: Cache
    authenticator: Authenticator
    allowances: Allowances
    rates: Rates
    lanes: Lanes
    strangers: Strangers
    searcher: Searcher
    answerer: Answerer
    gateway: Gateway
    eraser: Eraser
    purger: Purger

    async def ping(self) -> dict[str, str]:
        """Each dependency's state: `ok`, or what is wrong in a few words; answers within two seconds."""
        probes: dict[str, Callable[[], Awaitable[None]]] = {
            "postgres": self.database.ping,
            "migrations": self._check_schema,
            "cache": self.cache.ping,
            "encoder": self.encoder.ping,
        }
        states = await asyncio.gather(*(_state(probe) for probe in probes.values()))
        return dict(zip(probes, states, strict=True))

    async def _check_schema(self) -> None:
        applied, newest = await self.database.schema_version(), newest_migration()
        if applied is None or applied < newest:
            state = f"the schema is at {applied or 'nothing'}, this release at {newest}"
            raise SetupError(f"run 'cloister migrate': {state}")


async def _state(probe: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_PROBE_S):
            await probe()
    except TimeoutError:
        return f"did not answer within {_PROBE_S:.0f} s"
    except CloisterError as error:
        return error.message
    return "ok"


def with_embedded_servers(settings: Settings, *, app_url: str, owner_url: str, redis_url: str | None) -> Settings:
    """The settings of a process beside embedded servers."""
    return msgspec.structs.replace(
        settings,
        database_url=Secret(app_url),
        migration_database_url=Secret(owner_url),
        approvals=settings.approvals or "off",  # one machine, one operator
        redis_url=Secret(redis_url) if redis_url else None,
    )


@asynccontextmanager
async def open_services(settings: Settings, *, pool_size: int | None = None) -> AsyncIterator[Services]:
    """Open everything a process needs; raises `SetupError` when something cannot be had for good.

    A missing cache is no error: searches then bypass it.
    """
    async with AsyncExitStack() as stack:
        url = settings.secret("database_url")
        issuers = load_issuers(settings.jwt_issuers)
        database = await Database.open(url, size=pool_size or settings.pool_size)
        stack.push_async_callback(database.close)
        await database.require_row_security()
        incidents = Incidents(database)
        incidents.open()
        stack.push_async_callback(incidents.close)
        delivery = delivery_app(url)
        await stack.enter_async_context(delivery.open_async())
        encoder = open_encoder(settings)
        stack.push_async_callback(encoder.close)
        cache = open_cache(settings)
        stack.push_async_callback(cache.close)
        buckets = _buckets(cache)
        allowances = Allowances(database, default_allowance(settings))
        lanes = Lanes()
        vectors = QueryVectors(encoder)
        reranker = open_reranker(settings)
        stack.push_async_callback(reranker.close)
        retriever = Retriever(
            database,
            vectors,
            reranker,
            dense_weight=settings.dense_weight,
            encoder_languages=settings.read_languages,
            timeout_s=settings.request_timeout_s,
            incidents=incidents,
        )
        searcher = CachedRetriever(
            retriever,
            database,
            cache,
            ttl_s=settings.cache_ttl_s,
            ranking=f"{settings.dense_weight} {sorted(settings.read_languages)} {reranker.name}",
            incidents=incidents,
        )
        gateway = ExtractiveGateway()
        answerer = Answerer(searcher, database, vectors, gateway, refusal_threshold=settings.refusal_threshold)
        yield Services(
            settings=settings,
            database=database,
            incidents=incidents,
            delivery=delivery,
            encoder=encoder,
            cache=cache,
            authenticator=Authenticator(database, issuers),
            allowances=allowances,
            rates=Rates(buckets, allowances, unknown_ids=settings.limit_unknown_ids),
            lanes=lanes,
            strangers=Strangers(
                buckets,
                lanes,
                invalid_keys=settings.limit_invalid_keys,
                at_a_time=three_quarters(settings.pool_size),
            ),
            searcher=searcher,
            answerer=answerer,
            gateway=gateway,
            eraser=Eraser(database, cache, approvals_required=settings.approvals_required),
            purger=Purger(database, standing_retention(settings)),
        )


def open_encoder(settings: Settings) -> Embedder:
    """The encoder that the settings name: `onnx`, or the path of a sentence-transformers model."""
    if settings.encoder == "onnx":
        from rag.embedding.onnx_encoder import OnnxEncoder

        return OnnxEncoder.open(settings.data_dir, threads=settings.encoder_threads)
    from rag.embedding.sentence_transformer import SentenceTransformerEncoder

    return SentenceTransformerEncoder.open(Path(settings.encoder))


def _buckets(cache: Cache) -> Buckets:
    from rag.cache.redis import RedisCache
    from rag.cache.redis_buckets import RedisBuckets

    local = LocalBuckets()
    return FallingBack(RedisBuckets(cache), local) if isinstance(cache, RedisCache) else local


def open_reranker(settings: Settings) -> Reranker:
    """The reranker that the settings name by the path of a cross-encoder; one that judges nothing when they do not."""
    if settings.reranker is None:
        return NullReranker()
    from rag.embedding.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker.open(Path(settings.reranker), timeout_s=settings.rerank_timeout_s)


def open_cache(settings: Settings) -> Cache:
    """The cache that the settings name; one that holds nothing when they name none."""
    if settings.redis_url is None:
        log.warning("cache_absent", reason="REDIS_URL is not set")
        return NullCache()
    from rag.cache.redis import RedisCache

    return RedisCache(
        settings.redis_url.reveal(), max_value_bytes=settings.cache_max_value_bytes, timeout_s=settings.cache_timeout_s
    )
