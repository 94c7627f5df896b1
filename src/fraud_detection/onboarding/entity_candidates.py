"""Guess the entities: ids that payments share, such as cards, merchants and devices."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import EntitySource
from fraud_detection.onboarding.column_assignment import Board
from fraud_detection.onboarding.column_keywords import ENTITIES, ID, PAYERS, entity_of, identifier, words
from fraud_detection.onboarding.columns import Profile, repeats, same_partition
from fraud_detection.onboarding.ids import like_ids

WHERE = "schema.entities"

_MIN_IDS = 13
"""Fewer different values are a category rather than ids."""
_MAX_ENTITIES = 8
_SELDOM = 0.02
"""Entities whose ids come back more seldom than this, per payment, are remembered for nothing."""
_NAME = re.compile(r"[^\W\d_]+([ .'-]+[^\W\d_]+){0,4}\.?")
_PLASTIC = re.compile(r"\d{13,19}")


@dataclass(frozen=True, slots=True)
class Party:
    """An entity: its column, and in how many other payments its id occurs, on average."""

    name: str
    profile: Profile
    repeats: float

    @property
    def pays(self) -> bool:
        """Tell whether the name is that of somebody who pays."""
        return self.name in PAYERS

    @property
    def returns(self) -> bool:
        """Tell whether its ids come back often enough to be worth remembering."""
        return self.repeats >= _SELDOM


def guess_entities(board: Board) -> list[Party]:
    """Take the entities off the board, the one that orders the stream first."""
    candidates = _candidates(board)
    if board.overrides.no_entities or board.overrides.entities:
        parties = _named_entities(board)
        _leave_out(board, candidates)
        return parties
    parties = _without_doubles(board, _ordered(_best_of_each(candidates)))
    _leave_out(board, parties[_MAX_ENTITIES:])
    for place, party in enumerate(parties[:_MAX_ENTITIES]):
        board.take(party.profile, f"{WHERE}.{party.name}", _party_words(party, first=place == 0))
    if not parties:
        board.say(WHERE, "no column looks like ids that payments share (--entity)", "likely")
    return parties[:_MAX_ENTITIES]


def _leave_out(board: Board, parties: Iterable[Party]) -> None:
    """Ignore columns of ids that are no entity: as numbers or categories they would say nothing."""
    for party in parties:
        how = f"--entity {party.name}={party.profile.name}"
        board.ignore(party.profile, f"ids of a {party.name}, not among the entities; use them with {how}")


def entity_sources(parties: Iterable[Party]) -> dict[str, EntitySource]:
    """Return the entities as the schema declares them; the ordering one is required if it is never missing.

    Otherwise a payment whose card key is misspelt would be decided as one of no card.
    """
    return {
        party.name: EntitySource(field=party.profile.name, required=place == 0 and not party.profile.missing)
        for place, party in enumerate(parties)
    }


def _named_entities(board: Board) -> list[Party]:
    if board.overrides.no_entities:
        board.say(WHERE, "none, as you said: the model works on attributes alone")
        return []
    parties = []
    for name, column in board.overrides.entities.items():
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise ConfigError(
                f"--entity {name}={column}: names are lower-case letters, digits and _, such as card_2"
            )
        profile = board.profiles[column]
        parties.append(Party(name, profile, repeats(profile, board.rows)))
        board.take(profile, f"{WHERE}.{name}", "you said so")
    return parties


def _candidates(board: Board) -> list[Party]:
    return [
        Party(_entity_name(board, name), profile, repeats(profile, board.rows))
        for profile in board.free.values()
        if (name := entity_of(profile.name)) is not None
        and like_ids(profile)
        and (profile.kind == "text" or _only_named(profile))
        and profile.name not in board.instants
        and profile.distinct >= _MIN_IDS
        and not is_personal_name(profile)
    ]


def _only_named(profile: Profile) -> bool:
    """Tell whether the name of a numeric column says whose id it is, and nothing more."""
    return all(word in ENTITIES or word in ID or word.isdigit() for word in words(profile.name))


def _entity_name(board: Board, name: str) -> str:
    """Call an entity that is merely called 'entity' what a constant column of types calls it."""
    if name != "entity":
        return name
    kinds = [
        p for p in board.profiles.values() if set(words(p.name)) == {"entity", "type"} and p.distinct == 1
    ]
    said = identifier(kinds[0].texts[0]) if kinds else name
    return ENTITIES.get(said, said)


def is_personal_name(profile: Profile) -> bool:
    """Tell whether the column holds names of people: a word for names, and letters only."""
    parts = set(words(profile.name))
    if parts & {"merchant", "merch", "store", "shop", "vendor", "seller"}:
        return False
    named = parts & {"name", "firstname", "lastname", "surname", "fullname"} or parts in ({"first"}, {"last"})
    return bool(named) and all(_NAME.fullmatch(text.strip()) for text in profile.texts[:50])


def _best_of_each(candidates: list[Party]) -> list[Party]:
    """Keep one column for each name of an entity: the one that looks most like its id."""

    def fitness(party: Party) -> tuple[bool, bool, int]:
        parts = set(words(party.profile.name))
        return bool(parts & ID), party.profile.missing == 0, party.profile.distinct

    by_name = itertools.groupby(
        sorted(candidates, key=lambda party: party.name), key=lambda party: party.name
    )
    return [max(group, key=fitness) for _, group in by_name]


def _ordered(parties: list[Party]) -> list[Party]:
    """Put those that pay, and come back, first."""

    def rank(party: Party) -> tuple[bool, int, str]:
        return not party.returns, PAYERS.index(party.name) if party.pays else len(PAYERS), party.name

    return sorted(parties, key=rank)


def _without_doubles(board: Board, parties: list[Party]) -> list[Party]:
    """Drop entities that always go together with an earlier one."""
    kept: list[Party] = []
    for party in parties:
        twin = next((p for p in kept if p.returns and same_partition(p.profile, party.profile)), None)
        if twin is None:
            kept.append(party)
        else:
            board.ignore(
                party.profile,
                f"goes one to one with `{twin.profile.name}`, so it adds nothing here; if it can change, "
                f"use it with --entity {party.name}={party.profile.name}",
            )
    return kept


def _party_words(party: Party, *, first: bool) -> str:
    said = f"{party.profile.distinct:,} ids in the sample"
    if party.returns:
        said += f"; a payment shares its id with {party.repeats:,.1f} others on average"
    else:
        said += " that hardly ever come back, so nothing is remembered of them"
    if party.name == "card" and all(_PLASTIC.fullmatch(text) for text in party.profile.texts[:20]):
        said += "; they look like full card numbers: replace them by tokens before they reach this system"
    if party.name == "email":
        said += "; personal data, used because payments share it: a hash of it does as well"
    return f"{said}; it orders the stream" if first else said
