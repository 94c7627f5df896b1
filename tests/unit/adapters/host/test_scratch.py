"""The folder of a run that was killed is removed by the next run, and that of a run at work is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fraud_detection.adapters.host.scratch import LOCK, PREFIX, remove_left, scratch_folder

OTHER = """
import sys, time
from pathlib import Path
from fraud_detection.adapters.host.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "spilled").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_when_the_next_begins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603 - our own command
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        with scratch_folder(tmp_path) as own:
            assert {left, own} == set(tmp_path.iterdir())
        remove_left(tmp_path)
        assert (left / "spilled").exists()
        other.kill()
    with scratch_folder(tmp_path) as own:
        assert [own] == list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_what_was_left_is_removed_without_a_run_and_nothing_else(tmp_path: Path) -> None:
    for name in (f"{PREFIX}killed", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).touch()
    remove_left(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    remove_left(tmp_path / "absent")
