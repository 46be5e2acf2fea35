"""Changes JSON and HTTP token by token: bytes changed at random are rarely JSON, and fail the first check."""

from __future__ import annotations

import random
import re

_WORDS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{},:]|\r\n|[ \t\r\n]+|[^][{},:\s"]+|"', re.DOTALL)
_NEW = (
    *(b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"1e400", b"-0.0", b"\xff", b"\xef\xbb\xbf", b" "),
    *(b'"meta"', rb'"m\u0065ta"', b'"stream"', b'"id"', b'"$schema"', b'"request_id"', b'"event"', b'"context"'),
    *(b'"invalid"', b'"error"', b'"a"', b'"b"', rb'"\ud800"', rb'"\ud83d\ude00"', b'"\xc3"', b"{}", b"[]"),
    *(b'{"meta":{"id":"a"}}', b'"meta":{"stream":"x"},', b'"id":null,', b'{"event":{"meta":{"id":"b"}}}'),
    *(b"\r\n", b"\r\n\r\n", b"HTTP/1.1 ", b"100", b"204", b"304", b"207", b"content-length: ", b"0", b"1", b"2a"),
    *(
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"upgrade: x\r\nconnection: upgrade\r\n",
        b"0\r\n\r\n",
    ),
)
"""Tokens of JSON, events, EventGate's answers and HTTP."""


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return it with a few tokens removed, doubled, swapped or replaced, as `dice` decides."""
    words = _WORDS.findall(data) or [b""]
    for _ in range(dice.randint(1, 4)):
        begin = dice.randrange(len(words) + 1)
        end = min(len(words), begin + dice.choice((0, 1, 1, 1, 2, 5)))
        other = dice.randrange(len(words) + 1)
        match dice.randrange(5):
            case 0:
                del words[begin:end]
            case 1:
                words[begin:begin] = words[begin:end]
            case 2:
                words[begin:end] = [dice.choice(_NEW)]
            case 3:
                words[begin:end] = words[other : other + 1]
            case _:
                words[other:other] = words[begin : begin + dice.choice((3, 4, 6, 9))]
    return b"".join(words)
