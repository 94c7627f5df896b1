"""Infer which of the remaining columns are numbers, which are categories, and which are of no use."""

from __future__ import annotations

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import FieldSource
from fraud_detection.onboarding.amounts import looks_like_money, not_numbers
from fraud_detection.onboarding.column_assignment import ColumnAssignment, listed
from fraud_detection.onboarding.column_keywords import CODES, ID, PERSONAL, PROTECTED, THINGS, name_tokens
from fraud_detection.onboarding.columns import MOSTLY, Profile, depends_on
from fraud_detection.onboarding.entity_candidates import EntityCandidate, is_personal_name
from fraud_detection.onboarding.missing_values import category_source
from fraud_detection.onboarding.names import Namer

MAX_CATEGORY_VALUES = 200

_COVERED = 0.95
_ONE_TO_ONE_CODE = 0.5
_ONE_TO_ONE_NUMBER = 0.95
_ALL_DIFFERENT = 0.999
_MANY = 50
_HALF = 0.5


def infer_attributes(
    columns: ColumnAssignment, entities: list[EntityCandidate]
) -> tuple[dict[str, FieldSource], dict[str, FieldSource]]:
    """Assign every remaining column as number or category, or ignore it with the reason."""
    leader = next((entity for entity in entities if entity.returns), None)
    numbers, categories = [*_forced_numbers(columns)], [*columns.overrides.categories]
    for profile in list(columns.unassigned.values()):
        useless = _useless(profile) or _personal(profile) or _one_to_one(profile, leader)
        if useless is None and _is_number(profile):
            numbers.append(profile.name)
        elif useless is None and _is_category(profile):
            categories.append(profile.name)
        else:
            columns.ignore(profile, useless or _no_use(profile))
    _add_findings(columns, numbers, categories)
    name = Namer(entity.name for entity in entities)
    named = {name.category(column): category_source(columns.profiles[column]) for column in categories}
    return {name.number(column): FieldSource(field=column) for column in numbers}, named


def _forced_numbers(columns: ColumnAssignment) -> tuple[str, ...]:
    for name in columns.overrides.numbers:
        if not len(columns.profiles[name].finite):
            raise ConfigError(
                f"--number {name}: none of its values is a number: {columns.profiles[name].examples}"
            )
    return columns.overrides.numbers


def _useless(profile: Profile) -> str | None:
    if profile.kind == "nested":
        return "lists or objects; give what matters in it a column of its own"
    if profile.kind == "empty":
        return "never has a value"
    if profile.distinct == 1 and not profile.missing:
        return f"always the same: {profile.examples}"
    if profile.unique >= _ALL_DIFFERENT and profile.present > _MANY and _is_id(profile):
        return "different in every row, like an id: nothing can be learned from it"
    return None


def _is_id(profile: Profile) -> bool:
    return profile.numeric < _HALF or (profile.is_integer and bool(ID & set(name_tokens(profile.name))))


def _personal(profile: Profile) -> str | None:
    named = PERSONAL & set(name_tokens(profile.name)) and (profile.kind == "text" or profile.unique > _HALF)
    if is_personal_name(profile) or (named and profile.distinct > _MANY):
        return "personal data that says who somebody is, not what the payment is like"
    if profile.kind == "text" and sum("@" in text for text in profile.texts[:_MANY]) > _HALF * min(
        profile.distinct, _MANY
    ):
        return f"e-mail addresses: personal; if payments share them, use --entity email={profile.name}"
    return None


def _one_to_one(profile: Profile, leader: EntityCandidate | None) -> str | None:
    """Return why the column is nearly one to one with the entity, so that a model would memorise entities."""
    if leader is None or profile.distinct <= _MANY:
        return None
    is_code = profile.kind == "text" or CODES & set(name_tokens(profile.name))
    limit = _ONE_TO_ONE_CODE if is_code else _ONE_TO_ONE_NUMBER
    if not profile.is_integer and profile.kind == "number":
        return None
    if profile.distinct >= limit * leader.profile.distinct and depends_on(profile, leader.profile):
        return f"nearly one to one with {leader.name}: a model would memorise single {leader.name}s"
    return None


def _is_number(profile: Profile) -> bool:
    if profile.kind != "number":
        return False
    return not (
        profile.is_integer
        and CODES & set(name_tokens(profile.name))
        and profile.distinct <= MAX_CATEGORY_VALUES
    )


def _is_category(profile: Profile) -> bool:
    if profile.distinct <= MAX_CATEGORY_VALUES:
        return True
    covered = np.sort(profile.counts)[-MAX_CATEGORY_VALUES:].sum()
    return profile.numeric == 0 and bool(covered >= _COVERED * profile.present)


def _no_use(profile: Profile) -> str:
    if profile.numeric > _HALF:
        return f"{1 - profile.numeric:.0%} of it is text among numbers; repair it, or --number {profile.name}"
    if looks_like_money(profile):
        return f"numbers written as text: {not_numbers(profile)}"
    return f"{profile.distinct:,} different texts in the sample: too many for a category"


def _is_protected(name: str) -> bool:
    tokens = set(name_tokens(name))
    return bool(tokens & PROTECTED) and not tokens & THINGS


def _add_findings(columns: ColumnAssignment, numbers: list[str], categories: list[str]) -> None:
    for where, names in (("schema.numbers", numbers), ("schema.categories", categories)):
        if names:
            columns.add_finding(where, f"{len(names)}: {listed(names)}")
    partly = [name for name in numbers if MOSTLY <= columns.profiles[name].numeric < 1]
    if partly:
        columns.add_finding(
            "schema.numbers", f"some values are no numbers and count as missing: {listed(partly)}", "likely"
        )
    protected = [name for name in (*numbers, *categories) if _is_protected(name)]
    if protected:
        advice = "traits of people; make sure that you may decide by them, or --ignore them"
        columns.add_finding("schema", f"{listed(protected)}: {advice}")
