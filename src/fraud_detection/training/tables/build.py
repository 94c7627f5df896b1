"""Make a table of features: history replayed through the code that serves, one row a payment."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.category_encoding import CategoryEncoding, learn_category_encoding
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment, Replay
from fraud_detection.core.project_schema import LabelSource, Project
from fraud_detection.evaluation.time_split import UNKNOWN, Boundaries, boundaries
from fraud_detection.history.load import READ_ROWS, History, Progress
from fraud_detection.training.tables.dataset import Correction, Dataset, FeatureTableInfo


def feature_table(  # noqa: PLR0913 - what is replayed, and what the table is for
    project: Project,
    history: History,
    progress: Progress,
    apply_labels_until: int | None = None,
    *,
    category_encoding: CategoryEncoding | None = None,
    exact: bool = False,
    for_training: bool = True,
) -> tuple[Dataset, Replay]:
    """Replay the history; return every payment's features, as they would have been served, and the replay.

    The replay's memory is as a live engine's would be at the end of history.
    apply_labels_until: the categories are learned from payments before that time in ms, and the table is not
    cut into slices; without it both follow the project's split.
    category_encoding: that of a bundle whose features these are to be; learned anew where it is None.
    exact: keep the values as they would have been served, in twice the memory, not as a model reads them.
    for_training: refuse a history that is too short for slices with matured labels; else they are cut as if
    all were.
    """
    times = np.fromiter(
        (historical.payment.event_time for historical in history.payments), np.int64, len(history.payments)
    )
    delay_ms = project.schema.label.delay.ms if project.schema.label else 0
    if apply_labels_until is None:
        labelled = any(historical.fraud is not None for historical in history.payments)
        moment = history.known_until if history.as_of is None else history.as_of
        cut = slices(project, times, moment, labelled=labelled, for_training=for_training)
    else:
        cut = uncut(times, apply_labels_until)
    if category_encoding is None:
        category_encoding = _category_encoding(project, history.payments, cut)
    replay = Replay(ProfileCache(Extractor(project, category_encoding)))
    matrix = _replayed(replay, history.payments, progress, exact=exact)
    definitions = replay.profile_cache.extractor.definitions
    info = FeatureTableInfo(
        fingerprint=fingerprint(project, category_encoding),
        features=definitions,
        boundaries=cut,
        category_encoding=category_encoding,
        delay_ms=delay_ms,
        as_of=history.as_of,
        known_until=history.known_until,
    )
    return dataset_of(project, history, times, matrix, info), replay


def uncut(times: np.ndarray, until: int) -> Boundaries:
    """Return the boundaries of a table without slices, whose categories are learned until a moment in ms."""
    return Boundaries(int(times[0]), until, until, until, until, int(times[-1]) + 1)


def slices(
    project: Project, times: np.ndarray, moment: int | None, *, labelled: bool, for_training: bool
) -> Boundaries:
    """Return the project's split of a history with these event times.

    moment: the last one in ms that is known of.  labelled: whether any payment has a label.
    for_training: see `feature_table`.
    """
    if for_training and not labelled:
        raise ConfigError(_no_labels(project.schema.label))
    delay_ms = project.schema.label.delay.ms if project.schema.label else 0
    try:
        return boundaries(_mature(times, moment, delay_ms), project.split, delay_ms)
    except ConfigError:
        if for_training:
            raise
        return boundaries(times, project.split, delay_ms)


def _no_labels(source: LabelSource | None) -> str:
    message = "nothing can be learned: no payment has a label"
    if source is None:
        return f"{message}, since `schema.label` names none"
    values = ", ".join((*source.positive, *source.negative))
    return (
        f"{message}. No row has one of the values {values} in the field `{source.field}` (`schema.label`); "
        "give a history that has labels, or a file of them with --labels"
    )


def _mature(times: np.ndarray, moment: int | None, delay_ms: int) -> np.ndarray:
    """Return the times of payments with mature labels by then; no slice begins or ends later."""
    mature = times if moment is None else times[times <= moment - delay_ms]
    if not mature.size:
        raise ConfigError(
            "no label can be in by now: no payment is older than `schema.label.delay`; give more history, "
            "or a later --as-of"
        )
    return mature


def _category_encoding(
    project: Project, payments: Sequence[HistoricalPayment], cut: Boundaries
) -> CategoryEncoding:
    """Learn the categories from payments that training may see, and from no later ones."""
    learned = (
        historical.payment for historical in payments if historical.payment.event_time < cut.train_until
    )
    return learn_category_encoding(
        list(project.schema.categories), learned, project.features.max_category_values
    )


def _replayed(
    replay: Replay, payments: Sequence[HistoricalPayment], progress: Progress, *, exact: bool
) -> np.ndarray:
    kind = np.float64 if exact else np.float32
    values: array[float] = array("d" if exact else "f")
    with few_collections():
        for number, row in enumerate(replay.rows(payments), start=1):
            values.extend(row)
            if number % READ_ROWS == 0:
                progress(f"replaying: {number:,} payments", number / len(payments))
    progress(f"replaying: {len(payments):,} payments", 1.0)
    return np.frombuffer(values, dtype=kind).reshape(len(payments), -1)


def dataset_of(
    project: Project,
    history: History,
    times: np.ndarray,
    matrix: np.ndarray,
    info: FeatureTableInfo,
) -> Dataset:
    """Return the table of payments and their features, shape (payments, features)."""
    payments, weights = history.payments, history.weights
    scale = 10.0 ** (project.schema.amount.decimals if project.schema.amount else 0)
    return Dataset(
        transaction_id=np.array([historical.payment.transaction_id for historical in payments], dtype=object),
        event_time=times,
        amount=np.array(
            [_major(historical.payment.amount, scale) for historical in payments], dtype=np.float64
        ),
        card=np.array([_ordering_entity(historical) for historical in payments], dtype=object),
        label=np.array(
            [UNKNOWN if historical.fraud is None else int(historical.fraud) for historical in payments],
            dtype=np.int8,
        ),
        known_at=np.array([historical.known_at for historical in payments], dtype=np.int64),
        corrections=np.array([_corrections(historical) for historical in payments], dtype=object),
        weight=np.array(
            [weights.get(historical.payment.transaction_id, 1.0) for historical in payments], np.float64
        ),
        features=matrix,
        info=info,
    )


def _corrections(historical: HistoricalPayment) -> str:
    return Correction.write([Correction(int(fraud), known_at) for fraud, known_at in historical.corrections])


def _major(amount: int | None, scale: float) -> float:
    return float("nan") if amount is None else amount / scale


def _ordering_entity(historical: HistoricalPayment) -> str:
    ids = historical.payment.entities
    return (ids[0] or "") if ids else ""
