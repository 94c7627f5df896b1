"""Infer which label values mean fraud and which legitimate; ask where they may mean the opposite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding.column_assignment import ColumnAssignment, Question, listed
from fraud_detection.onboarding.column_keywords import LEGITIMATE, name_tokens
from fraud_detection.onboarding.columns import Floats, Profile, values_by_row

WHERE = "schema.label"


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split("|"))


_YES = _set("1|1.0|true|t|yes|y|positive")
_NO = _set("0|0.0|-1|-1.0|false|f|no|n|negative")
"""Answers to what the name of the column asks, which need not be whether it is fraud."""
POSITIVE = _YES | _set("fraud|fraudulent|fraudster|bad|scam|chargeback|illicit")
NEGATIVE = _NO | _set(
    "legit|legitimate|genuine|good|normal|nonfraud|non-fraud|non_fraud|non fraud|not_fraud|not fraud|"
    "no fraud|licit|clean|ok|valid"
)
UNKNOWN = _set("unknown|unlabelled|unlabeled|pending|null|none|na|n/a|nan|-")

MAX_VALUES = 10
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The values, in lower case, that mean fraud and legitimate; all others mean 'unlabelled'."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]

    def by_row(self, profile: Profile) -> Floats:
        """Return 1 for fraud, 0 for legitimate, NaN for not known."""
        return values_by_row(
            np.array([self._verdict(text) for text in lowered(profile.texts)]), profile.codes
        )

    def _verdict(self, text: str) -> float:
        if text in self.positive:
            return 1.0
        return 0.0 if text in self.negative else math.nan


def find_label_values(columns: ColumnAssignment, profile: Profile) -> LabelValues:
    """Return the meaning of the values; raise ConfigError with the flag to use where it is unclear."""
    texts = sorted({*lowered(profile.texts)})
    if not texts:
        raise ConfigError(
            f"--label {profile.name}: the column never has a value; name another, or say --no-label"
        )
    if columns.overrides.label_positive or columns.overrides.label_negative:
        return _by_flags(columns, profile, texts)
    positive = tuple(text for text in texts if text in POSITIVE)
    negative = tuple(text for text in texts if text in NEGATIVE)
    if {*texts} - POSITIVE - NEGATIVE - UNKNOWN or not (positive or negative):
        return _asked(columns, profile, texts, _unclear(profile, texts))
    inferred = LabelValues(
        with_numbers(positive or ("1", "fraud", "true", "yes")), with_numbers(negative or ("0",))
    )
    contradiction = _contradiction(profile, texts, inferred)
    return inferred if contradiction is None else _asked(columns, profile, texts, contradiction)


def lowered(values: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return texts as the parser compares them."""
    return tuple(value.strip().lower() for value in values)


def with_numbers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Add '1.0' to '1', '0.0' to '0', and the reverse.

    >>> with_numbers(("1",)), with_numbers(("yes",))
    (('1', '1.0'), ('yes',))
    """
    pairs = {"1": "1.0", "1.0": "1", "0": "0.0", "0.0": "0"}
    return tuple(sorted({*values, *(pairs[value] for value in values if value in pairs)}))


def _by_flags(columns: ColumnAssignment, profile: Profile, texts: list[str]) -> LabelValues:
    """Follow the flags; with one flag, the other values get the other meaning, or mean 'unlabelled'."""
    values_by_flag = {
        "--label-positive": lowered(columns.overrides.label_positive),
        "--label-negative": lowered(columns.overrides.label_negative),
    }
    positive, negative = (with_numbers(values) for values in values_by_flag.values())
    if both := {*positive} & {*negative}:
        raise ConfigError(
            f"--label-positive and --label-negative contradict each other: both name {min(both)!r}; "
            "drop one of the two"
        )
    _check_values_occur(columns, profile, values_by_flag, texts)
    rest = with_numbers(tuple(text for text in texts if text not in {*positive, *negative, *UNKNOWN}))
    rest = rest or with_numbers(("1",) if "0" in (*positive, *negative) else ("0",))
    return LabelValues(positive or rest, negative or rest)


def _check_values_occur(
    columns: ColumnAssignment, profile: Profile, values_by_flag: dict[str, tuple[str, ...]], texts: list[str]
) -> None:
    """Check that some row has the values; a sample may lack a rare one, but not all of them."""
    absent = [
        (flag, value)
        for flag, values in values_by_flag.items()
        for value in values
        if not {*with_numbers((value,))} & {*texts}
    ]
    has_all_rows = profile.rows >= columns.rows
    if absent and (has_all_rows or len(absent) == sum(map(len, values_by_flag.values()))):
        flag, value = absent[0]
        raise ConfigError(
            f"{flag} {value}: no {'row' if has_all_rows else 'sampled row'} of {columns.origin} has it in "
            f"`{profile.name}`; name one of its values: {listed(texts, MAX_VALUES)}"
        )


def _unclear(profile: Profile, texts: list[str]) -> str:
    return (
        f"the label `{profile.name}` has the values {listed(texts, MAX_VALUES)}: say which mean fraud "
        "(--label-positive VALUE) and which mean legitimate (--label-negative VALUE); any others mean that "
        "the label is not known"
    )


def _contradiction(profile: Profile, texts: list[str], inferred: LabelValues) -> str | None:
    """Return why the inferred meaning may be wrong here; None where nothing contradicts it."""
    if {*texts} <= _YES | _NO | UNKNOWN and LEGITIMATE & set(name_tokens(profile.name)):
        return (
            f"the name of the label `{profile.name}` speaks of legitimate payments: say which of "
            f"{listed(texts)} means fraud (--label-positive VALUE), or name another column with --label"
        )
    by_row = inferred.by_row(profile)
    share = float(np.nanmean(by_row)) if np.isfinite(by_row).any() else 0.0
    if share <= _HALF:
        return None
    value = next(text for text in texts if text in inferred.positive)
    return (
        f"in the label `{profile.name}`, {value} would mean fraud in {share:.2%} of the labelled rows: say "
        f"--label-positive {value} if it does, --label-negative {value} if it means legitimate, or name "
        "another column with --label"
    )


def _asked(columns: ColumnAssignment, profile: Profile, texts: list[str], refusal: str) -> LabelValues:
    if len(texts) > MAX_VALUES:
        raise ConfigError(f"{columns.origin}: {refusal} (or name another column with --label)")
    question = f"Which of {listed(texts)} means fraud in `{profile.name}`?"
    answer = columns.choose(Question(WHERE, "--label-positive", question, tuple(texts), None, refusal))
    return LabelValues((answer,), tuple(text for text in texts if text not in (answer, *UNKNOWN)))
