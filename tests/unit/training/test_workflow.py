from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle, write_bundle
from fraud_detection.core.score.bundle import Cutoffs, assemble
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.fit import Slices, leakage_suspects
from fraud_detection.training.tables.dataset import Dataset, read_dataset, write_dataset
from fraud_detection.training.workflow import TrainReport, checked_scorer, evaluate, train
from tests.unit.training.history import DAY, history, project, spoilt_after

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = project()


def trained(dataset: Dataset, folder: Path) -> TrainReport:
    write_dataset(folder / "features.parquet", dataset)
    return train(PROJECT, folder / "features.parquet", folder / "bundle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def report(folder: Path) -> TrainReport:
    return trained(history(), folder)


def test_the_bundle_serves_what_training_measured(report: TrainReport) -> None:
    bundle = read_bundle(report.archive)
    assert bundle == read_bundle(report.directory) == report.bundle
    scorer = checked_scorer(bundle, "0123456789abcdef")
    assert scorer.score(bundle.contents.vectors.matrix()) == list(bundle.contents.vectors.expected)
    assert bundle.contents.project == PROJECT
    assert bundle.contents.features.names == tuple(history(100).info.names)


def test_the_model_is_better_than_the_amount_and_saves_money(report: TrainReport) -> None:
    assert report.metrics["average_precision"] > report.metrics["amount_only_average_precision"]
    assert report.metrics["money_saved_major_units"] > 0
    assert report.metrics["calibration_error"] < 0.01
    assert report.metrics["reviews_per_day"] <= 5


def test_two_trainings_give_the_same_bytes(report: TrainReport, tmp_path: Path) -> None:
    again = trained(history(), tmp_path)
    assert again.archive.read_bytes() == report.archive.read_bytes()


def test_nothing_that_happened_or_became_known_after_the_test_begins_is_used(
    report: TrainReport, tmp_path: Path
) -> None:
    dataset = history()
    changed = spoilt_after(dataset, dataset.info.boundaries.test_from)
    assert not np.array_equal(changed.label, dataset.label)
    assert trained(changed, tmp_path).archive.read_bytes() == report.archive.read_bytes()


def test_the_model_itself_knows_no_label_that_came_after_the_validation_begins(
    report: TrainReport, tmp_path: Path
) -> None:
    dataset = history()
    cut = dataset.info.boundaries
    gap = (dataset.event_time >= cut.train_until) & (dataset.event_time < cut.validation_from)
    turned = np.where(gap & (dataset.label != UNKNOWN), 1 - dataset.label, dataset.label).astype(np.int8)
    assert trained(replace(dataset, label=turned), tmp_path).bundle.name == report.bundle.name


@pytest.mark.parametrize("edge", ["train_until", "validation_until"])
def test_slices_that_are_nearer_than_the_label_delay_are_refused(edge: str) -> None:
    dataset = history()
    cut = dataset.info.boundaries
    nearer = msgspec.structs.replace(cut, **{edge: getattr(cut, edge) + DAY})
    leaking = replace(dataset, info=msgspec.structs.replace(dataset.info, boundaries=nearer))
    with pytest.raises(ConfigError, match="labels would leak"):
        Slices.of(leaking)


def test_a_feature_that_knows_the_label_is_named(report: TrainReport) -> None:
    dataset = history()
    assert report.leakage_suspects == {}
    leaking = dataset.features.copy()
    leaking[:, 4] = -dataset.label + 0.01 * leaking[:, 4]
    suspects = leakage_suspects(Slices.of(replace(dataset, features=leaking)).train)
    assert list(suspects) == ["noise"]
    assert suspects["noise"] > 0.98


def test_a_history_without_labels_is_refused(tmp_path: Path) -> None:
    dataset = history(500)
    blank = replace(dataset, label=np.full(500, UNKNOWN, np.int8))
    with pytest.raises(ConfigError, match="no payment of the training slice has a known label"):
        trained(blank, tmp_path)


def test_evaluate_gives_the_same_figures_of_the_test_slice_every_time(
    report: TrainReport, folder: Path, tmp_path: Path
) -> None:
    both = [
        evaluate(PROJECT, folder / "features.parquet", path, tmp_path / name)
        for name, path in (("one", report.directory), ("two", report.archive))
    ]
    test = read_dataset(folder / "features.parquet")
    cut = test.info.boundaries
    assert both[0].metrics["payments_count"] == len(test.slice(cut.test_from, cut.test_until))
    assert msgspec.json.decode(both[0].metrics_file.read_bytes()) == both[0].metrics
    names = {path.name for path in both[0].pictures}
    assert names == {
        f"{picture}.png"
        for picture in ("precision_recall", "calibration", "money", "importance", "score_by_class")
    }
    for path in both[0].pictures:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_evaluate_refuses_a_bundle_of_other_features(report: TrainReport, tmp_path: Path) -> None:
    dataset = history(500)
    other_dataset = replace(dataset, info=msgspec.structs.replace(dataset.info, fingerprint="another"))
    write_dataset(tmp_path / "f.parquet", other_dataset)
    with pytest.raises(ConfigError, match="fingerprint 0123456789abcdef, those of this process another"):
        evaluate(PROJECT, tmp_path / "f.parquet", report.directory, tmp_path)


def test_evaluate_refuses_a_bundle_that_learned_from_the_test_slice(
    report: TrainReport, tmp_path: Path
) -> None:
    dataset = history()
    cut = dataset.info.boundaries
    earlier = msgspec.structs.replace(cut, test_from=cut.test_from - DAY)
    write_dataset(
        tmp_path / "f.parquet",
        replace(dataset, info=msgspec.structs.replace(dataset.info, boundaries=earlier)),
    )
    with pytest.raises(ConfigError, match="the figures would be too good"):
        evaluate(PROJECT, tmp_path / "f.parquet", report.directory, tmp_path)


def test_a_model_that_scores_otherwise_than_in_training_is_refused(
    report: TrainReport, tmp_path: Path
) -> None:
    other = trained(history(seed=2), tmp_path).bundle
    contents = msgspec.structs.replace(report.bundle.contents, model=other.contents.model)
    swapped = assemble(contents, report.bundle.manifest)
    write_bundle(swapped, tmp_path / "swapped")
    with pytest.raises(ConfigError, match="test vector"):
        checked_scorer(read_bundle(tmp_path / "swapped"), swapped.manifest.fingerprint)


def test_cutoffs_of_the_settings_reach_the_bundle(folder: Path, tmp_path: Path, report: TrainReport) -> None:
    settings = project(policy={"review_at": 0.25, "decline_at": 0.75})
    trained_bundle = train(settings, folder / "features.parquet", tmp_path / "bundle").bundle.manifest.cutoffs
    assert trained_bundle == Cutoffs(review_at=0.25, decline_at=0.75, origin="settings")
    assert report.bundle.manifest.cutoffs.origin == "money"


def test_the_reference_holds_the_typical_values(report: TrainReport) -> None:
    rows = Slices.of(history()).train
    typical_value = {feature.name: feature for feature in report.bundle.contents.reference.features}
    features = rows.features(list(range(len(rows.info.names))))
    good = features[rows.label == 0]
    assert typical_value["amount"].typical_value == pytest.approx(float(np.median(good[:, 0])))
    assert typical_value["channel"].typical_value == np.bincount(good[:, 3].astype(int)).argmax()
    assert typical_value["never"].typical_value is None
    assert typical_value["never"].distribution.missing == 1
    missing = np.isnan(features[:, 2]).mean()
    assert typical_value["terminal_fraud_rate_7d"].distribution.missing == pytest.approx(missing, abs=1e-6)
    for feature in typical_value.values():
        assert sum(feature.distribution.shares) == pytest.approx(1, abs=1e-4)
        assert len(feature.distribution.shares) == len(feature.distribution.edges) + 1


def test_training_without_tracking_never_imports_mlflow() -> None:
    # XGBoost imports scikit-learn where there is some, which takes longer than all the rest.
    hidden = "import sys; sys.modules['sklearn'] = None"
    code = f"{hidden}; import fraud_detection.training.workflow; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - ours
