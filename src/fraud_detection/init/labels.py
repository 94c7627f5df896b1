"""Guess the label: its column, which values mean fraud, and when it becomes known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fraud_detection.config import LabelSource
from fraud_detection.errors import ConfigError
from fraud_detection.init.board import Board, Question, best
from fraud_detection.init.columns import Floats, Profile, spread
from fraud_detection.init.times import Instants
from fraud_detection.init.when import DAY_MS, When
from fraud_detection.init.words import LABEL, LABEL_TIME, NOT_LABEL, words
from fraud_detection.strict import Duration

WHERE = "schema.label"


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split("|"))


POSITIVE = _set("1|1.0|true|t|yes|y|fraud|fraudulent|fraudster|bad|positive|scam|chargeback|illicit")
NEGATIVE = _set(
    "0|0.0|-1|-1.0|false|f|no|n|legit|legitimate|genuine|good|normal|negative|nonfraud|non-fraud|non_fraud|"
    "non fraud|not_fraud|not fraud|no fraud|licit|clean|ok|valid"
)
UNKNOWN = _set("unknown|unlabelled|unlabeled|pending|null|none|na|n/a|nan|-")

USUAL_DELAY = "7d"
_SHORTER = ("3d", "1d", "12h", "6h", "1h", "10m", "1m", "1s")
_SHARE_OF_FILE = 10
_LATER = 0.9
_MOST_VALUES = 10


@dataclass(frozen=True, slots=True)
class Truth:
    """The chosen label, and by row 1 for fraud, 0 for legitimate, NaN for unlabelled."""

    source: LabelSource
    by_row: Floats


def guess_label(board: Board, when: When) -> Truth | None:
    """Take the label off the board; None where the file has none."""
    profile = _column(board)
    if profile is None:
        board.say(
            WHERE, "no column looks like a label: nothing can be trained; name one with --label", "likely"
        )
        return None
    positive, negative = _meaning(board, profile)
    by_row = spread(
        np.array([_verdict(value, positive, negative) for value in profile.values]), profile.codes
    )
    board.take(profile, WHERE, _said(by_row, positive, negative))
    known_at = _known_at(board, when, by_row)
    delay = _delay(board, when, by_row, known_at)
    source = LabelSource(
        field=profile.name,
        positive=positive,
        negative=negative,
        known_at=known_at[0] if known_at is not None else None,
        delay=delay,
    )
    return Truth(source, by_row)


def _column(board: Board) -> Profile | None:
    if board.overrides.label is not None:
        return board.profiles[board.overrides.label]
    if board.overrides.no_label:
        return None
    rivals = best((_fitness(profile), profile) for profile in board.free.values())
    return board.pick(rivals, WHERE, "--label", "the label")


def _fitness(profile: Profile) -> float:
    """Return how much a column looks like a label: by its name, and by two values of known meaning."""
    parts = words(profile.name)
    if NOT_LABEL & set(parts) or not 0 < profile.distinct <= _MOST_VALUES:
        return 0.0
    named = max((LABEL.get(part, 0) for part in parts), default=0)
    texts = _texts(profile)
    known = texts & POSITIVE and texts & NEGATIVE and texts <= POSITIVE | NEGATIVE | UNKNOWN
    if not named or not (known or texts <= NEGATIVE or named > 1):
        return 0.0
    return named + 0.5 * bool(known) - 0.01 * len(parts)


def _texts(profile: Profile) -> set[str]:
    return {text.strip().lower() for text in profile.texts}


def _meaning(board: Board, profile: Profile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the values that mean fraud and legitimate, in the parser's lower case."""
    overrides, texts = board.overrides, sorted(_texts(profile))
    if overrides.label_positive:
        positive = _lower(overrides.label_positive)
        rest = tuple(text for text in texts if text not in {*positive, *UNKNOWN})
        return positive, _lower(overrides.label_negative) or rest
    positive = tuple(text for text in texts if text in POSITIVE)
    negative = tuple(text for text in texts if text in NEGATIVE)
    unclear = [text for text in texts if text not in POSITIVE | NEGATIVE | UNKNOWN]
    if unclear or not (positive or negative):
        return _asked(board, profile, texts)
    return _with_numbers(positive or ("1", "fraud", "true", "yes")), _with_numbers(negative or ("0",))


def _asked(board: Board, profile: Profile, texts: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    listed = ", ".join(texts[:_MOST_VALUES])
    refusal = (
        f"the label `{profile.name}` has the values {listed}: say which mean fraud (--label-positive VALUE) "
        "and which mean legitimate (--label-negative VALUE); any others mean that the label is not known"
    )
    if len(texts) > _MOST_VALUES:
        raise ConfigError(f"{board.origin}: {refusal} (or name another column with --label)")
    asked = f"Which of {listed} means fraud in `{profile.name}`?"
    answer = board.choose(Question(WHERE, "--label-positive", asked, tuple(texts), None, refusal))
    return (answer,), tuple(text for text in texts if text not in (answer, *UNKNOWN))


def _lower(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value.strip().lower() for value in values)


def _with_numbers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Let '1' stand for '1.0' too, and the other way round.

    >>> _with_numbers(("1",)), _with_numbers(("yes",))
    (('1', '1.0'), ('yes',))
    """
    pairs = {"1": "1.0", "1.0": "1", "0": "0.0", "0.0": "0"}
    return tuple(sorted({*values, *(pairs[value] for value in values if value in pairs)}))


def _verdict(value: object, positive: tuple[str, ...], negative: tuple[str, ...]) -> float:
    text = str(value).strip().lower()
    if text in positive:
        return 1.0
    return 0.0 if text in negative else math.nan


def _said(by_row: Floats, positive: tuple[str, ...], negative: tuple[str, ...]) -> str:
    labelled = np.isfinite(by_row)
    share = f"{np.nanmean(by_row):.2%}" if labelled.any() else "none"
    none = f"; {1 - labelled.mean():.0%} of rows are unlabelled" if not labelled.all() else ""
    said = f"{'/'.join(positive)} means fraud ({share}), {'/'.join(negative)} legitimate{none}"
    return said if np.nansum(by_row) else f"{said}; the sample holds no fraud, so check that the file does"


def _known_at(board: Board, when: When, by_row: Floats) -> tuple[str, Floats] | None:
    """Return the column that says when the label became known, and the delays of the frauds."""
    named = board.overrides.label_known_at
    candidates = [named] if named else [name for name in board.free if LABEL_TIME & set(words(name))]
    for name in candidates:
        instants = board.instants.get(name)
        if instants is not None:
            delays = (instants.by_row - when.by_row)[by_row == 1]
            if _is_known_at(board, name, instants, delays[np.isfinite(delays)], when):
                return name, delays[np.isfinite(delays)]
    if named:
        raise ConfigError(
            f"--label-known-at {named}: {board.origin} holds no times there that the schema can read"
        )
    return None


def _is_known_at(board: Board, name: str, instants: Instants, delays: Floats, when: When) -> bool:
    profile = board.profiles[name]
    if instants.source.format != when.source.format:
        board.ignore(profile, "a time of the label, but written otherwise than the time of the payment")
        return False
    if board.overrides.label_known_at is None and not (len(delays) and (delays > 0).mean() >= _LATER):
        board.ignore(
            profile,
            "a time of the label, but no later than the payment: labels would seem to be known at once",
        )
        return False
    board.take(profile, f"{WHERE}.known_at", "when the label became known")
    return True


def _delay(board: Board, when: When, by_row: Floats, known_at: tuple[str, Floats] | None) -> Duration:
    if board.overrides.label_delay is not None:
        return _said_delay(board, when, board.overrides.label_delay)
    if known_at is not None and len(known_at[1]):
        days = max(1, math.ceil(float(np.quantile(known_at[1], 0.9)) / DAY_MS))
        board.say(f"{WHERE}.delay", f"{days}d: nine of ten frauds were known by then")
        return Duration.parse(f"{days}d")
    delay = fitting_delay(when.days)
    if delay != USUAL_DELAY:
        board.say(
            f"{WHERE}.delay",
            f"the file is only {when.days:.1f} days long, so labels are taken to be known after {delay}; "
            "say how late they really are with --label-delay",
            "unsure",
        )
    elif np.isfinite(by_row).any():
        board.say(
            f"{WHERE}.delay",
            f"nothing says when labels become known; {delay} assumed (--label-delay)",
            "likely",
        )
    return Duration.parse(delay)


def fitting_delay(days: float) -> str:
    """Return the usual delay, or a shorter one that leaves a short file something to learn from.

    >>> fitting_delay(365), fitting_delay(5)
    ('7d', '12h')
    """
    room = days * DAY_MS / _SHARE_OF_FILE
    fitting = (text for text in (USUAL_DELAY, *_SHORTER) if Duration.parse(text).ms <= room)
    return next(fitting, _SHORTER[-1])


def _said_delay(board: Board, when: When, text: str) -> Duration:
    try:
        delay = Duration.parse(text)
    except ValueError as error:
        raise ConfigError(f"--label-delay: {error}") from None
    if 3 * delay.ms > when.days * DAY_MS:
        room = f"{text} is long for a file of {when.days:.1f} days: little is left to learn from"
        board.say(f"{WHERE}.delay", room, "unsure")
    return delay
