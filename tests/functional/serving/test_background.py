"""Background work at real servers: a part that fails is reported until it is healthy, and comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.files import event_sources
from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.adapters.sqlite.checkpointer import CHECKPOINTER
from fraud_detection.cli.main import main
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import LOG, Release, ReleaseRegistry
from fraud_detection.serving.embedded import release_follower
from fraud_detection.serving.embedded.release_follower import RELEASES, ReleaseFollower
from fraud_detection.serving.http import stream_input
from fraud_detection.serving.http.api_keys import Access
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.key_follower import KEYS, KeysFollower
from fraud_detection.serving.http.routes import Api
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served, replace, served
from tests.functional.releases.test_releases import ANN, EVERYTHING, with_rules
from tests.functional.workers.test_workers import TWO, metrics, until
from tests.states import open_released_service, open_service

BAD = b'{"number":2,"reason":"\xff"}\n'


@pytest.fixture
def registry(small_simulation: SmallSimulation, tmp_path: Path) -> ReleaseRegistry:
    made = ReleaseRegistry(tmp_path / "registry")
    lifecycle.start(made, read_bundle(small_simulation.bundle), small_simulation.project, ANN)
    return made


def release(simulation: SmallSimulation, registry: ReleaseRegistry) -> Release:
    return lifecycle.publish(registry, lambda _: with_rules(simulation, EVERYTHING), ANN)


def ready(server: Served, workers: int) -> bool:
    """Return whether each of the workers says ready; a connection is of one of them, so several are made."""
    for _ in range(1 if workers == 1 else 12):
        server._connection.close()
        if server.request("GET", "/readyz")[1]["status"] != "ready":
            return False
    return True


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_bad_line_in_the_release_log_is_reported_with_its_number_and_the_log_is_readable_when_it_is_mended(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, tmp_path: Path, workers: int
) -> None:
    events = small_simulation.events(20, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    log, more = registry.path / LOG, [TWO] if workers == 2 else []
    whole = log.read_bytes()
    with served(small_simulation, tmp_path / "state.db", f"--registry={registry.path}", *more) as server:
        with log.open("ab") as file:
            file.write(BAD)
        until(lambda: not ready(server, workers))
        status, body, _ = server.request("GET", "/readyz")
        # The line is read by all servers that share the folder: none of them may leave the balancer for it.
        assert (status, body["status"], body["release"]) == (200, "degraded", 1)
        assert f"{log}: line 2 is no release" in body["background"][RELEASES]
        # Payments are answered all the same, by the release of before.
        assert server.decide(events[0])[1]["action"] != "decline"
        samples = metrics(server)
        down = [
            name for name, value in samples.items() if name.startswith("fraud_background_up") and not value
        ]
        assert down, samples
        assert all(f'task="{RELEASES}"' in name for name in down)
        replace(log, whole)
        until(lambda: ready(server, workers))
        assert release(small_simulation, registry).number == 2
        until(lambda: metrics_release(server) == {2.0})
        assert server.decide(events[1])[1]["action"] == "decline"
        output = server.stop()
    assert f"{log}: line 2 is no release" in output
    assert "'releases' is healthy again" in output


PARTS = {
    RELEASES: 200,
    KEYS: 200,
    stream_input.STREAM: 200,
    CHECKPOINTER: 200,
    "replication": 503,
    "commit-news": 503,
    "link-1": 503,
}


def test_a_server_is_ready_while_what_is_down_changes_no_decision(
    registry: ReleaseRegistry, tmp_path: Path
) -> None:
    _, service, follower = open_released_service(registry, tmp_path / "state.db")
    requests, access = RequestBatcher(service), Access(None)
    background = service.state_file.background
    (tmp_path / "events.jsonl").write_bytes(b"")
    stream_input.StreamInput(requests, str(tmp_path / "events.jsonl"))
    KeysFollower(tmp_path / "keys.yaml", access, background)
    api = Api(requests, access, b"")

    def readiness() -> tuple[int, str]:
        results: list[Response] = []
        api.take(Request("GET", "/readyz", b"", b"", b""), results.append)
        return results[0].status, json.loads(results[0].body)["status"]

    assert readiness() == (200, "ready")
    for name, status in PARTS.items():
        background.register(name).failed(OSError("any"))
        assert readiness() == (status, "degraded" if status == 200 else "background work failed"), name
        background.register(name).recovered()
        assert readiness() == (200, "ready")
    background.register(RELEASES).failed(OSError("any"))
    background.register("link-1").failed(OSError("any"))
    assert readiness()[0] == 503
    requests.close()
    follower.close()


def metrics_release(server: Served) -> set[float]:
    return {value for name, value in metrics(server).items() if name.partition("{")[0] == "fraud_release"}


def test_release_show_names_the_bad_line_and_a_damaged_report_hinders_nobody(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    log = registry.path / LOG
    whole = log.read_bytes()
    (registry.path / "services").mkdir(exist_ok=True)
    (registry.path / "services" / "7.json").write_bytes(b'{"service":"\xff"}')
    show = ["release", "show", f"--registry={registry.path}"]
    assert main(show) == 0
    for bad in (BAD, b"[" * 100_000 + b"\n", b"\x00\n", b"null\n"):
        log.write_bytes(whole + bad)
        assert main(show) == 2
        output = capsys.readouterr().err
        assert f"{log}: line 2 is no release" in output
        assert "Traceback" not in output
    log.write_bytes(whole)
    assert release(small_simulation, registry).number == 2


FAULTS = [ValueError("any"), MemoryError(), KeyError("k"), AssertionError(), ZeroDivisionError()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: type(one).__name__)
def test_a_follower_of_releases_that_meets_anything_reports_it_and_comes_back(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    tmp_path: Path,
    fault: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release_follower, "RETRY_DELAY_S", 0.0)
    _, service, follower = open_released_service(registry, tmp_path / "state.db")

    class Failing(ReleaseRegistry):
        def releases(self) -> list[Release]:
            raise fault

    follower.registry = Failing(registry.path)
    release(small_simulation, registry)
    look_until(follower, lambda: bool(service.state_file.background.problems()))
    assert follower.release.number == 1
    follower.registry = registry
    look_until(follower, lambda: follower.release.number == 2)
    assert service.state_file.background.problems() == {}
    assert service.state_file.background.tasks[RELEASES].failures >= 1
    service.close()
    follower.close()


def look_until(follower: ReleaseFollower, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        follower.look()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_that_fails_while_it_is_read_goes_on_from_the_offset_reached(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = small_simulation.events(100, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"\n".join(events) + b"\n")
    _, service = open_service(small_simulation.bundle, tmp_path / "state.db")
    requests, opened = RequestBatcher(service), list[int]()

    class Failing(event_sources.JsonLinesFile):
        def batches(self, offset: int, most: int) -> Iterator[event_sources.Batch]:
            opened.append(offset)
            for number, batch in enumerate(super().batches(offset, most)):
                if number == 2 and len(opened) < 3:
                    raise ZeroDivisionError
                yield batch

    def failing(path: str, **options: Any) -> Failing:  # noqa: ANN401 - as `open_source` has them
        return Failing(Path(path), **options)

    monkeypatch.setattr(stream_input, "open_source", failing)
    reader = stream_input.StreamInput(requests, str(source))

    async def main() -> None:
        reader.begin(asyncio.get_running_loop())
        await asyncio.to_thread(until, lambda: service.tally.decided == len(events))
        await reader.stop()

    asyncio.run(main())
    task = service.state_file.background.tasks[stream_input.STREAM]
    assert (task.failures, task.healthy, len(opened)) == (2, True, 3)
    assert opened[0] == 0 < opened[1] < opened[2]
    assert (service.tally.decided, service.tally.duplicates) == (len(events), 0)
    requests.close()
