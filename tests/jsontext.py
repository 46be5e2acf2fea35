"""JSON as text: strategies for spellings, not for values that Python would spell its own way.

Numbers of any size and form, escapes, lone surrogates, bytes that are not UTF-8, keys that stand twice or are
spelt with escapes, and space wherever JSON allows it.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Json = Any
"""Whatever JSON can hold, as Python holds it."""

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine may take its time over an example; how many there are is the profile's affair."""

space = st.text(" \t\r\n", max_size=2).map(str.encode)
numbers = st.one_of(
    st.sampled_from([b"1.0", b"-0", b"-0.0", b"1e400", b"-1E+400", b"1e-400", b"0.1e1", b"10000000000000000000000001"]),
    st.from_regex(rb"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
characters = st.one_of(
    st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]).map(str.encode),
    st.sampled_from([rb"\u00eb", rb"\u00EB", rb"\/", rb"\"", rb"\\", rb"\n", rb"\u0000", rb"\u2028"]),
    st.sampled_from([rb"\ud83d\ude00", rb"\ud800", rb"\uDC00", rb"\udc00\ud800", b"\x7f"]),
    st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f\x98"]),  # not UTF-8
)
strings = st.lists(characters, max_size=4).map(lambda parts: b'"' + b"".join(parts) + b'"')


def spelt(word: str) -> st.SearchStrategy[bytes]:
    r"""`word` as a JSON string, any of its characters written as an escape: `"m\u0065ta"`."""
    either = [st.sampled_from([letter, f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"]) for letter in word]
    return st.one_of(st.just(f'"{word}"'), st.tuples(*either).map(lambda parts: f'"{"".join(parts)}"')).map(str.encode)


def objects(members: st.SearchStrategy[tuple[bytes, bytes]]) -> st.SearchStrategy[bytes]:
    """Objects of such keys and values, keys that stand twice among them."""
    written = st.tuples(space, members, space, space, space).map(
        lambda parts: parts[0] + parts[1][0] + parts[2] + b":" + parts[3] + parts[1][1] + parts[4]
    )
    return st.one_of(
        st.lists(written, min_size=1, max_size=5).map(lambda parts: b"{" + b",".join(parts) + b"}"),
        space.map(lambda between: b"{" + between + b"}"),
    )


def array(elements: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """An array of elements, each with the space before and behind it."""
    return b"[" + b",".join(before + element + behind for before, element, behind in elements) + b"]"


plain = st.one_of(numbers, strings, st.sampled_from([b"true", b"false", b"null", b"{}", b"[ ]"]))
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        objects(st.tuples(strings, inner)), st.lists(st.tuples(space, inner, space), max_size=3).map(array)
    ),
    max_leaves=6,
)
texts = st.one_of(spelt("mediawiki.page_change.v1"), strings)
metas = objects(
    st.one_of(
        st.tuples(spelt("stream"), st.one_of(texts, values)),
        st.tuples(spelt("id"), st.one_of(texts, values)),
        st.tuples(st.one_of(spelt("dt"), strings), values),
    )
)
events = objects(
    st.one_of(
        st.tuples(spelt("meta"), metas),
        st.tuples(spelt("meta"), st.one_of(metas, values)),
        st.tuples(spelt("$schema"), st.one_of(texts, values)),
        st.tuples(st.one_of(spelt("page"), strings), values),
    )
)


def as_read(raw: bytes) -> Json:
    """The value EventGate sees: bytes that are not UTF-8 are U+FFFD, the last of equal keys counts."""
    return json.loads(raw.decode(errors="replace"), parse_constant=refuse_constant)


def refuse_constant(name: str) -> NoReturn:
    """Refuse `NaN` and its like, which Python would take."""
    raise ValueError(name)


def text_of(value: Json) -> str | None:
    """Return the text that routing sees in a value; None if the value is not a string."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else None


def meta_of(value: Json) -> dict[str, Json] | None:
    """The `meta` of an event, None where it is no object."""
    meta = value.get("meta") if isinstance(value, dict) else None
    return meta if isinstance(meta, dict) else None
