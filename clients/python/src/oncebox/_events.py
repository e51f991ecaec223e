"""What a script says while it runs, and where to go on when the connection breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from . import models
from ._calls import Call, execute, execution_events, pull, read_as
from ._errors import ProblemError
from ._retry import Again
from ._sse import Decoder, ServerEvent


class Started(models.EventStarted):
    """The script has begun."""


class Stdout(models.EventOutput):
    """It wrote to its standard output."""


class Stderr(models.EventOutput):
    """It wrote to its standard error."""


Event = Union[Started, Stdout, Stderr, models.Result]
PullEvent = Union[models.PullProgress, models.PulledImage]
E = TypeVar("E")


class Follow(Generic[E]):
    """One stream of events, over as many connections as it takes."""

    def __init__(
        self,
        call: Call[Any],
        words: Mapping[str, Callable[[Any], E]],
        last: str,
        last_event_id: str = "",
    ) -> None:
        self._call = replace(call, events=True)
        self._words = words
        self._last = last
        self._decoder = Decoder()
        self._last_event_id = last_event_id
        #: The last event, once it is there.
        self.end: Optional[E] = None
        #: How often the connection was lost since an event came.
        self.lost = 0

    def connect(self) -> Call[Any]:
        """How to go on from here, over a new connection."""
        self._decoder = Decoder()
        return self._call.after(self._last_event_id) if self._last_event_id else self._call

    @property
    def again(self) -> Again:
        return self._call.again

    def feed(self, piece: bytes) -> Iterator[E]:
        """The events that a piece of the stream completes, all but the last one."""
        for said in self._decoder.feed(piece):
            if self.end is not None:
                return
            if said.name == "error":
                raise _problem(said)
            read = self._words.get(said.name)
            if read is None:
                continue  # Others may come to be.
            event = read_as(read, said.data)
            self._last_event_id = said.last_id or self._last_event_id
            self.lost = 0
            if said.name == self._last:
                self.end = event
                return
            if isinstance(event, Started) and self._call.method == "POST":
                # The service cancels what nobody follows; another run might say something else.
                self._call = replace(self._call, again=Again.REFUSED)
            yield event


def running(script: Union[str, bytes], options: Mapping[str, Any]) -> Follow[Event]:
    return _execution(execute(script, options))


def executing(id: str, last_event_id: str) -> Follow[Event]:
    return _execution(execution_events(id), last_event_id)


def pulling(reference: str) -> Follow[PullEvent]:
    words: dict[str, Callable[[Any], PullEvent]] = {
        "progress": models.PullProgress.from_json,
        "done": models.PulledImage.from_json,
    }
    return Follow(pull(reference), words, "done")


def _execution(call: Call[Any], last_event_id: str = "") -> Follow[Event]:
    words: dict[str, Callable[[Any], Event]] = {
        "started": Started.from_json,
        "stdout": Stdout.from_json,
        "stderr": Stderr.from_json,
        "result": models.Result.from_json,
    }
    return Follow(call, words, "result", last_event_id)


def _problem(said: ServerEvent) -> ProblemError:
    document = read_as(dict, said.data)
    return ProblemError.of(int(document.get("status", 500)), document)
