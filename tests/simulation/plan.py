"""Turns a seed into a plan: the setup, the POSTs, and the faults. A plan is data.

Each plan has a few kinds of trouble, chosen at random. All of them end at `heal`, so that the oracle knows what must
hold afterwards. What a plan leaves out (latencies, order) follows from its seed as well.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Act = dict[str, Any]
"""`at` in seconds, `do`, and its arguments."""

STREAMS = ("scores.v1", "scores.v2", "weighted.tags.v1", "testing.rc0")
HABITS: tuple[Act, ...] = ({"leaves": 0.01}, {"close": True}, {"pause_at": 0.5, "pause": 0.3}, {"new": True})
"""What a producer may do besides posting."""
NEED_SPOOL = {"kill", "disk", "damage", "overlap", "unlinked", "tightened", "full", "operator"}
WEIGHTS = {"gates": 6, "doors": 2, "names": 2, "edits": 2}
"""How much more often than others these are chosen, since they have more variants."""
NEED_TIME = {"tightened", "ejections", "authority"}
HOPS_SHARE = 0.12
"""Of the plans so many are for the two-hop world."""
BUSY_SHARE = 0.04
OPERATOR_SHARE = 0.15
"""Of the plans with a spool so many have an operator, too."""
WITHOUT_OPERATOR = {"hops", "damage", "unlinked"}
"""In these the file that the commands see is another one, or damaged."""
BESIDE_HOPS = ("clock", "disk", "edits", "full", "gates", "kill", "names", "network", "poison", "still", "twins")
"""Further troubles in it, one of these."""
REST = 150.0
"""Seconds from `heal` until the sidecar is at rest."""


@dataclass(frozen=True)
class Plan:
    """The readable part of what a seed determines."""

    seed: int
    setup: dict[str, Any]
    acts: tuple[Act, ...] = field(default=())
    heal: float = 40.0
    """When all troubles have ended."""

    def without(self, gone: set[int]) -> Plan:
        """Return the plan without the acts at these positions."""
        return dataclasses.replace(self, acts=tuple(act for at, act in enumerate(self.acts) if at not in gone))


Trouble = Callable[["Maker", dict[str, Any]], None]
"""Adds a kind of trouble to a plan or its setup."""


class Maker:
    """Builds the plan of a seed."""

    def __init__(self, seed: int, troubles: Mapping[str, Trouble]) -> None:
        """`troubles`: all kinds, by name."""
        self.troubles = troubles
        self.random = random.Random(f"{seed}/plan")
        self.more = random.Random(f"{seed}/more")
        """Decides what was added later, so that what was there stays as it was."""
        self.seed = seed
        self.acts: list[Act] = []
        self.heal = self.random.choice([15.0, 30.0, 45.0])

    def make(self, kinds: tuple[str, ...] = ()) -> Plan:
        """Return the plan; `kinds` are its troubles, random ones if none are given."""
        chance = self.random
        setup = self._setup()
        all_kinds = sorted(self.troubles.keys() - {"hops", "busy", "operator"})
        counts = [WEIGHTS.get(each, 1) for each in all_kinds]
        chosen = kinds or tuple(set(chance.sample(all_kinds, chance.choice([1, 2, 2, 2, 3, 4]), counts=counts)))
        hops = random.Random(f"{self.seed}/hops")  # so that the other plans stay as they were
        share = hops.random()
        if not kinds and share < HOPS_SHARE:
            chosen = ("hops", hops.choice(BESIDE_HOPS))
        elif not kinds and share < HOPS_SHARE + BUSY_SHARE:
            chosen = ("busy",)
        if "ejections" in chosen and not kinds and chance.random() < 0.7:  # it takes many POSTs, and so much time
            chosen = ("gates",)
        if NEED_SPOOL & set(chosen):
            setup["spool"] = True
        if setup["spool"] and not kinds and not WITHOUT_OPERATOR & set(chosen):
            chosen += ("operator",) if self.apart("operator").random() < OPERATOR_SHARE else ()
        if NEED_TIME & set(chosen):
            self.heal = 45.0
        setup["troubles"] = sorted(chosen)
        self._posts(setup)
        for name in sorted(chosen):
            self.troubles[name](self, setup)
        acts = sorted(self.acts, key=lambda act: float(act["at"]))
        return Plan(self.seed, setup, tuple(acts), self.heal)

    def _setup(self) -> dict[str, Any]:
        chance = self.random
        centres = chance.choice([["eqiad", "codfw"], ["eqiad", "codfw"], ["eqiad"], ["eqiad", "codfw", "third"]])
        spool = chance.random() < 0.6
        options: dict[str, Any] = {}
        if chance.random() < 0.2:
            options["on_ambiguous"] = chance.choice(["spool", "fail"] if spool else ["fail"])
        if chance.random() < 0.15:
            options["coalesce"] = {"max_events": chance.choice([1, 2, 8])}
        if chance.random() < 0.15:
            options["outlier"] = {"ejection": "1s", "max_ejection": "2s"}
        routes = []
        if spool and chance.random() < 0.5:
            routes.append({"name": "ordered", "match": {"stream": "weighted.*"}, "to": "main", "order_by": ["page"]})
        if spool and chance.random() < 0.25:
            routes.append({"name": "spooled", "match": {"stream": "scores.v2"}, "to": "main", "acknowledge": "spooled"})
        if chance.random() < 0.5:
            routes.append({"name": "testing", "match": {"stream": "testing.*"}, "to": "test", "stream": "all.testing"})
        else:
            routes.append({"name": "testing", "match": {"stream": "testing.*"}, "to": "test"})
        routes.append({"name": "scores", "match": {"stream": ["scores.*", "weighted.*"]}, "to": "main"})
        return {
            "spool": spool,
            "centres": {"main": centres, "test": ["only"]},
            "addresses": chance.choice([1, 1, 1, 2]),
            "ttl": chance.choice([5, 5, 30]),
            "takes": chance.choice([0.0, 0.0, 0.0, 0.2]),
            "options": options,
            "routes": routes,
            "weather": {
                "loss": chance.choice([0.0, 0.0, 0.0, 0.01]),
                "small": chance.choice([0.0, 0.0, 0.2]),
                "base": chance.choice([0.0003, 0.001, 0.015]),
            },
        }

    # --- producers ---

    def _posts(self, setup: dict[str, Any]) -> None:
        chance = self.random
        rate, mixed = chance.choice([1.0, 3.0, 8.0]), chance.random() < 0.6
        at = chance.uniform(0.5, 1.5)
        while at < self.heal + 12:
            count = chance.choice([1, 1, 1, 1, 2, 5]) if mixed else 1
            events = [self._event(mixed) for _ in range(count)]
            act: Act = {"at": round(at, 4), "do": "post", "events": events, "array": count > 1}
            if chance.random() < 0.5:
                act["request_id"] = True
            if mixed and chance.random() < 0.1:
                act["hasty"] = True
            if mixed and chance.random() < 0.1:
                act |= chance.choice(
                    [{"leaves": 0.01}, {"close": True}, {"pause_at": 0.5, "pause": 0.3}, {"new": True}]
                )
            self.acts.append(act)
            at += chance.expovariate(rate)
        if chance.random() < 0.25:  # many at once
            at = round(chance.uniform(3.0, self.heal), 3)
            for _ in range(chance.choice([20, 60])):
                self.acts.append({"at": at, "do": "post", "events": [self._event(False)], "request_id": True})
        setup["probes"] = self.heal + 10

    def _event(self, mixed: bool) -> dict[str, Any]:
        chance = self.random
        event: dict[str, Any] = {"stream": chance.choice(STREAMS[:3]), "kind": "good"}
        if mixed and chance.random() < 0.15:
            event["stream"] = chance.choice([STREAMS[3], "nowhere.v1"])
        if mixed and chance.random() < 0.12:
            event["kind"] = chance.choice(["invalid", "error"])
        if event["stream"].startswith("weighted") and event["kind"] != "error":  # its key would wait for it, correctly
            event["key"] = f"page {chance.randint(1, 3)}"
        if chance.random() < 0.3:
            event["id"] = f"id-{chance.randint(1, 10**9)}"
        elif mixed and chance.random() < 0.05:
            event["id"] = "same"
        if chance.random() < 0.02:
            event["size"] = chance.choice([20_000, 200_000])
        return event

    # --- troubles ---

    def when(self) -> float:
        """Return a moment before `heal`."""
        return round(self.random.uniform(1.0, self.heal - 2.0), 3)

    def later(self) -> float:
        """Return such a moment for what was added later."""
        return round(self.more.uniform(1.0, self.heal - 2.0), 3)

    def apart(self, what: str) -> random.Random:
        """Return what decides one thing, so that the others stay as they are where it changes."""
        return random.Random(f"{self.seed}/{what}")

    def spans(self, most: int = 3) -> list[tuple[float, float]]:
        """Return spans of time that do not overlap, all before `heal`."""
        cuts = sorted(self.when() for _ in range(2 * self.random.randint(1, most)))
        return list(zip(cuts[::2], cuts[1::2], strict=True))

    def act(self, at: float, do: str, **more: Any) -> None:
        """Add an act."""
        self.acts.append({"at": at, "do": do, **more})

    def many(self, at: float, count: int) -> None:
        """Plan that so many events come at once, each in a POST that cannot be joined with others."""
        event = {"stream": "scores.v1", "kind": "good"}
        for _ in range(count):
            self.act(at, "post", events=[event], array=False, request_id=True)

    def posts(self) -> list[Act]:
        """Return the POSTs planned so far."""
        return [act for act in self.acts if act["do"] == "post"]
