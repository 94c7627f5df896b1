"""Cut history by time, and say which labels were known when.

No row is ever drawn at random: a slice is a stretch of time, and between two
slices lies a gap as long as the label delay, because that is what deployment does.
"""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Split

UNKNOWN = -1
"""The label of a payment that had none at the cut-off."""


class Boundaries(msgspec.Struct, frozen=True):
    """Half-open slices of time, in ms since 1970 UTC: train | gap | validation | gap | test."""

    train_from: int
    train_until: int
    validation_from: int
    validation_until: int
    test_from: int
    test_until: int


def boundaries(event_time: np.ndarray, split: Split, delay_ms: int) -> Boundaries:
    """Cut sorted or unsorted event times (int64 ms, shape (n,)) into slices by `split`.

    Raises ConfigError when the history is too short for the slices and the two gaps.

    >>> days = np.arange(100) * 86_400_000
    >>> cut = boundaries(days, Split(validation_share=0.1, test_share=0.2), 7 * 86_400_000)
    >>> edges = (cut.train_until, cut.validation_from, cut.validation_until, cut.test_from)
    >>> [edge // 86_400_000 for edge in edges]
    [56, 63, 73, 80]
    """
    if event_time.size == 0:
        message = "the history is empty: there is nothing to train on"
        raise ConfigError(message)
    ordered = np.sort(event_time)
    test_from = _test_from(ordered, split)
    before = ordered[ordered < test_from - delay_ms]
    share = split.validation_share * ordered.size / max(before.size, 1)
    validation_until = test_from - delay_ms
    validation_from = _quantile(before, 1 - min(share, 0.5), test_from)
    first = int(ordered[0]) + split.burn_in.ms
    cut = Boundaries(
        first, validation_from - delay_ms, validation_from, validation_until, test_from, int(ordered[-1]) + 1
    )
    _check_test_from(split, ordered)
    _check_parts_not_empty(cut, ordered, split)
    return cut


def labels_as_of(
    label: np.ndarray, known_at: np.ndarray, event_time: np.ndarray, as_of: int, delay_ms: int
) -> np.ndarray:
    """Return 1, 0 or UNKNOWN for each payment, as a person asking at `as_of` would have heard.

    label: int8, shape (n,), UNKNOWN where no label ever came.  A fraud that is reported only
    after `as_of` is still counted as legitimate once its delay has passed: nobody knew better.

    >>> labels_as_of(np.array([1, 1, 0, -1]), np.array([5, 50, 5, 0]), np.array([0, 0, 8, 0]), 10, 7).tolist()
    [1, 0, 0, -1]
    """
    known = (label != UNKNOWN) & (known_at <= as_of)
    silent = (label != UNKNOWN) & ~known & (event_time + delay_ms <= as_of)
    return np.where(known, label, np.where(silent, 0, UNKNOWN)).astype(np.int8)


def _test_from(ordered: np.ndarray, split: Split) -> int:
    if split.test_from is None:
        return _quantile(ordered, 1 - split.test_share, int(ordered[-1]))
    midnight = dt.datetime.combine(split.test_from, dt.time(), dt.UTC)
    return int(midnight.timestamp() * 1000)


def _quantile(ordered: np.ndarray, share: float, otherwise: int) -> int:
    if ordered.size == 0:
        return otherwise
    return int(ordered[min(int(share * ordered.size), ordered.size - 1)])


def _check_test_from(split: Split, ordered: np.ndarray) -> None:
    first, last = (dt.datetime.fromtimestamp(int(time) / 1000, dt.UTC).date() for time in ordered[[0, -1]])
    if split.test_from is not None and not first < split.test_from <= last:
        raise ConfigError(
            f"`split.test_from` is {split.test_from}, but the payments with mature labels go from "
            f"{first} to {last}: name a later day of these, or leave it to `split.test_share`"
        )


def _check_parts_not_empty(cut: Boundaries, ordered: np.ndarray, split: Split) -> None:
    slices = {
        "train": (cut.train_from, cut.train_until),
        "validation": (cut.validation_from, cut.validation_until),
        "test": (cut.test_from, cut.test_until),
    }
    empty = [
        name for name, (start, end) in slices.items() if not ((ordered >= start) & (ordered < end)).any()
    ]
    if empty:
        days = (ordered[-1] - ordered[0]) / 86_400_000
        raise ConfigError(
            f"no payments are left for {', '.join(empty)}: those with mature labels span {days:.1f} days, "
            f"in which a burn-in of {split.burn_in} and two gaps of the label delay must fit; give more "
            "history, or a smaller `schema.label.delay`, or other values in `split`, or, where the labels "
            "are of a later moment than the last payment, that moment with --as-of"
        )
