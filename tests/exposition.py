"""A strict reader of Prometheus's text format 0.0.4, as its documentation describes it.

Refuses what servers that scrape are free to refuse: a sample without HELP and TYPE, a family in two pieces,
a sample that comes twice, a value or a label that is none, a histogram whose buckets do not add up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
HELP = re.compile(rf"# HELP ({NAME}) (\S.*)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram)")
SAMPLE = re.compile(
    rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|Inf|NaN))"
)
Labels = tuple[str, ...]


@dataclass
class Family:
    """One metric: its type, and its samples by name and sorted labels, in the order in which they came."""

    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of the samples of a name that have all these labels."""
        found = [value for (one, own), value in self.samples.items() if one == name and {*labels} <= {*own}]
        assert found, (name, labels)
        return sum(found)


def families(text: str) -> dict[str, Family]:
    """Return every metric of an exposition; fail where it breaks a rule of the format."""
    assert text.endswith("\n")
    by_name: dict[str, Family] = {}
    lines = iter(text.splitlines())
    current = ""
    for line in lines:
        if line.startswith("# HELP"):
            helped = HELP.fullmatch(line)
            assert helped, line
            current = helped[1]
            typed = TYPE.fullmatch(next(lines))
            assert typed, line
            assert typed[1] == current
            assert current not in by_name, f"{current} comes twice"
            by_name[current] = Family(typed[2])
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        family = by_name[current]
        allowed = {current}
        if family.kind == "histogram":
            allowed = {f"{current}_{part}" for part in ("bucket", "sum", "count")}
        assert sample[1] in allowed, f"{sample[1]} stands under {current}"
        key = (sample[1], tuple(sorted(re.findall(LABEL, sample[2] or ""))))
        assert key not in family.samples, f"{line} comes twice"
        family.samples[key] = float(sample[3])
    for name, family in by_name.items():
        _check(name, family)
    return by_name


def _check(name: str, family: Family) -> None:
    if family.kind == "counter":
        assert name.endswith("_total"), name
        assert min(family.samples.values(), default=0) >= 0
    if family.kind != "histogram":
        return
    buckets = defaultdict[Labels, dict[float, float]](dict)
    for (one, labels), value in family.samples.items():
        if one == f"{name}_bucket":
            (bound,) = [label for label in labels if label.startswith("le=")]
            rest = tuple(label for label in labels if label != bound)
            buckets[rest][float(bound[4:-1])] = value
    counts = {labels for one, labels in family.samples if one == f"{name}_count"}
    assert counts == {labels for one, labels in family.samples if one == f"{name}_sum"} == buckets.keys()
    for labels, by_bound in buckets.items():
        assert list(by_bound) == sorted(by_bound)
        assert list(by_bound.values()) == sorted(by_bound.values())
        assert by_bound[float("inf")] == family.samples[f"{name}_count", labels]
