"""Which values of a label mean fraud: never inferred where they may mean the opposite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fraud_detection.adapters.files.tables import open_table, write_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Overrides, propose
from tests.unit.onboarding.files import ROWS, answering, finding, infer, payments, without


@pytest.mark.parametrize("name", ["is_legit", "genuine", "not_fraud"])
@pytest.mark.parametrize("flags", [{}, {"label": True}])
def test_a_label_whose_name_says_the_opposite_is_never_inferred(
    tmp_path: Path, name: str, flags: dict[str, bool]
) -> None:
    columns = without("is_fraud") | {name: [int(n % 2 == 0) for n in range(ROWS)]}
    named = name if flags else None

    with pytest.raises(ConfigError, match=rf"`{name}` speaks of legitimate.*\(--label-positive VALUE\)"):
        infer(tmp_path, columns, Overrides(label=named))

    label = infer(tmp_path, columns, Overrides(label=named, label_positive=("0",))).project.schema.label
    assert label is not None
    assert (label.positive, label.negative) == (("0", "0.0"), ("1", "1.0"))


def test_values_with_a_clear_meaning_need_no_question_whatever_the_name_says(tmp_path: Path) -> None:
    columns = without("is_fraud") | {
        "fraud_or_legit": ["fraud" if n % 9 == 0 else "legit" for n in range(ROWS)]
    }

    label = infer(tmp_path, columns).project.schema.label

    assert label is not None
    assert label.positive == ("fraud",)


def test_more_frauds_than_legitimate_payments_are_doubted_and_asked_for(tmp_path: Path) -> None:
    columns = payments() | {"is_fraud": [int(n % 10 > 0) for n in range(ROWS)]}

    with pytest.raises(
        ConfigError, match=r"1 would mean fraud in 90\.00% .*--label-positive 1 .*--label-negative 1"
    ):
        infer(tmp_path, columns)

    for flags, ask, positive in (
        (Overrides(label_positive=("1",)), None, "1"),
        (Overrides(label_negative=("1",)), None, "0"),
        (Overrides(), answering({"--label-positive": "0"}, []), "0"),
    ):
        label = infer(tmp_path, columns, flags, ask).project.schema.label
        assert label is not None
        assert label.positive[0] == positive


def test_values_that_one_flag_leaves_out_mean_the_other(tmp_path: Path) -> None:
    columns = payments() | {"is_fraud": [["a", "b", "unknown"][n % 3] for n in range(ROWS)]}

    label = infer(tmp_path, columns, Overrides(label_negative=("b",))).project.schema.label

    assert label is not None
    assert (label.positive, label.negative) == (("a",), ("b",))


def test_a_number_may_be_said_with_or_without_its_fraction(tmp_path: Path) -> None:
    columns = payments() | {"is_fraud": [f"{n % 4 == 0:d}.0" for n in range(ROWS)]}

    proposal = infer(tmp_path, columns, Overrides(label_positive=("1",)))

    assert "means fraud (25.00%)" in finding(proposal, "schema.label")


def test_a_value_too_rare_for_the_sample_is_no_reason_to_refuse(tmp_path: Path) -> None:
    rows = 120_000
    path = tmp_path / "long.parquet"
    label = ["legit"] * (rows - 1) + ["scam"]
    write_columns(path, {"when": 1_700_000_000 + np.arange(rows), "label": label})
    assert "scam" not in open_table(path).sample(50_000)["label"]

    both_values = Overrides(label_positive=("scam",), label_negative=("legit",))
    found = propose(open_table(path), both_values).project.schema.label
    assert found is not None
    assert found.positive == ("scam",)

    with pytest.raises(ConfigError, match=r"--label-positive scam: no sampled row of .* name one of"):
        propose(open_table(path), Overrides(label_positive=("scam",)))


def test_a_label_without_a_value_is_called_empty(tmp_path: Path) -> None:
    columns = payments() | {"is_fraud": [""] * ROWS}

    proposal = infer(tmp_path, columns)

    assert proposal.ignored["is_fraud"] == "never has a value"
    assert "`is_fraud` never has a value" in finding(proposal, "schema.label")

    with pytest.raises(ConfigError, match="--label is_fraud: the column never has a value"):
        infer(tmp_path, columns, Overrides(label="is_fraud"))


def test_the_meaning_of_a_label_that_nobody_found_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column that looks like a label; name it with --label"):
        infer(tmp_path, without("is_fraud"), Overrides(label_positive=("1",)))
