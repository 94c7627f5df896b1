"""A training job as SageMaker starts it: channels and hyperparameters in files, a bundle as the result."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import msgspec

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError, FraudDetectionError
from fraud_detection.core.project_schema import Project
from fraud_detection.project.loader import contradictions
from fraud_detection.project.yaml_file import parse_yaml, read_yaml
from fraud_detection.training.stages import make_features, train_evaluate_and_refit

PROJECT = "params.yaml"


def train(root: Path) -> None:
    """Run as a training job: channels in, a bundle out; the reason for a failure is written down.

    Channels: `config` holds params.yaml, `training` one file of historical payments.
    """
    try:
        run(root)
    except Exception as error:
        reason = str(error) if isinstance(error, FraudDetectionError) else traceback.format_exc()
        failure = root / "output" / "failure"
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(reason)
        raise


def run(root: Path) -> None:
    """Train from `input/data/training` by `input/data/config/params.yaml` into `model`."""
    project = read_project(root / "input")
    output = root / "output" / "data"
    history, table = _one_file(root / "input" / "data" / "training"), output / "features.parquet"
    make_features(project, history, table, _log_progress)
    bundle = output / "bundle"
    train_evaluate_and_refit(project, table, bundle, output / "evaluation", _log_progress, tracking=False)
    model = root / "model"
    model.mkdir(parents=True, exist_ok=True)
    for file in bundle.iterdir():
        file.replace(model / file.name)


def read_project(folder: Path) -> Project:
    """Return the project with the hyperparameters, such as `model.max_depth`, in place of its values."""
    path = folder / "data" / "config" / PROJECT
    plain = read_yaml(path)
    if not isinstance(plain, dict):
        raise ConfigError(f"{path}: expected named keys, got {type(plain).__name__}")
    for name, value in _hyperparameters(folder / "config" / "hyperparameters.json").items():
        *steps, last = name.split(".")
        at = plain
        for step in steps:
            at = at.setdefault(step, {})
            if not isinstance(at, dict):
                raise ConfigError(f"hyperparameter {name}: `{step}` holds no named values")
        # All hyperparameters are texts; YAML knows which of them are numbers.
        at[last] = parse_yaml(value, f"hyperparameter {name}")
    project = decode(plain, Project, f"{path} with hyperparameters")
    for problem, json_path in contradictions(project):
        raise ConfigError(f"{path} with hyperparameters: {problem} - at `{json_path}`")
    return project


def _hyperparameters(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: expected an object of texts: {error}") from None


def _one_file(folder: Path) -> Path:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if len(files) != 1:
        raise ConfigError(f"{folder}: expected one file of historical payments, found {len(files)}")
    return files[0]


def _log_progress(stage: str, share: float) -> None:
    """Print a line when a stage is done; the log of a job needs no more."""
    if share >= 1:
        sys.stdout.write(f"{stage}\n")
        sys.stdout.flush()
