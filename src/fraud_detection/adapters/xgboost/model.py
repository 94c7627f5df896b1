"""XGBoost: score with a model; `fit` makes one.

What trains and what serves is the same `XGBoostScorer`, made of the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.adapters.xgboost.lean_import import without_scikit_learn
from fraud_detection.adapters.xgboost.shap_tables import ShapTables
from fraud_detection.adapters.xgboost.tree_walk import TreeWalk, as_matrix
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.calibration import Calibration

with without_scikit_learn():
    import xgboost as xgb

if TYPE_CHECKING:
    from collections.abc import Collection

    from fraud_detection.adapters.xgboost.tree_walk import Rows

XGBOOST: str = xgb.__version__

_FEW = 128
"""Up to so many rows the walk is quicker than XGBoost's own call, compiled or not; see docs/adr/0010."""

_PROBES = 64

_EXPLAINED_PROBES = 16
"""Fewer: XGBoost takes about a millisecond to explain a row."""

_NOISE = 1e-4
"""Log-odds that XGBoost's own float32 sums may be away from exact contributions; 1e-6 is usual."""


class XGBoostScorer:
    """Calibrated probabilities, and exact contributions, from the bytes of a model.

    threads: one is quickest for a few rows, and leaves the other cores to other requests.
    """

    def __init__(self, model: bytes, calibration: Calibration | None = None, threads: int = 1) -> None:
        """Load the model; raise ConfigError when the bytes are none."""
        self.calibration = calibration or Calibration()
        self.threads = threads
        self._booster = xgb.Booster({"nthread": threads})
        try:
            self._booster.load_model(bytearray(model))
        except xgb.core.XGBoostError as error:
            first_line = str(error).partition("\n")[0]
            raise ConfigError(
                f"the model cannot be loaded by XGBoost {xgb.__version__}: {first_line}"
            ) from None
        self._booster.set_param({"nthread": threads})
        self.width = int(self._booster.num_features())
        self._walk = self._quick_walk()
        self._tables = self._shap_tables(self._walk) if self._walk is not None else None

    def score(self, rows: Rows, explained: Collection[int] = ()) -> list[float]:  # noqa: ARG002 - both are at hand
        """Return one probability in [0, 1] a row, in order; NaN in a row means missing."""
        probability = self.calibration.probability
        walked = self._walked(rows)
        return [probability(raw) for raw in (self.margins(rows).tolist() if walked is None else walked)]

    def margins(self, rows: Rows) -> np.ndarray:
        """Return the log-odds before calibration, float32, shape (rows,)."""
        walked = self._walked(rows)
        return self._predict(as_matrix(rows)) if walked is None else np.array(walked, np.float32)

    def _walked(self, rows: Rows) -> list[float] | None:
        """Return the same without an array around few rows; None where it is left to XGBoost."""
        self._check_width(rows)
        if not len(rows):
            return []
        return self._walk.margins(rows) if len(rows) <= _FEW and self._walk is not None else None

    def contributions(self, rows: Rows) -> np.ndarray:
        """Return exact SHAP values, shape (rows, features), in log-odds before calibration."""
        self._check_width(rows)
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        matrix = as_matrix(rows)
        # Quicker than XGBoost for any number of rows; and a row gets the same alone and among others.
        if self._tables is not None:
            return np.array([self._tables.contributions(row) for row in matrix], np.float32)
        return self._explain(matrix)

    def _explain(self, matrix: np.ndarray) -> np.ndarray:
        rows_of_xgboost = xgb.DMatrix(matrix, nthread=self.threads)
        contributions: np.ndarray = self._booster.predict(rows_of_xgboost, pred_contribs=True)
        return contributions[:, :-1]

    def _predict(self, matrix: np.ndarray) -> np.ndarray:
        margins: np.ndarray = self._booster.inplace_predict(
            matrix, predict_type="margin", validate_features=False
        )
        return margins

    def _quick_walk(self) -> TreeWalk | None:
        """Return the walk for few rows, if its margins are bit-identical to XGBoost's own."""
        try:
            walk = TreeWalk(bytes(self._booster.save_raw("json")))
        except (KeyError, ValueError):
            return None
        probes = walk.probes(_PROBES)
        expected = self._predict(probes)
        return walk if np.array_equal(walk.margins(probes), expected) else None

    def _shap_tables(self, walk: TreeWalk) -> ShapTables | None:
        """Return the tables, if they can be made and find XGBoost's own contributions."""
        try:
            tables = ShapTables(walk)
        except ValueError:
            return None
        probes = walk.probes(_EXPLAINED_PROBES)
        probes[0], probes[1::2, ::2] = np.nan, np.nan
        contributions = [tables.contributions(row) for row in probes]
        return tables if np.allclose(contributions, self._explain(probes), rtol=0, atol=_NOISE) else None

    def _check_width(self, rows: Rows) -> None:
        for row in rows if not isinstance(rows, np.ndarray) else rows[:1]:
            if len(row) != self.width:
                raise ConfigError(f"the model has {self.width} features, a row has {len(row)} values")
