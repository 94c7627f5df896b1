"""A file of decisions beside the state file: nothing is missing in it and nothing stands in it twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.output_file import OutputFile
from fraud_detection.engine.decision_json import encode_logged, outcome_line
from tests.conftest import SmallSimulation
from tests.states import open_service


@pytest.mark.parametrize("lost", ["nothing", "lines", "half a line", "the file"])
def test_what_was_committed_but_not_written_is_written_at_the_next_start(
    small_simulation: SmallSimulation, tmp_path: Path, lost: str
) -> None:
    events = small_simulation.events(400, duplicate_share=0, malformed_share=0.05)
    out = tmp_path / "decisions.jsonl"
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    file = OutputFile(service.state_file, str(out), encode_logged)
    expected: list[bytes] = []
    lines: list[bytes] = []
    for start in range(0, 300, 100):
        lines = [
            outcome_line(event) for event in service.take(Batch(events[start : start + 100], None, 0), "test")
        ]
        expected += lines
        if lost == "nothing" or start < 200:
            file.write(lines)
    file.close()
    service.state_file.close()
    if lost == "half a line":
        with out.open("ab") as half:
            half.write(b"".join(lines)[:1000])
    if lost == "the file":
        out.unlink()
    again = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    file = OutputFile(again.state_file, str(out), encode_logged)
    found = out.read_bytes().splitlines(keepends=True)
    assert found == (expected[200:] if lost == "the file" else expected)
    more = [outcome_line(event) for event in again.take(Batch(events[300:], None, 0), "test")]
    file.write(more)
    file.close()
    assert out.read_bytes().endswith(b"".join(more))
    again.close()


def test_the_offsets_of_several_sources_are_stored(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    events = small_simulation.events(30, duplicate_share=0, malformed_share=0)
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    for number, source in enumerate(["a", "b", "a", "c"]):
        service.take(Batch(events[number : number + 1], None, 10 + number, f"m{number}"), source)
    for state_file in (service.state_file, None):
        opened = state_file or open_service(small_simulation.bundle, tmp_path / "s.db")[1].state_file
        found = {one.name: (one.length, one.fingerprint, one.offset) for one in opened.sources("")}
        assert found == {"a": (12, "m2", 12), "b": (11, "m1", 11), "c": (13, "m3", 13)}
        opened.close()
