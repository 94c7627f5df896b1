"""A flag overrides every inference, or is refused with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Overrides
from tests.unit.onboarding.files import ROWS, infer, payments


def test_flags_override_every_inference(tmp_path: Path) -> None:
    flags = Overrides(
        id="note",
        amount="fee",
        entities={"shop": "merchant_id"},
        categories=("channel",),
        numbers=("amount",),
        label_delay="3d",
        ignore=("transaction_id",),
        test_from="2026-03-01",
    )
    columns = payments() | {"note": [f"n{n}" for n in range(ROWS)], "fee": [n % 9 for n in range(ROWS)]}

    project = infer(tmp_path, columns, flags).project

    assert project.schema.transaction_id.field == "note"
    assert project.schema.amount is not None
    assert project.schema.amount.field == "fee"
    assert list(project.schema.entities) == ["shop"]
    assert set(project.schema.ignored) == {"transaction_id", "card_id"}
    assert project.schema.label is not None
    assert str(project.schema.label.delay) == "3d"
    assert str(project.split.test_from) == "2026-03-01"


def test_no_entities_leaves_no_ids_among_the_attributes(tmp_path: Path) -> None:
    columns = payments()
    columns["customer_id"] = [n % 30 for n in range(ROWS)]

    proposal = infer(tmp_path, columns, Overrides(no_entities=True))

    assert proposal.project.schema.entities == {}
    assert {"card_id", "merchant_id", "customer_id"} <= set(proposal.ignored)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Overrides(amount="amuont"), r"--amount: .* no column 'amuont'; did you mean 'amount'\?"),
        (Overrides(numbers=("channel",)), "--number channel: none of its values is a number"),
        (Overrides(place=("channel", "amount")), "--place: 'channel' holds no degrees"),
        (Overrides(entities={"Card": "card_id"}), "--entity Card=card_id: names are lower-case"),
        (Overrides(label_delay="a week"), "--label-delay: expected a duration"),
        (Overrides(test_from="soon"), "--test-from: expected a date"),
        (Overrides(test_from="2030-01-01"), "--test-from 2030-01-01: .* from 2026-01-01 to 2026-04-03"),
        (Overrides(test_from="2025-12-31"), "--test-from 2025-12-31: .* from 2026-01-01 to 2026-04-03"),
        (Overrides(test_from="2026-01-01"), "name a day after the first one, and no later than the last"),
        (
            Overrides(label_positive=("yes",)),
            "--label-positive yes: no row .* name one of its values: 0, 1",
        ),
        (Overrides(label_positive=("1", "2")), "--label-positive 2: no row .* its values: 0, 1"),
        (Overrides(label_negative=("legit",)), "--label-negative legit: no row .* its values: 0, 1"),
        (
            Overrides(label_positive=("1",), label_negative=("1.0",)),
            "--label-positive and --label-negative contradict each other: both name '1'",
        ),
        (Overrides(id="card_id"), "--id card_id: only 10.00% of the rows .* would be dropped as copies"),
        (Overrides(id="channel", ignore=("channel",)), "--id channel: the same column is ignored"),
        (Overrides(label_known_at="channel"), "--label-known-at channel"),
        (Overrides(amount="channel"), "--amount channel: expected numbers, got 'web'"),
    ],
)
def test_a_flag_that_cannot_be_followed_is_refused(tmp_path: Path, flags: Overrides, message: str) -> None:
    columns = payments()
    columns["channel"][:200] = ["web"] * 200

    with pytest.raises(ConfigError, match=message):
        infer(tmp_path, columns, flags)


@pytest.mark.parametrize("day", ["2026-01-02", "2026-04-03"])
def test_every_day_that_leaves_something_on_both_sides_can_begin_the_test(tmp_path: Path, day: str) -> None:
    assert str(infer(tmp_path, payments(), Overrides(test_from=day)).project.split.test_from) == day


@pytest.mark.parametrize(
    "flag",
    [
        {"label": "is_fraud"},
        {"label_positive": ("1",)},
        {"label_negative": ("0",)},
        {"label_known_at": "at"},
        {"label_delay": "7d"},
    ],
)
def test_a_label_and_none_contradict_each_other(flag: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="and --no-label contradict each other; drop one of the two"):
        Overrides(no_label=True, **flag)


def test_entities_and_none_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--entity and --no-entities contradict each other"):
        Overrides(entities={"card": "card_id"}, no_entities=True)
