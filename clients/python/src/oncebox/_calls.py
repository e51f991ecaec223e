"""What is asked of the service, and how its answers are read; nothing here waits."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Callable, Generic, Optional, TypeVar, Union
from urllib.parse import quote

import httpx

from . import models
from ._errors import ConnectionFailed, ProblemError, UnexpectedAnswer
from ._retry import Again, retry_after

T = TypeVar("T")

#: In a stream of events, the service gives a sign of life every 15 seconds.
SILENCE = 60.0
#: Seconds for a connection to be made.
CONNECT = 10.0
#: Below the time after which the service closes an idle connection.
KEEP = 30.0
AGENT = f"oncebox-python/{version('oncebox')}"


@dataclass(frozen=True)
class File:
    """A file that is more than its content."""

    content: Union[str, bytes]
    executable: bool = False


class RunOptions(models.ExecuteOptions, total=False):
    stdin: Union[str, bytes, None]
    """Standard input, in UTF-8; any other bytes can be one of `files`."""
    files: Optional[Mapping[str, Union[str, bytes, File]]]
    """Files to put into the working directory, by their relative paths."""
    idempotency_key: Optional[str]
    """Equal requests with the same key are one execution, and have the same answer."""
    idempotent: Optional[bool]
    """Make such a key, so that the call can be made again when the connection breaks."""


class StartOptions(models.ExecutionOptions, RunOptions, total=False):
    pass


@dataclass(frozen=True)
class Call(Generic[T]):
    method: str
    path: str
    read: Callable[[Any], T]
    again: Again = Again.LOST
    body: Optional[bytes] = None
    query: Optional[Mapping[str, str]] = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Seconds that it may well take, beyond the client's own patience.
    takes: float = 0.0
    events: bool = False

    def after(self, last_event_id: str) -> Call[T]:
        return replace(self, headers={**self.headers, "last-event-id": last_event_id})


@dataclass(frozen=True)
class Service:
    """Where it is, and who asks."""

    url: str
    key: Optional[str]
    timeout: float

    @staticmethod
    def of(url: Optional[str], key: Optional[str], timeout: float) -> Service:
        url = url or os.environ.get("ONCEBOX_URL") or "http://localhost:8080"
        key = key if key is not None else os.environ.get("ONCEBOX_API_KEY")
        return Service(url.rstrip("/"), key or None, timeout)

    def __repr__(self) -> str:
        return self.url

    def request(
        self, call: Call[Any], http: Union[httpx.Client, httpx.AsyncClient]
    ) -> httpx.Request:
        headers = {"accept": "application/json", "user-agent": AGENT, **call.headers}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        if call.body is not None:
            headers["content-type"] = "application/json"
        if call.events:
            headers["accept"] = "text/event-stream"
        silence = min(self.timeout, SILENCE) if call.events else self.timeout + call.takes
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, CONNECT), read=silence)
        return http.build_request(
            call.method,
            self.url + call.path,
            params=call.query,
            headers=headers,
            content=call.body,
            timeout=timeout,
        )


def execute(script: Union[str, bytes], options: Mapping[str, Any]) -> Call[models.Result]:
    call = _script("/execute", models.Result.from_json, script, options, RunOptions)
    return replace(call, takes=float(options.get("timeout") or 0.0))


def start(script: Union[str, bytes], options: Mapping[str, Any]) -> Call[models.ExecutionDocument]:
    read = models.ExecutionDocument.from_json
    return _script("/executions", read, script, options, StartOptions)


def execution(id: str) -> Call[models.ExecutionDocument]:
    return Call("GET", f"/executions/{quote(id, safe='')}", models.ExecutionDocument.from_json)


def cancel(id: str) -> Call[models.ExecutionDocument]:
    return replace(execution(id), method="DELETE")


def executions(after: Optional[str]) -> Call[models.Executions]:
    query = {"after": after} if after else None
    return Call("GET", "/executions", models.Executions.from_json, query=query)


def execution_events(id: str) -> Call[None]:
    return Call("GET", f"{execution(id).path}/events", lambda _: None, events=True)


def languages() -> Call[list[models.Language]]:
    return Call("GET", "/languages", lambda data: models.Languages.from_json(data).languages)


def images() -> Call[list[models.Image]]:
    return Call("GET", "/images", lambda data: models.Images.from_json(data).images)


def image(reference: str) -> Call[models.ImageDetails]:
    return Call("GET", _image_path(reference), models.ImageDetails.from_json)


def remove_image(reference: str) -> Call[models.RemovedImages]:
    return Call("DELETE", _image_path(reference), models.RemovedImages.from_json)


def pull(reference: str) -> Call[models.PulledImage]:
    body = _json({"image": reference})
    return Call("POST", "/images/pull", models.PulledImage.from_json, body=body)


def ready() -> Call[models.Ready]:
    # 503 is the answer to the question, not a reason to ask again.
    return Call("GET", "/ready", models.Ready.from_json, Again.NEVER)


def answer(call: Call[T], response: httpx.Response) -> T:
    """What a response with success says."""
    return read_as(call.read, response.content)


def read_as(read: Callable[[Any], T], text: Union[str, bytes]) -> T:
    try:
        return read(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnexpectedAnswer(f"the answer is not in the service's words: {error!r}") from error


def problem(response: httpx.Response) -> ProblemError:
    """What a response without success says."""
    try:
        document = response.json()
    except ValueError:
        document = None
    after = retry_after(response.headers)
    return ProblemError.of(response.status_code, document, response.reason_phrase, after)


def lost(error: httpx.TransportError) -> ConnectionFailed:
    failed = ConnectionFailed(str(error) or type(error).__name__)
    failed.__cause__ = error
    return failed


def broken_off() -> ConnectionFailed:
    return ConnectionFailed("the stream of events broke off")


def ended(document: models.ExecutionDocument) -> Optional[models.Result]:
    """The result, or why there is none; `None` as long as neither is known."""
    if document.result is not None:
        return document.result
    if document.problem is not None:
        problem = document.problem
        raise ProblemError.of(problem.status, vars(problem))
    if document.state in ("queued", "running"):
        return None
    code = "cancelled" if document.state == "cancelled" else None
    raise ProblemError.of(409, {"code": code, "detail": f"the execution is {document.state}"})


def pauses() -> Iterator[float]:
    """Between two looks at an execution."""
    pause = 0.05
    while True:
        yield pause
        pause = min(2.0, pause * 1.5)


def _script(
    path: str,
    read: Callable[[Any], T],
    script: Union[str, bytes],
    options: Mapping[str, Any],
    known: Any,
) -> Call[T]:
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"there is no option {name!r}")
    fields = {name: value for name, value in options.items() if value is not None}
    key = fields.pop("idempotency_key", None)
    if fields.pop("idempotent", False) and key is None:
        key = str(uuid.uuid4())
    if isinstance(fields.get("stdin"), bytes):
        fields["stdin"] = fields["stdin"].decode("utf-8")
    if "files" in fields:
        fields["files"] = [_file(path, file) for path, file in fields["files"].items()]
    body = _json({**_content("script", script), **fields})
    if key is None:
        return Call("POST", path, read, Again.REFUSED, body)
    return Call("POST", path, read, Again.LOST, body, headers={"idempotency-key": key})


def _file(path: str, file: Union[str, bytes, File]) -> dict[str, Any]:
    file = file if isinstance(file, File) else File(file)
    executable = {"executable": True} if file.executable else {}
    return {"path": path, **_content("content", file.content), **executable}


def _content(name: str, content: Union[str, bytes]) -> dict[str, str]:
    if isinstance(content, str):
        return {name: content}
    return {f"{name}_base64": base64.b64encode(content).decode("ascii")}


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8")


def _image_path(reference: str) -> str:
    return f"/images/{quote(reference, safe='/:@')}"
