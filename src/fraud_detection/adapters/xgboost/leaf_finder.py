"""The margin of a row: the loop of the scorer that is worth compiling.

Nothing but numbers in typed arrays, so mypyc makes plain machine code of it.  As plain Python it would be
slower than numpy, so it is asked only where it is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

INFINITY: Final = float("inf")
MIN_POWER: Final = 2.0**-125
"""Twice the least number that float32 holds with all of its bits."""
MAX_POWER: Final = 2.0**128
ROUNDING: Final = 1.5 * 2.0**28


class CompiledTrees:
    """The nodes of all trees, laid out as in `xgboost_trees.TreeWalk`.

    Margins are sums in float32, as XGBoost makes them.  The sum of two such numbers, as a double, is rounded
    by adding and taking away a double so large that its last bit is worth the last bit of a float32 of that
    size: 1.5 * 2^(e + 29) for what lies between 2^e and 2^(e + 1).  Where the two differ too much in size for
    their sum to be exact as a double, it is rounded twice.  That gives what rounding once does, because 53
    bits are at least 2 * 24 + 2 (Roux 2014, Innocuous double rounding of basic arithmetic operations).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the arrays of a model
        self,
        roots: list[int],
        column: list[int],
        threshold: list[float],
        left: list[int],
        value: list[float],
        base: float,
        width: int,
        depth: int,
    ) -> None:
        """Take the root of each tree; of each node what it asks, from where on it sends right, and its left.

        value: what each leaf adds to `base`, as float32 holds it.  width: features of a row.  depth: steps
        from a root to the farthest leaf; a leaf leads to itself.
        """
        self.roots: vec[i64] = vec[i64](roots)
        self.column: vec[i64] = vec[i64](column)
        self.threshold: vec[float] = vec[float](threshold)
        self.left: vec[i64] = vec[i64](left)
        self.value: vec[float] = vec[float](value)
        self.base: float = base
        self.width: i64 = width
        self.depth: i64 = depth

    def margins(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Return the log-odds of each row, as float32 holds them."""
        roots, column, threshold, left = self.roots, self.column, self.threshold, self.left
        value, width, depth = self.value, self.width, self.depth
        margins: list[float] = []
        # A missing value goes the way that the node says: it reads the lower copy, or the upper one.
        both: vec[float] = vec[float]([-INFINITY] * (2 * width + 1))
        for row in rows:
            index: i64 = 0
            for number in row:
                missing = number != number  # noqa: PLR0124 - only NaN is not equal to itself
                both[index] = -INFINITY if missing else number
                both[index + width] = INFINITY if missing else number
                index += 1  # noqa: SIM113 - `enumerate` would make an object of each number
            total, power = self.base, 1.0
            for root in roots:
                node = root
                step: i64 = 0
                # No branch that depends on the row: the processor would guess it wrong every other time.
                while step < depth:
                    node = left[node] + i64(both[column[node]] >= threshold[node])
                    step += 1
                total += value[node]
                size = total if total >= 0.0 else -total
                while size >= power and power < MAX_POWER:
                    power *= 2.0
                while 2.0 * size < power and power > MIN_POWER:
                    power *= 0.5
                total = (total + power * ROUNDING) - power * ROUNDING
            margins.append(total)
        return margins
