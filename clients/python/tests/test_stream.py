"""Following a script while it runs, by the live service."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest

from conftest import User, until
from fakes import Cutter
from oncebox import ConnectionFailed, RejectedError, Result, Started, Stderr, Stdout


def running(url: str) -> int:
    """Scripts that run now, as the service counts them."""
    key = os.environ.get("ONCEBOX_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    text = httpx.get(f"{url}/metrics", headers=headers).raise_for_status().text
    [value] = [line.split()[1] for line in text.splitlines() if line.startswith("oncebox_running ")]
    return int(value)


def test_events_come_in_order_and_the_result_last(user: User, client: Any) -> None:
    script = "echo one; sleep 0.1; printf '\\377ü' >&2; sleep 0.1; echo two"
    started, *output, result = user.read(client.stream(script))
    assert isinstance(started, Started) and started.id == result.id
    assert [(type(event), event.offset, event.bytes) for event in output] == [
        (Stdout, 0, b"one\n"),
        (Stderr, 0, "\udcffü".encode("utf-8", "surrogateescape")),
        (Stdout, 4, b"two\n"),
    ]
    assert output[1].content == "\ufffdü"
    assert isinstance(result, Result) and result.stdout == "one\ntwo\n"


def test_events_are_there_while_the_script_runs(user: User, client: Any) -> None:
    # It ends by what is left of its time, which is far beyond the test's own.
    with_first = user.read(
        client.stream("echo now; sleep 25", timeout=30), lambda event: isinstance(event, Stdout)
    )
    assert with_first[-1].content == "now\n"


def test_who_leaves_a_stream_cancels_the_script(user: User, client: Any, url: str) -> None:
    until("quiet", lambda: running(url) == 0)
    seen: list[int] = []

    def left(event: Any) -> bool:
        if isinstance(event, Stdout):
            seen.append(running(url))
        return bool(seen)

    user.read(client.stream("echo up; sleep 25", timeout=30), left)
    assert seen == [1]
    until("the end of the script", lambda: running(url) == 0)


def test_much_output_comes_whole_and_once(user: User, client: Any) -> None:
    size = 4 << 20
    events = user.read(client.stream(f"yes ü | head -c {size}", output_limit=size))
    output = [event for event in events if isinstance(event, Stdout)]
    assert [event.offset for event in output[1:]] == [
        event.offset + len(event.bytes) for event in output[:-1]
    ]
    whole = "".join(event.content for event in output)
    assert whole == events[-1].stdout and len(whole.encode()) >= size - 2


def test_what_never_began_raises_as_without_a_stream(user: User, client: Any) -> None:
    with pytest.raises(RejectedError, match="limit_exceeded"):
        user.read(client.stream("x", memory_limit="900g"))


def test_a_broken_stream_is_an_error_and_runs_nothing_twice(user: User, cutter: Cutter) -> None:
    cutter.after = [2000]
    client = user.client(cutter.url)
    seen: list[Any] = []
    with pytest.raises(ConnectionFailed):
        user.read(client.stream("while echo line; do sleep 0.01; done"), seen.append)
    assert isinstance(seen[0], Started) and len(seen) > 1
    assert cutter.connections == 1


def test_a_connection_is_used_again(user: User, cutter: Cutter) -> None:
    client = user.client(cutter.url)
    for _ in range(2):
        user.wait(client.run("true"))
        user.read(client.stream("echo one"))
    assert cutter.connections == 1


def test_nothing_listens(user: User) -> None:
    client = user.client("http://127.0.0.1:9", retries=0)
    with pytest.raises(ConnectionFailed):
        user.wait(client.run("x"))
    with pytest.raises(ConnectionFailed):
        user.read(client.stream("x"))
