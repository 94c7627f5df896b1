"""The log of what serves: each line has its time, level and event, and what happened has a line."""

from __future__ import annotations

import ast
import json
import logging
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import pytest

import fraud_detection
from fraud_detection.cli.main import main
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.http.api_keys import add_key
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served, replace, served
from tests.functional.releases.test_releases import ANN, EVERYTHING, with_rules
from tests.functional.workers.test_workers import TWO, metrics, until
from tests.states import made

LEVELS = {"info", "warning", "error", "critical"}
JSON = "--log-format=json"
RUNBOOK = Path("docs/runbook.md")


def parsed(text: str) -> list[dict[str, Any]]:
    """Return all lines; each is an object with the fields that every one has."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z", line["time"])
        assert line["level"] in LEVELS
        assert line["event"] in documented()
        assert line["message"]
    return lines


def documented() -> set[str]:
    """Return the events that the runbook lists."""
    table = RUNBOOK.read_text().partition("| `event` | what happened, and")[2]
    firsts = [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]
    return {"other", *re.findall(r"`(\w+)`", " ".join(firsts))}


def events_of(lines: list[dict[str, Any]], worker: int | None = None) -> list[tuple[str, int | None]]:
    return [(line["event"], line.get("release")) for line in lines if line.get("worker") == worker]


@pytest.fixture
def registry(small_simulation: SmallSimulation, tmp_path: Path) -> ReleaseRegistry:
    made_here = ReleaseRegistry(tmp_path / "registry")
    lifecycle.start(made_here, read_bundle(small_simulation.bundle), small_simulation.project, ANN)
    return made_here


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_start_end_each_release_and_each_change_of_the_keys_are_lines(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, tmp_path: Path, workers: int
) -> None:
    keys = tmp_path / "keys.yaml"
    headers = {"Authorization": f"Bearer {add_key(keys, 'kept', ('decide', 'operate'), None)}"}

    def taken(one: Served) -> set[float]:
        samples = metrics(one, **headers)
        return {value for name, value in samples.items() if name.partition("{")[0] == "fraud_release"}

    arguments = [f"--registry={registry.path}", f"--keys={keys}", JSON, *([TWO] if workers == 2 else [])]
    with served(small_simulation, tmp_path / "state.db", *arguments) as server:
        lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
        until(lambda: taken(server) == {2.0})
        lifecycle.roll_back(registry, ANN)
        until(lambda: taken(server) == {3.0})
        replace(keys, b"kept: [1")
        until(lambda: server.request("GET", "/readyz")[1].get("look_at") == ["keys"])
        lines = parsed(server.stop(signal.SIGTERM))
    releases = [("release_taken", 1), ("started", None), ("release_taken", 2), ("release_taken", 3)]
    for worker in range(workers):
        found = events_of(lines, worker if workers > 1 else None)
        assert [event for event in found if not event[0].startswith("keys_")] == [
            *releases,
            ("stopped", None),
        ]
    if workers > 1:
        assert events_of(lines) == [("started", None), ("stopped", None)]
    assert "keys_refused" in {line["event"] for line in lines}


@pytest.fixture
def own_log() -> Iterator[None]:
    """Put back what a command that serves in this process changes of its log."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers, root.level
    yield
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)


@pytest.mark.usefixtures("own_log")
def test_a_run_a_shadow_and_a_scored_file_write_the_same_lines(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, state = tmp_path / "events.jsonl", made(tmp_path / "state.db")
    events = small_simulation.events(50, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    source.write_bytes(b"\n".join(events) + b'\n{"cut')
    lifecycle.set_shadows(registry, [(read_bundle(small_simulation.other), small_simulation.project)], ANN)
    common = [f"--registry={registry.path}", f"--state={state}", JSON]
    capsys.readouterr()
    assert main(["shadow", *common, "--exit-when-idle"]) == 0
    assert main(["run", *common, f"--source={source}", f"--out={tmp_path / 'out.jsonl'}"]) == 0
    run = parsed(capsys.readouterr().err)
    assert events_of(run) == [
        ("started", None),
        ("release_taken", 2),
        ("shadow_started", None),
        ("stopped", None),
        ("release_taken", 2),
        ("started", None),
        ("source_unfinished", None),
        ("stopped", None),
    ]
    assert (run[-1]["decided"], run[-1]["quarantined"]) == (50, 0)
    assert (
        main(["score", str(source), f"--bundle={small_simulation.bundle}", f"--out={tmp_path / 'o'}", JSON])
        == 0
    )
    scored = parsed(capsys.readouterr().err)
    assert [line["event"] for line in scored] == ["no_history", "started", "stopped", "quarantined"]
    assert (scored[-2]["decided"], scored[-2]["quarantined"]) == (50, 1)
    state.unlink()
    for command in (["run", *common, f"--source={source}"], ["shadow", *common], ["serve", *common, TWO]):
        assert main(command) == 2
        assert [line["event"] for line in parsed(capsys.readouterr().err)] == ["refused"]


@pytest.mark.usefixtures("own_log")
def test_a_run_over_a_file_that_was_read_to_its_end_says_so_until_events_are_appended(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "events.jsonl"
    lines = [event + b"\n" for event in small_simulation.events(20, labels="none", malformed_share=0)]
    source.write_bytes(b"".join(lines[:-1]))
    command = ["run", f"--source={source}", f"--bundle={small_simulation.bundle}"]
    command += [f"--state={made(tmp_path / 'state.db')}", JSON]

    def logged() -> list[dict[str, Any]]:
        assert main(command) == 0
        return parsed(capsys.readouterr().err)

    assert [line["event"] for line in logged()] == ["started", "stopped"]
    _, warning, stopped = logged()
    assert (warning["event"], warning["offset"]) == ("source_read_before", source.stat().st_size)
    assert f"events.jsonl was read to its end before (offset {warning['offset']:,})" in warning["message"]
    assert stopped["decided"] == 0
    source.write_bytes(b"".join(lines))
    assert [line["event"] for line in logged()] == ["started", "stopped"]


def test_every_line_of_the_package_names_an_event_of_the_runbook() -> None:
    names: set[str] = set()
    for path in Path(fraud_detection.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Dict) and [getattr(key, "value", "") for key in call.keys[:1]] == [
                "event"
            ]:
                names |= {str(one.value) for one in ast.walk(call.values[0]) if isinstance(one, ast.Constant)}
            if is_logged(call):
                assert "extra" in [keyword.arg for keyword in call.keywords], f"{path}:{call.lineno}"
    assert names | {"other"} == documented()


def is_logged(node: ast.AST) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"info", "warning", "error", "critical", "exception"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"LOG", "LOGGER"}
    )
