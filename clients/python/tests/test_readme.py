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
    # What an example says that it prints stands behind `#>`.
    said = re.findall(r"#> (.*)", example)
    assert capsys.readouterr().out.splitlines()[: len(said)] == said or not said


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
