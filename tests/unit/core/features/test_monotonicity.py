from __future__ import annotations

import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.monotonicity import monotonic_constraints

NAMES = ["amount", "card_count_1d", "shop_fraud_count_7d", "shop_fraud_rate_7d", "shop_fraud_rate_30d"]


def test_a_star_stands_for_any_characters_and_a_plain_name_for_itself_alone() -> None:
    assert monotonic_constraints({"shop_fraud_rate_*": "up", "amount": "down"}, NAMES) == [-1, 0, 0, 1, 1]
    assert monotonic_constraints({"shop_fraud_rate_3": "up"}, [*NAMES, "shop_fraud_rate_3"]) == [
        0,
        0,
        0,
        0,
        0,
        1,
    ]
    assert monotonic_constraints({}, NAMES) == [0, 0, 0, 0, 0]


def test_a_feature_that_is_named_twice_the_same_way_is_no_contradiction() -> None:
    assert monotonic_constraints({"*_7d": "up", "shop_*": "up"}, NAMES) == [0, 0, 1, 1, 1]


def test_a_name_that_no_feature_has_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"no feature is called `card_count_2d` \(did you mean `card_count_1d`"
    ):
        monotonic_constraints({"card_count_2d": "up"}, NAMES)


def test_a_feature_that_would_have_to_go_both_ways_is_refused() -> None:
    with pytest.raises(ConfigError, match="`shop_fraud_rate_7d` would have to go up and down"):
        monotonic_constraints({"shop_*": "up", "*_rate_7d": "down"}, NAMES)
