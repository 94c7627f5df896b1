from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.made_once import made_once


def test_of_many_callers_at_once_one_makes_it_and_each_has_a_copy(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("made")

    with ThreadPoolExecutor(8) as threads:
        folders = list(
            threads.map(lambda n: made_once("it", make, tmp_path / str(n), tmp_path / "kept"), range(8))
        )
    assert [(folder / "file").read_text() for folder in folders] == ["made"] * 8
    assert len(made) == 1
    (folders[0] / "file").write_text("changed")
    assert (made_once("it", make, tmp_path / "last", tmp_path / "kept") / "file").read_text() == "made"


def test_what_was_made_half_way_or_of_other_sources_is_not_used(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "file").write_text("half")
        message = "the disk is full"
        raise OSError(message)

    cache = tmp_path / "cache"
    old = cache / f"it-{'0' * 16}"
    old.mkdir(parents=True)
    with pytest.raises(OSError, match="full"):
        made_once("it", fails, tmp_path / "one", cache)
    made = made_once("it", lambda folder: (folder / "file").touch(), tmp_path / "two", cache)
    assert (made / "file").read_bytes() == b""
    assert not old.exists()
