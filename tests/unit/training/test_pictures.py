"""The pictures of an evaluation can be read: nothing lies on anything else, and names are words."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.text import Text

from fraud_detection.core.project_schema import Costs
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.reasons import title
from fraud_detection.evaluation.measures import risk_bins
from fraud_detection.training.report.pictures import pictures
from fraud_detection.training.report.plots import calibration
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.workflow import checked_scorer, score_test

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from fraud_detection.core.score.bundle import Bundle
    from fraud_detection.training.evaluate import Scored
    from tests.conftest import SmallSimulation

NAMES = ("precision_recall", "calibration", "money", "importance", "score_by_class")


@pytest.fixture(scope="module")
def bundle(small_simulation: SmallSimulation) -> Bundle:
    return read_bundle(small_simulation.bundle)


@pytest.fixture(scope="module")
def scored(small_simulation: SmallSimulation, bundle: Bundle) -> Scored:
    table = FeatureTable(small_simulation.features)
    return score_test(table, bundle, checked_scorer(bundle, table.info.fingerprint))


@pytest.fixture(scope="module")
def figures(small_simulation: SmallSimulation, scored: Scored, bundle: Bundle) -> dict[str, Figure]:
    table = FeatureTable(small_simulation.features)
    scorer = checked_scorer(bundle, table.info.fingerprint)
    return pictures(table, scored, bundle, scorer, Costs())


def beyond(axis: Axis) -> Iterator[Text]:
    """Yield the labels of ticks that an axis keeps and does not show."""
    low, high = sorted(axis.get_view_interval())
    for tick in axis.get_major_ticks():
        if not low <= tick.get_loc() <= high:
            yield from (tick.label1, tick.label2)


def boxes(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """Yield each text that is seen, with the pixels that it covers."""
    figure.draw_without_rendering()
    hidden = {text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in beyond(axis)}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text() and text not in hidden:
            yield text.get_text(), text.get_window_extent()


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    return [(one, other) for (one, a), (other, b) in combinations(boxes(figure), 2) if a.overlaps(b)]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another(figures: dict[str, Figure], name: str) -> None:
    assert len(list(boxes(figures[name]))) > 5
    assert overlapping(figures[name]) == []


def test_bins_of_nearly_equal_scores_leave_their_sizes_legible() -> None:
    score = np.concatenate([np.full(9000, 0.001), np.linspace(0.9, 0.999, 90)])
    figure = calibration(risk_bins(score, (score > 0.5).astype(int)))
    assert overlapping(figure) == []
    assert len(figure.axes) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_legend_covers_nothing_that_is_drawn(figures: dict[str, Figure], name: str) -> None:
    figure = figures[name]
    figure.draw_without_rendering()
    assert not any(axes.get_legend() for axes in figure.axes)
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(axes.bbox) for axes in figure.axes)


def test_the_cut_offs_stand_where_they_are_on_the_curve(
    figures: dict[str, Figure], scored: Scored, bundle: Bundle
) -> None:
    (axes,) = figures["precision_recall"].axes
    shown = {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.lines}
    known, cutoffs = scored.labelled(), bundle.manifest.cutoffs
    labels = known.label.tolist()
    for name, cutoff in (("review", cutoffs.review_at), ("decline", cutoffs.decline_at)):
        stopped = [label for score, label in zip(known.score, labels, strict=True) if score >= cutoff]
        point = [100 * sum(stopped) / sum(labels), 100 * sum(stopped) / len(stopped)]
        (marked,) = [points for label, points in shown.items() if label.startswith(name)]
        np.testing.assert_allclose(marked, [point])
        curve = next(points for label, points in shown.items() if label.startswith("model"))
        assert np.isclose(curve, point).all(axis=1).any()


def test_what_needs_no_model_is_drawn_all_the_same(figures: dict[str, Figure], scored: Scored) -> None:
    (axes,) = figures["precision_recall"].axes
    shown = {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.lines}
    known = scored.labelled()
    (amount,) = [points for label, points in shown.items() if label.startswith("amount alone")]
    for smallest in np.quantile(known.amount, [0.1, 0.5, 0.99], method="nearest"):
        larger = known.label[known.amount >= smallest]
        point = [100 * larger.sum() / known.label.sum(), 100 * larger.mean()]
        assert np.isclose(amount, point).all(axis=1).any()
    (base,) = [points for label, points in shown.items() if label.startswith("fraud rate")]
    np.testing.assert_allclose(base[:, 1], 100 * known.label.mean())


def test_importance_names_features_in_words(figures: dict[str, Figure], bundle: Bundle) -> None:
    definitions = bundle.contents.features.definitions
    titles = [title(one) for one in definitions]
    assert len(set(titles)) == len(titles)
    for one, shown_title in zip(definitions, titles, strict=True):
        assert shown_title
        assert not set("{}_") & set(shown_title)
        assert one.name not in shown_title or "_" not in one.name
    (axes,) = figures["importance"].axes
    shown = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert len(shown) == 20
    assert set(shown) <= set(titles)
