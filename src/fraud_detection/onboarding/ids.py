"""Infer the transaction id, and distinguish ids from row numbers."""

from __future__ import annotations

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import IdSource
from fraud_detection.onboarding.column_assignment import ColumnAssignment, best
from fraud_detection.onboarding.column_keywords import EVENT, ID, name_tokens
from fraud_detection.onboarding.columns import Profile, counts_rows, different

WHERE = "schema.transaction_id"

_NEARLY_ALL = 0.999
_MAX_SHARE = 0.9
"""Ids that differ in fewer rows name something else: the others would be dropped as copies."""
_MAX_MISSING = 0.5
"""Rows without an id are known by their offset; what most rows lack is no id of payments."""


def infer_id(columns: ColumnAssignment) -> IdSource:
    """Assign the transaction id, if there is one; ignore columns that number the rows."""
    chosen = _column(columns)
    if chosen is not None:
        columns.assign(chosen, WHERE, _unique_message(chosen, different(chosen, columns.rows)))
    elif (profile := _id_with_duplicates(columns)) is not None:
        _ignore_duplicate_id(columns, profile)
    else:
        columns.add_finding(WHERE, "no column: a payment is known by its offset in its source", "likely")
    for profile in list(columns.unassigned.values()):
        if counts_rows(profile, columns.rows):
            columns.ignore(profile, "counts the rows, and says nothing about a payment")
    return IdSource(field=chosen.name if chosen is not None else None)


def _column(columns: ColumnAssignment) -> Profile | None:
    if columns.overrides.id is not None:
        return _named(columns, columns.profiles[columns.overrides.id])
    return next(
        iter(
            best(
                (_fitness(columns, profile, _NEARLY_ALL), profile) for profile in columns.unassigned.values()
            )
        ),
        None,
    )


def _id_with_duplicates(columns: ColumnAssignment) -> Profile | None:
    """Return a column that is called an id, but is not different in quite all rows."""
    named = [profile for profile in columns.unassigned.values() if ID & set(name_tokens(profile.name))]
    return next(iter(best((_fitness(columns, profile, _MAX_SHARE), profile) for profile in named)), None)


def _named(columns: ColumnAssignment, profile: Profile) -> Profile:
    share = different(profile, columns.rows)
    if profile.present and share < _MAX_SHARE:
        raise ConfigError(
            f"--id {profile.name}: only {share:.2%} of the rows of {columns.origin} have their own value "
            "there, and the others would be dropped as copies; name the column that differs from payment to "
            "payment, or leave --id out"
        )
    return profile


def _ignore_duplicate_id(columns: ColumnAssignment, profile: Profile) -> None:
    """Report that rows may be copies: only a person can distinguish a repeated id from a wrong one."""
    share, often = 1 - different(profile, columns.rows), profile.texts[int(profile.counts.argmax())][:30]
    columns.add_finding(
        WHERE,
        f"no column: `{profile.name}` looks like the id, but {share:.2%} of the rows repeat one "
        f"(such as {often!r}); each row counts on its own; if rows of one id are copies, count "
        f"them once with --id {profile.name}",
        "unsure",
    )
    columns.ignore(profile, f"looks like the transaction's id, but repeats (--id {profile.name})")


def _fitness(columns: ColumnAssignment, profile: Profile, min_distinct: float) -> int:
    tokens = set(name_tokens(profile.name))
    if (
        different(profile, columns.rows) < min_distinct
        or profile.missing > _MAX_MISSING
        or not like_ids(profile)
    ):
        return 0
    about_payment = bool(tokens & EVENT) or tokens <= ID
    return (2 * bool(tokens & EVENT) + 2 * bool(tokens & ID) + bool(tokens <= ID)) if about_payment else 0


def like_ids(profile: Profile) -> bool:
    """Return whether the values can be ids: texts or whole numbers."""
    return profile.kind == "text" or (profile.kind == "number" and profile.is_integer)


def _unique_message(profile: Profile, share: float) -> str:
    singular, plural = (" that has one", " that have one") if profile.missing else ("", "")
    message = f"different in every row{singular}"
    if share < 1:
        message = f"different in {share:.2%} of rows{plural}; a row with an id seen before counts as its copy"
    if profile.missing:
        message += f"; {profile.missing:.2%} of the rows have none: these are known by their offset"
    return message
