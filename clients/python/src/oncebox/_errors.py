"""Everything that can go wrong, in one tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from .models import Result


class OnceboxError(Exception):
    """Whatever this package raises, except for arguments that make no sense."""


class ConnectionFailed(OnceboxError):
    """The service can't be reached, was silent for too long, or the connection broke."""


class UnexpectedAnswer(OnceboxError):
    """What came back is not in the service's words; perhaps something else answered."""


class ScriptFailed(OnceboxError):
    """Raised by `Result.check()`: the script ran, and not with success."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.error or f"the script ended with exit code {result.exit_code}")
        self.result = result


class ProblemError(OnceboxError):
    """The service's own reason why there is no result (RFC 9457)."""

    def __init__(
        self,
        status: int,
        code: Optional[str],
        detail: str,
        field: Optional[str] = None,
        request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        named = ", ".join(part for part in (code, field) if part)
        super().__init__(f"{status} ({named}): {detail}" if named else f"{status}: {detail}")
        #: The HTTP status.
        self.status = status
        #: A stable word for programs, one of `models.Code`; `None` if the service did not say it.
        self.code = code
        #: A sentence for people.
        self.detail = detail
        #: The path of the request's field that is wrong, such as `files[2].path`.
        self.field = field
        #: The service's log tells more under this id.
        self.request_id = request_id
        #: Seconds until another try is worth it.
        self.retry_after = retry_after

    @staticmethod
    def of(
        status: int, document: Any, reason: str = "", retry_after: Optional[float] = None
    ) -> ProblemError:
        """The error for a problem document, or for whatever else stands in its place."""
        said = document if isinstance(document, dict) else {}

        def text(name: str) -> Optional[str]:
            value = said.get(name)
            return value if isinstance(value, str) else None

        detail = text("detail") or reason or "no reason was given"
        return _class_of(status)(
            status, text("code"), detail, text("field"), text("request_id"), retry_after
        )


class RejectedError(ProblemError):
    """4xx: the caller must change something."""


class AccessError(RejectedError):
    """401 and 403: the key is missing, wrong, or does not allow this."""


class NotFoundError(RejectedError):
    """404: there is no such thing, or it is somebody else's."""


class ConflictError(RejectedError):
    """409: it can't be done in the state that something is in."""


class BusyError(ProblemError):
    """429 and 503: not now. Nothing was run, unless `code` is `interrupted`."""


class ServiceError(ProblemError):
    """Any other 5xx: the service's own fault."""


def _class_of(status: int) -> type[ProblemError]:
    if status in (429, 503):
        return BusyError
    special = {401: AccessError, 403: AccessError, 404: NotFoundError, 409: ConflictError}
    if 400 <= status < 500:
        return special.get(status, RejectedError)
    return ServiceError if status >= 500 else ProblemError
