"""Scripts in the background, by the live service."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

import pytest

from conftest import User
from fakes import Cutter
from oncebox import ConflictError, ConnectionFailed, NotFoundError, Result, Started, Stdout

SLOWLY = "for i in $(seq 40); do echo line $i; sleep 0.02; done"
LINES = "".join(f"line {i}\n" for i in range(1, 41))


def test_one_that_is_started_can_be_waited_for(user: User, client: Any) -> None:
    execution = user.wait(client.start("echo hello; sleep 0.2", language="sh"))
    assert execution.document.state in ("queued", "running")
    with pytest.raises(TimeoutError, match=execution.id):
        user.wait(execution.wait(timeout=0))
    result = user.wait(execution.wait())
    assert result.check().stdout == "hello\n"
    document = execution.document
    assert (document.state, document.result) == ("ended", result)
    age = datetime.now(timezone.utc) - document.created
    assert 0 <= age.total_seconds() < 60
    assert document.created <= document.started <= document.ended
    assert user.wait(user.wait(client.execution(execution.id)).wait()) == result


def test_its_events_are_replayed_and_then_live(user: User, client: Any) -> None:
    execution = user.wait(client.start(SLOWLY))
    for _ in ("live", "over"):
        events = user.read(execution.events())
        assert isinstance(events[0], Started) and isinstance(events[-1], Result)
        assert "".join(event.content for event in events[1:-1]) == LINES
    behind = user.read(execution.events(last_event_id="7"))
    assert "".join(event.content for event in behind[:-1]) == LINES[7:]
    assert user.read(execution.events(last_event_id="end")) == []


def test_its_events_go_on_where_a_connection_broke(
    user: User, client: Any, cutter: Cutter
) -> None:
    execution = user.wait(client.start(SLOWLY))
    cutter.after = [1000, 900, 1100]
    again = user.wait(user.client(cutter.url).execution(execution.id))
    events = user.read(again.events())
    assert "".join(event.content for event in events if isinstance(event, Stdout)) == LINES
    assert [type(event) for event in events].count(Started) == 1
    assert isinstance(events[-1], Result) and events[-1].stdout == LINES
    assert cutter.connections >= 4


def test_leaving_its_events_cancels_nothing(user: User, client: Any) -> None:
    execution = user.wait(client.start("echo one; sleep 0.3; echo two"))
    user.read(execution.events(), lambda event: isinstance(event, Stdout))
    assert user.wait(execution.wait()).stdout == "one\ntwo\n"


def test_one_can_be_cancelled(user: User, client: Any) -> None:
    execution = user.wait(client.start("echo up; sleep 25", timeout=30))
    user.read(execution.events(), lambda event: isinstance(event, Stdout))
    user.wait(execution.cancel())
    result = user.wait(execution.wait(timeout=10))
    assert (result.status, result.stdout) == ("cancelled", "up\n")
    assert user.wait(execution.cancel()).state == "ended"


def test_they_are_listed_the_newest_first_over_pages(user: User, client: Any) -> None:
    started = [user.wait(client.start("true")) for _ in range(55)]
    listed = user.take(client.executions())
    ids = [execution.id for execution in listed]
    assert ids[:55] == [execution.id for execution in reversed(started)]
    assert len(set(ids)) == len(ids)
    assert all(user.wait(execution.wait()).success for execution in listed[:3])


def test_one_that_there_is_not(user: User, client: Any) -> None:
    with pytest.raises(NotFoundError, match="execution_not_found"):
        user.wait(client.execution(str(uuid.uuid4())))


def test_equal_requests_with_a_key_run_once(user: User, client: Any) -> None:
    key = str(uuid.uuid4())
    first, second = (user.wait(client.run("date +%N", idempotency_key=key)) for _ in range(2))
    assert first == second
    with pytest.raises(ConflictError, match="idempotency_conflict"):
        user.wait(client.run("date", idempotency_key=key))
    one, other = (user.wait(client.run("date", idempotent=True)) for _ in range(2))
    assert one.id != other.id
    started = [user.wait(client.start("true", idempotency_key=f"{key}-b")) for _ in range(2)]
    assert started[0].id == started[1].id


def test_an_answer_that_was_lost_is_given_again(
    user: User, client: Any, cutter: Cutter
) -> None:
    key = str(uuid.uuid4())
    # Once before the script ran, and twice within its answer.
    cutter.after = [0, 1, 200]
    result = user.wait(user.client(cutter.url).run("date +%N", idempotency_key=key))
    assert cutter.connections == 4
    assert user.wait(client.run("date +%N", idempotency_key=key)) == result
    cutter.after = [1]
    cut = user.wait(user.client(cutter.url).start("date +%N", idempotent=True))
    assert cut.id in [execution.id for execution in user.take(client.executions())][:1]


def test_a_stream_that_broke_is_not_begun_again(user: User, cutter: Cutter) -> None:
    cutter.after = [0, 1, 900]
    seen: list[Any] = []
    with pytest.raises(ConnectionFailed):
        user.read(user.client(cutter.url).stream(SLOWLY, idempotent=True), seen.append)
    assert isinstance(seen[0], Started) and 1 < len(seen) < 40
    assert cutter.connections == 3
