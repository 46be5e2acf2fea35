"""Raw requests, byte for byte, and their only allowed answers: `tests/data/raw_requests.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes import post
from tests.intake.test_protocol_anything import answers, written_to

FILE = Path(__file__).parent.parent / "data" / "raw_requests.yaml"
NEXT = post(b"the next one")
ANSWER_TO_NEXT = "201 the next one"


@dataclass(frozen=True)
class Case:
    """The bytes sent, and the expected result."""

    sent: bytes
    answers: list[str]
    """Status and body of each; of a refusal the status alone."""
    then: str


def cases() -> Iterator[Any]:
    """Read the file; a case marked as known to fail must be unmarked once it passes."""
    kinds = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    shorthand = kinds.pop("shorthand")
    for kind, named in kinds.items():
        for name, case in named.items():
            text = written(case["sent"])
            for short, long in shorthand.items():
                text = text.replace(short, long)
            marks = [pytest.mark.xfail(reason=case["known"])] if "known" in case else []
            read = Case(text.encode("latin-1"), [str(each) for each in case["answers"]], case["then"])
            yield pytest.param(read, id=f"{kind}: {name}", marks=marks)


def written(sent: Any) -> str:
    """Return the bytes described in the file."""
    if isinstance(sent, list):
        return "".join(map(written, sent))
    return sent["repeat"] * sent["times"] if isinstance(sent, dict) else str(sent)


def described(found: list[tuple[bytes, bytes]]) -> list[str]:
    """Return status and body of each answer, in the file's format."""
    return [
        f"{status} {body.decode('latin-1')}".strip() if status == "201" else status
        for status, body in ((line.split()[1].decode(), body) for line, body in found)
    ]


async def came_of(pieces: list[bytes]) -> tuple[list[str], str]:
    """Return the answers to these bytes, and what happened to the connection."""
    written, closed = await written_to(pieces)
    found = described(answers(written))
    if closed:
        return found, "closed"
    after = described(answers((await written_to([*pieces, NEXT]))[0]))
    return found, "kept" if after == [*found, ANSWER_TO_NEXT] else "waits"


@pytest.mark.parametrize("case", list(cases()))
async def test_raw_requests_get_the_expected_answers(case: Case) -> None:
    """One per request, however the bytes are split; an ambiguous request ends the connection."""
    size = 1 + len(case.sent) // 1000
    small = [case.sent[place : place + size] for place in range(0, len(case.sent), size)]
    allowed = [(case.answers, case.then)]
    if case.answers[1:] and case.answers[-1] == "400":
        allowed.append((case.answers[:-1], case.then))
    assert await came_of([case.sent]) in allowed
    assert await came_of(small) in allowed
