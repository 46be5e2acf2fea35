"""One search in its own process, which libFuzzer ends: `python -m tests.fuzz.guided body FLAGS FOLDERS`."""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["sidecar", "json", "h11"]):  # before anything else imports them
    from tests.fuzz.mutation import mutated
    from tests.fuzz.targets import TARGETS


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change an input by its tokens, or as libFuzzer does."""
    dice = random.Random(seed)
    return mutated(data, dice)[:max_size] if dice.random() < 0.5 else bytes(atheris.Mutate(data, max_size))


def main() -> None:
    """Search until the time is up or a property is broken."""
    name, *flags = sys.argv[1:]
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
