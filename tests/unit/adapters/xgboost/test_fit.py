"""A model fitted from pages on disk is the model that was fitted in memory, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.xgboost.fit import fit, fit_each
from fraud_detection.adapters.xgboost.pages import DiskCache, Sample, StoredSample
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Model

SETTINGS = Model(rounds=25, early_stopping=10, threads=1)
NAMES = tuple("abcdef")


def sample(rows: int, seed: int, missing: float = 0.1, *, weighted: bool = False) -> Sample:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    label = (features[:, 0] * features[:, 1] + rng.normal(size=rows) > 1.5).astype(np.int8)
    features[:, 4] = np.floor(features[:, 4])
    features[rng.random(features.shape) < missing] = np.nan
    weight = rng.choice([1.0, 12.5], rows) if weighted else None
    return Sample(features, label, weight, NAMES)


def stored(rows: Sample, part: int) -> StoredSample:
    def features() -> Iterator[np.ndarray]:
        for at in range(0, rows.label.size, part):
            yield rows.features[at : at + part].copy()

    return StoredSample(features, rows.label, rows.weight, rows.names)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1_000),
    part=st.integers(50, 3_000),
    page_rows=st.integers(100, 3_000),
    missing=st.sampled_from([0.0, 0.1, 0.9]),
    more=st.sampled_from([(), ("weighted",), ("monotone",), ("weighted", "monotone")]),
)
def test_pages_on_disk_give_the_bytes_that_memory_gives(
    tmp_path: Path,
    seed: int,
    part: int,
    page_rows: int,
    missing: float,
    more: tuple[str, ...],
) -> None:
    model = msgspec.structs.replace(SETTINGS, seed=seed, monotone={"a": "up"} if "monotone" in more else {})
    weighted = "weighted" in more
    train = sample(2_500, seed, missing, weighted=weighted)
    later = sample(700, seed + 1, missing, weighted=weighted)
    in_memory = fit(train, later, model)
    on_disk = fit(stored(train, part), stored(later, part), model, cache=DiskCache(tmp_path, page_rows))
    assert on_disk == in_memory
    assert list(tmp_path.iterdir()) == []


def test_features_in_parts_give_the_bytes_of_one_matrix() -> None:
    train = sample(2_500, 1)
    assert fit(stored(train, 300), None, SETTINGS) == fit(train, None, SETTINGS)


@pytest.mark.parametrize("cached", [False, True])
def test_several_models_of_the_same_rows_are_those_fitted_one_by_one(tmp_path: Path, *, cached: bool) -> None:
    train, reads = sample(1_500, 1), []

    def features() -> Iterator[np.ndarray]:
        reads.append(1)
        yield train.features

    each = [msgspec.structs.replace(SETTINGS, seed=seed) for seed in (1, 2, 3)]
    cache = DiskCache(tmp_path, 400) if cached else None
    fitted = fit_each(StoredSample(features, train.label), None, each, cache=cache)
    assert [one.model for one in fitted] == [fit(train, None, one).model for one in each]
    assert len({one.model for one in fitted}) == 3
    # XGBoost counts, finds the cuts and caches: it begins anew some times, but not for each model.
    assert len(reads) <= 6


def test_progress_goes_up_to_the_end_with_caching_a_part_of_it(tmp_path: Path) -> None:
    shares: list[float] = []
    fit(stored(sample(2_000, 1), 100), None, SETTINGS, shares.append, DiskCache(tmp_path, 200))
    assert shares == sorted(shares)
    assert len([share for share in shares if share <= 0.1]) > 20
    assert shares[-1] > 0.5
    assert max(shares) <= 1


def test_an_error_while_features_are_read_is_raised_as_it_is(tmp_path: Path) -> None:
    train = sample(1_000, 1)

    def breaking_off() -> Iterator[np.ndarray]:
        yield train.features[:500]
        raise ConfigError("the file is cut off")

    with pytest.raises(ConfigError, match="the file is cut off"):
        fit(StoredSample(breaking_off, train.label), None, SETTINGS, cache=DiskCache(tmp_path, 100))
