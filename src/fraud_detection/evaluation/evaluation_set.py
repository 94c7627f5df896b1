"""What is judged: payments with what was known of them at a moment, and one side's answers to them.

Payments of history, decisions replayed and decisions of live traffic look the same here.
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
class Coded:
    """Texts of n payments: for each an int64 code, which is a place in `names`, or NONE.

    ordered: the names have an order of their own, as bands of amounts have.

    >>> coded = Coded.of(["b", None, "a", "b"])
    >>> coded.codes.tolist(), coded.names
    ([0, -1, 1, 0], ('b', 'a'))
    """

    codes: np.ndarray
    names: tuple[str, ...]
    ordered: bool = False

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> Coded:
        """Give each text a code, in order of appearance."""
        coder = Coder()
        coder.add(texts)
        return coder.coded()

    def name(self, row: int) -> str | None:
        """Return the text of a payment."""
        code = int(self.codes[row])
        return None if code == NONE else self.names[code]


class Coder:
    """Gives texts codes, a batch at a time."""

    def __init__(self) -> None:
        """Know no text yet."""
        self._known: dict[str | None, int] = {None: NONE}
        self._codes = array("q")

    def add(self, texts: Iterable[str | None]) -> None:
        """Take the texts of the next payments; None where there is none."""
        known = self._known
        # The length is read before the text goes in, and NONE takes one place.
        self._codes.extend([known.setdefault(text, len(known) - 1) for text in texts])

    def coded(self) -> Coded:
        """Return all that was added."""
        names = tuple(text for text in self._known if text is not None)
        return Coded(np.array(self._codes, np.int64), names)


@dataclass(frozen=True, slots=True)
class Traffic:
    """n payments, and what was known of them at `as_of`; each array has n rows.

    span: from when until when they were paid, in ms; the end is exclusive.
    event_time: int64 ms.  amount: float64 major units, NaN where none.  card: the entity that people
    count in.  label: int8, 1, 0 or UNKNOWN; known_at: when that label became known, int64 ms.
    delay_ms: how long after a payment its label is in.  segments: ways to part the payments.
    weight: how many payments each stands for in every sum that needs a label; None: 1.
    Raises ConfigError when a payment or a label is from after `as_of`.
    """

    span: tuple[int, int]
    as_of: int
    delay_ms: int
    transaction_id: np.ndarray
    event_time: np.ndarray
    amount: np.ndarray
    card: Coded
    label: np.ndarray
    known_at: np.ndarray
    segments: Mapping[str, Coded] = field(default_factory=dict)
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody could know: a figure that saw the future is worth nothing."""
        late = int((self.event_time > self.as_of).sum())
        foreseen = int(((self.label != UNKNOWN) & (self.known_at > self.as_of)).sum())
        if late or foreseen:
            raise ConfigError(
                f"{late:,} payments and {foreseen:,} labels are from after the moment of judgement: "
                "nobody could know them; judge as of a later moment, or leave them out"
            )

    def __len__(self) -> int:
        """Return the number of payments."""
        return int(self.event_time.size)

    def weights(self) -> np.ndarray:
        """Return the weight of each payment."""
        return np.ones(len(self)) if self.weight is None else self.weight


@dataclass(frozen=True, slots=True)
class Answers:
    """One side's answers to n payments, in their order.

    action: int8, the numbers of `events.Action`.  score: float64, NaN where no model answered.
    why: int64, for each payment a place in `reasons`, which holds the codes of what led to it.
    messages: what people read for a code.  capacity: reviews that people can make a day, None: any number.
    """

    name: str
    action: np.ndarray
    score: np.ndarray
    why: np.ndarray
    reasons: tuple[tuple[str, ...], ...] = ((),)
    messages: Mapping[str, str] = field(default_factory=dict)
    capacity: float | None = None

    def codes(self, row: int) -> tuple[str, ...]:
        """Return what led to the answer to a payment."""
        return self.reasons[int(self.why[row])]


class AnswerBook:
    """Collects one side's answers, a payment at a time.

    >>> book = AnswerBook()
    >>> book.add(1, 0.7, ("score", "burst"))
    >>> book.add(0, None, ())
    >>> answers = book.answers("champion")
    >>> answers.action.tolist(), answers.codes(0), answers.score.tolist()
    ([1, 0], ('score', 'burst'), [0.7, nan])
    """

    def __init__(self) -> None:
        """Hold no answer yet."""
        self._actions = array("b")
        self._scores = array("d")
        self._why = array("q")
        self._known: dict[tuple[str, ...], int] = {(): 0}

    def add(self, action: int, score: float | None, codes: Sequence[str]) -> None:
        """Take the answer to the next payment; a score of None means that no model answered."""
        self._actions.append(action)
        self._scores.append(np.nan if score is None else score)
        self._why.append(self._known.setdefault(tuple(codes), len(self._known)))

    def answers(
        self, name: str, messages: Mapping[str, str] | None = None, capacity: float | None = None
    ) -> Answers:
        """Return all that was added, as the answers of the side `name`."""
        return Answers(
            name,
            np.array(self._actions, np.int8),
            np.array(self._scores, np.float64),
            np.array(self._why, np.int64),
            tuple(self._known),
            messages or {},
            capacity,
        )
