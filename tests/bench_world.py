"""The small world of the benchmarks, made once for the sources it depends on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.suite.world import World, prepared
from tests.made_once import made_once


def quick_world(folder: Path) -> World:
    """Return the world of `--quick` in an empty folder."""
    return _prepared(made_once("bench_world", _prepared, folder))


def _prepared(folder: Path) -> World:
    return prepared(folder, lambda *_: None, quick=True)
