"""A bundle in a program: it scores frames of payments, and explains one payment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from fraud_detection.adapters.files.frames import as_file, as_given
from fraud_detection.core.decision_record import DecisionRecord, Record
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.outcomes import Decided
from fraud_detection.history.load import History, Progress, read_history
from fraud_detection.python_api.display import table
from fraud_detection.serving.batch.score_file import decide_last, score_file
from fraud_detection.serving.load_engine import load_engine

_RECORD = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Influence:
    """What one feature says of a payment.

    contribution: its exact SHAP value, in log-odds of fraud; all of them and the model's base sum up to the
    score before calibration.
    """

    feature: str
    message: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision on one payment and what every feature contributed, the strongest first.

    action: approve, review or decline.  score: the calibrated probability of fraud, None without one.
    reasons: why it was not approved, as messages.  influences: each with `feature`, `message`, `value` and
    `contribution`, its exact SHAP value in log-odds of fraud.
    """

    transaction_id: str
    action: str
    score: float | None
    reasons: tuple[str, ...]
    influences: tuple[Influence, ...]

    def _repr_html_(self) -> str:
        score = "no score" if self.score is None else f"probability of fraud {100 * self.score:.2f} %"
        rows = [(influence.message, f"{influence.contribution:+.3f}") for influence in self.influences[:15]]
        head = table(
            ["payment", "decision", "score", "reasons"],
            [(self.transaction_id, self.action, score, "; ".join(self.reasons) or "-")],
        )
        return head + table(["what the model saw", "contribution (log-odds)"], rows)


class Bundle:
    """A trained model with its project file, ready to decide payments."""

    def __init__(self, path: Path | str) -> None:
        """Load and check a bundle, a folder or a .tar.gz; raise ConfigError with the reason if it is none."""
        self.path = Path(path)
        self._engine = load_engine(self.path)

    @property
    def name(self) -> str:
        """Return the name of the bundle, which every decision carries."""
        return self._engine.bundle.name

    @property
    def features(self) -> list[str]:
        """Return the names of the features, in the order of the model."""
        return list(self._engine.bundle.contents.features.names)

    @property
    def category_encoding(self) -> dict[str, dict[str, float]]:
        """Return the code of each known category, by field."""
        return self._engine.bundle.contents.features.category_encoding

    def score(self, payments: object, history: object = None, progress: Progress | None = None) -> Any:  # noqa: ANN401 - a frame of the caller's library
        """Decide a frame or a file of payments, each as it would have been decided live.

        payments: a row a payment, with the columns that the project names; decided in order of event time.
        history: earlier payments, with labels where they are known; without it every card is new.
        Returns one row a payment in the order given: transaction_id, action, score (probability of fraud),
        reasons (messages), problem (why a row could not be decided, else None).  pandas in, pandas out; else
        an Arrow table.  Raises ConfigError for what cannot be read at all.

        >>> decided = bundle.score(payments[-3:], history=payments[:-3])
        >>> decided["action"].to_pylist()
        ['approve', 'review', 'approve']
        """
        lines: list[bytes] = []
        with TemporaryDirectory(prefix="fraud-") as folder:
            file = as_file(payments, Path(folder), "payments")
            known = self._history(history, Path(folder))
            score_file(self._engine, file, lines.append, progress or _silent, known)
        return as_given(_columns([_RECORD.decode(line) for line in lines]), payments)

    def explain(self, payments: object, history: object = None) -> Explanation:
        """Decide payments and explain the last of them in event time, as it would have been decided live.

        payments: a frame or a file; one row is enough.  history: earlier payments, see `score`.
        Raises ConfigError when the last row cannot be decided.

        >>> explanation = bundle.explain(payments[-2:-1], history=payments[:-2])
        >>> explanation.action
        'review'
        >>> strongest = explanation.influences[0]
        >>> strongest.feature, strongest.message
        ('amount', 'amount 786.30, usually 34.99')
        >>> strongest.contribution > 0  # log-odds: it speaks for fraud
        True
        """
        with TemporaryDirectory(prefix="fraud-") as folder:
            file = as_file(payments, Path(folder), "payments")
            outcome = decide_last(self._engine, file, self._history(history, Path(folder)))
        if not isinstance(outcome, Decided):
            raise ConfigError(f"the payment cannot be decided: {outcome}")
        return self._explanation(outcome)

    def _explanation(self, outcome: Decided) -> Explanation:
        strategy, decision = self._engine.strategy, outcome.decision
        if strategy.scorer is None or strategy.reasons is None:
            raise ConfigError(f"bundle {self.name}: has no model that could explain")
        values = list(outcome.values)
        (shares,) = strategy.scorer.contributions([values])
        contributions = zip(
            self.features, strategy.reasons.sentences(values), values, map(float, shares), strict=True
        )
        influences = sorted(
            (Influence(*contribution) for contribution in contributions),
            key=lambda influence: -abs(influence.contribution),
        )
        return Explanation(
            outcome.payment.transaction_id,
            decision.action.label,
            decision.score,
            tuple(reason.message for reason in decision.reasons),
            tuple(influences),
        )

    def _history(self, history: object, folder: Path) -> History:
        if history is None:
            return History()
        return read_history(self._engine.project, as_file(history, folder, "history"), _silent)

    def _repr_html_(self) -> str:
        return table(["bundle", "features", "made from"], [(self.name, len(self.features), str(self.path))])


def load_bundle(path: Path | str) -> Bundle:
    """Load and check a bundle, a folder or a .tar.gz; raise ConfigError with the reason if it is none.

    >>> bundle = fd.load_bundle("build/bundle")
    >>> bundle.features[:3]
    ['amount', 'hour', 'weekday']
    """
    return Bundle(path)


def _columns(records: list[Record]) -> dict[str, list[object]]:
    decisions = [record if isinstance(record, DecisionRecord) else None for record in records]
    return {
        "transaction_id": [getattr(record, "transaction_id", None) for record in records],
        "action": [None if decision is None else decision.action for decision in decisions],
        "score": [None if decision is None else decision.score for decision in decisions],
        "reasons": [
            None if decision is None else [reason.message for reason in decision.reasons]
            for decision in decisions
        ],
        "problem": [None if isinstance(record, DecisionRecord) else _problem(record) for record in records],
    }


def _problem(record: Record) -> str:
    return str(getattr(record, "reason", "an event of before has this id"))


def _silent(_: str, __: float) -> None:
    """Show nothing: a program asks for progress where it wants some."""
