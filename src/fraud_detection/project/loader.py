"""Read the project file, and refuse what contradicts itself; every refusal names the path.

`core/project_schema.py` bounds single values; here are the rules between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import EntityFeatures, FieldSource, Project, Schema
from fraud_detection.project.yaml_file import read_yaml

TIME_FORMATS = ("auto", "number")
RESERVED = {"amount", "transaction_id"}
"""What rules call the amount and the id."""


def load_project(path: Path) -> Project:
    """Read and check the project file; raise ConfigError with the path of what is wrong."""
    project = decode(read_yaml(path), Project, str(path))
    for problem, json_path in contradictions(project):
        raise ConfigError(f"{path}: {problem} - at `{json_path}`")
    return project


def contradictions(project: Project) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between the values of a project, each with its path."""
    yield from _time(project.schema)
    yield from _names(project.schema)
    yield from _label(project.schema)
    yield from _fields(project.schema)
    for name, entity in project.features.entities.items():
        for problem in _memory(project, name, entity):
            yield problem, f"$.features.entities.{name}"
    if problem := _duplicate(project.features.calendar):
        yield problem, "$.features.calendar"
    yield from _split_problems(project)


def _time(schema: Schema) -> Iterator[tuple[str, str]]:
    time, json_path = schema.event_time, "$.schema.event_time"
    if (time.field is None) == (time.date_parts is None):
        yield "give either `field` or `date_parts`", json_path
    if time.format not in TIME_FORMATS and "%" not in time.format:
        allowed = f"{', '.join(TIME_FORMATS)}, or a strptime pattern such as '%d/%m/%Y %H:%M'"
        yield f"unknown format {time.format!r}; allowed here: {allowed}", f"{json_path}.format"
    if time.earliest >= time.latest:
        yield f"need earliest < latest, got {time.earliest} and {time.latest}", json_path


def _names(schema: Schema) -> Iterator[tuple[str, str]]:
    names = [*schema.entities, *schema.numbers, *schema.categories]
    if problem := _duplicate(names):
        yield problem, "$.schema"
    for name in {*schema.entities, *schema.categories} & RESERVED:
        yield f"the name `{name}` already means something of every payment", "$.schema"
    amount = schema.amount
    if amount is not None and None not in (amount.minimum, amount.maximum):
        low, high = amount.minimum or 0.0, amount.maximum or 0.0
        if low > high:
            yield f"need minimum <= maximum, got {low} and {high}", "$.schema.amount"


def _label(schema: Schema) -> Iterator[tuple[str, str]]:
    label = schema.label
    if label is None:
        return
    positive, negative = ({text.lower() for text in texts} for texts in (label.positive, label.negative))
    if not positive:
        yield "no value means fraud", "$.schema.label.positive"
    if both := sorted(positive & negative):
        yield f"{', '.join(both)} cannot mean fraud and legitimate at once", "$.schema.label"
    outcome_fields = {label.field, label.known_at}
    for json_path, source in _sources(schema):
        for field in outcome_fields & {source.field, *source.aliases}:
            yield f"the field `{field}` states the outcome, so nothing may be decided by it", json_path


def _fields(schema: Schema) -> Iterator[tuple[str, str]]:
    owned = {source.field: json_path for json_path, source in _sources(schema)}
    for json_path, source in _sources(schema):
        for alias in source.aliases:
            owner = owned.setdefault(alias, json_path)
            if owner != json_path:
                yield f"the alias `{alias}` is a field of {owner} too", json_path


def _sources(schema: Schema) -> Iterator[tuple[str, FieldSource]]:
    if schema.amount is not None:
        yield "$.schema.amount", schema.amount
    for kind, sources in (
        ("entities", schema.entities),
        ("numbers", schema.numbers),
        ("categories", schema.categories),
    ):
        for name, source in sources.items():
            yield f"$.schema.{kind}.{name}", source


def _memory(project: Project, name: str, entity: EntityFeatures) -> Iterator[str]:
    schema, buckets = project.schema, project.features.buckets
    known = ", ".join(schema.entities) or "none"
    if name not in schema.entities:
        yield f"no entity `{name}` in the schema (there are: {known})"
    for related in {*entity.distinct, *entity.first_seen} - (schema.entities.keys() - {name}):
        yield f"`{related}` is not another entity (there are: {known})"
    if entity.speed and schema.place is None:
        yield "speed needs `schema.place`"
    if entity.risk and schema.label is None:
        yield "risk needs `schema.label`"
    yield from _windows(entity, buckets)


def _windows(entity: EntityFeatures, buckets: int) -> Iterator[str]:
    for window in itertools.chain(entity.windows, entity.risk, *entity.distinct.values()):
        if window.ms == 0 or window.ms % buckets:
            yield f"a window of {window} cannot be cut into {buckets} buckets of whole milliseconds"
    listed: list[Sequence[Hashable]] = [entity.windows, entity.statistics, entity.first_seen, entity.risk]
    for values in itertools.chain(listed, entity.distinct.values()):
        if problem := _duplicate(values):
            yield problem


def _split_problems(project: Project) -> Iterator[tuple[str, str]]:
    review, decline = project.policy.review_at, project.policy.decline_at
    if (review is None) != (decline is None):
        yield "give both `review_at` and `decline_at`, or neither", "$.policy"
    if review is not None and decline is not None and review > decline:
        yield f"need review_at <= decline_at, got {review} > {decline}", "$.policy"
    split = project.split
    if split.test_from is None and split.validation_share + split.test_share >= 1:
        yield "nothing is left to learn from: need validation_share + test_share < 1", "$.split"


def _duplicate(values: Sequence[Hashable]) -> str:
    """Return a problem when a value appears twice, else nothing."""
    twice = [value for index, value in enumerate(values) if value in values[:index]]
    return f"`{twice[0]}` appears twice" if twice else ""
