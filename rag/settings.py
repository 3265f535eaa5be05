"""What an operator can set, read once from the environment at start.

Every setting is described in docs/configuration.md, which a test compares with this file. A setting that holds a
secret can be given as a file: `DATABASE_URL_FILE=/run/secrets/database_url`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from rag.domain import Days
from rag.errors import SetupError

Positive = Annotated[int, Meta(ge=1)]
Quota = Annotated[int, Meta(ge=0, le=10_000_000)]  # 0: no limit
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Secret:
    """A string that shows itself only when asked: its repr and str are stars."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process; the defaults serve one machine with nothing configured."""

    database_url: Secret | None = None
    migration_database_url: Secret | None = None
    redis_url: Secret | None = None
    data_dir: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8000
    public_url: str | None = None
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    pool_size: Positive = 8
    request_timeout_s: Seconds = 20.0
    body_timeout_s: Seconds = 30.0
    max_body_bytes: Positive = 10_000_000
    max_document_bytes: Positive = 10_000_000
    encoder: str = "onnx"
    encoder_threads: Positive = 1
    encoder_languages: str = "english"
    cache_ttl_s: Positive = 300
    cache_timeout_s: Seconds = 0.1
    cache_max_value_bytes: Positive = 262_144
    dense_weight: Share = 0.65
    reranker: str | None = None
    rerank_timeout_s: Seconds = 3.0
    refusal_threshold: Share = 0.5
    partition_chunks: Positive = 20_000
    worker_concurrency: Positive = 2
    worker_max_attempts: Positive = 5
    parse_timeout_s: Seconds = 60.0
    drain_timeout_s: Seconds = 20.0
    metrics_token: Secret | None = None
    jwt_issuers: Path | None = None
    limit_tenant_units: Quota = 300_000
    limit_key_units: Quota = 150_000
    limit_user_units: Quota = 30_000
    limit_invalid_keys: Quota = 300
    limit_unknown_ids: Quota = 1_000
    tenant_concurrency: Quota | None = None
    trusted_proxies: str | None = None
    approvals: Literal["required", "off"] | None = None
    retention_answers_days: Days = 90
    retention_jobs_days: Days = 30
    retention_versions_days: Days = 90

    @property
    def embedded(self) -> bool:
        """Whether this machine runs its own PostgreSQL and Valkey."""
        return self.database_url is None

    @property
    def approvals_required(self) -> bool:
        """Whether another operator has to grant a privileged act: by default wherever the database is not embedded."""
        return not self.embedded if self.approvals is None else self.approvals == "required"

    @property
    def read_languages(self) -> frozenset[str]:
        """The languages that the encoder reads, as collections name theirs; `*` among them means all."""
        return frozenset(self.encoder_languages.replace(",", " ").split())

    def secret(self, name: str) -> str:
        """The revealed value of a secret setting that must be there."""
        value = getattr(self, name)
        if not isinstance(value, Secret):
            raise SetupError(f"set {ENVIRONMENT[name]}: it is needed here and has no default")
        return value.reveal()


ENVIRONMENT: Final[Mapping[str, str]] = {
    "database_url": "DATABASE_URL",
    "migration_database_url": "MIGRATION_DATABASE_URL",
    "redis_url": "REDIS_URL",
    **{
        field: f"CLOISTER_{field.upper()}"
        for field in Settings.__struct_fields__
        if field not in {"database_url", "migration_database_url", "redis_url"}
    },
}


def default_data_dir() -> Path:
    """Where the embedded servers and the encoder's graph live: /var/lib for root, else the user's data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/cloister")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "cloister"


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that an environment describes; `SetupError` names a variable that does not parse."""
    values: dict[str, Any] = {"data_dir": default_data_dir()}
    for field in msgspec.structs.fields(Settings):
        variable = ENVIRONMENT[field.name]
        raw = _read(environment, variable)
        if raw is not None:
            values[field.name] = _convert(raw, field.type, variable)
    return Settings(**values)


def _read(environment: Mapping[str, str], variable: str) -> str | None:
    if path := environment.get(f"{variable}_FILE"):
        try:
            return Path(path).read_text("utf-8").strip()
        except OSError as error:
            raise SetupError(f"{variable}_FILE: cannot read {path}: {error.strerror}") from error
    return environment.get(variable) or None


def _convert(raw: str, kind: Any, variable: str) -> Any:
    if kind == (Secret | None):
        return Secret(raw)
    if kind in {Path, Path | None}:
        return Path(raw).expanduser().resolve()
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SetupError(f"{variable}={raw!r}: {error}") from error
