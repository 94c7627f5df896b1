"""Payments to evaluate on, with labels as of one moment, and the decisions of one arm.

Historical payments, replayed decisions and live decisions have the same form here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.time_split import UNKNOWN

NONE = -1
"""The code of a payment that has no value."""


@dataclass(frozen=True, slots=True)
class Categorical:
    """Categorical column of n payments: int64 codes, positions in `names`, or NONE.

    ordered: the names have an order, such as amount bands.

    >>> categorical = Categorical.of(["b", None, "a", "b"])
    >>> categorical.codes.tolist(), categorical.names
    ([0, -1, 1, 0], ('b', 'a'))
    """

    codes: np.ndarray
    names: tuple[str, ...]
    ordered: bool = False

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> Categorical:
        """Encode texts, with codes in order of appearance."""
        builder = CategoricalBuilder()
        builder.add(texts)
        return builder.categorical()

    def name(self, row: int) -> str | None:
        """Return the text of a payment."""
        code = int(self.codes[row])
        return None if code == NONE else self.names[code]


class CategoricalBuilder:
    """Builds a categorical column batch by batch."""

    def __init__(self) -> None:
        """Start with an empty column."""
        self._known: dict[str | None, int] = {None: NONE}
        self._codes = array("q")

    def add(self, texts: Iterable[str | None]) -> None:
        """Append the texts of the next payments; None where there is none."""
        known = self._known
        # The length is read before the text goes in, and NONE takes one character.
        self._codes.extend([known.setdefault(text, len(known) - 1) for text in texts])

    def categorical(self) -> Categorical:
        """Return the column."""
        names = tuple(text for text in self._known if text is not None)
        return Categorical(np.array(self._codes, np.int64), names)


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """n payments with labels as of `as_of`; each array has n rows.

    span: time span of the payments in ms; the end is exclusive.
    event_time: int64 ms.  amount: float64 major units, NaN where none.  card: the first entity, by which
    draws are clustered.  label: int8, 1, 0 or UNKNOWN; known_at: when the label became known, int64 ms.
    delay_ms: label maturity window.  segments: categorical columns to slice by.
    weight: sampling weight of each payment in every sum that needs a label; None: 1.
    Raises ConfigError when a payment or a label is from after `as_of`.
    """

    span: tuple[int, int]
    as_of: int
    delay_ms: int
    transaction_id: np.ndarray
    event_time: np.ndarray
    amount: np.ndarray
    card: Categorical
    label: np.ndarray
    known_at: np.ndarray
    segments: Mapping[str, Categorical] = field(default_factory=dict)
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Reject payments and labels from the future: they would leak into every figure."""
        late = int((self.event_time > self.as_of).sum())
        foreseen = int(((self.label != UNKNOWN) & (self.known_at > self.as_of)).sum())
        if late or foreseen:
            raise ConfigError(
                f"{late:,} payments and {foreseen:,} labels are later than `as_of`, so they leak from the "
                "future; evaluate as of a later moment, or leave them out"
            )

    def __len__(self) -> int:
        """Return the number of payments."""
        return int(self.event_time.size)

    def weights(self) -> np.ndarray:
        """Return the weight of each payment."""
        return np.ones(len(self)) if self.weight is None else self.weight


@dataclass(frozen=True, slots=True)
class ArmDecisions:
    """Decisions of one arm for n payments, in their order.

    action: int8, the numbers of `events.Action`.  score: float64, NaN where no model scored.
    why: int64, for each payment a position in `reasons`, which holds the codes of its reasons.
    messages: text for each code.  capacity: reviews that people can make a day, None: any number.
    """

    name: str
    action: np.ndarray
    score: np.ndarray
    why: np.ndarray
    reasons: tuple[tuple[str, ...], ...] = ((),)
    messages: Mapping[str, str] = field(default_factory=dict)
    capacity: float | None = None

    def codes(self, row: int) -> tuple[str, ...]:
        """Return the codes of the reasons of a decision."""
        return self.reasons[int(self.why[row])]


class ArmDecisionsBuilder:
    """Collects the decisions of one arm, payment by payment.

    >>> builder = ArmDecisionsBuilder()
    >>> builder.add(1, 0.7, ("score", "burst"))
    >>> builder.add(0, None, ())
    >>> decisions = builder.decisions("champion")
    >>> decisions.action.tolist(), decisions.codes(0), decisions.score.tolist()
    ([1, 0], ('score', 'burst'), [0.7, nan])
    """

    def __init__(self) -> None:
        """Start without decisions."""
        self._actions = array("b")
        self._scores = array("d")
        self._why = array("q")
        self._known: dict[tuple[str, ...], int] = {(): 0}

    def add(self, action: int, score: float | None, codes: Sequence[str]) -> None:
        """Append the decision for the next payment; a score of None means that no model scored."""
        self._actions.append(action)
        self._scores.append(np.nan if score is None else score)
        self._why.append(self._known.setdefault(tuple(codes), len(self._known)))

    def decisions(
        self, name: str, messages: Mapping[str, str] | None = None, capacity: float | None = None
    ) -> ArmDecisions:
        """Return the decisions as those of the arm `name`."""
        return ArmDecisions(
            name,
            np.array(self._actions, np.int8),
            np.array(self._scores, np.float64),
            np.array(self._why, np.int64),
            tuple(self._known),
            messages or {},
            capacity,
        )
