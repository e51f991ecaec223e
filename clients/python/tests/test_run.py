"""Running a script and waiting for it, by the live service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conftest import User
from oncebox import AsyncClient, File, RejectedError, Result, ScriptFailed


def test_a_result_has_everything_with_its_type(user: User, client: Any) -> None:
    result = user.wait(client.run("echo out; echo err >&2; exit 3"))
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
    assert (result.status, result.success, result.signal) == ("completed", False, None)
    assert (result.stdout_bytes, result.stdout_truncated) == (4, False)
    assert result.usage.cpu_time > 0
    assert result.timings.ran >= result.execution_time > 0
    assert result.limits_hit == [] and result.files == []


def test_every_option_reaches_the_script(user: User, client: Any) -> None:
    result = user.wait(
        client.run(
            "import os, subprocess, sys\n"
            "print(sys.argv[1:], os.environ['NAME'], sys.stdin.read())\n"
            "print(open('a/text').read(), open('b', 'rb').read())\n"
            "print(subprocess.run(['./c'], capture_output=True, text=True).stdout)\n"
            "open('made', 'wb').write(bytes(range(256)))\n"
            "os.mkfifo('pipe')\n",
            language="python",
            args=["one", "ü"],
            env={"NAME": "value"},
            stdin=b"in",
            files={
                "a/text": "text",
                "b": b"\xff\x00",
                "c": File("#!/bin/sh\necho ran", executable=True),
            },
            outputs=["made", "pipe"],
            image=None,
            timeout=10,
            resources="medium",
            memory_limit="200m",
            cpu_limit=0.5,
            pids_limit=32,
            tmp_size="8m",
            output_limit=4096,
            pull_policy="if-not-present",
        )
    ).check()
    assert result.stdout == "['one', 'ü'] value in\ntext b'\\xff\\x00'\nran\n\n"
    made, pipe = sorted(result.files, key=lambda file: file.path)
    assert (made.bytes, made.size, made.executable) == (bytes(range(256)), 256, False)
    assert "\ufffd" in made.content
    assert pipe.skipped == "not_regular"
    with pytest.raises(ValueError, match="no content.*not_regular"):
        pipe.bytes


def test_any_bytes_go_both_ways(user: User, client: Any) -> None:
    script = b"# \xff\nprintf 'a\\377b'; cat >&2"
    result = user.wait(client.run(script, stdin="ü"))
    assert (result.stdout_raw, result.stdout) == (b"a\xffb", "a\ufffdb")
    assert (result.stderr_raw, result.stderr) == ("ü".encode(), "ü")
    with pytest.raises(ValueError):
        user.wait(client.run("cat", stdin=b"\xff"))


def test_output_is_cut_where_it_was_said(user: User, client: Any) -> None:
    result = user.wait(client.run("head -c 100000 /dev/zero", output_limit="1k"))
    assert result.stdout_raw == bytes(1024)
    assert (result.stdout_bytes, result.stdout_truncated) == (100_000, True)
    assert result.limits_hit == ["output"]


def test_much_output_comes_whole(user: User, client: Any) -> None:
    size = 8 << 20
    script = f"head -c {size} /dev/zero | tr '\\0' '\\377'; yes | head -c {size} >&2"
    result = user.wait(client.run(script, output_limit=size, memory_limit="256m"))
    assert result.stdout_raw == b"\xff" * size
    assert result.stderr == "y\n" * (size // 2)
    assert not result.stdout_truncated


def test_a_script_that_fails_is_a_result_until_it_is_checked(user: User, client: Any) -> None:
    result = user.wait(client.run("echo so far; sleep 30", timeout=0.5))
    assert (result.status, result.stdout) == ("timed_out", "so far\n")
    with pytest.raises(ScriptFailed, match="0.5") as failed:
        result.check()
    assert failed.value.result is result
    killed = user.wait(client.run("kill -SEGV $$"))
    assert (killed.status, killed.signal, killed.exit_code) == ("signaled", "SIGSEGV", 139)
    assert user.wait(client.run("true")).check().success


def test_a_refusal_names_what_to_change(user: User, client: Any) -> None:
    with pytest.raises(RejectedError, match="unknown_language") as refused:
        user.wait(client.run("x", language="klingon"))
    error = refused.value
    assert (error.status, error.code, error.field) == (400, "unknown_language", "language")
    assert error.detail and error.request_id and error.retry_after is None
    with pytest.raises(RejectedError) as refused:
        user.wait(client.run("x", files={"a/../b": "x"}))
    assert (refused.value.code, refused.value.field) == ("invalid_path", "files[0].path")


def test_an_option_that_there_is_not_is_a_mistake_in_the_program(user: User, client: Any) -> None:
    for wrong in ({"lang": "sh"}, {"webhook": "https://example.org"}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            user.wait(client.run("x", **wrong))


def test_many_run_at_once(url: str) -> None:
    async def all_of_them() -> list[Result]:
        async with AsyncClient(url) as client:
            return await asyncio.gather(*(client.run(f"echo {n}") for n in range(20)))

    assert [result.stdout for result in asyncio.run(all_of_them())] == [f"{n}\n" for n in range(20)]


def test_the_service_speaks_for_itself(user: User, client: Any) -> None:
    ready = user.wait(client.ready())
    assert ready.canary.passed and ready.engine in ("native", "docker")
    languages = {language.name: language for language in user.wait(client.languages())}
    assert "python3" in languages["python"].aliases
