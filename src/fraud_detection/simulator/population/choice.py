"""Draw from weighted groups, a column at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fraud_detection.simulator.settings import Floats, Ints


class Grouped:
    """Members of groups with weights; draws one member for each group that is named.

    >>> shops = Grouped(np.asarray([0, 1, 1]), np.asarray([1.0, 1.0, 0.0]))
    >>> shops.pick(np.random.default_rng(1), np.asarray([1, 0, 1])).tolist()
    [1, 0, 1]

    A group without members is answered from a neighbouring one.
    """

    __slots__ = ("_edges", "_members")

    def __init__(self, groups: Ints, weights: Floats) -> None:
        """Lay the groups out side by side, each one unit wide."""
        self._members = np.argsort(groups, kind="stable")
        ordered, heavy = groups[self._members], weights[self._members]
        total = np.cumsum(heavy)
        first = np.searchsorted(ordered, ordered)
        last = np.searchsorted(ordered, ordered, side="right") - 1
        before = total[first] - heavy[first]
        share = (total - before) / (total[last] - before)
        self._edges = ordered + np.where(np.arange(len(ordered)) == last, 1.0, share)

    def pick(self, rng: np.random.Generator, groups: Ints) -> Ints:
        """Return one member of each of `groups`."""
        at = np.searchsorted(self._edges, groups + rng.random(len(groups)), side="right")
        members: Ints = self._members[np.minimum(at, len(self._members) - 1)]
        return members
