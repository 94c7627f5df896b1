"""Propose a project for a file of payments: profile its columns, infer their roles, try it on the sample.

It writes and prints nothing; the caller shows the findings and writes the text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project, Schema
from fraud_detection.onboarding.amounts import infer_amount
from fraud_detection.onboarding.attributes import infer_attributes
from fraud_detection.onboarding.column_assignment import Ask, ColumnAssignment, Finding, Overrides
from fraud_detection.onboarding.column_keywords import identifier
from fraud_detection.onboarding.columns import profile
from fraud_detection.onboarding.entity_candidates import entity_sources, infer_entities
from fraud_detection.onboarding.feature_settings import FeatureInputs, propose_features, propose_split
from fraud_detection.onboarding.ids import infer_id
from fraud_detection.onboarding.labels import infer_label
from fraud_detection.onboarding.leaks import ignore_leaks
from fraud_detection.onboarding.missing_values import report_missing_markers, warn_of_lost_digits
from fraud_detection.onboarding.places import infer_place
from fraud_detection.onboarding.project_text import to_yaml
from fraud_detection.onboarding.time_column import ignore_other_times, infer_time
from fraud_detection.onboarding.times import find_instants

SAMPLE_ROWS = 50_000
SAMPLE_CELLS = 3_000_000
"""A file with many columns is profiled by fewer rows, so that it takes seconds too."""
TRIED_CELLS = 200_000
_REFUSED = 0.5


class DataFile(Protocol):
    """A file of payments, as much of it as the inference needs."""

    path: Path
    names: tuple[str, ...]
    textual: bool
    times: frozenset[str]

    @property
    def rows(self) -> int:
        """Return the number of rows."""

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A project, the reasons for it, and both as the text of params.yaml.

    ignored: columns that are not used -> why.
    """

    project: Project
    findings: tuple[Finding, ...]
    ignored: dict[str, str]
    yaml_text: str


def propose(table: DataFile, overrides: Overrides | None = None, ask: Ask | None = None) -> Proposal:
    """Infer a project; raise ConfigError with the flag to use where the data leaves a role open.

    ask: answers a question, '' for its default; None where nobody can be asked.
    """
    sample = table.sample(min(SAMPLE_ROWS, SAMPLE_CELLS // len(table.names)))
    columns = _column_assignment(table, sample, overrides or Overrides(), ask)
    project = _project(table, columns)
    _prove(table, columns, project, sample)
    text = to_yaml(project, str(table.path), columns.findings, columns.ignored)
    return Proposal(project, tuple(columns.findings), columns.ignored, text)


def _column_assignment(
    table: DataFile, sample: dict[str, list[object]], overrides: Overrides, ask: Ask | None
) -> ColumnAssignment:
    profiles = [profile(name, values, is_time=name in table.times) for name, values in sample.items()]
    candidates = {column.name: find_instants(column) for column in profiles}
    instants = {name: times for name, times in candidates.items() if times is not None}
    return ColumnAssignment(str(table.path), profiles, instants, table.rows, overrides, ask)


def _project(table: DataFile, columns: ColumnAssignment) -> Project:
    """Infer the roles in the order in which one excludes another."""
    time_column = infer_time(columns)
    label_column = infer_label(columns, time_column)
    transaction_id = infer_id(columns)
    entities = infer_entities(columns)
    for entity in entities:
        warn_of_lost_digits(columns, entity.profile, f"schema.entities.{entity.name}")
    if transaction_id.field is not None:
        warn_of_lost_digits(columns, columns.profiles[transaction_id.field], "schema.transaction_id")
    place = infer_place(columns, entities)
    amount = infer_amount(columns)
    ignore_other_times(columns, time_column)
    ignore_leaks(columns, label_column)
    report_missing_markers(columns)
    numbers, categories = infer_attributes(columns, entities)
    inputs = FeatureInputs(
        time_column, amount=amount is not None, label=label_column is not None, place=place is not None
    )
    schema = Schema(
        event_time=time_column.source,
        transaction_id=transaction_id,
        amount=amount,
        entities=entity_sources(entities),
        numbers=numbers,
        categories=categories,
        place=place,
        label=label_column.source if label_column is not None else None,
        ignored=tuple(columns.ignored),
    )
    return Project(
        project=identifier(table.path.stem),
        schema=schema,
        history=str(table.path),
        features=propose_features(inputs, entities),
        split=propose_split(columns, time_column, entities),
    )


def _prove(
    table: DataFile, columns: ColumnAssignment, project: Project, sample: dict[str, list[object]]
) -> None:
    """Read part of the sample by the proposal, and report how much of it would be quarantined."""
    parser = Parser(project.schema, textual=table.textual)
    rows = _rows(sample, TRIED_CELLS // len(sample))
    refusals = [error for row in rows if (error := _refusal(parser, row)) is not None]
    if len(refusals) > _REFUSED * len(rows):
        raise ConfigError(
            f"{table.path}: {len(refusals)} of {len(rows)} rows cannot be read, the first because: "
            f"{refusals[0]}; repair the file, or name other columns with flags"
        )
    for path, count in Counter(error.path for error in refusals).most_common(3):
        example = next(error for error in refusals if error.path == path)
        columns.add_finding(
            "rows", f"{count} of {len(rows)} rows tried would be quarantined, for example: {example}"
        )


def _rows(sample: dict[str, list[object]], max_rows: int) -> list[dict[str, object]]:
    """Return at most twice `max_rows` rows, evenly chosen."""
    count = len(next(iter(sample.values())))
    columns = [values[:: max(count // max(max_rows, 1), 1)] for values in sample.values()]
    return [dict(zip(sample, values, strict=True)) for values in zip(*columns, strict=True)]


def _refusal(parser: Parser, row: dict[str, object]) -> RejectError | None:
    try:
        parser.record(row, "-")
    except RejectError as error:
        return error
    return None
