"""Exact SHAP contributions from tables: an order of magnitude quicker than XGBoost for one row.

What a leaf contributes depends only on which conditions of its path the row meets.  So neighbouring
leaves make a block, and for each block all answers of its conditions, at most 2^8, are worked out
at loading.  A row then costs one look-up a block.  The values are those of path-dependent TreeSHAP,
which XGBoost computes, up to rounding.  It neither loads nor checks a model: see `model`.

Why the values are the same.  TreeSHAP explains the game v(S): what the trees say when only the features S
are known, and a step that asks another feature takes both ways, each by its share of the training rows
(Lundberg, Erion and Lee 2018, arXiv:1802.03888, algorithm 1).  Written out, v(S) is a sum over the leaves
of value x product over the features of the path, where a feature of S gives 1 or 0 (the row meets all its
conditions on the path, or not) and any other gives the product of the shares of its steps.  Shapley values
of a sum of games are the sums of their Shapley values, and a feature that is not on the path of a leaf gets
0 there.  So each leaf is a game of its own among the few features of its path, and its outcome depends on
the row by one bit for each of them: all there is to tabulate.  `_shapley` solves that game.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fraud_detection.adapters.xgboost.tree_walk import TreeWalk

_HEIGHT = 2
"""A block is a subtree of up to so many steps.  Higher ones are fewer, but too large for the cache."""

_BITS = 8
"""The conditions of a block are packed into one byte; it has at most one more than the tree is deep."""

MAX_TABLE_BYTES = 32 << 20
"""Bytes of tables; larger ones would take longer to make than they save."""


class ShapTables:
    """The contributions of every block of leaves, for every way to answer its conditions."""

    def __init__(self, walk: TreeWalk, largest: int = MAX_TABLE_BYTES) -> None:
        """Work out the tables; raise ValueError when the trees are too deep or too many for them."""
        if walk.depth >= _BITS:
            raise ValueError(f"trees {walk.depth} deep: the tables hold for {_BITS - 1} at most")
        self.width = walk.width
        paths = _paths(walk)
        bits = _positions(paths.block, paths.node, walk.left.size + 1)
        slots = _positions(paths.block, paths.feature, walk.width)
        patterns, blocks = 1 << bits.max_count, int(paths.block.max()) + 1
        if blocks * patterns * slots.max_count * np.dtype(np.float32).itemsize > largest:
            raise ValueError(
                f"{blocks} blocks of {patterns} answers and {slots.max_count} features are too large"
            )
        # Where a block has fewer conditions than others, the rest read -inf and are never met.
        self._column = bits.pad(np.append(walk.column, 2 * walk.width), _BITS, 2 * walk.width)
        self._threshold = bits.pad(np.append(walk.threshold, np.float32(np.inf)), _BITS, np.inf)
        self._feature = slots.pad(np.arange(walk.width), slots.max_count, 0).ravel()
        self._first = np.arange(blocks) * patterns
        self._table = _table(paths, bits, slots)

    def contributions(self, row: np.ndarray) -> np.ndarray:
        """Return what each feature adds to the log-odds of one row of float32 values."""
        missing = np.isnan(row)
        # As in the walk: a condition reads the copy that sends a missing value its way.
        low, high = np.where(missing, -np.inf, row), np.where(missing, np.inf, row)
        doubled = np.concatenate([low, high, [-np.inf]], dtype=np.float32)
        pattern = np.packbits(doubled.take(self._column) >= self._threshold, bitorder="little")
        cells = self._table.take(self._first + pattern, axis=0)
        return np.bincount(self._feature, cells.ravel(), self.width)


@dataclass(frozen=True, slots=True)
class _Paths:
    """The way to every leaf, one row a leaf, as many columns as the deepest one has steps.

    A shorter path is filled up with steps that every row takes: they change no contribution.
    """

    node: np.ndarray
    feature: np.ndarray
    right: np.ndarray
    share: np.ndarray
    """What part of the training rows at the node took the step."""
    value: np.ndarray
    block: np.ndarray
    """The block of the leaf, in every column."""


@dataclass(frozen=True, slots=True)
class _Positions:
    """The distinct things of each owner, numbered 0, 1, ..."""

    owner: np.ndarray
    thing: np.ndarray
    position: np.ndarray
    of: np.ndarray
    """The position of each thing asked about."""
    max_count: int

    def pad(self, values: np.ndarray, columns: int, fill: float) -> np.ndarray:
        """Return a row for every owner with the values of its things, and `fill` after them."""
        padded = np.full((self.owner[-1] + 1, columns), fill, values.dtype)
        padded[self.owner, self.position] = values[self.thing]
        return padded


def _positions(owner: np.ndarray, thing: np.ndarray, things: int) -> _Positions:
    pairs, which = np.unique(owner * things + thing, return_inverse=True)
    owners = pairs // things
    position = np.arange(pairs.size) - np.searchsorted(owners, owners)
    return _Positions(
        owners, pairs % things, position, position[which].reshape(owner.shape), int(position.max()) + 1
    )


def _paths(walk: TreeWalk) -> _Paths:
    own = np.arange(walk.left.size)
    leaf, inner = own[walk.left == own], own[walk.left != own]
    above = np.full(own.size + 1, own.size)  # above the root stands a step that every row takes
    above[walk.left[inner]] = above[walk.left[inner] + 1] = inner
    ways = [leaf]
    for _ in range(max(walk.depth, 1)):
        ways.append(above[ways[-1]])
    child, node = np.stack(ways[:-1], axis=1), np.stack(ways[1:], axis=1)
    cover = np.append(walk.cover, 1.0)
    if not (cover[inner] > 0).all():
        raise ValueError("a node that no training row has reached")
    return _Paths(
        node,
        np.append(walk.column, 0)[node] % walk.width,
        child == np.append(walk.left, -2)[node] + 1,
        np.where(node < own.size, cover[child] / cover[node], 1.0),
        walk.value[leaf].astype(float),
        np.broadcast_to(_blocks(leaf, node, above)[:, None], node.shape),
    )


def _blocks(leaf: np.ndarray, node: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Return the number of the block of each leaf: its highest subtree of up to _HEIGHT steps."""
    height = np.zeros(above.size, np.int64)
    for step in range(node.shape[1]):
        np.maximum.at(height, node[:, step], step + 1)
    height[-1] = _HEIGHT + 1
    top = leaf
    for _ in range(_HEIGHT):
        top = np.where(height[above[top]] <= _HEIGHT, above[top], top)
    number: np.ndarray = np.unique(top, return_inverse=True)[1]
    return number


def _table(paths: _Paths, bits: _Positions, slots: _Positions) -> np.ndarray:
    """Return the contributions, shape (blocks x answers, features of a block)."""
    block, leaf = paths.block[:, 0], np.arange(len(paths.node))
    player = _positions(
        np.broadcast_to(leaf[:, None], paths.node.shape), paths.feature, paths.feature.max() + 1
    )
    share, slot = np.ones(paths.node.shape), np.zeros(paths.node.shape, np.int64)
    # A feature asked twice on a path is met when both conditions are: it is one player.
    np.multiply.at(share, (leaf[:, None], player.of), paths.share)
    np.put_along_axis(slot, player.of, slots.of, axis=1)
    cell = _met(paths, bits, player.of) * leaf.size + leaf[:, None]
    sister = _positions(block, leaf, leaf.size)
    table = np.zeros((block.max() + 1, slots.max_count, cell.shape[1]))
    for number in range(player.max_count):
        added = _shapley(share.T.copy(), paths.value, number).ravel().take(cell)
        for position in range(sister.max_count):  # one leaf of every block at a time: no cell is hit twice
            at = sister.of == position
            table[block[at], slot[at, number]] += added[at]
    return table.transpose(0, 2, 1).reshape(-1, slots.max_count).astype(np.float32)


def _met(paths: _Paths, bits: _Positions, player: np.ndarray) -> np.ndarray:
    """Return which features of its path each leaf finds met, as bits, for every answer of its block."""
    pattern = np.arange(1 << bits.max_count, dtype=np.uint8)
    met = np.full((len(player), pattern.size), (1 << player.shape[1]) - 1, np.uint8)
    for step in range(player.shape[1]):
        right = (pattern >> bits.of[:, step, None].astype(np.uint8)) & 1
        wrong = (right != paths.right[:, step, None]).view(np.uint8)
        met &= ~(wrong << player[:, step, None].astype(np.uint8))
    return met.astype(np.int64)


def _shapley(share: np.ndarray, value: np.ndarray, player: int) -> np.ndarray:
    """Return what one feature of its path adds to each leaf, shape (2^features met, leaves).

    The Shapley value of a player is its mean contribution over all orders of joining.  Let each player join
    at a time of its own, uniform in [0, 1]: all orders are equally likely, and a player that joins at time t
    finds each other one there with probability t (Owen 1972, Multilinear extensions of games).  The other
    features multiply, so the mean over who is there is a product too: of `met` x t + `share` x (1 - t) over
    the others, times the player's own `met` - `share`, where `met` is 1 or 0.  Of n players that is a
    polynomial in t of degree n - 1, and the rule of Gauss and Legendre with m points is exact up to degree
    2m - 1: half of n, rounded up, are enough.  TreeSHAP sums the same by a recursion over the path
    (algorithm 2 there).

    Each turn of the inner loop adds one feature as the next higher bit of the first axis: the half where it
    is not met, then the half where it is.
    """
    players, leaves = share.shape
    times, weights = np.polynomial.legendre.leggauss((players + 1) // 2)
    total = np.zeros((1 << players, leaves))
    for time, weight in zip((times + 1) / 2, weights / 2, strict=True):
        product = weight * value[None]
        for feature in range(players):
            unmet = share[feature] * (-1 if feature == player else 1 - time)
            product = np.concatenate(
                [product * unmet, product * (unmet + (1 if feature == player else time))]
            )
        total += product
    return total
