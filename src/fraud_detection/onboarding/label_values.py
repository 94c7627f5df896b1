"""Find out which values of a label mean fraud and which legitimate; ask where they may mean the opposite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding.column_assignment import Board, Question, listed
from fraud_detection.onboarding.column_keywords import LEGITIMATE, words
from fraud_detection.onboarding.columns import Floats, Profile, spread

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
class Meaning:
    """The values that mean fraud, and legitimate, in the parser's lower case; others mean 'not known'."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]

    def by_row(self, profile: Profile) -> Floats:
        """Return 1 for fraud, 0 for legitimate, NaN for not known."""
        return spread(np.array([self._verdict(text) for text in lowered(profile.texts)]), profile.codes)

    def _verdict(self, text: str) -> float:
        if text in self.positive:
            return 1.0
        return 0.0 if text in self.negative else math.nan


def find_meaning(board: Board, profile: Profile) -> Meaning:
    """Return what the values mean; raise ConfigError with the flag where they do not say it."""
    texts = sorted({*lowered(profile.texts)})
    if not texts:
        raise ConfigError(
            f"--label {profile.name}: the column never has a value; name another, or say --no-label"
        )
    if board.overrides.label_positive or board.overrides.label_negative:
        return _by_flags(board, profile, texts)
    positive = tuple(text for text in texts if text in POSITIVE)
    negative = tuple(text for text in texts if text in NEGATIVE)
    if {*texts} - POSITIVE - NEGATIVE - UNKNOWN or not (positive or negative):
        return _asked(board, profile, texts, _unclear(profile, texts))
    usual = Meaning(with_numbers(positive or ("1", "fraud", "true", "yes")), with_numbers(negative or ("0",)))
    doubt = _doubt(profile, texts, usual)
    return usual if doubt is None else _asked(board, profile, texts, doubt)


def lowered(values: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return texts as the parser compares them."""
    return tuple(value.strip().lower() for value in values)


def with_numbers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Let '1' stand for '1.0' too, and the other way round.

    >>> with_numbers(("1",)), with_numbers(("yes",))
    (('1', '1.0'), ('yes',))
    """
    pairs = {"1": "1.0", "1.0": "1", "0": "0.0", "0.0": "0"}
    return tuple(sorted({*values, *(pairs[value] for value in values if value in pairs)}))


def _by_flags(board: Board, profile: Profile, texts: list[str]) -> Meaning:
    """Follow the flags; what only one of them leaves out means the other, unless it means 'not known'."""
    said = {
        "--label-positive": lowered(board.overrides.label_positive),
        "--label-negative": lowered(board.overrides.label_negative),
    }
    positive, negative = (with_numbers(values) for values in said.values())
    if both := {*positive} & {*negative}:
        raise ConfigError(
            f"--label-positive and --label-negative contradict each other: both name {min(both)!r}; "
            "drop one of the two"
        )
    _refuse_absent(board, profile, said, texts)
    rest = with_numbers(tuple(text for text in texts if text not in {*positive, *negative, *UNKNOWN}))
    rest = rest or with_numbers(("1",) if "0" in (*positive, *negative) else ("0",))
    return Meaning(positive or rest, negative or rest)


def _refuse_absent(
    board: Board, profile: Profile, said: dict[str, tuple[str, ...]], texts: list[str]
) -> None:
    """Refuse values that no row has; a sample may lack a rare one, but not all that were said."""
    absent = [
        (flag, value)
        for flag, values in said.items()
        for value in values
        if not {*with_numbers((value,))} & {*texts}
    ]
    whole = profile.rows >= board.rows
    if absent and (whole or len(absent) == sum(map(len, said.values()))):
        flag, value = absent[0]
        raise ConfigError(
            f"{flag} {value}: no {'row' if whole else 'sampled row'} of {board.origin} has it in "
            f"`{profile.name}`; name one of its values: {listed(texts, MAX_VALUES)}"
        )


def _unclear(profile: Profile, texts: list[str]) -> str:
    return (
        f"the label `{profile.name}` has the values {listed(texts, MAX_VALUES)}: say which mean fraud "
        "(--label-positive VALUE) and which mean legitimate (--label-negative VALUE); any others mean that "
        "the label is not known"
    )


def _doubt(profile: Profile, texts: list[str], usual: Meaning) -> str | None:
    """Return why the usual meaning may be wrong here, None where nothing speaks against it."""
    if {*texts} <= _YES | _NO | UNKNOWN and LEGITIMATE & set(words(profile.name)):
        return (
            f"the name of the label `{profile.name}` speaks of legitimate payments: say which of "
            f"{listed(texts)} means fraud (--label-positive VALUE), or name another column with --label"
        )
    by_row = usual.by_row(profile)
    share = float(np.nanmean(by_row)) if np.isfinite(by_row).any() else 0.0
    if share <= _HALF:
        return None
    value = next(text for text in texts if text in usual.positive)
    return (
        f"in the label `{profile.name}`, {value} would mean fraud in {share:.2%} of the labelled rows: say "
        f"--label-positive {value} if it does, --label-negative {value} if it means legitimate, or name "
        "another column with --label"
    )


def _asked(board: Board, profile: Profile, texts: list[str], refusal: str) -> Meaning:
    if len(texts) > MAX_VALUES:
        raise ConfigError(f"{board.origin}: {refusal} (or name another column with --label)")
    asked = f"Which of {listed(texts)} means fraud in `{profile.name}`?"
    answer = board.choose(Question(WHERE, "--label-positive", asked, tuple(texts), None, refusal))
    return Meaning((answer,), tuple(text for text in texts if text not in (answer, *UNKNOWN)))
