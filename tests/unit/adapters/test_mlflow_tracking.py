from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.training.tables.dataset import write_dataset
from fraud_detection.training.workflow import evaluate, train
from tests.unit.training.history import history, project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    # MLflow and what it imports warn about themselves.
    pytest.mark.filterwarnings("default"),
]


def test_trainings_are_kept_registered_and_named(tmp_path: Path) -> None:
    from mlflow import MlflowClient  # noqa: PLC0415 - takes seconds

    uri = f"sqlite:///{tmp_path}/kept/mlflow.db"
    features = tmp_path / "features.parquet"
    write_dataset(features, history(3000))
    first_project = project(tracking={"uri": uri, "model": "cards"})
    second_project = project(tracking={"uri": uri, "model": "cards"}, model={"rounds": 5, "threads": 1})
    first = train(first_project, features, tmp_path / "bundle", tracking=True)
    again = train(first_project, features, tmp_path / "bundle", tracking=True)
    evaluated = evaluate(first_project, features, tmp_path / "bundle", tmp_path / "figures", tracking=True)
    second = train(second_project, features, tmp_path / "bundle", tracking=True)
    assert train(first_project, features, tmp_path / "bundle", tracking=True).tracked == "1"
    named = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version_by_alias("cards", "challenger")
    assert str(named.version) == "1"
    train(second_project, features, tmp_path / "bundle", tracking=True)
    assert (first.tracked, again.tracked, second.tracked) == ("1", "1", "2")

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert str(client.get_model_version_by_alias("cards", "champion").version) == "1"
    assert str(client.get_model_version_by_alias("cards", "challenger").version) == "2"
    version = client.get_model_version("cards", "1")
    run = client.get_run(str(version.run_id))
    assert run.data.params["model.rounds"] == "60"
    assert run.data.metrics["validation_auc"] == first.metrics["auc"]
    assert run.data.metrics["test_auc"] == evaluated.metrics["auc"]
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, "bundle")}
    assert "bundle/manifest.json" in artifacts
    assert len(client.list_artifacts(run.info.run_id, "plots")) == len(evaluated.pictures)
    assert (tmp_path / "kept" / "mlartifacts").is_dir()


def test_a_wrong_address_is_a_setting_to_correct(tmp_path: Path) -> None:
    write_dataset(tmp_path / "f.parquet", history(1500))
    wrong = project(tracking={"uri": "carrier-pigeon://loft"})
    with pytest.raises(ConfigError, match=r"MLflow at carrier-pigeon://loft.*look at `tracking`"):
        train(wrong, tmp_path / "f.parquet", tmp_path / "bundle", tracking=True)


def test_a_damaged_database_and_an_unreachable_server_are_reported(tmp_path: Path) -> None:
    write_dataset(tmp_path / "f.parquet", history(1500))
    (tmp_path / "mlflow.db").write_text("no database at all" * 100)
    damaged = project(tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    with pytest.raises(ConfigError, match=r"is no database that MLflow can use.*--no-tracking"):
        train(damaged, tmp_path / "f.parquet", tmp_path / "bundle", tracking=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        unavailable = project(tracking={"uri": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        with pytest.raises((ConfigError, RetryError), match=r"MLflow at http://127\.0\.0\.1"):
            train(unavailable, tmp_path / "f.parquet", tmp_path / "bundle", tracking=True)
