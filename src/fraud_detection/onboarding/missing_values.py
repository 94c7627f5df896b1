"""Report the markers of missing values, and the share of rows that have them."""

from __future__ import annotations

import re

from fraud_detection.core.project_schema import MISSING_MARKERS, FieldSource
from fraud_detection.onboarding.column_assignment import ColumnAssignment
from fraud_detection.onboarding.columns import Profile

WHERE = "schema.missing"

_MAY_BE_VALUES = ("none", "unknown")
"""Words that say something where they are one of a few values: no past claim, a device of no known kind."""

_CODE = re.compile("[A-Z]{2}")
_SCIENTIFIC = re.compile(r"\d(\.\d+)?[eE]\+?\d{1,3}")


def report_missing_markers(columns: ColumnAssignment) -> None:
    """Record the markers of missing values, and how often the sample has them."""
    largest_share: dict[str, float] = {}
    where: dict[str, str] = {}
    for profile in columns.profiles.values():
        for word, count in profile.missing_markers.items():
            share = count / max(profile.rows, 1)
            if share > largest_share.get(word, 0.0):
                where[word] = f"'{word}' in {share:.1%} of `{profile.name}`"
                largest_share[word] = share
    largest = "; at most: " + ", ".join(
        where[word] for word in sorted(largest_share, key=lambda word: -largest_share[word])
    )
    shares = largest if largest_share else "; none of them occurs in the sample"
    columns.add_finding(WHERE, f"{len(MISSING_MARKERS)} texts mark a missing value{shares}")


def category_source(profile: Profile) -> FieldSource:
    """Return a category as the schema declares it; markers that may be values of it are kept.

    >>> from fraud_detection.onboarding.columns import profile
    >>> category_source(profile("claims", ["None", "1", "2 to 4", "n/a"])).keep
    ('none',)
    >>> category_source(profile("country", ["NA", "DE", "ZA"])).keep
    ('na',)
    """
    keep = [word for word in _MAY_BE_VALUES if word in profile.missing_markers]
    if "na" in profile.missing_markers and all(_CODE.fullmatch(text.strip()) for text in profile.texts):
        keep.append("na")
    return FieldSource(field=profile.name, keep=tuple(keep))


def warn_of_lost_digits(columns: ColumnAssignment, profile: Profile, where: str) -> None:
    """Warn of ids that a spreadsheet has rounded: several of them are one now."""
    lost = [text for text in profile.texts if _SCIENTIFIC.fullmatch(text.strip())]
    if lost:
        columns.add_finding(
            where,
            f"`{profile.name}`: {len(lost):,} ids are in scientific notation, such as {lost[0]!r}: "
            "a spreadsheet has rounded them, and different ids have become one; export them again as text",
            "unsure",
        )
