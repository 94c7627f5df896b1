"""Guess the place of the payment, and tell it from a home that never moves."""

from __future__ import annotations

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import PlaceSource
from fraud_detection.onboarding.column_assignment import Board
from fraud_detection.onboarding.column_keywords import place_fitness, words
from fraud_detection.onboarding.columns import Profile, follows
from fraud_detection.onboarding.entity_candidates import Party

WHERE = "schema.place"

_LATITUDE, _LONGITUDE = ("latitude", "lat"), ("longitude", "long", "lon", "lng")


def guess_place(board: Board, parties: list[Party]) -> PlaceSource | None:
    """Take the place of the payment off the board; ignore places that never move, such as homes."""
    if board.overrides.place is not None:
        latitude, longitude = board.overrides.place
        for name, limit in ((latitude, 90), (longitude, 180)):
            if not _within(board.profiles[name], limit):
                raise ConfigError(
                    f"--place: {name!r} holds no degrees up to {limit}, but {board.profiles[name].examples}"
                )
            board.take(board.profiles[name], WHERE, "you said so")
        return PlaceSource(latitude=latitude, longitude=longitude)
    moving = [pair for pair in _pairs(board) if not _stands_still(board, pair, parties)]
    if not moving:
        return None
    chosen = max(moving, key=lambda pair: place_fitness(words(pair[0].name)))
    for profile in chosen:
        board.take(profile, WHERE, "degrees, and they change from payment to payment")
    return PlaceSource(latitude=chosen[0].name, longitude=chosen[1].name)


def _pairs(board: Board) -> list[tuple[Profile, Profile]]:
    """Return columns of degrees whose names differ only in 'latitude' and 'longitude'."""
    found: dict[str, dict[str, Profile]] = {}
    for profile in board.free.values():
        parts = words(profile.name)
        for axis, spellings, limit in (("lat", _LATITUDE, 90), ("lon", _LONGITUDE, 180)):
            if set(parts) & set(spellings) and _within(profile, limit):
                rest = " ".join(part for part in parts if part not in spellings)
                found.setdefault(rest, {})[axis] = profile
    return [(pair["lat"], pair["lon"]) for pair in found.values() if len(pair) > 1]


def _within(profile: Profile, limit: int) -> bool:
    return profile.kind == "number" and bool((np.abs(profile.finite) <= limit).all())


def _stands_still(board: Board, pair: tuple[Profile, Profile], parties: list[Party]) -> bool:
    leader = next((party for party in parties if party.returns), None)
    if leader is None or not all(follows(profile, leader.profile) for profile in pair):
        return False
    for profile in pair:
        board.ignore(
            profile, f"a place that never changes for a {leader.name}: it only stands for the {leader.name}"
        )
    return True
