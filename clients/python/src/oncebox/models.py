"""What the service says and takes. Made by `generate` from docs/openapi.json: do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as _field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict, Union

from ._values import Checked, moment, optional_raw, raw, text, there

if TYPE_CHECKING:
    from typing_extensions import Self

# A class below has a property of this name.
_Bytes = bytes


@dataclass(frozen=True)
class ResultFile:
    """A file that matched one of `outputs`: with its content, or with the reason why not."""

    path: str
    _bytes: Optional[_Bytes] = _field(default=None, repr=False)
    executable: Optional[bool] = None
    size: Optional[int] = None
    skipped: Optional[Literal["not_regular", "too_large", "too_many", "unreadable"]] = None
    """Why its content is not here."""

    @property
    def bytes(self) -> _Bytes:
        """Exactly what it was."""
        return there(self._bytes, self)

    @property
    def content(self) -> str:
        """As text; what is not UTF-8 becomes U+FFFD."""
        return text(there(self._bytes, self))

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            _bytes=optional_raw(data, "content"),
            executable=data.get("executable"),
            path=data["path"],
            size=data.get("size"),
            skipped=data.get("skipped"),
        )


@dataclass(frozen=True)
class Timings:
    """Where the time went."""

    prepared: float
    """Until its container was ready."""
    queued: float
    """Until it might run."""
    ran: float
    """Until it had ended."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            prepared=data["prepared"],
            queued=data["queued"],
            ran=data["ran"],
        )


@dataclass(frozen=True)
class Usage:
    """What it used; `null` where the kernel has no such counter."""

    cpu_time: Optional[float]
    max_memory_bytes: Optional[int]
    max_pids: Optional[int]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            cpu_time=data["cpu_time"],
            max_memory_bytes=data["max_memory_bytes"],
            max_pids=data["max_pids"],
        )


@dataclass(frozen=True)
class Result(Checked):
    """What is to say about a script that ran. Times are in seconds, sizes in bytes."""

    stdout_raw: _Bytes = _field(repr=False)
    stderr_raw: _Bytes = _field(repr=False)
    error: Optional[str]
    """One sentence where the script did not end by itself."""
    execution_time: float
    """From the script's start to its end."""
    exit_code: int
    """The exit code, or 128 + signal."""
    files: list[ResultFile]
    """What `outputs` asked for."""
    id: str
    """UUIDv7 (RFC 9562)."""
    image: str
    """What it ran in."""
    image_digest: Optional[str]
    """`null` for the image `host`."""
    limits_hit: list[Literal["memory", "pids", "tmp", "output"]]
    """Limits that it ran into."""
    signal: Optional[str]
    """`SIGKILL` and the like; `null` where it exited."""
    status: Literal["completed", "signaled", "timed_out", "out_of_memory", "cancelled"]
    """How it ended: `completed` it exited, with any code; `signaled`; `timed_out`; `out_of_memory`
    the kernel killed any process of it for memory; `cancelled`.
    """
    stderr_bytes: int
    """As `stdout_bytes`."""
    stderr_truncated: bool
    """As `stdout_truncated`."""
    stdout_bytes: int
    """Bytes written, those past the cap included."""
    stdout_truncated: bool
    """Output past `output_limit` was cut off; the script went on."""
    success: bool
    """It exited by itself with code 0."""
    timings: Timings
    usage: Usage

    @property
    def stdout(self) -> str:
        """As text; what is not UTF-8 becomes U+FFFD."""
        return text(self.stdout_raw)

    @property
    def stderr(self) -> str:
        """As text; what is not UTF-8 becomes U+FFFD."""
        return text(self.stderr_raw)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            stdout_raw=raw(data, "stdout"),
            stderr_raw=raw(data, "stderr"),
            error=data["error"],
            execution_time=data["execution_time"],
            exit_code=data["exit_code"],
            files=[ResultFile.from_json(each) for each in data["files"]],
            id=data["id"],
            image=data["image"],
            image_digest=data["image_digest"],
            limits_hit=data["limits_hit"],
            signal=data["signal"],
            status=data["status"],
            stderr_bytes=data["stderr_bytes"],
            stderr_truncated=data["stderr_truncated"],
            stdout_bytes=data["stdout_bytes"],
            stdout_truncated=data["stdout_truncated"],
            success=data["success"],
            timings=Timings.from_json(data["timings"]),
            usage=Usage.from_json(data["usage"]),
        )


@dataclass(frozen=True)
class Canary:
    """A script that really ran on this engine when the service started."""

    passed: bool
    seconds: float
    """From the request for a permit to the answer."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            passed=data["passed"],
            seconds=data["seconds"],
        )


Code = Literal["malformed_request", "invalid_json", "invalid_form", "broken_body", "invalid_request",
"unknown_field", "missing_field", "conflicting_fields", "invalid_path", "invalid_image",
"unknown_language", "limit_exceeded", "payload_too_large", "invalid_idempotency_key",
"conflicting_credentials", "unauthorized", "scope_missing", "origin_not_allowed",
"image_not_allowed", "webhook_not_allowed", "not_found", "execution_not_found",
"image_not_found", "method_not_allowed", "request_timeout", "image_in_use",
"idempotency_conflict", "cancelled", "body_too_large", "uri_too_long", "unsupported_media_type",
"files_refused", "image_unsupported", "rate_limited", "queue_full", "too_many_executions",
"too_many_pulls", "headers_too_large", "internal_error", "container_not_made", "container_lost",
"registry_auth", "image_corrupt", "too_many_connections", "queue_timeout", "draining",
"interrupted", "pool_filling", "engine_unavailable", "registry_unavailable", "engine_timeout",
"registry_timeout", "no_space"]
"""Why there is no answer, as a stable word"""


@dataclass(frozen=True)
class EventOutput:
    """The data of `stdout` and `stderr`."""

    bytes: _Bytes = _field(repr=False)
    offset: int
    """Bytes of this stream before it."""

    @property
    def content(self) -> str:
        """As text; what is not UTF-8 becomes U+FFFD."""
        return text(self.bytes)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            bytes=raw(data, "content"),
            offset=data["offset"],
        )


@dataclass(frozen=True)
class EventStarted:
    """The data of `started`."""

    id: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            id=data["id"],
        )


@dataclass(frozen=True)
class Problem:
    """Why there is no answer (RFC 9457)."""

    code: Code
    detail: str
    """A sentence for people."""
    error: str
    """The same as `detail`."""
    request_id: str
    """As in `X-Request-Id`; our log tells more under this id."""
    status: int
    success: bool
    """`false`, for clients that look for nothing else."""
    title: str
    """The HTTP status in words."""
    type: str
    field: Optional[str] = None
    """The path of the request's field that is wrong, such as `files[2].path`."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            code=data["code"],
            detail=data["detail"],
            error=data["error"],
            field=data.get("field"),
            request_id=data["request_id"],
            status=data["status"],
            success=data["success"],
            title=data["title"],
            type=data["type"],
        )


@dataclass(frozen=True)
class ExecutionDocument:
    """One execution. Times are as in RFC 3339."""

    created: datetime
    id: str
    """UUIDv7 (RFC 9562)."""
    state: Literal["queued", "running", "ended", "failed", "interrupted", "cancelled"]
    """`queued`; `running`; `ended` with a `result`; `failed` with a `problem`; `interrupted`, when
    the service ended before it did; `cancelled` before it ran.
    """
    ended: Optional[datetime] = None
    position: Optional[int] = None
    """Of one that is queued: 1 is the next to be served; `null` while its image is looked for."""
    problem: Optional[Problem] = None
    """Of one that has failed or was interrupted."""
    result: Optional[Result] = None
    """The answer of `POST /execute`, of one that has ended."""
    started: Optional[datetime] = None

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            created=moment(data["created"]),
            ended=None if data.get("ended") is None else moment(data.get("ended")),
            id=data["id"],
            position=data.get("position"),
            problem=None if data.get("problem") is None else Problem.from_json(data.get("problem")),
            result=None if data.get("result") is None else Result.from_json(data.get("result")),
            started=None if data.get("started") is None else moment(data.get("started")),
            state=data["state"],
        )


@dataclass(frozen=True)
class Executions:
    """The body of `GET /executions`."""

    executions: list[ExecutionDocument]
    next: Optional[str]
    """What to give as `after` for those that follow; `null` at the end."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            executions=[ExecutionDocument.from_json(each) for each in data["executions"]],
            next=data["next"],
        )


@dataclass(frozen=True)
class Health:

    status: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            status=data["status"],
        )


@dataclass(frozen=True)
class History:

    comment: Optional[str]
    created: Optional[str]
    created_by: Optional[str]
    empty_layer: bool

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            comment=data["comment"],
            created=data["created"],
            created_by=data["created_by"],
            empty_layer=data["empty_layer"],
        )


@dataclass(frozen=True)
class Layer:

    diff_id: str
    size: Optional[int]
    """`null` where the engine does not know."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            diff_id=data["diff_id"],
            size=data["size"],
        )


@dataclass(frozen=True)
class ImageDetails:
    """The body of `GET /images/{reference}`."""

    created: Optional[datetime]
    """`null` where the engine does not know."""
    digest: str
    last_used: Optional[datetime]
    """`null` where it never was used, or the engine does not count."""
    pool: int
    """Containers of it that wait; absent where there is no service."""
    references: list[str]
    size: int
    architecture: str
    config: Any
    """The image's own words (OCI image spec, config.md)."""
    history: list[History]
    """The oldest first."""
    layers: list[Layer]
    """The lowest first."""
    os: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            created=None if data["created"] is None else moment(data["created"]),
            digest=data["digest"],
            last_used=None if data["last_used"] is None else moment(data["last_used"]),
            pool=data["pool"],
            references=data["references"],
            size=data["size"],
            architecture=data["architecture"],
            config=data["config"],
            history=[History.from_json(each) for each in data["history"]],
            layers=[Layer.from_json(each) for each in data["layers"]],
            os=data["os"],
        )


@dataclass(frozen=True)
class Image:
    """One image. Sizes are in bytes, times as in RFC 3339."""

    created: Optional[datetime]
    """`null` where the engine does not know."""
    digest: str
    last_used: Optional[datetime]
    """`null` where it never was used, or the engine does not count."""
    pool: int
    """Containers of it that wait; absent where there is no service."""
    references: list[str]
    size: int

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            created=None if data["created"] is None else moment(data["created"]),
            digest=data["digest"],
            last_used=None if data["last_used"] is None else moment(data["last_used"]),
            pool=data["pool"],
            references=data["references"],
            size=data["size"],
        )


@dataclass(frozen=True)
class Images:
    """The body of `GET /images`."""

    images: list[Image]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            images=[Image.from_json(each) for each in data["images"]],
        )


@dataclass(frozen=True)
class Missing:
    """One that is not here, or not yet; it holds nothing up."""

    image: str
    reason: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            image=data["image"],
            reason=data["reason"],
        )


@dataclass(frozen=True)
class ImagesNow:
    """Images that the operator names."""

    missing: list[Missing]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            missing=[Missing.from_json(each) for each in data["missing"]],
        )


@dataclass(frozen=True)
class Language:
    """How a script in this language is run."""

    aliases: list[str]
    """Other names that it may say."""
    default: bool
    """Of a script that names no language and has no `#!` line."""
    file_name: str
    """What the script is called in the working directory."""
    interpreters: list[list[str]]
    """Commands, tried in order until one's program exists in the image; the script's path and the
    request's args follow.
    """
    name: str
    """What a request's `language` says."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            aliases=data["aliases"],
            default=data["default"],
            file_name=data["file_name"],
            interpreters=data["interpreters"],
            name=data["name"],
        )


@dataclass(frozen=True)
class Languages:
    """The languages that scripts can be in."""

    languages: list[Language]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            languages=[Language.from_json(each) for each in data["languages"]],
        )


@dataclass(frozen=True)
class LayerProgress:

    digest: str
    done: int
    phase: Literal["waiting", "downloading", "unpacking", "done"]
    """How far this layer is."""
    total: Optional[int]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            digest=data["digest"],
            done=data["done"],
            phase=data["phase"],
            total=data["total"],
        )


@dataclass(frozen=True)
class PoolNow:
    """Containers made ahead."""

    full: bool
    """As many as the operator asked for, of every image."""
    waiting: int

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            full=data["full"],
            waiting=data["waiting"],
        )


@dataclass(frozen=True)
class PullProgress:
    """How far a pull has come."""

    attempt: int
    done: int
    """Compressed bytes of all layers."""
    layers: list[LayerProgress]
    total: Optional[int]
    """`null` as long as that of any layer is not known."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            attempt=data["attempt"],
            done=data["done"],
            layers=[LayerProgress.from_json(each) for each in data["layers"]],
            total=data["total"],
        )


@dataclass(frozen=True)
class PulledImage:
    """An image that was pulled, in the words of an execution's answer."""

    image: str
    image_digest: Optional[str]
    """`null` for the image `host`."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            image=data["image"],
            image_digest=data["image_digest"],
        )


@dataclass(frozen=True)
class Ready:
    """The body of `GET /ready`."""

    canary: Canary
    engine: str
    """`docker` or `native`."""
    image: str
    """The image of a request that names none."""
    reason: str
    """Why this engine."""
    images: ImagesNow
    pool: PoolNow

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            canary=Canary.from_json(data["canary"]),
            engine=data["engine"],
            image=data["image"],
            reason=data["reason"],
            images=ImagesNow.from_json(data["images"]),
            pool=PoolNow.from_json(data["pool"]),
        )


@dataclass(frozen=True)
class RemovedImages:
    """What was removed."""

    digests: list[str]
    freed: int
    """Bytes."""
    references: list[str]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            digests=data["digests"],
            freed=data["freed"],
            references=data["references"],
        )


class ExecuteOptions(TypedDict, total=False):
    """Fields of a request; `None` is the same as leaving it out."""

    args: Optional[Sequence[str]]
    """The script's arguments."""
    cpu_limit: Optional[Union[float, str]]
    """Share of CPU; up to the operator's `MAX_CPU_LIMIT`."""
    env: Optional[Mapping[str, str]]
    """Environment variables, on top of `PATH`, `HOME`, `LANG` and the image's own."""
    forward_env: Optional[bool]
    """Whether the script gets what the operator forwards of the service's own variables; true
    without it. `env` stands above them.
    """
    image: Optional[str]
    """An image reference, as Docker writes it; without it, the operator's `BASE_IMAGE`."""
    language: Optional[Union[Literal["sh", "bash", "python", "node", "ruby", "perl", "lua", "php", "python3", "javascript", "js", "shell"], str]]
    """How to run a script without a `#!` line; without either it is `/bin/sh`. See `GET
    /languages`.
    """
    memory_limit: Optional[Union[float, str]]
    """Memory, without swap; up to the operator's `MAX_MEMORY_LIMIT`."""
    output_limit: Optional[Union[float, str]]
    """What is kept of stdout and of stderr, each; up to the operator's `MAX_OUTPUT_LIMIT`."""
    outputs: Optional[Sequence[str]]
    """Files to bring back."""
    pids_limit: Optional[int]
    """Processes and threads, our own PID 1 included; up to the operator's `MAX_PIDS_LIMIT`."""
    pull_policy: Optional[Union[Literal["always", "if-not-present", "never"], str]]
    """When a registry is asked for the image: `always`, only where it is not here, or `never`; no
    laxer than the operator's own.
    """
    timeout: Optional[float]
    """Seconds; up to the operator's `MAX_TIMEOUT`."""
    tmp_size: Optional[Union[float, str]]
    """Room in `/tmp`; up to the operator's `MAX_TMP_SIZE`."""


class ExecutionOptions(ExecuteOptions, total=False):
    """Fields of a request; `None` is the same as leaving it out."""

    retry_on_interrupt: Optional[bool]
    """Run it again when the service ended before it did; otherwise it is `interrupted`."""
    webhook: Optional[str]
    """An address of a host among the operator's `WEBHOOK_HOSTS`: the document is sent there when
    the execution is over.
    """
