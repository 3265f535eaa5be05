"""The nouns of the service, as they travel between its parts and, where a caller sees them, over the wire."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import msgspec
from msgspec import Meta

Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]

TenantId = NewType("TenantId", UUID)
ChunkId = NewType("ChunkId", UUID)

Mode = Literal["hybrid", "semantic", "keyword"]
CacheStatus = Literal["hit", "miss", "bypass"]
JobState = Literal["queued", "running", "succeeded", "failed", "dead", "cancelled"]
ErasureKind = Literal["tenant", "document", "user"]
RefusalCode = Literal[
    "no_results", "thin_context", "uncited", "model_refused", "budget_exhausted", "model_unavailable", "policy"
]


class Scope(StrEnum):
    """What a credential may do inside its tenant."""

    SEARCH = "search"
    ANSWER = "answer"
    INGEST = "ingest"
    MANAGE = "manage"


class Tenant(msgspec.Struct, frozen=True):
    """A tenant as the operator sees it."""

    tenant_id: UUID
    slug: str
    name: str
    created_at: datetime
    documents: int = 0
    chunks: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant may use: units a minute in all, by each key and by each user, and requests at a time.

    None is the installation's default, 0 is no limit.
    """

    tenant_units: int | None = None
    key_units: int | None = None
    user_units: int | None = None
    concurrency: int | None = None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days a tenant keeps what ages; null: as the installation says, 0: for ever.

    `answers` with their questions, `jobs` that have ended, `versions` that were superseded and that no answer quotes.
    """

    answers_days: Days | None = None
    jobs_days: Days | None = None
    versions_days: Days | None = None


class StoreCount(msgspec.Struct, frozen=True):
    """What an erasure did in one store; `remaining` counts rows of its subject, null while it is not finished."""

    store: str
    removed: int
    remaining: int | None
    note: str


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure and, once it is finished, its receipt: every store there is, and no content.

    `digest` is the SHA-256 of the kind, the tenant's id and the subject's names, a line each: whoever knows the names
    can tell whose receipt it is. `requested_by` is an identity, as in the audit trail.
    """

    erasure_id: UUID
    tenant_id: UUID
    kind: ErasureKind
    state: Literal["running", "finished"]
    step: str | None
    digest: str
    requested_by: str
    started_at: datetime
    finished_at: datetime | None
    stores: list[StoreCount]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A credential's record; the key itself is shown once, when it is made, and is not in here.

    `collections` null means every one. `rotated_at` is when its successor was made, `rotated_from` whose successor it
    is.
    """

    key_id: UUID
    kind: Literal["secret", "publishable", "operator"]
    display: str
    name: str
    scopes: list[str]
    groups: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    origins: list[str] = []
    collections: list[str] | None = None
    rotated_from: UUID | None = None
    rotated_at: datetime | None = None


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of a tenant's documents, in one language."""

    name: str
    language: str
    refusal_threshold: float | None
    facet_fields: list[str]
    synonyms: list[list[str]]
    document_count: int
    chunk_count: int
    created_at: datetime


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document's record; `version` is the one that serves, null until the first has been ingested."""

    document_id: UUID
    external_id: str
    collection: str
    version: int | None
    title: str | None
    uri: str | None
    metadata: dict[str, Any]
    groups: list[str]
    media_type: str | None
    size_bytes: int | None
    chunk_count: int
    created_at: datetime
    updated_at: datetime


class DocumentVersion(msgspec.Struct, frozen=True):
    """One version of a document; `text` is the canonical text that chunks and citations are slices of."""

    version: int
    title: str | None
    serving: bool
    length: int
    created_at: datetime


class Progress(msgspec.Struct, frozen=True):
    """How far a job is: units done of total, in the words of its stage."""

    stage: str
    done: int
    total: int


class JobError(msgspec.Struct, frozen=True):
    """Why a job stopped, for a person: what happened, where, and what to do about it."""

    code: str
    message: str
    stage: str
    hint: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to bring one version of a document into service."""

    job_id: UUID
    status: JobState
    progress: Progress
    collection: str
    external_id: str
    document_id: UUID
    version: int
    attempts: int
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Pin(msgspec.Struct, frozen=True):
    """Documents of a collection, by external id, that stand above the hits of one query."""

    query: Annotated[str, Meta(min_length=1, max_length=200)]
    documents: Annotated[list[Annotated[str, Meta(min_length=1, max_length=512)]], Meta(min_length=1, max_length=20)]


class Sort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metadata field that orders the matches of a query; what lacks it comes last."""

    field: Annotated[str, Meta(min_length=1, max_length=256)]
    order: Literal["asc", "desc"] = "asc"


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for; `collections` None means all, an empty tuple none.

    `prefix`: the last word may be the beginning of one. `correct`: a word that the caller's documents lack may be
    replaced by one that they have. `fallback`: a keyword query without a match is asked by meaning.
    """

    text: str
    collections: tuple[str, ...] | None = None
    limit: int = 10
    offset: int = 0
    mode: Mode = "hybrid"
    filter: str | None = None  # a jsonpath predicate over the document's metadata, from rag.retrieval.filters
    highlight: bool = False
    rerank: bool = False
    explain: bool = False
    prefix: bool = False
    correct: bool = False
    fallback: bool = False
    facets: tuple[str, ...] = ()
    group_by: Literal["document"] | None = None
    sort: Sort | None = None


class Ranks(msgspec.Struct, frozen=True):
    """The rank in each leg, from 1; null where the leg did not find the chunk."""

    dense: int | None
    lexical: int | None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that answers to a query; `score` orders hits, `similarity` is the cosine with the query, or null."""

    chunk_id: UUID
    document_id: UUID
    external_id: str
    document_version: int
    collection: str
    title: str | None
    uri: str | None
    heading_path: list[str]
    page: int | None
    text: str
    highlights: list[tuple[int, int]]
    score: float
    similarity: float | None
    ranks: Ranks
    metadata: dict[str, Any]
    pinned: bool = False
    explain: dict[str, Any] | None = None


class FacetCount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many matching documents have one value of a field, or for numbers of many values one in [min, max)."""

    count: int
    value: str | bool | int | float | None = None
    min: float | None = None
    max: float | None = None


class FacetStats(msgspec.Struct, frozen=True):
    """The least and the greatest number of a field among the matching documents."""

    min: float
    max: float


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as it was read under row-level security."""

    chunk_id: ChunkId
    document_id: UUID
    external_id: str
    document_version: int
    collection: str
    title: str | None
    uri: str | None
    heading_path: list[str]
    page: int | None
    text: str
    metadata: dict[str, Any]
    span_start: int
    token_count: int
    context: str


class Evidence(msgspec.Struct, frozen=True):
    """What the sufficiency gate looks at: the highest of each sign over all candidates.

    Cosines of a sentence and of a chunk (which was embedded with its title and headings), and BM25 over its
    theoretical maximum.
    """

    best_sentence: float
    best_chunk: float
    lexical_coverage: float


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The hits of a query with all that says how they came about.

    `degraded`: a stage that was asked for did not come to an end, so that the result is not kept.
    """

    hits: list[Hit]
    evidence: Evidence
    cache: CacheStatus
    corpus_version: int
    embedding_space: str
    degraded: bool = False
    facets: dict[str, list[FacetCount]] = {}
    facet_stats: dict[str, FacetStats] = {}
    corrected_query: str | None = None
    fallback: Literal["semantic"] | None = None
    explain: dict[str, Any] | None = None


class Sentence(msgspec.Struct, frozen=True):
    """One sentence of an answer with the numbers of its citations."""

    text: str
    citations: list[int]


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sentence comes from: `quote` == the text of that document version from `start` to `end`."""

    number: int
    chunk_id: UUID
    document_id: UUID
    document_version: int
    title: str | None
    uri: str | None
    heading_path: list[str]
    page: int | None
    quote: str
    start: int
    end: int


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no answer, and the nearest sources all the same."""

    code: RefusalCode
    message: str
    nearest: list[Hit]


class Usage(msgspec.Struct, frozen=True):
    """What the model was paid for; zeros when none was asked."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class DayOfUse(msgspec.Struct, frozen=True, kw_only=True):
    """One day's answers (UTC) to one person; `user` None is a bare key."""

    day: date
    user: str | None
    answers: int
    answered: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose every sentence is cited, or a refusal."""

    id: UUID
    status: Literal["answered", "refused"]
    text: str
    sentences: list[Sentence]
    citations: list[Citation]
    refusal: Refusal | None
    confidence: float
    gateway: str
    model: str | None
    usage: Usage
    took_ms: float
    request_id: str
