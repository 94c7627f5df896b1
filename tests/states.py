"""State files for tests: made where there is none yet, as `fraud state create` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.cli.main import main
from fraud_detection.engine.engine import Engine
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.embedded import stream_runner as stream
from fraud_detection.serving.embedded.release_follower import ReleaseFollower
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.workers.ownership import worker_path
from tests.conftest import SmallSimulation


def made(state: Path, workers: int = 1) -> Path:
    """Return a state file, a new and empty one where there was none."""
    if not (state if workers == 1 else worker_path(state, 0, workers)).exists():
        new_state(state, workers)
    return state


def created(state: Path, *arguments: str) -> None:
    """Make a state file, where there is none, by the command; what is refused the server refuses too."""
    workers = int(
        dict(argument.split("=", 1) for argument in arguments if "=" in argument).get("--workers", "1")
    )
    if not (state if workers == 1 else worker_path(state, 0, workers)).exists():
        main(["state", "create", str(state), "--plain", *arguments])


def opened(state: Path, **options: Any) -> StateFile:  # noqa: ANN401 - those of the class
    return StateFile(made(state), **options)


def open_service(bundle: Path, state: Path, **options: Any) -> tuple[Engine, EmbeddedService]:  # noqa: ANN401
    return stream.open_service(bundle, made(state), **options)


def open_released_service(
    folder: Any,  # noqa: ANN401
    state: Path,
    **options: Any,  # noqa: ANN401
) -> tuple[Engine, EmbeddedService, ReleaseFollower]:
    return stream.open_released_service(folder, made(state), **options)


def for_serving(state: Path, more: Sequence[str], bundle: Path | None = None) -> list[str]:
    """Make what a server will open, and return its words without those that are about the making."""
    making = [one for one in more if one.startswith(("--history=", "--workers=", "--registry=", "--config="))]
    if bundle is not None and not any(one.startswith("--registry=") for one in more):
        making.append(f"--bundle={bundle}")
    created(state, *making)
    return [one for one in more if not one.startswith("--history=")]


def short_history(simulation: SmallSimulation, path: Path, payments: int = 2_000) -> Path:
    """Write the last payments of the history alone: enough where it matters only that there is a history."""
    table = pq.read_table(simulation.history)
    pq.write_table(table.slice(table.num_rows - payments), path)
    return path


@contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    """Let this process find so much in a pipe on its standard input: what fits into one, and then its end."""
    before, (read, write) = os.dup(0), os.pipe()
    os.write(write, content)
    os.close(write)
    os.dup2(read, 0)
    os.close(read)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
