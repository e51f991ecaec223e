"""The parts that need nobody else."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from pathlib import Path

import oncebox
from oncebox import BusyError, ConnectionFailed, OnceboxError, ServiceError
from oncebox._retry import Again, Retry, retry_after
from oncebox._sse import Decoder, ServerEvent
from oncebox._values import moment

HERE = Path(__file__).resolve().parent.parent
STREAM = (
    "\ufeff:\n\nevent: stdout\nid: 7\ndata: {\"content\":\"ü\"}\n\n"
    "data: two\r\ndata:lines\r\rid\nevent: empty\n\ndata\n\nretry: 5\nother\ndata:  x\n\n"
    "data: never"
).encode()
EVENTS = [
    ServerEvent("stdout", '{"content":"ü"}', "7"),
    ServerEvent("message", "two\nlines", "7"),
    ServerEvent("message", "", ""),
    ServerEvent("message", " x", ""),
]


def test_events_are_the_same_however_they_are_cut() -> None:
    for size in range(1, len(STREAM) + 1):
        decoder = Decoder()
        pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        assert [event for piece in pieces for event in decoder.feed(piece)] == EVENTS, size


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": " 120 "}) == 120
    later = retry_after({"retry-after": formatdate(datetime.now().timestamp() + 30, usegmt=True)})
    assert later is not None and 28 < later <= 30
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0
    for nonsense in ("", "soon", "-1", "1.5", "²", "Sun, 06 Nov 99999 08:49:37 GMT"):
        assert retry_after({"retry-after": nonsense}) is None


def test_pauses_are_as_asked_or_grow_within_bounds() -> None:
    retry = Retry(times=10, patience=60)

    def busy(after: float | None, code: str | None = "queue_full", status: int = 503) -> BusyError:
        return BusyError(status, code, "", retry_after=after)

    for _ in range(100):
        for tried in range(10):
            pause = retry.pause(busy(None), tried, Again.REFUSED)
            assert pause is not None
            assert min(8, 0.25 * 2**tried) / 2 <= pause <= min(8, 0.25 * 2**tried)
        asked = retry.pause(busy(40), 0, Again.REFUSED)
        assert asked is not None and 40 <= asked <= 41
    assert retry.pause(busy(61), 0, Again.LOST) is None
    assert retry.pause(busy(0), 10, Again.LOST) is None

    def again(failed: OnceboxError) -> list[bool]:
        return [retry.pause(failed, 0, again) is not None for again in Again]

    assert again(busy(0)) == [False, True, True]
    assert again(busy(0, None)) == [False, False, True]
    assert again(busy(0, None, 429)) == [False, True, True]
    assert again(busy(0, "interrupted")) == [False, False, False]
    assert again(ConnectionFailed()) == [False, False, True]
    assert again(ServiceError(502, "container_lost", "")) == [False, False, False]


def test_times_are_read_with_any_number_of_digits() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    for written, micros in (("5Z", 0), ("5.1Z", 100_000), ("5.123456789Z", 123_456)):
        assert moment(f"2026-01-02T03:04:0{written}") == at + timedelta(microseconds=micros)
    assert moment("2026-01-02T04:04:05.120+01:00") == at + timedelta(milliseconds=120)


def test_what_is_generated_is_what_generation_gives() -> None:
    run([sys.executable, str(HERE / "generate"), "--check"])


def test_types_are_right_and_come_with_the_package() -> None:
    assert (Path(oncebox.__file__).parent / "py.typed").exists()
    run([sys.executable, "-m", "mypy", "--cache-dir=/dev/null", "src", "generate", "tests"])


def test_it_is_written_for_the_oldest_python_it_names() -> None:
    for source in (HERE / "src").rglob("*.py"):
        ast.parse(source.read_text("utf-8"), feature_version=(3, 9))


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
