"""Put a bundle together: cut-offs, figures, yardsticks, test vectors and the card."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fraud_detection.core.score.bundle import (
    FORMAT,
    Bundle,
    Contents,
    FeatureSet,
    Manifest,
    Periods,
    assemble,
)
from fraud_detection.evaluation.cutoffs import choose_cutoffs
from fraud_detection.training.evaluate import Scored, evaluate_slice
from fraud_detection.training.reference import SCORE_EDGES, distribution, reference, vectors
from fraud_detection.training.report.model_card import model_card
from fraud_detection.training.tables.scoring import margins, probabilities

if TYPE_CHECKING:
    from fraud_detection.core.project_schema import Project
    from fraud_detection.evaluation.time_split import Boundaries
    from fraud_detection.training.fit import Learned, Refit, Slices
    from fraud_detection.training.tables.dataset import FeatureTableInfo


def make_bundle(project: Project, slices: Slices, learned: Learned) -> Bundle:
    """Choose the cut-offs, evaluate the validation slice, and assemble the bundle."""
    info = slices.table.info
    raw = validation_margins(slices, learned, project.model.threads)
    scored = _validated(slices, learned, raw)
    cutoffs = choose_cutoffs(
        scored.score,
        scored.label,
        scored.amount,
        project.costs,
        project.policy,
        scored.days,
        weight=scored.weight,
    )
    figures = evaluate_slice(scored, cutoffs, project.costs, project.model.seed)
    metrics = {name: value for name, value in figures.items() if math.isfinite(value)}
    normal = reference(slices.train, distribution(scored.score, SCORE_EDGES))
    periods = _periods(info.boundaries)
    draft = Manifest(
        name="",
        project=project.project,
        fingerprint=info.fingerprint,
        calibration=learned.calibration,
        cutoffs=cutoffs,
        periods=periods,
        metrics=metrics,
        files={},
        format=FORMAT,
    )
    contents = Contents(
        model=learned.model,
        features=_feature_set(info),
        project=project,
        reference=normal,
        vectors=vectors(slices.table, slices.all_validation, raw, learned.scorer(threads=1)),
        card=model_card(project, periods, cutoffs, metrics, normal),
    )
    return assemble(contents, draft)


def make_refitted(evaluated: Bundle, slices: Slices, refitted: Refit) -> Bundle:
    """Return the evaluated bundle with the trees of the refit."""
    was, before, learned = evaluated.manifest, evaluated.contents, refitted.learned
    raw = validation_margins(slices, learned, before.project.model.threads)
    normal = reference(refitted.rows, before.reference.score)
    periods = msgspec.structs.replace(
        was.periods, train_until=iso(refitted.until), labels_as_of=iso(refitted.as_of)
    )
    draft = msgspec.structs.replace(was, name="", periods=periods, files={}, evaluated_as=was.name)
    contents = msgspec.structs.replace(
        before,
        model=learned.model,
        reference=normal,
        vectors=vectors(slices.table, slices.all_validation, raw, learned.scorer(threads=1)),
        card=model_card(before.project, periods, was.cutoffs, was.metrics, normal, was.name),
    )
    return assemble(contents, draft)


def iso(ms: int) -> str:
    """Return a time in ms as people write it; equally long, so it sorts as text.

    >>> iso(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def validation_margins(slices: Slices, learned: Learned, threads: int) -> np.ndarray:
    """Return the log-odds of all payments of the validation slice, float32, shape (n,)."""
    rows = slices.all_validation
    return margins(learned.scorer(threads), slices.table.feature_parts(rows), len(rows))


def _validated(slices: Slices, learned: Learned, raw: np.ndarray) -> Scored:
    """Return all payments of the validation slice, with its labels as known when the test slice begins."""
    cut, score = slices.table.info.boundaries, probabilities(learned.calibration, raw)
    span = (cut.validation_from, cut.validation_until)
    return Scored.of(slices.table, slices.all_validation, score, span, cut.test_from)


def _feature_set(info: FeatureTableInfo) -> FeatureSet:
    return FeatureSet(
        fingerprint=info.fingerprint,
        definitions=tuple(info.features),
        category_encoding=info.category_encoding,
    )


def _periods(cut: Boundaries) -> Periods:
    return Periods(
        train_from=iso(cut.train_from),
        train_until=iso(cut.train_until),
        validation_from=iso(cut.validation_from),
        validation_until=iso(cut.validation_until),
        labels_as_of=iso(cut.test_from),
    )
