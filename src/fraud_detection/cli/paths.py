"""Look at the files that a command names before it starts: none may be read and written at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fraud_detection.adapters.host.private_files import make_folder
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target

READ = ("data", "labels", "file", "features", "history", "config", "source", "settings", "verify_against")
WRITTEN = ("out", "json", "ground_truth", "to", "anchor", "chart")
READ_OR_WRITTEN = ("bundle", "state")
"""Read by some commands and written by others; no other file may be in their place."""

STANDARD = "-"


def check_paths(options: Mapping[str, object]) -> None:
    """Raise ConfigError when a file would be overwritten that is read too, or cannot be written at all.

    Long work should not fail at its end because of its last line.
    """
    read, changed, written = (list(_named(options, names)) for names in (READ, READ_OR_WRITTEN, WRITTEN))
    for index, (flag, path) in enumerate(written):
        for other_flag, other_path in (*read, *changed, *written[:index]):
            if _same(path, other_path):
                raise ConfigError(f"{flag} {path}: is the same file as {other_flag}; name another")
        _check_writable(flag, path)


def check_states(states: Iterable[Path]) -> None:
    """Raise ConfigError when one of the state files of running services is not there."""
    for path in states:
        if not path.is_file():
            raise ConfigError(f"{path}: no such state file; name that of a service with --state")


def _named(options: Mapping[str, object], names: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for name in names:
        option = options.get(name)
        for value in option if isinstance(option, tuple) else [option]:
            if value is not None and str(value) != STANDARD and "://" not in str(value):
                yield ("FILE" if name == "file" else f"--{name.replace('_', '-')}"), Path(str(value))


def _same(path: Path, other_path: Path) -> bool:
    if path.exists() and other_path.exists():
        return path.samefile(other_path)
    return path.resolve() == other_path.resolve()


def _check_writable(flag: str, path: Path) -> None:
    check_target(path, f"{flag} {path}")
    folder = path if path.is_dir() else path.parent
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be written: {error.strerror}") from None
