"""All rules. Each takes an InferenceService and yields what is wrong with it, in words."""

from __future__ import annotations

from tests.helm import rules_of_knative, rules_of_kserve, rules_of_lift_wing
from tests.helm.release import Object, isvcs

RULES = {rule.__name__: rule for part in (rules_of_knative, rules_of_kserve, rules_of_lift_wing) for rule in part.RULES}


def problems(release: list[Object]) -> list[str]:
    """Say everything that is wrong with a release."""
    return [f"{isvc.name}: {problem}" for isvc in isvcs(release) for rule in RULES.values() for problem in rule(isvc)]
