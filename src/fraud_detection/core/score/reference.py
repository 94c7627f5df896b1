"""What was normal in training: how each feature and the score were distributed; a part of a bundle."""

from __future__ import annotations

import msgspec


class BundleStruct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of a bundle that refuses keys it does not know."""


class Distribution(BundleStruct, frozen=True):
    """A histogram: shares[i] of the values lies in (edges[i-1], edges[i]], open at both ends.

    missing: the share of all values that were missing; `shares` are of the others.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float = 0.0


class FeatureReference(BundleStruct, frozen=True):
    """How one feature looked in training.

    typical_value: the median of legitimate payments (of a code: the most frequent one), None where all miss.
    quantiles: at 0, 1, 5, 25, 50, 75, 95, 99 and 100 %; empty where all missed.
    """

    name: str
    typical_value: float | None
    quantiles: tuple[float, ...]
    distribution: Distribution


class Reference(BundleStruct, frozen=True):
    """What was normal: features in the training slice, calibrated scores in the validation slice."""

    rows: int
    fraud_rate: float
    features: tuple[FeatureReference, ...]
    score: Distribution
