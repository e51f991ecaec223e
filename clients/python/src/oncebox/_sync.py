"""The client that just waits. Made by `generate` from _async.py: do not edit."""

from __future__ import annotations

from time import sleep
from collections.abc import Generator, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar, Union

import httpx

from . import _calls, _events
from ._calls import Call, RunOptions, Service, StartOptions
from ._errors import OnceboxError
from ._events import Event, Follow, PullEvent
from ._retry import Again, Retry
from .models import (
    ExecutionDocument,
    Image,
    ImageDetails,
    Language,
    PulledImage,
    Ready,
    RemovedImages,
    Result,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

T = TypeVar("T")
E = TypeVar("E")


class Client:
    """Runs scripts at one service.

    `api_key` and `base_url` default to `ONCEBOX_API_KEY` and `ONCEBOX_URL` of the environment.
    `timeout` is how many seconds the service may be silent, on top of what the script itself is
    given. What the service refuses with 429 or 503 is tried again up to `retries` times, when it
    says (`Retry-After`) or with growing pauses; one that would be longer than `longest_pause`
    seconds is not waited for. A script is sent again after a broken connection only with an
    idempotency key. `http` is a client of your own, for proxies and certificates.
    """

    def __init__(
        self,
        base_url: Optional[str] = None,
        api_key: Optional[str] = None,
        *,
        timeout: float = 600.0,
        retries: int = 4,
        longest_pause: float = 60.0,
        http: Optional[httpx.Client] = None,
    ) -> None:
        self._service = Service.of(base_url, api_key, timeout)
        self._retry = Retry(retries, longest_pause)
        self._own = http is None
        limits = httpx.Limits(keepalive_expiry=_calls.KEEP)
        self._http = http if http is not None else httpx.Client(limits=limits)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        if self._own:
            self._http.close()

    def run(self, script: Union[str, bytes], **options: Unpack[RunOptions]) -> Result:
        """Runs a script and waits for its end.

        The options are the fields of `POST /execute` (`language`, `stdin`, `args`, `env`, `files`,
        `outputs`, `image`, `timeout`, `memory_limit` and so on: see `RunOptions`).
        """
        return self._answer(_calls.execute(script, options))

    def stream(
        self, script: Union[str, bytes], **options: Unpack[RunOptions]
    ) -> Stream[Event]:
        """Runs a script and gives what it says as it says it; the `Result` comes last.

        The script starts with the first event that is asked for, and is cancelled by leaving the
        stream. One that shall outlive a connection is for `start` and `events`.
        """
        return self._stream(_events.running(script, options))

    def start(
        self, script: Union[str, bytes], **options: Unpack[StartOptions]
    ) -> Execution:
        """Starts a script in the background."""
        return Execution(self, self._answer(_calls.start(script, options)))

    def execution(self, id: str) -> Execution:
        """One that was started before."""
        return Execution(self, self._answer(_calls.execution(id)))

    def executions(self) -> Iterator[Execution]:
        """Those that were started with this API key, the newest first."""
        after = None
        while True:
            page = self._answer(_calls.executions(after))
            for document in page.executions:
                yield Execution(self, document)
            after = page.next
            if after is None:
                return

    def languages(self) -> list[Language]:
        """The languages that scripts can be in."""
        return self._answer(_calls.languages())

    def images(self) -> list[Image]:
        """The images that are there."""
        return self._answer(_calls.images())

    def image(self, reference: str) -> ImageDetails:
        """What there is to say about one."""
        return self._answer(_calls.image(reference))

    def remove_image(self, reference: str) -> RemovedImages:
        """Removes one that no container uses."""
        return self._answer(_calls.remove_image(reference))

    def pull(self, reference: str) -> PulledImage:
        """Pulls an image, whether it is there or not."""
        return self._answer(_calls.pull(reference))

    def pull_events(self, reference: str) -> Stream[PullEvent]:
        """The same, with how far it is; the `PulledImage` comes last."""
        return self._stream(_events.pulling(reference))

    def ready(self) -> Ready:
        """How the service is; raises `BusyError` when it is not ready."""
        return self._answer(_calls.ready())

    def _answer(self, call: Call[T]) -> T:
        return _calls.answer(call, self._ask(call))

    def _ask(self, call: Call[Any], tried: int = 0) -> httpx.Response:
        """The response with success, of one of as many tries as it takes."""
        while True:
            try:
                request = self._service.request(call, self._http)
                response = self._http.send(request, stream=call.events)
                if response.is_success:
                    return response
                response.read()
                failed: OnceboxError = _calls.problem(response)
            except httpx.TransportError as error:
                failed = _calls.lost(error)
            self._wait(failed, tried, call.again)
            tried += 1

    def _stream(self, follow: Follow[E]) -> Stream[E]:
        return Stream(self._follow(follow))

    def _follow(self, follow: Follow[E]) -> Generator[E, None, None]:
        while True:
            failed = _calls.broken_off()
            response = self._ask(follow.connect(), follow.lost)
            try:
                if response.status_code == 204:
                    return
                # To the end, which is right behind the last event: so the connection lives on.
                for piece in response.iter_bytes():
                    for event in follow.feed(piece):
                        yield event
            except httpx.TransportError as error:
                failed = _calls.lost(error)
            finally:
                response.close()
            if follow.end is not None:
                yield follow.end
                return
            self._wait(failed, follow.lost, follow.again)
            follow.lost += 1

    def _wait(self, failed: OnceboxError, tried: int, again: Again) -> None:
        pause = self._retry.pause(failed, tried, again)
        if pause is None:
            raise failed
        sleep(pause)


class Stream(Generic[E]):
    """Events, the next one when it is there. Leave it by `with` or `close()`."""

    def __init__(self, events: Generator[E, None, None]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[E]:
        return self._events

    def __next__(self) -> E:
        return self._events.__next__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._events.close()


class Execution:
    """A script that runs in the background."""

    def __init__(self, client: Client, document: ExecutionDocument) -> None:
        self._client = client
        #: What was last heard of it.
        self.document = document

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, {self.document.state})"

    @property
    def id(self) -> str:
        return self.document.id

    def refresh(self) -> ExecutionDocument:
        """Asks how it is now."""
        self.document = self._client._answer(_calls.execution(self.id))
        return self.document

    def wait(self, timeout: Optional[float] = None) -> Result:
        """Waits for its end; raises the problem if it has no result, and `TimeoutError`."""
        until = None if timeout is None else monotonic() + timeout
        for pause in _calls.pauses():
            result = _calls.ended(self.refresh())
            if result is not None:
                return result
            left = pause if until is None else until - monotonic()
            if left <= 0:
                raise TimeoutError(f"execution {self.id} is {self.document.state}")
            sleep(min(pause, left))
        raise AssertionError("pauses have no end")

    def events(self, last_event_id: str = "") -> Stream[Event]:
        """What it says, from its beginning or from after an event, and then as it says it.

        A broken connection is made again, and goes on where it was. Leaving cancels nothing.
        """
        return self._client._stream(_events.executing(self.id, last_event_id))

    def cancel(self) -> ExecutionDocument:
        """Ends it; one that is over stays as it is."""
        self.document = self._client._answer(_calls.cancel(self.id))
        return self.document
