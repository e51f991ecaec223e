"""What every test uses: a live service, scripted ones for faults, and a user of either client."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from fakes import Cutter, Fake
from oncebox import AsyncClient, AsyncStream, Client

DEADLINE = 20.0


class User:
    """One who uses one of the two clients, so that each test is two."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._loop = asyncio.new_event_loop()
        self._clients: list[Any] = []

    def client(self, *args: Any, **options: Any) -> Any:
        async def make() -> Any:
            return (Client if self.kind == "sync" else AsyncClient)(*args, **options)

        self._clients.append(self.wait(make()))
        return self._clients[-1]

    def wait(self, value: Any) -> Any:
        return self._loop.run_until_complete(value) if inspect.isawaitable(value) else value

    def read(self, events: Any, until: Callable[[Any], object] = lambda event: None) -> list[Any]:
        """The events of a stream, or of its beginning; then the stream is left."""
        found: list[Any] = []
        if isinstance(events, AsyncStream):
            self.wait(self._read(events, until, found))
            return found
        with events:
            for event in events:
                found.append(event)
                if until(event):
                    break
        return found

    @staticmethod
    async def _read(events: Any, until: Callable[[Any], object], found: list[Any]) -> None:
        async with events:
            async for event in events:
                found.append(event)
                if until(event):
                    break

    def take(self, items: Any) -> list[Any]:
        """All of an iterator that is no stream."""

        async def all_of() -> list[Any]:
            return [item async for item in items]

        return list(items) if self.kind == "sync" else self.wait(all_of())

    def close(self) -> None:
        for client in self._clients:
            self.wait(client.close())
        self.wait(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture(params=["sync", "async"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    user = User(request.param)
    yield user
    user.close()


@pytest.fixture(scope="session")
def url() -> str:
    """Where the live service is. `ONCEBOX_API_KEY` goes with it."""
    url = os.environ.get("ONCEBOX_URL")
    assert url, "ONCEBOX_URL must say where a service is; see tests/it/clients/python.rs"
    return url


@pytest.fixture
def client(user: User, url: str) -> Any:
    return user.client(url)


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as fake:
        yield fake


@pytest.fixture
def cutter(url: str) -> Iterator[Cutter]:
    with Cutter(url) as cutter:
        yield cutter


def until(what: str, check: Callable[[], bool]) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come within {DEADLINE} s"
        time.sleep(0.02)
