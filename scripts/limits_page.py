#!/usr/bin/env python3
"""Writes the values of docs/limits.md from the constants that it names, as in `intake.body.MAX_MEMBERS = 100`."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this folder, installed or not

PAGE = ROOT / "docs" / "limits.md"
NAMED = re.compile(r"`((?:[a-z]\w*\.)+)([A-Z][A-Za-z_.]+) = ([\d_.* ]+)`")
UNIT = 1024


def value_of(module: str, path: str) -> float:
    """Return the constant, or the default of a field or a parameter."""
    found: Any = importlib.import_module(f"sidecar.{module}")
    for name in path.split("."):
        parameters = inspect.signature(found).parameters if inspect.isclass(found) else {}
        found = parameters[name].default if name in parameters else getattr(found, name)
    return float(found)


def in_words(value: float) -> str:
    """Return a number as the code would have it: `64 * 1024`, `10_000`, `0.5`."""
    if value != int(value):
        return f"{value:g}"
    count, units = int(value), 0
    while count and count % UNIT == 0:
        count, units = count // UNIT, units + 1
    return " * ".join([f"{count:_}" if count >= 10_000 else f"{count}", *[f"{UNIT}"] * units])


def _renewed(found: re.Match[str]) -> str:
    module, path, words = found.groups()
    value = value_of(module.rstrip("."), path)
    same = math.prod(float(factor) for factor in words.split(" * ")) == value
    return f"`{module}{path} = {words if same else in_words(value)}`"


def renewed(page: str) -> str:
    """Return the page with the values of the constants; one that is written in another way is left as it is."""
    return NAMED.sub(_renewed, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
