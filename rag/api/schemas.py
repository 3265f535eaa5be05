"""What travels in requests and responses and is not a noun of the domain."""

from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter
from msgspec import UNSET, Meta, UnsetType

from rag.api.pointers import depth, outsized
from rag.domain import (
    CacheStatus,
    Collection,
    Days,
    Document,
    DocumentVersion,
    Erasure,
    ErasureKind,
    FacetCount,
    FacetStats,
    Hit,
    Job,
    Key,
    Limits,
    Mode,
    Pin,
    Retention,
    Scope,
    Sort,
    Tenant,
)
from rag.errors import InvalidInput

T = TypeVar("T")

METADATA_BYTES: Final = 65_536
METADATA_DEPTH: Final = 8

CollectionName = Annotated[str, Meta(min_length=1, max_length=63)]
GroupName = Annotated[str, Meta(min_length=1, max_length=128)]
Groups = Annotated[list[GroupName], Meta(max_length=64, description="None means every reader of the tenant.")]
Collections = Annotated[
    list[CollectionName], Meta(max_length=50, description="Where to look; null means in all, an empty list in none.")
]
Filters = Annotated[
    dict[str, Any],
    Meta(
        description="A filter over metadata, with $eq $ne $in $nin $gt $gte $lt $lte $exists $and $or $not.",
        examples=[{"brand": "acme", "price": {"$gte": 10, "$lt": 50}}],
    ),
]
Title = Annotated[str, Meta(max_length=1000)]
Uri = Annotated[str, Meta(max_length=4096)]
Text = Annotated[str, Meta(min_length=1)]
Threshold = Annotated[float, Meta(ge=0, le=1, description="Refuse below this confidence; null means the default.")]
FieldName = Annotated[str, Meta(min_length=1, max_length=256)]
FacetFields = Annotated[
    list[FieldName], Meta(max_length=32, description="The fields that may be counted by; an empty list allows any.")
]
Synonyms = Annotated[
    list[Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(min_length=2, max_length=20)]],
    Meta(
        max_length=200, description="Lists of words and phrases that mean the same.", examples=[[["tv", "television"]]]
    ),
]

Origins = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=300)]],
    Meta(
        max_length=50, description="The pages a publishable key works in, such as https://shop.example; none: no page."
    ),
]

Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many at most.")]
ApprovalId = Annotated[UUID | None, QueryParameter(description="The approval that was granted for this.")]
Cursor = Annotated[str | None, QueryParameter(max_length=4096, description="The next_cursor of an earlier page.")]


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to look for, where, and how much of it."""

    query: Annotated[str, Meta(min_length=1, max_length=2000)]
    collections: Collections | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    offset: Annotated[int, Meta(ge=0, le=1000)] = 0
    mode: Mode = "hybrid"
    filters: Filters | None = None
    highlight: bool = False
    rerank: bool = False
    explain: bool = False
    prefix: Annotated[bool, Meta(description="The last word may be the beginning of one: as-you-type search.")] = False
    correct: Annotated[bool, Meta(description="Words that no document has may be corrected.")] = True
    fallback: Annotated[bool, Meta(description="A keyword query without a match is asked by meaning.")] = True
    facets: Annotated[
        list[FieldName], Meta(max_length=10, description="Metadata fields to count the matching documents by.")
    ] = []
    group_by: Literal["document"] | None = None
    sort: Sort | None = None

    def __post_init__(self) -> None:
        """Refuse a query of nothing but space, and fields that are no names."""
        _refuse_blank(self.query, "/query")
        for place, field in enumerate(self.facets):
            _refuse_unnamed(field, f"/facets/{place}")
        if self.sort:
            _refuse_unnamed(self.sort.field, "/sort/field")


class SearchResponse(msgspec.Struct, kw_only=True):
    """Hits, best first, and how they came about."""

    query_id: UUID
    hits: list[Hit]
    facets: dict[str, list[FacetCount]]
    facet_stats: dict[str, FacetStats]
    corrected_query: str | None
    fallback: Literal["semantic"] | None
    cache: CacheStatus
    corpus_version: int
    embedding_space: str
    took_ms: float
    explain: dict[str, Any] | None = None


class AnswerRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to answer, and from where."""

    question: Annotated[str, Meta(min_length=1, max_length=2000)]
    collections: Collections | None = None
    filters: Filters | None = None
    max_citations: Annotated[int, Meta(ge=1, le=10)] = 5

    def __post_init__(self) -> None:
        """Refuse a question of nothing but space."""
        _refuse_blank(self.question, "/question")


class CollectionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A collection to make."""

    name: Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"})]
    language: str = "english"
    refusal_threshold: Threshold | None = None
    facet_fields: FacetFields = []
    synonyms: Synonyms = []


class CollectionPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to change of a collection; what is left out stays."""

    refusal_threshold: Threshold | UnsetType | None = UNSET
    facet_fields: FacetFields | UnsetType = UNSET
    synonyms: Synonyms | UnsetType = UNSET


class Pins(msgspec.Struct, forbid_unknown_fields=True):
    """What is pinned in a collection, by query; queries are compared without case, accents and punctuation."""

    pins: Annotated[list[Pin], Meta(max_length=500)]


class DocumentFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What stands beside a document's content, in JSON and in a form alike."""

    title: Title | None = None
    uri: Uri | None = None
    metadata: dict[str, Any] = {}
    groups: Groups = []

    def __post_init__(self) -> None:
        """Refuse metadata over its bounds."""
        if depth(self.metadata) > METADATA_DEPTH:
            raise InvalidInput(f"metadata nests at most {METADATA_DEPTH} deep", pointer="/metadata")
        if pointer := outsized(self.metadata):
            raise InvalidInput("a number here needs more than 64 bits", pointer=f"/metadata{pointer}")
        if len(msgspec.json.encode(self.metadata)) > METADATA_BYTES:
            raise InvalidInput(f"metadata takes at most {METADATA_BYTES} bytes as JSON", pointer="/metadata")


class DocumentRequest(DocumentFields, forbid_unknown_fields=True, kw_only=True):
    """A document as text: exactly one of `text`, `markdown` and `html`."""

    text: Text | None = None
    markdown: Text | None = None
    html: Text | None = None

    def content(self) -> tuple[str, str]:
        """The media type and the content; raises `InvalidInput` unless there is exactly one."""
        given = {"text/plain": self.text, "text/markdown": self.markdown, "text/html": self.html}
        contents = [(media_type, content) for media_type, content in given.items() if content is not None]
        if len(contents) != 1:
            raise InvalidInput("give exactly one of text, markdown and html")
        return contents[0]


class TenantRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A tenant to make."""

    slug: Annotated[str, Meta(extra_json_schema={"pattern": "^[a-z0-9][a-z0-9-]{0,62}$"})]
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


Quota = Annotated[int, Meta(ge=0, le=10_000_000)] | None


class LimitsPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Limits to change: units a minute, and requests at a time. Null goes back to the default, 0 is no limit."""

    tenant_units: Quota | UnsetType = UNSET
    key_units: Quota | UnsetType = UNSET
    user_units: Quota | UnsetType = UNSET
    concurrency: Quota | UnsetType = UNSET


class RetentionPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """For how many days to keep things; what is left out stays, null is as the installation says, 0 for ever."""

    answers_days: Days | UnsetType | None = UNSET
    jobs_days: Days | UnsetType | None = UNSET
    versions_days: Days | UnsetType | None = UNSET


class TenantPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to change of a tenant; what is left out stays."""

    limits: LimitsPatch | UnsetType = UNSET
    retention: RetentionPatch | UnsetType = UNSET


class RetentionSettings(msgspec.Struct, kw_only=True):
    """What a tenant has chosen, and what holds with the installation's settings for the rest."""

    chosen: Retention
    in_force: Retention


class TenantDetail(Tenant, frozen=True, kw_only=True):
    """A tenant with its own limits, and for how long it has chosen to keep things."""

    limits: Limits
    retention: Retention


class ErasureRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whom or what to erase: a tenant, one document of it, or what one person asked."""

    kind: ErasureKind
    tenant: Annotated[str, Meta(min_length=1, max_length=63)]
    collection: CollectionName | None = None
    external_id: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    user: Annotated[str, Meta(min_length=1, max_length=512)] | None = None

    def __post_init__(self) -> None:
        """Refuse a name that is missing, and one that has no place here."""
        needed = {"tenant": (), "document": ("collection", "external_id"), "user": ("user",)}[self.kind]
        for name in ("collection", "external_id", "user"):
            if (getattr(self, name) is not None) != (name in needed):
                words = "is needed" if name in needed else "has no place"
                raise InvalidInput(f"'{name}' {words} to erase a {self.kind}", pointer=f"/{name}")


class KeyRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A key to make; without scopes it gets those of its kind: search and answer, or for a publishable one search."""

    kind: Literal["secret", "publishable"] = "secret"
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=4)] | None = None
    groups: Groups = []
    name: Annotated[str, Meta(max_length=200)] = ""
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    origins: Origins = []
    collections: (
        Annotated[
            list[CollectionName],
            Meta(min_length=1, max_length=50, description="All that there are for a publishable key; null: every one."),
        ]
        | None
    ) = None


class NewKey(msgspec.Struct, kw_only=True):
    """A key that was just made: `key` and `signing_secret` can be read here and never again.

    With the signing secret, which a publishable key has, a back end mints widget tokens. A key made by rotation names
    the one it follows, and when that one ends.
    """

    key: str
    key_id: UUID
    kind: Literal["secret", "publishable"]
    name: str
    scopes: list[str]
    groups: list[str]
    origins: list[str]
    collections: list[str] | None
    expires_at: datetime | None
    signing_secret: str | None = None
    rotated_from: UUID | None = None
    rotated_from_ends_at: datetime | None = None


class RotationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How a key gives way to its successor: both are valid until the overlap is over."""

    overlap_s: Annotated[int, Meta(ge=0, le=2_592_000)] = 86_400


class Page(msgspec.Struct, Generic[T], kw_only=True):
    """A page of a list; `next_cursor` is null on the last one."""

    data: list[T]
    has_more: bool
    next_cursor: str | None


class CollectionPage(Page[Collection], kw_only=True):
    """A page of collections, by name."""


class DocumentPage(Page[Document], kw_only=True):
    """A page of documents, by external id."""


class VersionPage(Page[DocumentVersion], kw_only=True):
    """A page of a document's versions, newest first."""


class JobPage(Page[Job], kw_only=True):
    """A page of jobs, newest first."""


class TenantPage(Page[Tenant], kw_only=True):
    """A page of tenants, by slug."""


class KeyPage(Page[Key], kw_only=True):
    """A page of keys, oldest first."""


class ErasurePage(Page[Erasure], kw_only=True):
    """A page of erasures, newest first."""


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, kw_only=True):
    """Whether requests can be served; `degraded` serves them without a cache."""

    status: Literal["ok", "degraded"]
    version: str
    checks: dict[str, str]


def _refuse_unnamed(field: str, pointer: str) -> None:
    if "" in field.split("."):
        raise InvalidInput("name a metadata field, with dots for nested ones", pointer=pointer)


def _refuse_blank(text: str, pointer: str) -> None:
    if not text.strip():
        raise InvalidInput("there is nothing but space here", pointer=pointer)
