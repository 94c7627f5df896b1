"""Words for missing, ids that a spreadsheet destroyed, and the entity that a payment must name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraud_detection.onboarding.column_assignment import Overrides
from tests.unit.onboarding.files import ROWS, infer, payments


@pytest.mark.parametrize("word", ["NULL", "nan", "N/A", "unknown", "-"])
def test_markers_of_missing_values_are_reported_and_stand_in_the_proposed_project(
    tmp_path: Path, word: str
) -> None:
    columns = payments()
    columns["card_id"] = [word if n % 4 == 0 else f"c{n % 40}" for n in range(ROWS)]
    proposal = infer(tmp_path, columns, Overrides())
    (finding,) = [finding_.text for finding_ in proposal.findings if finding_.where == "schema.missing"]
    assert f"'{word.lower()}' in 25.0% of `card_id`" in finding
    assert word.lower() in proposal.project.schema.missing
    assert not proposal.project.schema.entities["card"].required
    assert "missing: [" in proposal.yaml_text


def test_the_ordering_entity_is_required_where_it_is_never_missing(tmp_path: Path) -> None:
    columns = payments()
    columns["card_id"] = [f"c{n % 40}" for n in range(ROWS)]
    entities = infer(tmp_path, columns, Overrides()).project.schema.entities
    assert [one.required for one in entities.values()] == [True, *[False] * (len(entities) - 1)]


def test_ids_in_scientific_notation_are_reported(tmp_path: Path) -> None:
    columns = payments()
    columns["card_id"] = [f"{4 + n % 40 / 100:.2f}E+15" for n in range(ROWS)]
    proposal = infer(tmp_path, columns, Overrides(entities={"card": "card_id"}))
    assert any("scientific notation" in str(finding_) for finding_ in proposal.findings)
    assert not any(
        "scientific notation" in str(finding_)
        for finding_ in infer(tmp_path, payments(), Overrides()).findings
    )
