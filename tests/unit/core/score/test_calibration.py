from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.calibration import Calibration

slopes = st.floats(0.1, 3.0)
intercepts = st.floats(-5.0, 5.0)
margins = st.floats(-6.0, 6.0, width=32)


@given(slopes, intercepts, margins, margins)
def test_a_higher_raw_score_is_a_higher_probability(
    slope: float, intercept: float, first: float, second: float
) -> None:
    calibration = Calibration(slope, intercept)
    low, high = sorted((first, second))
    if high - low > 1e-6:
        assert calibration.probability(low) < calibration.probability(high)


@given(slopes, intercepts, st.floats(-1e30, 1e30))
def test_every_finite_raw_score_gives_a_probability(slope: float, intercept: float, raw: float) -> None:
    assert 0 <= Calibration(slope, intercept).probability(raw) <= 1


@given(slopes, intercepts, margins)
def test_log_odds_undoes_probability(slope: float, intercept: float, raw: float) -> None:
    calibration = Calibration(slope, intercept)
    assert calibration.log_odds(calibration.probability(raw)) == pytest.approx(raw, abs=1e-5)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0, 0), (-1, 0), (math.inf, 0), (math.nan, 0), (1, math.nan)]
)
def test_a_calibration_that_would_turn_the_ranking_is_refused(slope: float, intercept: float) -> None:
    with pytest.raises(ConfigError, match="need a finite slope > 0"):
        Calibration(slope, intercept)


@given(slopes, intercepts)
def test_it_survives_json(slope: float, intercept: float) -> None:
    calibration = Calibration(slope, intercept)
    assert msgspec.json.decode(msgspec.json.encode(calibration), type=Calibration) == calibration
