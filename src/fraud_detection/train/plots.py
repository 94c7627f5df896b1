"""Draw what the figures mean; equal figures give equal PNG bytes.

Each function draws one picture from plain arrays.  Nothing is computed here that is
reported elsewhere.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fraud_detection.file_targets import check_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from fraud_detection.score.bundle import Cutoffs
    from fraud_detection.train.measures import Bins, Ranking
    from fraud_detection.train.novelty import Week

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
}


def precision_recall(path: Path, ranking: Ranking) -> None:
    """Draw precision over recall, with the base rate that a blind guess reaches."""
    recall, precision = ranking.curve()
    frauds, goods = int(ranking.frauds.sum()), int(ranking.goods.sum())
    base, area = frauds / max(frauds + goods, 1), ranking.average_precision()
    with _picture(path, "Precision and recall") as axes:
        axes.plot(
            100 * recall,
            100 * precision,
            color=FRAUD,
            linewidth=2,
            label=f"the model, average precision {area:.3f}",
        )
        axes.axhline(100 * base, color=SOFT, linestyle="--", label=f"base rate {100 * base:.2g} %")
        axes.set(xlim=(0, 100), ylim=(0, 103))
        axes.set_xlabel(f"recall, % of {frauds:,} frauds found")
        axes.set_ylabel("precision, % of flagged payments that are fraud")
        axes.legend(loc="upper right")


def calibration(path: Path, bins: Bins) -> None:
    """Draw the share of frauds over the mean score of each bin, on log axes, with the bins' numbers.

    Bars are 95 % intervals: twice the standard error that the bin's own size leaves.
    """
    lowest = max(float(bins.predicted.min()), 1e-6)
    with _picture(path, "Calibration: does 10 % mean 10 %?") as axes:
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
            label="the model",
        )
        if not shown.all():
            floor = np.full((~shown).sum(), lowest)
            axes.plot(
                bins.predicted[~shown], floor, "v", color=GOOD, fillstyle="none", label="no fraud in bin"
            )
        places = np.where(shown, bins.observed, lowest)
        for x, y, count in zip(bins.predicted, places, bins.count, strict=True):
            axes.annotate(
                f"{int(count):,}", (x, y), xytext=(5, -12), textcoords="offset points", fontsize=7, color=INK
            )
        _percent_axis(axes, both=True)
        axes.set_xlabel("mean score of the bin (probability of fraud); equally many frauds expected in each")
        axes.set_ylabel("share of frauds in the bin (its payments beside it)")
        axes.legend(loc="upper left")


def money(path: Path, savings: Mapping[str, tuple[np.ndarray, np.ndarray]], cutoffs: Cutoffs) -> None:
    """Draw the money saved a day by the place of each cut-off, the chosen ones marked."""
    lines = (
        ("review", cutoffs.review_at, REVIEW, "decline"),
        ("decline", cutoffs.decline_at, FRAUD, "review"),
    )
    with _picture(path, "Money saved by cut-off, against approving everything") as axes:
        for name, chosen, colour, other in lines:
            places, saved = savings[name]
            if not places.size:
                continue
            axes.step(
                places, saved, where="post", color=colour, label=f"{name} from here ({other} cut-off fixed)"
            )
            at = min(int(np.searchsorted(places, chosen)), places.size - 1)
            axes.plot(
                chosen, saved[at], "o", color=colour, markersize=8, label=f"chosen: {name} from {chosen:.3g}"
            )
        axes.axhline(0, color=INK, linewidth=0.8)
        _percent_axis(axes)
        axes.set_ylim(bottom=_lowest_shown(savings))
        axes.set_xlabel(
            "cut-off (probability of fraud); chosen on the validation slice, within review capacity"
        )
        axes.set_ylabel("money saved a day, major units")
        axes.legend(loc="lower center", fontsize=8)


def importance(path: Path, names: Sequence[str], contributions: np.ndarray, top: int = 20) -> None:
    """Draw the features that move scores most: mean absolute SHAP value over the rows."""
    mean = np.abs(contributions).mean(axis=0)
    order = np.argsort(-mean, kind="stable")[:top][::-1]
    with _picture(path, "What moves the score", height=max(3.0, 1.2 + 0.26 * len(order))) as axes:
        axes.barh([names[i] for i in order], mean[order], color=GOOD, height=0.7)
        axes.set_xlabel(f"mean |SHAP| over {len(contributions):,} payments, log-odds")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)


def score_by_class(path: Path, score: np.ndarray, label: np.ndarray, cutoffs: Cutoffs) -> None:
    """Draw how many good and how many fraudulent payments have which score, on log axes."""
    lowest = max(float(score.min()), 1e-6)
    edges = np.geomspace(lowest * 0.999, 1.0, 60).tolist()
    with _picture(path, "Scores of good payments and of frauds") as axes:
        for value, colour, word in ((0, GOOD, "good"), (1, FRAUD, "fraud")):
            chosen = score[label == value]
            axes.hist(
                chosen,
                edges,
                histtype="stepfilled",
                alpha=0.55,
                color=colour,
                label=f"{word}: {chosen.size:,}",
            )
        for name, place in (("review", cutoffs.review_at), ("decline", cutoffs.decline_at)):
            axes.axvline(place, color=INK, linewidth=1, linestyle="--")
            axes.annotate(
                f" {name}",
                (place, 0.98),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                fontsize=8,
            )
        axes.set_yscale("log")
        _percent_axis(axes)
        axes.set_xlabel("score (probability of fraud)")
        axes.set_ylabel("payments")
        axes.legend(loc="upper right")


def novelty(path: Path, kind: str, weeks: Sequence[Week]) -> None:
    """Draw, by week since a new kind of fraud began, the share of it that is found and that is known."""
    since = np.arange(1, len(weeks) + 1)
    lines = (
        ("recall", FRAUD, "-", 2.5, "found: retrained each week"),
        ("recall_never_retrained", GOOD, "-", 2.5, "found: never retrained"),
        ("known", INK, "--", 1.2, "known as fraud when the week began"),
    )
    with _picture(path, f"A new kind of fraud begins: {kind.replace('_', ' ')}") as axes:
        for name, colour, style, width, words in lines:
            shares = 100 * np.array([getattr(week, name) for week in weeks])
            axes.plot(since, shares, style, color=colour, linewidth=width, marker="o", ms=4, label=words)
        axes.set(xlim=(0.5, len(weeks) + 0.5), ylim=(0, 103), xticks=since)
        axes.set_xlabel("week since the kind began")
        axes.set_ylabel("% of the kind's payments")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=8)


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


@contextmanager
def _picture(path: Path, title: str, height: float = 4.5) -> Iterator[Axes]:
    """Give axes in the house style, and write them as a PNG without date or version."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(title)
        yield axes
        figure.savefig(check_target(path), dpi=120, metadata={"Software": None})
