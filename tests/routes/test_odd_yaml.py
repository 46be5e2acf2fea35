"""Whatever is in the file, it is read or refused in words, with a place, and soon: `tests/data/odd_yaml.yaml`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.errors import ConfigError, SettingError
from sidecar.routes.file import read_config

FILE = Path(__file__).parent.parent / "data" / "odd_yaml.yaml"
BEFORE = """\
version: 1
upstreams: {main: {url: "http://x/v1/events"}}
routes:
- {name: a, to: main}
- {name: b, to: main, match: {stream: """
SECONDS = 5.0
"""Of computing."""
OF_PYTHON = re.compile(r"sys\.|chr\(\)|Traceback|object at 0x|NoneType|float\(\)|Error\b")


def cases() -> Iterator[Any]:
    """Read the file."""
    kinds = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    shorthand = kinds.pop("shorthand")
    for kind, named in kinds.items():
        for name, case in named.items():
            text = written(case.get("text") if "text" in case else [BEFORE, case["value"], "}}\n"])
            for short, long in shorthand.items():
                text = text.replace(short, long)
            yield pytest.param(text.encode("latin-1"), case["at"], id=f"{kind}: {name}")


def written(text: Any) -> str:
    """Return what the file describes."""
    if isinstance(text, list):
        return "".join(map(written, text))
    return text["repeat"] * text["times"] if isinstance(text, dict) else str(text)


def said_of(path: Path) -> tuple[str, str]:
    """Return the place and the words of the first thing that is said of a file."""
    try:
        read_config(path)
    except ConfigError as error:
        first = error.problems[0]
        return f"{first.line}:{first.column}", first.message
    except SettingError as error:
        return "file", str(error).removeprefix(f"cannot read {path}: ")
    return "taken", "nothing"


@pytest.mark.parametrize(("text", "at"), list(cases()))
def test_an_odd_file_is_taken_or_refused_in_words(text: bytes, at: str, tmp_path: Path) -> None:
    """No text ends in a traceback, none takes long, and what is wrong is said with its place."""
    path = tmp_path / "routes.yaml"
    path.write_bytes(text)
    begun = time.process_time()
    place, words = said_of(path)
    assert time.process_time() - begun < SECONDS
    assert place == at
    assert words
    assert not OF_PYTHON.search(words)
