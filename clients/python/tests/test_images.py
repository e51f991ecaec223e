"""Images, by the live service; `ONCEBOX_TEST_IMAGE` can be pulled, and says who it is."""

from __future__ import annotations

import os
from typing import Any

import pytest

from conftest import User
from oncebox import NotFoundError, PulledImage, PullProgress


@pytest.fixture
def reference() -> str:
    reference = os.environ.get("ONCEBOX_TEST_IMAGE")
    assert reference, "ONCEBOX_TEST_IMAGE must name an image; see tests/it/clients/python.rs"
    return reference


def test_an_image_is_pulled_run_and_removed(user: User, client: Any, reference: str) -> None:
    *progress, pulled = user.read(client.pull_events(reference))
    assert progress and all(isinstance(event, PullProgress) for event in progress)
    assert isinstance(pulled, PulledImage) and pulled.image == reference
    assert user.wait(client.pull(reference)) == pulled
    [image] = [one for one in user.wait(client.images()) if reference in one.references]
    assert image.digest == pulled.image_digest and image.size > 0
    details = user.wait(client.image(reference))
    assert details.os == "linux" and details.layers and details.digest == image.digest
    result = user.wait(client.run("cat /mark", image=reference)).check()
    assert (result.stdout, result.image_digest) == ("the Python client's", image.digest)
    removed = user.wait(client.remove_image(reference))
    assert removed.references == [reference] and removed.digests == [image.digest]


def test_an_image_that_there_is_not(user: User, client: Any, reference: str) -> None:
    missing = f"{reference}-not"
    with pytest.raises(NotFoundError, match="image_not_found"):
        user.wait(client.image(missing))
    with pytest.raises(NotFoundError, match="image_not_found"):
        user.wait(client.pull(missing))
    with pytest.raises(NotFoundError, match="image_not_found"):
        user.read(client.pull_events(missing))
    with pytest.raises(NotFoundError, match="image_not_found"):
        user.wait(client.run("x", image=missing))
