"""Guess the transaction's id, and tell ids from numbers that only count the rows."""

from __future__ import annotations

from fraud_detection.config import IdSource
from fraud_detection.init.board import Board, best
from fraud_detection.init.columns import Profile, counts_rows
from fraud_detection.init.words import EVENT, ID, words

WHERE = "schema.transaction_id"

_NEARLY_ALL = 0.999


def guess_id(board: Board) -> IdSource:
    """Take the transaction's id off the board, if there is one; ignore columns that number the rows."""
    chosen = _column(board)
    if chosen is None:
        board.say(WHERE, "no column: rows are numbered, and live events are hashed", "likely")
    else:
        board.take(chosen, WHERE, _unique_words(chosen))
    for profile in list(board.free.values()):
        if counts_rows(profile, board.rows):
            board.ignore(profile, "counts the rows, and says nothing about a payment")
    return IdSource(field=chosen.name if chosen is not None else None)


def _column(board: Board) -> Profile | None:
    if board.overrides.id is not None:
        return board.profiles[board.overrides.id]
    return next(iter(best((_fitness(profile), profile) for profile in board.free.values())), None)


def _fitness(profile: Profile) -> int:
    parts = set(words(profile.name))
    if profile.unique < _NEARLY_ALL or profile.missing or not like_ids(profile):
        return 0
    about_payment = bool(parts & EVENT) or parts <= ID
    return (2 * bool(parts & EVENT) + 2 * bool(parts & ID) + bool(parts <= ID)) if about_payment else 0


def like_ids(profile: Profile) -> bool:
    """Tell whether the values can be ids: texts or whole numbers."""
    return profile.kind == "text" or (profile.kind == "number" and profile.whole)


def _unique_words(profile: Profile) -> str:
    if profile.unique >= 1:
        return "different in every row"
    return f"different in {profile.unique:.2%} of rows; a row with an id seen before counts as its copy"
