"""Everything that can go wrong, as one tree.

CloisterError
├── Refused                       the caller's fault; never retried
│   ├── InvalidInput              a field is wrong: carries a pointer to it
│   ├── MalformedBody             not the JSON it claims to be
│   ├── Unsupported               the media type or format is one we do not read
│   ├── TooLarge                  over a size, count or nesting bound
│   ├── TooSlow                   the body did not arrive in its time
│   ├── Unauthenticated           no credential, or not a valid one
│   ├── Forbidden                 a valid credential that may not do this
│   ├── NotFound                  absent, or another tenant's: the two are answered alike
│   ├── MethodNotAllowed          the path exists, the method does not
│   ├── Conflict                  the state of the thing forbids this
│   ├── ApprovalRequired          another operator has to grant it first: carries the approval's id
│   ├── KeyReused                 the same Idempotency-Key came with another request
│   └── TenantErased              the tenant's erasure has begun; nothing of it is served any more
├── Deferred                      the caller is too early: try again after `retry_after` seconds
│   ├── RequestInProgress         the same Idempotency-Key is at work
│   └── RateLimited               a limit is used up
│       ├── TooManyAtOnce         too many requests of the tenant are under way
│       └── TooManyFailures       too many invalid keys from an address, or unknown ids from a key
├── Unavailable                   transient: try again after `retry_after` seconds
│   ├── DatabaseUnavailable
│   ├── WriteConflict             two writes met; one of them may be tried again
│   ├── EncoderUnavailable
│   └── Overloaded                a bounded queue is full
├── DocumentError                 a document could not be ingested
│   ├── UnreadableDocument        permanent: the bytes will not parse, now or ever
│   └── InterruptedDocument       transient: the attempt died, the document may be fine
└── SetupError                    the installation is not ready: says the statement or command to run
"""

from typing import ClassVar
from uuid import UUID


class CloisterError(Exception):
    """Any error that Cloister raises on purpose; `code` names it in logs, problems and dead letters."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    transient: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refused(CloisterError):
    """The request cannot be served as it stands; sending it again changes nothing."""

    code = "refused"
    status = 400
    title = "Refused"


class InvalidInput(Refused):
    """A value is malformed; `pointer` is the JSON pointer of the field, empty for the whole body."""

    code = "invalid_input"
    status = 422
    title = "Invalid input"

    def __init__(self, message: str, *, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class MalformedBody(Refused):
    """The body is not the JSON it claims to be."""

    code = "malformed_body"
    status = 400
    title = "Malformed body"


class Unsupported(Refused):
    """The media type or file format is not one that is read here."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class TooLarge(Refused):
    """The input is over a bound of size, count or nesting."""

    code = "too_large"
    status = 413
    title = "Too large"


class TooSlow(Refused):
    """The body did not arrive in its time."""

    code = "too_slow"
    status = 408
    title = "Too slow"


class Unauthenticated(Refused):
    """No credential was sent, or it is malformed, unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    title = "Unauthenticated"


class Forbidden(Refused):
    """The credential is valid and does not allow this."""

    code = "forbidden"
    status = 403
    title = "Forbidden"


class NotFound(Refused):
    """It does not exist for this tenant; another tenant's thing is answered in the same words."""

    code = "not_found"
    status = 404
    title = "Not found"


class MethodNotAllowed(Refused):
    """The path exists and does not take this method."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class Conflict(Refused):
    """The present state of the thing forbids the request."""

    code = "conflict"
    status = 409
    title = "Conflict"


class ApprovalRequired(Refused):
    """Another operator has to grant the act first; `approval` is the request, `asked` whether it was just made.

    A transaction that `asked` ends is kept: nothing was written in it but the request.
    """

    code = "approval_required"
    status = 409
    title = "Approval required"

    def __init__(self, message: str, *, approval: UUID | None = None, asked: bool = False) -> None:
        super().__init__(message)
        self.approval = approval
        self.asked = asked


class KeyReused(Refused):
    """The Idempotency-Key came before with another request."""

    code = "idempotency_key_reused"
    status = 422
    title = "Idempotency-Key reused"


class TenantErased(Refused):
    """The tenant's erasure has begun: nothing of it is read or written any more."""

    code = "tenant_erased"
    status = 410
    title = "Tenant erased"


class Deferred(CloisterError):
    """The request came too early, and may be sent again; `retry_after` is in seconds."""

    code = "deferred"
    status = 429
    title = "Deferred"
    transient = True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestInProgress(Deferred):
    """A request with the same Idempotency-Key is under way."""

    code = "request_in_progress"
    status = 409
    title = "Request in progress"


class RateLimited(Deferred):
    """A limit of the tenant, the key or the user is used up."""

    code = "rate_limited"
    title = "Rate limited"


class TooManyAtOnce(RateLimited):
    """Too many requests of the tenant are under way."""

    code = "too_many_at_once"
    title = "Too many requests at once"


class TooManyFailures(RateLimited):
    """Too many invalid keys came from this address, or this key asked for too many things that do not exist."""

    code = "too_many_failures"
    title = "Too many failures"


class Unavailable(CloisterError):
    """Something we depend on is away for now; `retry_after` is in seconds."""

    code = "unavailable"
    status = 503
    title = "Unavailable"
    transient = True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DatabaseUnavailable(Unavailable):
    """PostgreSQL did not answer, or not in time."""

    code = "database_unavailable"


class WriteConflict(Unavailable):
    """Two writes met, and this one was undone."""

    code = "write_conflict"


class EncoderUnavailable(Unavailable):
    """The encoder is stopped or its queue is full."""

    code = "encoder_unavailable"


class Overloaded(Unavailable):
    """A bounded queue is full."""

    code = "overloaded"


class DocumentError(CloisterError):
    """A document could not be ingested; `hint` says what a person can do about it."""

    code = "document_error"
    status = 422
    title = "Document not ingested"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.reason = code or self.code
        self.hint = hint


class UnreadableDocument(DocumentError):
    """The bytes cannot be read as a document, now or at any later attempt."""

    code = "unreadable_document"


class InterruptedDocument(DocumentError):
    """The attempt died before the end; another may succeed."""

    code = "interrupted"
    transient = True


class SetupError(CloisterError):
    """The installation is not ready; the message holds the statement or command that mends it."""

    code = "setup"
    title = "Not set up"
    transient = True  # a document waits for the operator rather than be given up
