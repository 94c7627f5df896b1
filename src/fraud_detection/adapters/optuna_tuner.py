"""Optuna: propose settings from the scores of earlier ones; the only module that imports optuna.

Nothing is trained here.  The proposals depend on the seed and on the reported scores, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    import optuna

DIGITS = 4
AT_RANDOM = 8
"""So many proposals explore before the others follow what was good."""


class SearchParameter(msgspec.Struct, frozen=True):
    """A setting that may be turned between two values.

    is_integer: only integers.  by_factor: what counts is by how many times a value is larger.
    """

    name: str
    low: float
    high: float
    is_integer: bool = False
    by_factor: bool = False

    def within(self, value: float) -> float:
        """Return the value, or the end of the range that is nearest to it."""
        return min(max(value, self.low), self.high)


class OptunaTuner:
    """Proposes values for knobs by a tree-structured Parzen estimator."""

    def __init__(self, parameters: Sequence[SearchParameter], seed: int) -> None:
        """Begin a search; raise ConfigError where Optuna is not installed."""
        try:
            import optuna  # noqa: PLC0415 - takes a moment, seldom needed
        except ImportError as error:
            raise ConfigError(
                f"Optuna is not installed ({error}); install the extra 'tune', or give --trials 0"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._knobs = {parameter.name: parameter for parameter in parameters}
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space = {parameter.name: self._range(parameter) for parameter in parameters}
        self._open: optuna.Trial | None = None

    def know(self, values: Mapping[str, float], score: float) -> None:
        """Register trials that were run already; values out of range are clipped."""
        near = {name: self._plain(name, self._knobs[name].within(value)) for name, value in values.items()}
        trial = self._optuna.trial.create_trial(params=near, distributions=self._space, value=score)
        self._study.add_trial(trial)

    def propose(self) -> dict[str, float]:
        """Return the values to try next, with few digits; `report` gives their score."""
        self._open = self._study.ask(self._space)
        return {name: self._plain(name, value) for name, value in self._open.params.items()}

    def report(self, score: float) -> None:
        """Give the score of the proposed values; more is better."""
        if self._open is None:
            raise ValueError("nothing was proposed")
        self._study.tell(self._open, score)
        self._open = None

    def _plain(self, name: str, value: float) -> float:
        return int(value) if self._knobs[name].is_integer else float(f"{value:.{DIGITS}g}")

    def _range(self, parameter: SearchParameter) -> optuna.distributions.BaseDistribution:
        if parameter.is_integer:
            return self._optuna.distributions.IntDistribution(int(parameter.low), int(parameter.high))
        return self._optuna.distributions.FloatDistribution(
            parameter.low, parameter.high, log=parameter.by_factor
        )
