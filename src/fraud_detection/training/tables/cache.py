"""Have a feature table ready: the stored one, where it still fits, else a new one of history."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.tables import column_names
from fraud_detection.core.decoding import to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.project_schema import Project, Schema
from fraud_detection.training.tables.dataset import FeatureTableInfo, read_info
from fraud_detection.training.tables.historical_rows import DECLARED

READ_BYTES = 1 << 20


def source_of(schema: Schema, files: Sequence[Path]) -> str:
    """Return a hash over the files that a table is made of, and over how they are read."""
    digest = hashlib.sha256(msgspec.json.encode(to_plain(schema)))
    for file in files:
        with file.open("rb") as opened:
            while part := opened.read(READ_BYTES):
                digest.update(part)
    return digest.hexdigest()[:16]


def why_not(project: Project, table: Path, files: Sequence[Path]) -> str:
    """Return why a table cannot be used for these files, as text; empty where it can.

    Raises ConfigError when there is a file that is no feature table: it is not ours to replace.
    """
    if not table.exists():
        return "there is none yet"
    info = read_info(table)
    if fingerprint(project, info.category_encoding) != info.fingerprint:
        return "it was made of other features"
    if not any(name.startswith(DECLARED) for name in column_names(table)):
        return "it does not store what payments declared"
    return _other_history(project, info, files)


def _other_history(project: Project, info: FeatureTableInfo, files: Sequence[Path]) -> str:
    if info.as_of is not None:
        return "it was made as of an earlier moment"
    if info.known_until is None:
        return "it does not say which labels state when they became known"
    return "" if info.source == source_of(project.schema, files) else "it was made of other history"


def ready_table(
    project: Project,
    table: Path,
    files: Sequence[Path],
    make: Callable[[Path], object],
    log: Callable[[str], None],
) -> Path:
    """Return `table`, made anew by `make` where it does not fit the files, after saying so."""
    problem = why_not(project, table, files)
    if problem:
        log(f"making {table} of {', '.join(map(str, files))}: {problem}")
        make(table)
    return table


def check_same_features(project: Project, table: Path) -> None:
    """Raise ConfigError when a table was made of other features than the project's."""
    info = read_info(table)
    own = fingerprint(project, info.category_encoding)
    if own != info.fingerprint:
        raise ConfigError(
            f"{table}: was made of other features than those of the project file (fingerprint "
            f"{info.fingerprint}, expected {own}); make it again with `fraud features`"
        )
