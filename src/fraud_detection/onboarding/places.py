"""Infer the place of the payment, and distinguish it from a home address that never moves."""

from __future__ import annotations

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import PlaceSource
from fraud_detection.onboarding.column_assignment import ColumnAssignment
from fraud_detection.onboarding.column_keywords import name_tokens, place_fitness
from fraud_detection.onboarding.columns import Profile, depends_on
from fraud_detection.onboarding.entity_candidates import EntityCandidate

WHERE = "schema.place"

_LATITUDE, _LONGITUDE = ("latitude", "lat"), ("longitude", "long", "lon", "lng")


def infer_place(columns: ColumnAssignment, entities: list[EntityCandidate]) -> PlaceSource | None:
    """Assign the place of the payment; ignore places that never move, such as homes."""
    if columns.overrides.place is not None:
        latitude, longitude = columns.overrides.place
        for name, limit in ((latitude, 90), (longitude, 180)):
            if not _within(columns.profiles[name], limit):
                raise ConfigError(
                    f"--place: {name!r} holds no degrees up to {limit}, but {columns.profiles[name].examples}"
                )
            columns.assign(columns.profiles[name], WHERE, "named by a flag")
        return PlaceSource(latitude=latitude, longitude=longitude)
    moving = [pair for pair in _pairs(columns) if not _never_moves(columns, pair, entities)]
    if not moving:
        return None
    chosen = max(moving, key=lambda pair: place_fitness(name_tokens(pair[0].name)))
    for profile in chosen:
        columns.assign(profile, WHERE, "degrees, and they change from payment to payment")
    return PlaceSource(latitude=chosen[0].name, longitude=chosen[1].name)


def _pairs(columns: ColumnAssignment) -> list[tuple[Profile, Profile]]:
    """Return columns of degrees whose names differ only in 'latitude' and 'longitude'."""
    axes_by_name: dict[str, dict[str, Profile]] = {}
    for profile in columns.unassigned.values():
        tokens = name_tokens(profile.name)
        for axis, spellings, limit in (("lat", _LATITUDE, 90), ("lon", _LONGITUDE, 180)):
            if set(tokens) & set(spellings) and _within(profile, limit):
                rest = " ".join(token for token in tokens if token not in spellings)
                axes_by_name.setdefault(rest, {})[axis] = profile
    return [(pair["lat"], pair["lon"]) for pair in axes_by_name.values() if len(pair) > 1]


def _within(profile: Profile, limit: int) -> bool:
    return profile.kind == "number" and bool((np.abs(profile.finite) <= limit).all())


def _never_moves(
    columns: ColumnAssignment, pair: tuple[Profile, Profile], entities: list[EntityCandidate]
) -> bool:
    leader = next((entity for entity in entities if entity.returns), None)
    if leader is None or not all(depends_on(profile, leader.profile) for profile in pair):
        return False
    for profile in pair:
        columns.ignore(
            profile, f"a place that never changes for a {leader.name}: it only identifies the {leader.name}"
        )
    return True
