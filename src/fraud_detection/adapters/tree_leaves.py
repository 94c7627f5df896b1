"""Which leaf of each tree a row ends in: the loop of the scorer that is worth compiling.

Nothing but numbers in typed arrays, so mypyc makes plain machine code of it.  As plain Python it would be
slower than numpy, so it is asked only where it is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64

INFINITY: Final = float("inf")


class LeafFinder:
    """The nodes of all trees, laid out as in `xgboost_trees.TreeWalk`."""

    def __init__(
        self,
        roots: list[int],
        column: list[int],
        threshold: list[float],
        left: list[int],
        width: int,
        depth: int,
    ) -> None:
        """Take the root of each tree; of each node what it asks, from where on it sends right, and its left.

        width: features of a row.  depth: steps from a root to the farthest leaf; a leaf leads to itself.
        """
        self.roots: vec[i64] = vec[i64](roots)
        self.column: vec[i64] = vec[i64](column)
        self.threshold: vec[float] = vec[float](threshold)
        self.left: vec[i64] = vec[i64](left)
        self.width: i64 = width
        self.depth: i64 = depth

    def find(self, rows: Sequence[Sequence[float]]) -> vec[i64]:
        """Return for each row in turn the place after the last node, and then its leaf in each tree."""
        roots, column, threshold, left = self.roots, self.column, self.threshold, self.left
        width, depth = self.width, self.depth
        after: i64 = len(left)
        leaves: vec[i64] = vec[i64](capacity=len(rows) * (1 + len(roots)))
        # A missing value goes the way that the node says: it reads the lower copy, or the upper one.
        both: vec[float] = vec[float]([-INFINITY] * (2 * width + 1))
        for row in rows:
            place: i64 = 0
            for value in row:
                missing = value != value  # noqa: PLR0124 - only NaN is not equal to itself
                both[place] = -INFINITY if missing else value
                both[place + width] = INFINITY if missing else value
                place += 1  # noqa: SIM113 - `enumerate` would make an object of each number
            leaves = append(leaves, after)
            for root in roots:
                node = root
                step: i64 = 0
                # No branch that depends on the row: the processor would guess it wrong every other time.
                while step < depth:
                    node = left[node] + i64(both[column[node]] >= threshold[node])
                    step += 1
                leaves = append(leaves, node)
        return leaves
