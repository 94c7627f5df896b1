"""Whatever is in a file, it is understood or refused with a sentence, and the text says what was decided."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Finding, Proposal, propose
from fraud_detection.onboarding.project_text import to_yaml
from fraud_detection.project.loader import load_project
from tests.unit.onboarding.files import checked, payments

SUGGESTIVE = [
    "amount",
    "date",
    "time",
    "card_id",
    "is_fraud",
    "lat",
    "lon",
    "Year",
    "Month",
    "step",
    "no",
    "",
    "e-mail",
]
names = st.one_of(st.sampled_from(SUGGESTIVE), st.text(max_size=12)).map(str.strip)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(1_600_000_000, 1_700_000_000),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.dates().map(str),
    st.datetimes().map(str),
    st.sampled_from(
        ["0", "1", "yes", "no", "true", "12.5", "1,5", "$3", "01/02/2026", "a@b.org", "10.0.0.1"]
    ),
    st.lists(st.integers(), max_size=2),
)
columns = st.one_of(
    st.lists(values, min_size=1, max_size=30),
    st.sampled_from([["0", "1"], ["2026-01-01", "2026-02-03"], [1.5, 2.5], [1, 2, 3, 4], ["x"], [None]]),
)


class AnyTable:
    """A table that holds whatever it is given, each column repeated to the same length."""

    path = Path("any.jsonl")
    textual = False
    times: frozenset[str] = frozenset()
    rows = 60

    def __init__(self, content: dict[str, list[object]]) -> None:
        self.names = tuple(content)
        self._content = {name: (some * self.rows)[: self.rows] for name, some in content.items()}

    def sample(self, size: int) -> dict[str, list[object]]:
        return {name: column[:size] for name, column in self._content.items()}


def proposed(table: AnyTable) -> Proposal | None:
    """Return the proposal, None where the file is refused in words."""
    try:
        return propose(table)
    except ConfigError:
        return None


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, columns, min_size=1, max_size=8))
def test_no_file_ends_in_anything_but_a_proposal_or_a_sentence(content: dict[str, list[object]]) -> None:
    table = AnyTable(content)
    proposal = proposed(table)
    if proposal is not None:
        with tempfile.TemporaryDirectory() as folder:
            checked(proposal, Path(folder), table.names)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, columns, max_size=6))
def test_more_columns_never_spoil_an_ordinary_file(content: dict[str, list[object]]) -> None:
    ordinary = payments(60)
    more = {f"extra {name}": some for name, some in content.items()}

    proposal = propose(AnyTable(ordinary | more))

    assert {"card", "merchant"} <= set(proposal.project.schema.entities)
    with tempfile.TemporaryDirectory() as folder:
        checked(proposal, Path(folder), [*ordinary, *more])


ORDINARY = propose(AnyTable(payments(60))).project


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(), st.sampled_from(["schema", "schema.event_time", "split", "schema.label"]))
def test_no_comment_changes_what_the_text_says(origin: str, message: str, where: str) -> None:
    text = to_yaml(ORDINARY, origin, [Finding(where, message)], {})

    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / "params.yaml"
        params.write_text(text, encoding="utf-8")
        assert load_project(params) == ORDINARY
