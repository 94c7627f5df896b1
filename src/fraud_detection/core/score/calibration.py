"""Turn a model's log-odds into a calibrated probability.

One slope and one intercept (Platt), so the order of payments never changes.
Nothing is fitted here; training does that (`train.calibrate`).
"""

from __future__ import annotations

import math

import msgspec

from fraud_detection.core.errors import ConfigError

BELOW_ONE = math.nextafter(1.0, 0.0)


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """probability = 1 / (1 + exp(-(slope * log_odds + intercept))), with slope > 0.

    >>> Calibration().probability(0.0)
    0.5
    >>> halved = Calibration(slope=0.5, intercept=-1.0)
    >>> halved.log_odds(halved.probability(3.0))
    3.0
    >>> Calibration(slope=0.0)
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: calibration: need a finite slope > 0 and a finite intercept, \
got slope=0.0, intercept=0.0; train again
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a calibration that would turn or flatten the ranking."""
        if not (0 < self.slope < math.inf and math.isfinite(self.intercept)):
            raise ConfigError(
                "calibration: need a finite slope > 0 and a finite intercept, "
                f"got slope={self.slope}, intercept={self.intercept}; train again"
            )

    def probability(self, log_odds: float) -> float:
        """Return the probability for one raw score: never 1, so that a cut-off of 1 takes nothing in."""
        z = self.slope * log_odds + self.intercept
        if z >= 0:
            return min(1.0 / (1.0 + math.exp(-z)), BELOW_ONE)
        odds = math.exp(z)
        return odds / (1.0 + odds)

    def log_odds(self, probability: float) -> float:
        """Return the raw score that gives `probability`, which must lie strictly between 0 and 1."""
        return (math.log(probability / (1.0 - probability)) - self.intercept) / self.slope
