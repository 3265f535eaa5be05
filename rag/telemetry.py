"""Logs and metrics: one event name plus fields; never the text of a query or a document.

The tenant, the principal and the request id are bound once at the door and stand on every line of the request.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series beside each counter, which nothing here reads

REGISTRY: Final = CollectorRegistry()
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS: Final = Counter(
    "cloister_requests_total", "Requests answered.", ("method", "route", "status"), registry=REGISTRY
)
REQUEST_SECONDS: Final = Histogram(
    "cloister_request_seconds", "Time to answer a request.", ("route",), buckets=_SECONDS, registry=REGISTRY
)
STAGE_SECONDS: Final = Histogram(
    "cloister_stage_seconds",
    "Time in one stage of a query or a document.",
    ("stage",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
CACHE_LOOKUPS: Final = Counter(
    "cloister_cache_lookups_total", "Retrieval cache lookups.", ("outcome",), registry=REGISTRY
)
ANSWERS: Final = Counter(
    "cloister_answers_total", "Answers given, by outcome or refusal code.", ("outcome",), registry=REGISTRY
)
LIMITED: Final = Counter(
    "cloister_limited_total", "Requests refused by a limit, by kind of limit.", ("kind",), registry=REGISTRY
)
LIMIT_CHECKS: Final = Counter(
    "cloister_limit_checks_total", "Looks at rate limits, by where they are kept.", ("kept",), registry=REGISTRY
)
IDEMPOTENT: Final = Counter(
    "cloister_idempotent_requests_total",
    "Requests with an Idempotency-Key, by outcome.",
    ("outcome",),
    registry=REGISTRY,
)
LEAKS_CAUGHT: Final = Counter(
    "cloister_leaks_caught_total",
    "Ids that a search leg named and row-level security did not let through. Anything but 0 is an alarm.",
    registry=REGISTRY,
)
DENSE_PLANS: Final = Counter(
    "cloister_dense_plans_total", "Dense searches by how they were done.", ("plan",), registry=REGISTRY
)
PARTITIONS: Final = Gauge(
    "cloister_dense_partitions", "Tenants' own partitions by state.", ("state",), registry=REGISTRY
)
PARTITION_MOVES: Final = Counter(
    "cloister_partition_moves_total", "Moves of a tenant's vectors, by outcome.", ("outcome",), registry=REGISTRY
)
JOBS: Final = Gauge("cloister_jobs", "Ingestion jobs by state.", ("state",), registry=REGISTRY)
OLDEST_QUEUED: Final = Gauge(
    "cloister_oldest_queued_seconds", "Age of the oldest queued ingestion job.", registry=REGISTRY
)
DOCUMENTS_INGESTED: Final = Counter(
    "cloister_documents_ingested_total", "Documents that ended an attempt, by outcome.", ("outcome",), registry=REGISTRY
)

ROWS_REMOVED: Final = Counter(
    "cloister_rows_removed_total",
    "Rows removed by an erasure or by age, by store.",
    ("store", "reason"),
    registry=REGISTRY,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger("cloister")


def configure_logging(form: str = "auto", level: str = "info") -> None:
    """Send one line an event to stderr, as `json` or for a person (`console`); `auto` looks for a terminal."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(handlers=[_Bridge(logging.WARNING)], level=logging.WARNING, force=True)
    # Its one warning repeats what is raised, and a task that is to be tried again is no error.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)


class _Bridge(logging.Handler):
    """What a library has to say, as one of our lines; without its traceback, which may quote a document."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("library", library=record.name, says=record.getMessage()[:500])


@contextmanager
def stage(name: str, times: dict[str, float] | None = None) -> Iterator[None]:
    """Time a stage into the histogram and, when a dict is given, into it as milliseconds."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - started
        STAGE_SECONDS.labels(name).observe(seconds)
        if times is not None:
            times[name] = round(seconds * 1000, 3)


def exposition() -> bytes:
    """The metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)
