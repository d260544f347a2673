"""The claims as they are worded: what ``reference/claims.yaml`` says of each, and the rule that it must obey."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from helpers import files, paths

RULES = {"at least": operator.ge, "above": operator.gt, "below": operator.lt, "at most": operator.le}
BETWEEN = "between "  # and two bounds, joined by "and"


@dataclass(frozen=True)
class Claim:
    """One claim, mostly the paper's, with its statistic and its rule."""

    name: str
    claim: str
    experiment: str
    stage: str
    source: str  # where the paper says so (version, section, figure), or that it is ours
    statistic: str
    rule: str
    arguments: Mapping[str, Any] | None = None
    also: str = ""  # a second experiment whose measures the statistic takes
    paper: str = ""
    needs: str = ""
    about_first: bool = False  # the only claims that the first layer may decide
    open: bool = False  # the paper reports it for some models and not for others
    neutral: float | None = None  # no effect: between it and the rule's bound an effect is too small to count
    beyond: float | None = None  # the highest value in the paper: more is said, and is no failure
    beside: str = ""  # another statistic to read this one with

    def is_true(self, values: np.ndarray) -> np.ndarray:
        """Where the rule is obeyed."""
        if self.rule.startswith(BETWEEN):
            low, high = map(float, self.rule.removeprefix(BETWEEN).split(" and "))
            return (values >= low) & (values <= high)
        word, _, bound = self.rule.rpartition(" ")
        return RULES[word](values, float(bound))

    def is_too_small(self, value: float) -> bool:
        """Whether an effect goes the right way and does not reach the rule's bound."""
        if self.neutral is None or self.is_true(np.array([value])).all():
            return False
        bound = float(self.rule.rpartition(" ")[2])
        return (value > self.neutral) == (bound > self.neutral) and value != self.neutral


def read() -> list[Claim]:
    """The claims in the order of ``reference/claims.yaml``."""
    content = yaml.safe_load(files.reading(paths.REFERENCE / "claims.yaml").read_text(encoding="utf8"))
    return [Claim(name, **fields) for name, fields in content.items()]
