"""Who may do what, by the live service; `ONCEBOX_OTHER_KEY` may only execute, once in a second."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from conftest import User
from oncebox import AccessError, BusyError, NotFoundError


@pytest.fixture
def other() -> str:
    key = os.environ.get("ONCEBOX_OTHER_KEY")
    assert key, "ONCEBOX_OTHER_KEY must be a key; see tests/it/clients/python.rs"
    return key


def test_without_a_key_nobody_comes_in(user: User, url: str) -> None:
    for key in ("", "obx_wrong"):
        client = user.client(url, key)
        for ask in (client.languages, client.images, lambda: client.run("echo")):
            with pytest.raises(AccessError, match="unauthorized") as refused:
                user.wait(ask())
            assert refused.value.status == 401


def test_a_key_opens_its_own_doors_only(user: User, client: Any, url: str, other: str) -> None:
    theirs = user.client(url, other)
    mine = user.wait(client.start("true"))
    with pytest.raises(AccessError, match="scope_missing"):
        user.wait(theirs.images())
    with pytest.raises(NotFoundError, match="execution_not_found"):
        user.wait(theirs.execution(mine.id))
    assert mine.id not in [execution.id for execution in user.take(theirs.executions())]


def test_who_asks_too_often_is_told_when_to_come_back(user: User, url: str, other: str) -> None:
    hasty, patient = user.client(url, other, retries=0), user.client(url, other)
    with pytest.raises(BusyError, match="rate_limited") as refused:
        for _ in range(100):
            user.wait(hasty.run("true"))
    assert refused.value.status == 429 and refused.value.retry_after is not None
    before = time.monotonic()
    assert user.wait(patient.run("echo in")).stdout == "in\n"
    assert time.monotonic() - before >= refused.value.retry_after - 1
