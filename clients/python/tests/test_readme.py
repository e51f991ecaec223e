"""The examples of README.md, by the live service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(number: int, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLES[number]
    exec(compile(example, f"{README.name}, example {number}", "exec"), {"__name__": "__main__"})
    # What a line says that it prints stands behind `#>`.
    printed = iter(capsys.readouterr().out.splitlines())
    for said in re.findall(r"#> (.*)", example):
        assert said in (line.strip() for line in printed), f"{said!r} was not printed, or not then"


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
