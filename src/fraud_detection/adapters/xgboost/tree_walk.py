"""Walk the trees of an XGBoost model: many times quicker than XGBoost for a few rows.

XGBoost's call costs more than the work of some tens of rows.  The leaves are found and added by a compiled
loop, or by numpy where nothing is compiled, in XGBoost's order and precision, so the result is the same to
the last bit.  It reads nothing but the model's own JSON.
"""

from __future__ import annotations

import json
import math
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    from fraud_detection.adapters.xgboost import leaf_finder as tree_leaves
except ImportError:
    # Without its typed arrays numpy does the same, as where nothing is compiled.
    _COMPILED = False
else:
    _COMPILED = not str(tree_leaves.__file__).endswith(".py")

if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = Sequence[Sequence[float]] | np.ndarray


class TreeWalk:
    """The trees of one model, laid out in flat arrays with one element a node.

    A missing value goes left or right as the node says: each row is laid out twice, once with
    -inf and once with +inf for what is missing, and a node reads the copy that sends it its way.
    """

    def __init__(self, model: bytes) -> None:
        """Lay out the model; raise ValueError for trees of another kind than training makes."""
        learner = json.loads(model)["learner"]
        trees = learner["gradient_booster"]["model"]["trees"]
        self.width = int(learner["learner_model_param"]["num_feature"])
        self.base = _log_odds(learner["learner_model_param"]["base_score"])
        sizes = [len(tree["left_children"]) for tree in trees]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        parts = [self._lay_out(tree, int(start)) for tree, start in zip(trees, starts[:-1], strict=True)]
        self.roots = starts[:-1].astype(np.int64)
        self.column, self.threshold, self.left = (np.concatenate(part) for part in zip(*parts, strict=True))
        self.value = np.concatenate([np.array(tree["split_conditions"], np.float32) for tree in trees])
        self.cover = np.concatenate([np.array(tree["sum_hessian"], np.float32) for tree in trees])
        self.depth = max(_depth(tree) for tree in trees)
        # The base is added first: as the leaf of a tree before the others.
        self._values = np.append(self.value, self.base)
        self._compiled = self._compiled_trees()

    def margins(self, rows: Rows) -> list[float]:
        """Return the log-odds of rows, at least one, as float32 holds them; a value counts as its float32."""
        if self._compiled is not None:
            return self._compiled.margins(rows.tolist() if isinstance(rows, np.ndarray) else rows)
        sums: list[float] = np.add.accumulate(self._values.take(self._leaves(rows)), axis=1)[:, -1].tolist()
        return sums

    def _compiled_trees(self) -> tree_leaves.CompiledTrees | None:
        if not _COMPILED:
            return None
        nodes = (self.column, reached_from(self.threshold), self.left, self.value)
        column, reached, left, value = (part.tolist() for part in nodes)
        return tree_leaves.CompiledTrees(
            self.roots.tolist(), column, reached, left, value, float(self.base), self.width, self.depth
        )

    def _leaves(self, rows: Rows) -> np.ndarray:
        """Return what is added, in order: indices into `_values`, shape (n, 1 + trees)."""
        matrix = as_matrix(rows)
        count, laid_out = len(matrix), 2 * self.width + 1
        missing = np.isnan(matrix)
        doubled = np.full((count, laid_out), -np.inf, np.float32)
        doubled[:, : self.width] = np.where(missing, -np.inf, matrix)
        doubled[:, self.width : -1] = np.where(missing, np.inf, matrix)
        starts, flat = (np.arange(count) * laid_out)[:, np.newaxis], doubled.ravel()
        node = np.broadcast_to(self.roots, (count, self.roots.size))
        for _ in range(self.depth):
            # The right child stands beside the left one; a leaf leads to itself.
            right = flat.take(self.column.take(node) + starts) >= self.threshold.take(node)
            node = self.left.take(node) + right
        return np.insert(node, 0, self.value.size, axis=1)

    def probes(self, count: int) -> np.ndarray:
        """Return rows that sit on the splits: each value a threshold of its column, or missing."""
        rng = np.random.default_rng(0)
        rows = np.full((count, self.width), np.nan, np.float32)
        splits = self.column < 2 * self.width
        columns, thresholds = self.column[splits] % self.width, self.threshold[splits]
        for column in np.unique(columns):
            rows[:, column] = rng.choice(np.append(thresholds[columns == column], np.float32(np.nan)), count)
        return rows

    def _lay_out(self, tree: dict[str, Any], start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        leaf = left < 0
        if any(tree.get("split_type", [])) or not (right == left + 1)[~leaf].all():
            raise ValueError("trees with categorical splits, or with children apart")
        copy = np.where(np.array(tree["default_left"], bool), 0, self.width)
        column = np.where(leaf, 2 * self.width, np.array(tree["split_indices"]) + copy)
        threshold = np.where(leaf, np.inf, np.array(tree["split_conditions"], np.float32))
        own = np.arange(left.size)
        return column, threshold.astype(np.float32), np.where(leaf, own, left) + start


def as_matrix(rows: Rows) -> np.ndarray:
    """Return the rows, at least one and all of one width, as float32 of shape (n, width)."""
    if isinstance(rows, np.ndarray):
        return np.ascontiguousarray(rows, np.float32)
    arrays = [row for row in rows if isinstance(row, array)]
    if len(arrays) == len(rows):
        return np.frombuffer(b"".join(arrays)).reshape(len(rows), -1).astype(np.float32)
    # Several times faster than np.array on a list of lists.
    flat = np.fromiter(chain.from_iterable(rows), np.float32, len(rows) * len(rows[0]))
    return flat.reshape(len(rows), -1)


def reached_from(threshold: np.ndarray) -> np.ndarray:
    """Return the least doubles that reach thresholds of float32 once they are rounded to that themselves.

    >>> reached_from(np.float32([1.0]))[0] < 1.0, np.float32(reached_from(np.float32([1.0]))[0])
    (np.True_, np.float32(1.0))
    """
    with np.errstate(over="ignore"):
        below = np.nextafter(threshold, np.float32(-np.inf)).astype(np.float64)
    # Below the least float32, rounding goes on as if there were one more power of two.
    below = np.where(np.isneginf(below), -(2.0**128), below)
    middle = (threshold.astype(np.float64) + below) / 2
    # The middle goes to the one of the two that is even.
    with np.errstate(over="ignore"):
        is_reached = middle.astype(np.float32) == threshold
    bounds: np.ndarray = np.where(is_reached, middle, np.nextafter(middle, np.inf))
    return bounds


def _log_odds(text: str) -> np.float32:
    """Return the margin of the base score, which XGBoost 3 writes as '[2E-2]' and 2 as '2E-2'."""
    share = float(np.float32(text.strip("[]")))
    return np.float32(-math.log(float(np.float32(1.0) / np.float32(share) - np.float32(1.0))))


def _depth(tree: dict[str, Any]) -> int:
    """Return the number of steps from the root to the farthest leaf; parents stand before children."""
    depth = [0] * len(tree["left_children"])
    for node, (left, right) in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
        if left >= 0:
            depth[left] = depth[right] = depth[node] + 1
    return max(depth)
