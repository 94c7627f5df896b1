"""Walk the trees of an XGBoost model in numpy: several times quicker than XGBoost for a few rows.

XGBoost's call costs more than the work of some tens of rows.  All trees are walked at once here,
one level a step, and the leaves are added in XGBoost's order and precision, so the result is
the same to the last bit.  It reads nothing but the model's own JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

FEW_NODES = 6_000
"""Up to so many nodes it is quicker to ask all of them at once than those on the row's way one by one."""


class TreeWalk:
    """The trees of one model, laid out in flat arrays with a place for every node.

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

    def margin(self, row: np.ndarray) -> float:
        """Return the log-odds of one row of float32 values."""
        missing = np.isnan(row)
        doubled = np.concatenate([np.where(missing, -np.inf, row), np.where(missing, np.inf, row), [-np.inf]])
        leaves = self._ask_all(doubled) if self.left.size <= FEW_NODES else self._walk(doubled)
        parts = np.concatenate([[self.base], self.value[leaves]])
        return float(np.add.accumulate(parts, dtype=np.float32)[-1])

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """Return the log-odds of float32 rows, shape (n, width), in float32: quicker from two rows on."""
        count, laid_out = len(rows), 2 * self.width + 1
        missing = np.isnan(rows)
        doubled = np.full((count, laid_out), -np.inf, np.float32)
        doubled[:, : self.width] = np.where(missing, -np.inf, rows)
        doubled[:, self.width : -1] = np.where(missing, np.inf, rows)
        starts, flat = (np.arange(count) * laid_out)[:, np.newaxis], doubled.ravel()
        node = np.broadcast_to(self.roots, (count, self.roots.size))
        for _ in range(self.depth):
            right = flat.take(self.column.take(node) + starts) >= self.threshold.take(node)
            node = self.left.take(node) + right
        parts = np.full((count, self.roots.size + 1), self.base, np.float32)
        parts[:, 1:] = self.value.take(node)
        return np.add.accumulate(parts, axis=1)[:, -1]

    def _walk(self, doubled: np.ndarray) -> np.ndarray:
        node = self.roots
        for _ in range(self.depth):
            # The right child stands beside the left one; a leaf leads to itself.
            node = self.left.take(node) + (doubled.take(self.column.take(node)) >= self.threshold.take(node))
        return node

    def _ask_all(self, doubled: np.ndarray) -> np.ndarray:
        """Return the same leaves, by asking every node at once which way it would send the row."""
        following = self.left + (doubled.take(self.column) >= self.threshold)
        node = self.roots
        for _ in range(self.depth):
            node = following.take(node)
        return node

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
