"""Open a project, and refuse before any long work what would only fail at its end."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.core.decide.rules import compile_rules
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.monotonicity import monotonic_constraints
from fraud_detection.core.project_schema import Project
from fraud_detection.project.loader import load_project


def open_project(path: Path) -> Project:
    """Read the project file; raise ConfigError for a wrong value, name or rule."""
    project = load_project(path)
    try:
        names = [feature.name for feature in Extractor(project, {}).definitions]
        compile_rules(project.rules, project.schema, names)
        monotonic_constraints(project.model.monotone, names)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return project
