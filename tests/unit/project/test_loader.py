"""A wrong project file is refused with the path of what is wrong, and never half understood."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraud_detection.core.errors import ConfigError
from fraud_detection.project.checks import open_project
from fraud_detection.project.loader import load_project

GOOD: dict[str, Any] = {
    "project": "x",
    "schema": {
        "event_time": {"field": "t"},
        "amount": {"field": "a"},
        "entities": {"card": {"field": "c"}, "shop": {"field": "s"}},
        "numbers": {"age": {"field": "age"}},
        "categories": {"kind": {"field": "kind"}},
        "label": {"field": "bad", "known_at": "bad_at"},
    },
    "features": {"entities": {"card": {"windows": ["1h", "1d"], "distinct": {"shop": ["1d"]}}}},
}


def written(folder: Path, changes: dict[str, object]) -> Path:
    project = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *steps, last = path.split(".")
        at = project
        for step in steps:
            at = at.setdefault(step, {})
        at[last] = value
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(project, sort_keys=False))
    return file


def test_a_good_project_is_read(tmp_path: Path) -> None:
    assert list(open_project(written(tmp_path, {})).schema.entities) == ["card", "shop"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rules", [{"name": "r", "when": "age > 1", "action": "block"}], "allowed here: review, decline"),
        ("features.calendar", ["day"], "allowed here: hour, weekday, night"),
        ("features.calendar", ["hour", "hour"], "`hour` appears twice - at `$.features.calendar`"),
        ("features.night", [25, -3], "$.features.night[0]"),
        (
            "features.entities.card.windows",
            ["1h", "60m"],
            "`60m` appears twice - at `$.features.entities.card`",
        ),
        ("features.entities.card.statistics", ["count", "count"], "`count` appears twice"),
        ("features.entities.card.statistics", ["median"], "allowed here: count, sum"),
        ("features.entities.card.first_seen", ["shop", "shop"], "appears twice"),
        ("features.entities.car", {}, "no entity `car`"),
        ("model.min_child_weight", -1, "$.model.min_child_weight"),
        ("model.reg_lambda", -5, "$.model.reg_lambda"),
        ("schema.amount.minimum", 1e13, "need minimum <= maximum"),
        ("schema.event_time.earliest", "2200-01-01", "need earliest < latest"),
        ("schema.event_time.format", "iso", "unknown format 'iso'; allowed here: auto, number"),
        ("schema.label.positive", [], "no value means fraud"),
        ("schema.label.negative", ["1", "no"], "1 cannot mean fraud and legitimate at once"),
        ("schema.categories.kind", {"field": "bad"}, "`bad` states the outcome"),
        ("schema.numbers.age", {"field": "age", "aliases": ["bad_at"]}, "`bad_at` states the outcome"),
        (
            "schema.entities.card",
            {"field": "c", "aliases": ["s"]},
            "`s` is a field of $.schema.entities.shop too",
        ),
        ("schema.numbers.card", {"field": "x"}, "`card` appears twice"),
        ("policy.review_capacity_per_day", -5, "$.policy.review_capacity_per_day"),
        ("policy.review_at", 0.5, "give both"),
        ("split", {"validation_share": 0.6, "test_share": 0.4}, "nothing is left to learn from"),
        ("schema.numbers.hour", {"field": "h"}, "two features would be called `hour`"),
        (
            "rules",
            [{"name": "r", "when": "card_cuont_1h > 1", "action": "review"}],
            "nearest: `card_count_1h`",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(
    tmp_path: Path, path: str, value: object, message: str
) -> None:
    file = written(tmp_path, {path: value})
    with pytest.raises(ConfigError) as refusal:
        open_project(file)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(str(file))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, {})
    file.write_text(file.read_text() + "project: y\n")
    with pytest.raises(ConfigError, match="the key `project` appears twice"):
        load_project(file)
