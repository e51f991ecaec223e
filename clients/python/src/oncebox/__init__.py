"""Runs strangers' scripts by an Oncebox service, each in a container made for it alone."""

from ._async import AsyncClient, AsyncExecution, AsyncStream
from ._calls import File, RunOptions, StartOptions
from ._errors import (
    AccessError,
    BusyError,
    ConflictError,
    ConnectionFailed,
    NotFoundError,
    OnceboxError,
    ProblemError,
    RejectedError,
    ScriptFailed,
    ServiceError,
    UnexpectedAnswer,
)
from ._events import Event, PullEvent, Started, Stderr, Stdout
from ._sync import Client, Execution, Stream
from .models import PulledImage, PullProgress, Result, ResultFile

__all__ = [
    "AccessError",
    "AsyncClient",
    "AsyncExecution",
    "AsyncStream",
    "BusyError",
    "Client",
    "ConflictError",
    "ConnectionFailed",
    "Event",
    "Execution",
    "File",
    "NotFoundError",
    "OnceboxError",
    "ProblemError",
    "PullEvent",
    "PullProgress",
    "PulledImage",
    "RejectedError",
    "Result",
    "ResultFile",
    "RunOptions",
    "ScriptFailed",
    "ServiceError",
    "StartOptions",
    "Started",
    "Stderr",
    "Stdout",
    "Stream",
    "UnexpectedAnswer",
]
