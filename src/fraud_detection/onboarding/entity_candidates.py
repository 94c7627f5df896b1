"""Infer the entities: ids that payments share, such as cards, merchants and devices."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import EntitySource
from fraud_detection.onboarding.column_assignment import ColumnAssignment
from fraud_detection.onboarding.column_keywords import (
    ENTITIES,
    ID,
    PAYERS,
    entity_of,
    identifier,
    name_tokens,
)
from fraud_detection.onboarding.columns import Profile, repeats, same_partition
from fraud_detection.onboarding.ids import like_ids

WHERE = "schema.entities"

_MIN_IDS = 13
"""Fewer different values are a category rather than ids."""
_MAX_ENTITIES = 8
_SELDOM = 0.02
"""Entities whose ids come back more seldom than this, per payment, get no profile."""
_NAME = re.compile(r"[^\W\d_]+([ .'-]+[^\W\d_]+){0,4}\.?")
_PLASTIC = re.compile(r"\d{13,19}")


@dataclass(frozen=True, slots=True)
class EntityCandidate:
    """A column of entity ids, and in how many other payments an id occurs on average."""

    name: str
    profile: Profile
    repeats: float

    @property
    def pays(self) -> bool:
        """Return whether the name is that of somebody who pays."""
        return self.name in PAYERS

    @property
    def returns(self) -> bool:
        """Return whether its ids come back often enough for a profile."""
        return self.repeats >= _SELDOM


def infer_entities(columns: ColumnAssignment) -> list[EntityCandidate]:
    """Assign the entities; the first one orders the stream."""
    candidates = _candidates(columns)
    if columns.overrides.no_entities or columns.overrides.entities:
        entities = _named_entities(columns)
        _ignore_others(columns, candidates)
        return entities
    entities = _without_duplicates(columns, _ordered(_best_of_each(candidates)))
    _ignore_others(columns, entities[_MAX_ENTITIES:])
    for index, entity in enumerate(entities[:_MAX_ENTITIES]):
        columns.assign(entity.profile, f"{WHERE}.{entity.name}", _entity_finding(entity, first=index == 0))
    if not entities:
        columns.add_finding(WHERE, "no column looks like ids that payments share (--entity)", "likely")
    return entities[:_MAX_ENTITIES]


def _ignore_others(columns: ColumnAssignment, entities: Iterable[EntityCandidate]) -> None:
    """Ignore columns of ids that are no entity: as numbers or categories they would say nothing."""
    for entity in entities:
        how = f"--entity {entity.name}={entity.profile.name}"
        columns.ignore(entity.profile, f"ids of a {entity.name}, not among the entities; use them with {how}")


def entity_sources(entities: Iterable[EntityCandidate]) -> dict[str, EntitySource]:
    """Return the entities as the schema declares them; the ordering one is required if it is never missing.

    Otherwise a payment whose card key is misspelt would be decided as one of no card.
    """
    return {
        entity.name: EntitySource(
            field=entity.profile.name, required=index == 0 and not entity.profile.missing
        )
        for index, entity in enumerate(entities)
    }


def _named_entities(columns: ColumnAssignment) -> list[EntityCandidate]:
    if columns.overrides.no_entities:
        columns.add_finding(WHERE, "none, by --no-entities: the model works on attributes alone")
        return []
    entities = []
    for name, column in columns.overrides.entities.items():
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise ConfigError(
                f"--entity {name}={column}: names are lower-case letters, digits and _, such as card_2"
            )
        profile = columns.profiles[column]
        entities.append(EntityCandidate(name, profile, repeats(profile, columns.rows)))
        columns.assign(profile, f"{WHERE}.{name}", "named by a flag")
    return entities


def _candidates(columns: ColumnAssignment) -> list[EntityCandidate]:
    return [
        EntityCandidate(_entity_name(columns, name), profile, repeats(profile, columns.rows))
        for profile in columns.unassigned.values()
        if (name := entity_of(profile.name)) is not None
        and like_ids(profile)
        and (profile.kind == "text" or _only_named(profile))
        and profile.name not in columns.instants
        and profile.distinct >= _MIN_IDS
        and not is_personal_name(profile)
    ]


def _only_named(profile: Profile) -> bool:
    """Return whether the name of a numeric column says whose id it is, and nothing more."""
    return all(word in ENTITIES or word in ID or word.isdigit() for word in name_tokens(profile.name))


def _entity_name(columns: ColumnAssignment, name: str) -> str:
    """Call an entity that is merely called 'entity' what a constant column of types calls it."""
    if name != "entity":
        return name
    kinds = [
        p
        for p in columns.profiles.values()
        if set(name_tokens(p.name)) == {"entity", "type"} and p.distinct == 1
    ]
    entity_type = identifier(kinds[0].texts[0]) if kinds else name
    return ENTITIES.get(entity_type, entity_type)


def is_personal_name(profile: Profile) -> bool:
    """Return whether the column holds names of people: a word for names, and letters only."""
    tokens = set(name_tokens(profile.name))
    if tokens & {"merchant", "merch", "store", "shop", "vendor", "seller"}:
        return False
    named = tokens & {"name", "firstname", "lastname", "surname", "fullname"} or tokens in (
        {"first"},
        {"last"},
    )
    return bool(named) and all(_NAME.fullmatch(text.strip()) for text in profile.texts[:50])


def _best_of_each(candidates: list[EntityCandidate]) -> list[EntityCandidate]:
    """Keep one column for each name of an entity: the one that looks most like its id."""

    def fitness(entity: EntityCandidate) -> tuple[bool, bool, int]:
        tokens = set(name_tokens(entity.profile.name))
        return bool(tokens & ID), entity.profile.missing == 0, entity.profile.distinct

    by_name = itertools.groupby(
        sorted(candidates, key=lambda entity: entity.name), key=lambda entity: entity.name
    )
    return [max(group, key=fitness) for _, group in by_name]


def _ordered(entities: list[EntityCandidate]) -> list[EntityCandidate]:
    """Put those that pay, and come back, first."""

    def rank(entity: EntityCandidate) -> tuple[bool, int, str]:
        return not entity.returns, PAYERS.index(entity.name) if entity.pays else len(PAYERS), entity.name

    return sorted(entities, key=rank)


def _without_duplicates(columns: ColumnAssignment, entities: list[EntityCandidate]) -> list[EntityCandidate]:
    """Drop entities that always go together with an earlier one."""
    distinct: list[EntityCandidate] = []
    for entity in entities:
        twin = next((p for p in distinct if p.returns and same_partition(p.profile, entity.profile)), None)
        if twin is None:
            distinct.append(entity)
        else:
            columns.ignore(
                entity.profile,
                f"goes one to one with `{twin.profile.name}`, so it adds nothing here; if it can change, "
                f"use it with --entity {entity.name}={entity.profile.name}",
            )
    return distinct


def _entity_finding(entity: EntityCandidate, *, first: bool) -> str:
    finding = f"{entity.profile.distinct:,} ids in the sample"
    if entity.returns:
        finding += f"; a payment shares its id with {entity.repeats:,.1f} others on average"
    else:
        finding += " that hardly ever come back, so they get no profile"
    if entity.name == "card" and all(_PLASTIC.fullmatch(text) for text in entity.profile.texts[:20]):
        finding += "; they look like full card numbers: replace them by tokens before they reach this system"
    if entity.name == "email":
        finding += "; personal data, used because payments share it: a hash of it does as well"
    return f"{finding}; it orders the stream" if first else finding
