"""MLflow: store every training with its settings, figures, pictures and bundle; name versions.

The only module that imports mlflow, and only when a tracker is made.  A new version in the
registry is the `challenger`; the first one ever is the `champion` too.  Moving `champion`
is a decision, and not taken here.
"""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fraud_detection.core.decoding import to_plain
from fraud_detection.core.errors import ConfigError, RetryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fraud_detection.core.project_schema import Project
    from fraud_detection.core.score.bundle import Bundle

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE_TAG = "bundle"

_SQLITE = "sqlite:///"
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server that is away is reported within half a minute; MLflow itself would try for many.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_AT_ONCE = 100
_MAX_LENGTH = 500
_PASSING = {"TEMPORARILY_UNAVAILABLE", "RESOURCE_EXHAUSTED", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR"}


class MlflowTracker:
    """One experiment and one registered model, as `tracking` in the project file names them."""

    def __init__(self, project: Project) -> None:
        """Open the database, and make it on first use, which takes some seconds."""
        self.project, self.settings = project, project.tracking
        _silence_mlflow()
        _make_folder(self.settings.uri)
        with self._errors():
            from mlflow import MlflowClient  # noqa: PLC0415 - slow, and reads its settings on import

            self.client = MlflowClient(tracking_uri=self.settings.uri, registry_uri=self.settings.uri)
            self.experiment = self._experiment()

    def trained(self, bundle: Bundle, directory: Path, rounds: int) -> str:
        """Keep a training and its bundle; return the version in the registry.

        The same bundle is stored once: a second call returns the version that it has.
        """
        with self._errors():
            version = self._version_of(bundle.name)
            version = version or self._register(bundle, self._run(bundle, directory, rounds))
            self._name(version)
            return version

    def evaluated(self, bundle_name: str, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """Add figures and pictures of the test slice to the run that made the bundle."""
        with self._errors():
            run_id = self._find_run(bundle_name) or self._new_run(bundle_name)
            self._log(run_id, {}, {f"test_{name}": value for name, value in metrics.items()})
            for picture in pictures:
                self.client.log_artifact(run_id, str(picture), "plots")
            self.client.set_terminated(run_id)

    def promoted(self, bundle_name: str) -> str | None:
        """Call a bundle the champion; return its version, None where the registry does not know it."""
        with self._errors():
            version = self._version_of(bundle_name)
            if version is not None:
                model = self.settings.model
                self.client.set_registered_model_alias(model, CHAMPION, version)
                if str(self.client.get_registered_model(model).aliases.get(CHALLENGER)) == version:
                    self.client.delete_registered_model_alias(model, CHALLENGER)
            return version

    def _run(self, bundle: Bundle, directory: Path, rounds: int) -> str:
        manifest = bundle.manifest
        blocks = {
            name: getattr(self.project, name) for name in ("split", "model", "costs", "policy", "features")
        }
        model_params = {"rounds": rounds, "fingerprint": manifest.fingerprint, "cutoffs": manifest.cutoffs}
        run_id = self._new_run(bundle.name)
        metrics = {f"validation_{name}": value for name, value in manifest.metrics.items()}
        self._log(run_id, flattened(to_plain(blocks | model_params)), metrics)
        self.client.log_artifacts(run_id, str(directory), "bundle")
        self.client.set_terminated(run_id)
        return run_id

    def _register(self, bundle: Bundle, run_id: str) -> str:
        model = self.settings.model
        if not self.client.search_registered_models(f"name = '{model}'"):
            self.client.create_registered_model(model)
        source = f"{self.client.get_run(run_id).info.artifact_uri}/bundle"
        made = self.client.create_model_version(model, source, run_id, tags={BUNDLE_TAG: bundle.name})
        return str(made.version)

    def _name(self, version: str) -> None:
        """Name the latest version challenger; the very first one is the champion too."""
        model = self.settings.model
        self.client.set_registered_model_alias(model, CHALLENGER, version)
        if CHAMPION not in self.client.get_registered_model(model).aliases:
            self.client.set_registered_model_alias(model, CHAMPION, version)

    def _version_of(self, bundle_name: str) -> str | None:
        versions = self.client.search_model_versions(f"name = '{self.settings.model}'")
        named = [str(version.version) for version in versions if version.tags.get(BUNDLE_TAG) == bundle_name]
        return named[0] if named else None

    def _experiment(self) -> str:
        experiment = self.client.get_experiment_by_name(self.settings.experiment)
        if experiment is not None:
            return str(experiment.experiment_id)
        artifacts = _artifact_folder(self.settings.uri)
        return str(self.client.create_experiment(self.settings.experiment, artifacts))

    def _new_run(self, bundle_name: str) -> str:
        tags = {BUNDLE_TAG: bundle_name, "project": self.project.project}
        return str(self.client.create_run(self.experiment, tags=tags, run_name=bundle_name).info.run_id)

    def _find_run(self, bundle_name: str) -> str | None:
        query = f"tags.{BUNDLE_TAG} = '{bundle_name}'"
        runs = self.client.search_runs([self.experiment], query, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _log(self, run_id: str, params: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric, Param  # noqa: PLC0415 - see __init__

        now = int(time.time() * 1000)
        known = [Metric(name, value, now, 0) for name, value in metrics.items() if math.isfinite(value)]
        texts = [Param(name, text) for name, text in params.items()]
        for start in range(0, max(len(known), len(texts)), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self.client.log_batch(run_id, metrics=known[part], params=texts[part])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn MLflow's errors into ours."""
        try:
            yield
        except ImportError as error:
            raise ConfigError(f"MLflow is not installed ({error}); install the extra 'track'") from None
        except Exception as error:
            # Recognized by name: importing MLflow's class would import MLflow, which may be what failed.
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if "DatabaseError" in kinds:
                problem = str(error).partition("\n")[0]
                raise ConfigError(
                    f"{self.settings.uri}: is no database that MLflow can use: {problem}; move it away, name "
                    "another in `tracking.uri`, or train with --no-tracking"
                ) from None
            if "MlflowException" not in kinds:
                raise
            raise _ours(error, self.settings.uri) from None


def registry_exists(uri: str) -> bool:
    """Return whether there is a registry: a file that exists, or a server that is named.

    >>> registry_exists("sqlite:////nowhere/mlflow.db"), registry_exists("https://mlflow.example")
    (False, True)
    """
    return not uri.startswith(_SQLITE) or Path(uri.removeprefix(_SQLITE)).is_file()


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted names with short texts.

    >>> flattened({"model": {"seed": 7, "windows": ["1d"]}})
    {'model.seed': '7', 'model.windows': '["1d"]'}
    """
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = msgspec.json.encode(value).decode()[:_MAX_LENGTH]
    return flat


def _ours(error: Exception, uri: str) -> ConfigError | RetryError:
    text = f"MLflow at {uri}: {str(error).partition(chr(10))[0]}"
    if getattr(error, "error_code", "") in _PASSING:
        return RetryError(f"{text}; try again")
    return ConfigError(f"{text}; look at `tracking` in the project file")


def _silence_mlflow() -> None:
    """Switch off MLflow's reports to its makers and its chatter about databases."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _make_folder(uri: str) -> None:
    if uri.startswith(_SQLITE):
        Path(uri.removeprefix(_SQLITE)).absolute().parent.mkdir(parents=True, exist_ok=True)


def _artifact_folder(uri: str) -> str | None:
    """Return the folder beside the SQLite file; a server keeps its own."""
    if not uri.startswith(_SQLITE):
        return None
    return (Path(uri.removeprefix(_SQLITE)).absolute().parent / "mlartifacts").as_uri()
