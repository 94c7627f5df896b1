"""The log of a server: times, levels, and a line for what happened."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from fraud_detection.adapters.live_folder import LiveFolder
from fraud_detection.run import live
from fraud_detection.score.archive import read_bundle
from tests.conftest import SmallWorld
from tests.functional.test_releases import ANN, EVERYTHING, with_rules
from tests.functional.test_request_door import Served, served
from tests.functional.test_workers import until


def taken(one: Served, number: int) -> bool:
    return bool(one.ask("GET", "/readyz")[1]["release"] == number)


def test_start_end_and_each_release_are_lines_of_json(small_world: SmallWorld, tmp_path: Path) -> None:
    folder = LiveFolder(tmp_path / "live")
    live.start(folder, read_bundle(small_world.bundle), small_world.project, ANN)
    words = [f"--live={folder.path}", "--log-format=json"]
    with served(small_world, tmp_path / "state.db", *words) as one:
        live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
        until(lambda: taken(one, 2))
        live.roll_back(folder, ANN)
        until(lambda: taken(one, 3))
        said = one.stop(signal.SIGTERM)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    events = [(line["event"], line.get("release")) for line in lines if "event" in line]
    assert events == [
        ("release_taken", 1),
        ("started", None),
        ("release_taken", 2),
        ("release_taken", 3),
        ("stopped", None),
    ]
    assert {line["level"] for line in lines} == {"info"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z", line["time"]) for line in lines)
