"""What goes wrong on the way, by a service that answers as it is told."""

from __future__ import annotations

import json
import socket
import time
from email.utils import formatdate
from typing import Any, Optional

import pytest

from conftest import User
from fakes import RESULT, Fake, Reply, events, problem, ran
from oncebox import (
    AccessError,
    AsyncStream,
    BusyError,
    ConflictError,
    ConnectionFailed,
    NotFoundError,
    OnceboxError,
    ProblemError,
    RejectedError,
    ServiceError,
    Started,
    Stdout,
    Stream,
    UnexpectedAnswer,
)

NOW: dict[str, str] = {"retry_after": "0"}


@pytest.mark.parametrize("status, code", [(429, "queue_full"), (503, "draining")])
def test_what_was_refused_is_sent_again_when_it_was_told(
    user: User, fake: Fake, status: int, code: str
) -> None:
    for as_date in (False, True):
        fake.asked.clear()
        after = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
        fake.replies = [problem(status, code, retry_after=after), ran()]
        before = time.monotonic()
        assert user.wait(user.client(fake.url).run("x", args=["ü"])).stdout == "hello\n"
        # A date has whole seconds, of which one has begun.
        assert 0.9 <= time.monotonic() - before < 10
        first, second = fake.asked
        assert first.body == second.body
        assert json.loads(first.body) == {"script": "x", "args": ["ü"]}


def test_without_a_time_the_pauses_grow(user: User, fake: Fake) -> None:
    fake.replies = [problem(429, "queue_full"), problem(503, "queue_timeout"), ran()]
    before = time.monotonic()
    user.wait(user.client(fake.url).run("x"))
    assert time.monotonic() - before >= 0.125 + 0.25


def test_there_is_an_end_to_patience(user: User, fake: Fake) -> None:
    fake.replies = [problem(429, "rate_limited", **NOW)] * 3
    with pytest.raises(BusyError) as refused:
        user.wait(user.client(fake.url, retries=2).run("x"))
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 0)
    assert len(fake.asked) == 3
    fake.replies = [problem(503, "draining", retry_after="61")]
    with pytest.raises(BusyError) as refused:
        user.wait(user.client(fake.url).run("x"))
    assert refused.value.retry_after == 61


@pytest.mark.parametrize(
    "reply, error",
    [
        (problem(500, "internal_error"), ServiceError),
        (problem(502, "container_lost"), ServiceError),
        (problem(504, "engine_timeout"), ServiceError),
        # The service ended while the script ran.
        (problem(503, "interrupted", **NOW), BusyError),
        # Not the service's own words: a proxy may have passed the script on.
        (Reply(503, b"<html>", {"retry-after": "0"}), BusyError),
        (Reply(200, b'{"id": ', cut=True), ConnectionFailed),
        (None, ConnectionFailed),
    ],
)
def test_a_script_that_may_have_run_is_not_sent_again(
    user: User, fake: Fake, reply: Optional[Reply], error: type[OnceboxError]
) -> None:
    client = user.client(fake.url)
    for ask in (client.run, client.start, lambda script: client.stream(script)):
        fake.asked.clear()
        fake.replies = [reply]
        with pytest.raises(error):
            asked = ask("x")
            user.read(asked) if isinstance(asked, (Stream, AsyncStream)) else user.wait(asked)
        assert len(fake.asked) == 1


def test_with_a_key_a_broken_connection_is_made_again(user: User, fake: Fake) -> None:
    fake.replies = [None, Reply(200, b'{"id": ', cut=True), ran()]
    user.wait(user.client(fake.url).run("x", idempotent=True)).check()
    [key] = {asked.headers["idempotency-key"] for asked in fake.asked}
    assert len(fake.asked) == 3 and len(key) == 36
    fake.replies = [None, ran()]
    user.wait(user.client(fake.url).run("x", idempotency_key="mine"))
    assert [asked.headers["idempotency-key"] for asked in fake.asked[3:]] == ["mine", "mine"]
    assert json.loads(fake.asked[-1].body) == {"script": "x"}


def test_a_question_is_asked_again(user: User, fake: Fake) -> None:
    fake.replies = [None, Reply(503, b"", {"retry-after": "0"}), Reply(200, b'{"images": []}')]
    assert user.wait(user.client(fake.url).images()) == []
    fake.replies = [problem(503, "pool_filling", **NOW)]
    with pytest.raises(BusyError, match="pool_filling"):
        user.wait(user.client(fake.url).ready())


@pytest.mark.parametrize(
    "status, error",
    [
        (400, RejectedError),
        (401, AccessError),
        (403, AccessError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, RejectedError),
        (507, ServiceError),
    ],
)
def test_each_status_has_its_error(
    user: User, fake: Fake, status: int, error: type[ProblemError]
) -> None:
    fake.replies = [problem(status, "word"), Reply(status, b"no problem document")]
    client = user.client(fake.url)
    for code, detail in (("word", "it is word"), (None, None)):
        with pytest.raises(ProblemError) as raised:
            user.wait(client.run("x"))
        assert type(raised.value) is error
        assert (raised.value.status, raised.value.code) == (status, code)
        assert raised.value.detail == (detail or raised.value.detail) != ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"stdout": 1}', b"null"])
def test_an_answer_that_makes_no_sense_is_an_error(user: User, fake: Fake, body: bytes) -> None:
    fake.replies = [Reply(200, body)]
    with pytest.raises(UnexpectedAnswer):
        user.wait(user.client(fake.url).run("x"))


def test_words_that_come_later_are_no_error(user: User, fake: Fake) -> None:
    fake.replies = [ran(status="paused", news={"a": 1})]
    assert user.wait(user.client(fake.url).run("x")).status == "paused"
    said = [("started", {"id": "1"}), ("news", 1), ("result", RESULT)]
    fake.replies = [events(*said)]
    assert len(user.read(user.client(fake.url).stream("x"))) == 2


def test_an_error_event_is_raised(user: User, fake: Fake) -> None:
    document = {"status": 502, "code": "container_lost", "detail": "it went", "request_id": "r"}
    fake.replies = [events(("started", {"id": "1"}), ("error", document))]
    seen: list[Any] = []
    with pytest.raises(ServiceError, match="container_lost") as raised:
        user.read(user.client(fake.url).stream("x"), seen.append)
    assert len(seen) == 1 and raised.value.request_id == "r"


def test_a_stream_that_was_refused_is_asked_for_again(user: User, fake: Fake) -> None:
    fake.replies = [problem(429, "queue_full", **NOW), events(("result", RESULT))]
    assert len(user.read(user.client(fake.url).stream("x"))) == 1
    assert {asked.headers["accept"] for asked in fake.asked} == {"text/event-stream"}


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_that_ends_before_its_end_is_an_error(user: User, fake: Fake, cut: bool) -> None:
    fake.replies = [events(("started", {"id": "1"}), cut=cut)]
    with pytest.raises(ConnectionFailed):
        user.read(user.client(fake.url).stream("x"))
    assert len(fake.asked) == 1


DOCUMENT: dict[str, Any] = {"id": "e", "state": "running", "created": "2026-01-01T00:00:00Z"}


def execution(user: User, fake: Fake, **options: Any) -> Any:
    fake.replies = [Reply(202, json.dumps(DOCUMENT).encode())]
    made = user.wait(user.client(fake.url, **options).start("x"))
    fake.asked.clear()
    return made


def test_events_go_on_behind_the_last_one(user: User, fake: Fake) -> None:
    made = execution(user, fake)
    output = ("stdout", {"offset": 0, "content": "x"})
    fake.replies = [
        None,
        events(("started", {"id": "e"}), output, cut=True),
        problem(503, "draining", **NOW),
        events(output, ("result", RESULT)),
    ]
    found = user.read(made.events())
    assert [type(event).__name__ for event in found] == ["Started", "Stdout", "Stdout", "Result"]
    behind = [asked.headers.get("last-event-id") for asked in fake.asked]
    assert behind == [None, None, "1", "1"]
    assert {asked.path for asked in fake.asked} == {"/executions/e/events"}


def test_events_that_never_come_are_given_up(user: User, fake: Fake) -> None:
    made = execution(user, fake, retries=2)
    fake.replies = [events(cut=True), events(), None]
    with pytest.raises(ConnectionFailed):
        user.read(made.events())
    assert len(fake.asked) == 3


def test_an_execution_without_a_result_raises_why(user: User, fake: Fake) -> None:
    lost = {"status": 503, "code": "interrupted", "detail": "it ended", "request_id": "r"}
    lost |= {"type": "about:blank", "title": "", "success": False, "error": ""}
    for more, error, code in (
        ({"state": "interrupted", "problem": lost}, BusyError, "interrupted"),
        ({"state": "cancelled"}, ConflictError, "cancelled"),
    ):
        made = execution(user, fake)
        fake.replies = [Reply(200, json.dumps({**DOCUMENT, **more}).encode())]
        with pytest.raises(error) as raised:
            user.wait(made.wait())
        assert raised.value.code == code


def test_the_key_goes_with_each_request_and_is_shown_nowhere(
    user: User, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCEBOX_API_KEY", "obx_of-the-environment")
    monkeypatch.setenv("ONCEBOX_URL", fake.url + "/")
    fake.replies = [ran(), ran(), ran()]
    for client in (user.client(), user.client(api_key="obx_given"), user.client(api_key="")):
        user.wait(client.run("x"))
        assert "obx" not in repr(client) and "obx" not in repr(vars(client))
    sent = [asked.headers.get("authorization") for asked in fake.asked]
    assert sent == ["Bearer obx_of-the-environment", "Bearer obx_given", None]
    assert {asked.path for asked in fake.asked} == {"/execute"}
    assert fake.asked[0].headers["user-agent"].startswith("oncebox-python/")


def test_a_service_that_is_silent_is_not_waited_for_without_end(user: User, fake: Fake) -> None:
    # The connection is taken, and nobody reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match="(?i)time"):
            user.wait(user.client(url, timeout=0.3).run("x"))
        with pytest.raises(ConnectionFailed, match="(?i)time"):
            user.read(user.client(url, timeout=0.3).stream("x"))


def test_pulls_show_how_far_they_are(user: User, fake: Fake) -> None:
    layer = {"digest": "sha256:0", "phase": "downloading", "done": 1, "total": 2}
    progress = {"attempt": 1, "layers": [layer], "done": 1, "total": None}
    fake.replies = [
        events(("progress", progress), ("done", {"image": "a:1", "image_digest": None}))
    ]
    first, last = user.read(user.client(fake.url).pull_events("a:1"))
    assert (first.layers[0].phase, first.total, last.image) == ("downloading", None, "a:1")
    assert json.loads(fake.asked[0].body) == {"image": "a:1"}
    assert not isinstance(first, (Started, Stdout))
