"""Charts of an evaluation as PNG; equal figures give equal bytes.

Each function draws one picture from plain arrays, and `write` puts it into a file.  Nothing
is computed here that is reported elsewhere.  Legends stand below the axes, where no line runs.
"""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, StrMethodFormatter

from fraud_detection.core.file_targets import check_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from fraud_detection.core.score.bundle import Cutoffs
    from fraud_detection.evaluation.measures import Bins, Ranking
    from fraud_detection.training.emerging_fraud import Week

INK, GOOD, FRAUD, SOFT, REVIEW = "#22303c", "#4c78a8", "#d1495b", "#9aa5b1", "#e09f3e"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 12,
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
TITLE_WIDTH = 52
"""Most characters of a feature's title in one line."""


@mpl.rc_context(_STYLE)
def precision_recall(
    ranking: Ranking, amount: Ranking, cutoffs: Cutoffs, reached: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Draw precision over recall: of the model with its cut-offs, of the amount alone, of a random ranking.

    amount: the same payments ranked by their amount alone.
    reached: precision and recall of 'review' (of all that is not approved) and of 'decline'.
    """
    frauds, goods = int(ranking.frauds.sum()), int(ranking.goods.sum())
    base = 100 * frauds / max(frauds + goods, 1)
    figure, (axes,) = _panels("Precision and recall")
    for curve, name, colour, width in ((ranking, "model", GOOD, 2.0), (amount, "amount alone", SOFT, 1.2)):
        recall, precision = curve.curve()
        label = f"{name}, average precision {curve.average_precision():.3f}"
        axes.plot(100 * recall, 100 * precision, color=colour, linewidth=width, label=label)
    axes.axhline(base, color=INK, linewidth=1, linestyle="--", label=f"fraud rate, {base:.2g} %")
    for name, cutoff, colour in _shown_cutoffs(cutoffs):
        x, y = 100 * reached[name]["recall"], 100 * reached[name]["precision"]
        label = f"{name} from {_percent(cutoff)}: precision {y:.0f} %, recall {x:.0f} %"
        axes.plot(x, y, "o", color=colour, markersize=8, markeredgecolor="white", label=label)
    axes.set(xlim=(0, 101), ylim=(0, 103))
    axes.set_xlabel(f"recall, % of {frauds:,} frauds found")
    axes.set_ylabel("precision, % of flagged payments that are fraud")
    _legend(figure)
    return figure


@mpl.rc_context(_STYLE)
def calibration(bins: Bins) -> Figure:
    """Draw the fraud rate over the mean score of each bin, on log axes, and below it the bins' sizes.

    Bars are 95 % intervals: twice the standard error that the bin's own size leaves.
    """
    lowest = max(float(bins.predicted.min()), 1e-6)
    figure, (axes, sizes) = _panels("Calibration: does 10 % mean 10 %?", 5.8, (3, 1))
    axes.plot([lowest, 1], [lowest, 1], color=SOFT, linestyle="--", label="perfect")
    shown = bins.observed > 0
    error = 2 * np.sqrt(bins.observed * (1 - bins.observed) / bins.count)
    below = np.minimum(error, bins.observed * 0.99)
    axes.errorbar(
        bins.predicted[shown],
        bins.observed[shown],
        yerr=np.stack([below, error])[:, shown],
        fmt="o-",
        color=GOOD,
        label="model",
    )
    if not shown.all():
        floor = np.full((~shown).sum(), lowest)
        axes.plot(bins.predicted[~shown], floor, "v", color=GOOD, fillstyle="none", label="no fraud in bin")
    _percent_axis(axes, both=True)
    axes.set_ylabel("fraud rate of the bin")
    sizes.vlines(bins.predicted, 0.5, bins.count, color=GOOD, linewidth=2.5)
    _count_axis(sizes)
    sizes.set_ylim(0.5, 3 * float(bins.count.max()))
    sizes.set_xlabel("mean score of the bin (probability of fraud); equally many frauds expected in each")
    sizes.set_ylabel("payments")
    _legend(figure, 3)
    return figure


@mpl.rc_context(_STYLE)
def money(savings: Mapping[str, tuple[np.ndarray, np.ndarray]], cutoffs: Cutoffs) -> Figure:
    """Draw the money saved a day by the value of each cut-off, the chosen ones marked."""
    figure, (axes,) = _panels("Money saved by cut-off, against approving everything")
    for name, chosen, colour in _shown_cutoffs(cutoffs):
        thresholds, saved = savings[name]
        if not thresholds.size:
            continue
        other_name = "decline" if name == "review" else "review"
        axes.step(
            thresholds,
            saved,
            where="post",
            color=colour,
            label=f"{name} from here ({other_name} cut-off fixed)",
        )
        at = min(int(np.searchsorted(thresholds, chosen)), thresholds.size - 1)
        label = f"chosen: {name} from {_percent(chosen)}"
        axes.plot(chosen, saved[at], "o", color=colour, markersize=8, markeredgecolor="white", label=label)
    axes.axhline(0, color=INK, linewidth=0.8)
    _percent_axis(axes)
    axes.set_ylim(bottom=_lowest_shown(savings))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("cut-off (probability of fraud); chosen on the validation slice, within review capacity")
    axes.set_ylabel("money saved a day, major units")
    _legend(figure)
    return figure


@mpl.rc_context(_STYLE)
def importance(titles: Sequence[str], contributions: np.ndarray, top: int = 20) -> Figure:
    """Draw the features that move scores most: mean absolute SHAP value over the rows.

    titles: what each column of `contributions` is about, as text.
    """
    mean = np.abs(contributions).mean(axis=0)
    order = np.argsort(-mean, kind="stable")[:top][::-1]
    shown = [_in_lines(titles[i]) for i in order]
    lines = sum(1 + title.count("\n") for title in shown)
    height = max(3.0, 1.2 + 0.12 * len(order) + 0.16 * lines)
    figure, (axes,) = _panels("Feature importance", height, width=8.4)
    axes.barh(range(len(order)), mean[order], color=GOOD, height=0.7)
    axes.set_yticks(range(len(order)), shown, fontsize=9)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlabel(f"mean |SHAP| over {len(contributions):,} payments, log-odds")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return figure


def _in_lines(title: str) -> str:
    """Break a title that is too long into lines of about equal length."""
    lines = ceil(len(title) / TITLE_WIDTH)
    return fill(title, len(title) // lines + 6)


@mpl.rc_context(_STYLE)
def score_by_class(score: np.ndarray, label: np.ndarray, cutoffs: Cutoffs) -> Figure:
    """Draw how many good and how many fraudulent payments have which score, on log axes."""
    lowest = max(float(score.min()), 1e-6)
    edges = np.geomspace(lowest * 0.999, 1.0, 60).tolist()
    figure, (axes,) = _panels("Scores of good payments and of frauds")
    for value, colour, word in ((0, GOOD, "good"), (1, FRAUD, "fraud")):
        chosen = score[label == value]
        legend = f"{word}: {chosen.size:,} payments"
        axes.hist(chosen, edges, histtype="stepfilled", alpha=0.55, color=colour, label=legend)
    for (name, cutoff, _), style in zip(_shown_cutoffs(cutoffs), ("--", "-"), strict=True):
        label_ = f"{name} from {_percent(cutoff)}"
        axes.axvline(cutoff, color=INK, linewidth=1.2, linestyle=style, label=label_)
    _count_axis(axes)
    _percent_axis(axes)
    axes.set_xlabel("score (probability of fraud)")
    axes.set_ylabel("payments")
    _legend(figure)
    return figure


@mpl.rc_context(_STYLE)
def emerging_fraud(kind: str, weeks: Sequence[Week]) -> Figure:
    """Draw, by week since a new kind of fraud began, the share of it that is found and that is known."""
    since = np.arange(1, len(weeks) + 1)
    lines = (
        ("recall", FRAUD, "-", 2.5, "found: retrained each week"),
        ("recall_never_retrained", GOOD, "-", 2.5, "found: never retrained"),
        ("known", INK, "--", 1.2, "known as fraud when the week began"),
    )
    figure, (axes,) = _panels(f"A new kind of fraud begins: {kind.replace('_', ' ')}", 4.5)
    for name, colour, style, width, label in lines:
        shares = 100 * np.array([getattr(week, name) for week in weeks])
        axes.plot(since, shares, style, color=colour, linewidth=width, marker="o", ms=4, label=label)
    axes.set(xlim=(0.5, len(weeks) + 0.5), ylim=(0, 103), xticks=since)
    axes.set_xlabel("week since the kind began")
    axes.set_ylabel("% of the kind's payments")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=8)
    return figure


@mpl.rc_context(_STYLE)
def write(figure: Figure, path: Path) -> None:
    """Write a picture as a PNG without date or version."""
    figure.savefig(check_target(path), dpi=120, metadata={"Software": None})


def _panels(
    title: str, height: float = 5.0, shares: Sequence[int] = (1,), width: float = 7.2
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure and its axes, one below the other, which share their x axis; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shares), sharex=True, height_ratios=shares, squeeze=False)[:, 0].tolist()
    panels[0].set_title(title)
    return figure, panels


def _legend(figure: Figure, columns: int = 2) -> None:
    figure.legend(loc="outside lower center", ncols=columns)


def _shown_cutoffs(cutoffs: Cutoffs) -> Iterator[tuple[str, float, str]]:
    """Yield each cut-off with its name and its colour."""
    yield "review", cutoffs.review_at, REVIEW
    yield "decline", cutoffs.decline_at, FRAUD


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _count_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _percent_axis(axes: Axes, *, both: bool = False) -> None:
    """Make the x axis (and the y axis) logarithmic, in per cent."""
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axes.set_xscale("log") if axis is axes.xaxis else axes.set_yscale("log")
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axis.set_minor_formatter(NullFormatter())


def _lowest_shown(savings: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> float:
    """Return where to cut the picture off below: far losses would flatten what matters."""
    best = max((float(saved.max()) for _, saved in savings.values() if saved.size), default=1.0)
    worst = min((float(saved.min()) for _, saved in savings.values() if saved.size), default=0.0)
    return max(worst, -0.6 * abs(best)) - 0.05 * abs(best)
