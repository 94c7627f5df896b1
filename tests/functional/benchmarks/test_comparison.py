"""The comparison servers as processes: those that are installed, and one of our own that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import pytest

from benchmarks.load_generator.target import Target
from benchmarks.suite.comparison.kind import Kind, Model, RunContext
from benchmarks.suite.comparison.roster import KINDS, comparison_servers, work_of
from benchmarks.suite.comparison.server_process import ComparisonServer, Work
from benchmarks.suite.comparison.sweeper import VARIABLE, processes_of, sweep
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from tests.conftest import SmallSimulation
from tests.root import ROOT

ENVIRONMENTS = ROOT / ".venv-comparison"
TIMEOUT_S = 20.0

# Answers its rows with their first value, and leaves a child in a session of its own.
SERVER = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        row = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(row[0]).encode())

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("it was here", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""

# Starts a comparison server as a benchmark does, prints its run id, and waits to be killed.
OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.functional.benchmarks.test_comparison import ours
server = ours(Path(sys.argv[2]), [0.25])
server.start()
print(server.run_id, flush=True)
time.sleep(600)
"""


class Ours:
    """A server of a few lines, in this environment."""

    name = "ours"
    environment = "ours"
    title = "ours"
    packages: tuple[str, ...] = ("pip",)
    ready = "/"
    path = "/score"

    def __init__(self, code: str, before: str) -> None:
        self.code, self.before = code, before

    def prepare(self, context: RunContext, model: Model) -> list[list[str]]:
        assert model.columns == ("score",)
        serve = [sys.executable, "-c", self.code, str(context.ports[0])]
        return [[sys.executable, "-c", self.before], serve]

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        assert len(columns) == len(row)
        return json.dumps(row).encode()

    def score(self, response: bytes) -> float:
        return msgspec.json.decode(response, type=float)


def ours(
    folder: Path,
    scores: list[float],
    code: str = SERVER,
    before: str = "",
    timeout_s: float = TIMEOUT_S,
) -> ComparisonServer:
    """Return a comparison server that finds 0.25, and is to find `scores`."""
    environment = folder / "environment"
    environment.mkdir(exist_ok=True)
    (environment / ".locked").touch()
    work = Work(Model(b"", ("score",)), [[0.25]] * len(scores), scores)
    return ComparisonServer(Ours(code, before), work, environment, folder / "server", timeout_s)


def request(target: Target, body: bytes) -> bytes:
    connection = HTTPConnection(target.host, target.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", target.path, body, {"content-type": target.content_type})
        response = connection.getresponse()
        assert response.status == 200
        return response.read()
    finally:
        connection.close()


def becomes(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + TIMEOUT_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_comparison_server_finds_our_scores_and_leaves_nothing_behind(
    kind: Kind, small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    environment = ENVIRONMENTS / kind.environment
    if not (environment / ".locked").exists():
        pytest.skip(f"{environment} is not there; `make comparison-servers` makes it")
    work = work_of(read_bundle(small_simulation.bundle))
    server = ComparisonServer(kind, work, environment, tmp_path / "server")
    assert set(server.versions()) == set(kind.packages)
    try:
        target = server.start()
        assert len(processes_of(server.run_id)) > 1
        scores = [kind.score(request(target, body)) for body in target.bodies]
        assert scores == pytest.approx(work.scores, abs=1e-5)
        assert max(work.scores) - min(work.scores) > 0.01
    finally:
        server.stop()
    assert processes_of(server.run_id) == set()


def test_a_comparison_server_without_its_environment_is_reported_with_what_to_do(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"nowhere/fastapi: .* not there; run `make comparison-servers`"):
        comparison_servers(read_bundle(small_simulation.bundle), tmp_path, environments=tmp_path / "nowhere")


def test_a_stop_ends_children_that_left_the_group_too(tmp_path: Path) -> None:
    server = ours(tmp_path, [0.25])
    target = server.start()
    sessions = {os.getsid(process) for process in processes_of(server.run_id)}
    assert len(sessions) == 2
    assert request(target, target.bodies[0]) == b"0.25"
    server.stop()
    server.stop()
    assert processes_of(server.run_id) == set()


def test_a_comparison_server_that_is_started_again_is_one_server_not_two(tmp_path: Path) -> None:
    server = ours(tmp_path, [0.25])
    server.start()
    first = processes_of(server.run_id)
    target = server.start()
    assert request(target, target.bodies[0]) == b"0.25"
    assert not first & processes_of(server.run_id)
    server.stop()
    assert processes_of(server.run_id) == set()


def test_another_score_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    server = ours(tmp_path, [0.25, 0.25003])
    with pytest.raises(ConfigError, match=r"row 1 0\.25, here it is 0\.25003: not the same model; nothing"):
        server.start()
    assert processes_of(server.run_id) == set()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('no model here'); raise SystemExit(3)", "it ended before it answered"),
        ("print('no model here', flush=True); import time; time.sleep(600)", "did not answer at / within"),
        (SERVER.replace("row[0]", "'no model here'"), "cannot be read"),
        (SERVER.replace("(200)", "(200 if self.command == 'GET' else 500)"), "with 500"),
    ],
    ids=["ends", "is silent", "answers nonsense", "fails"],
)
def test_a_comparison_server_that_fails_is_reported_with_its_last_output_and_ended(
    tmp_path: Path, code: str, message: str
) -> None:
    server = ours(tmp_path, [0.25], code, timeout_s=3.0)
    with pytest.raises(ConfigError, match=message) as refused:
        server.start()
    assert str(server.log) in str(refused.value)
    assert server.tail().splitlines()[0] in str(refused.value)
    assert server.tail()
    assert processes_of(server.run_id) == set()


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("raise SystemExit('no such format')", r"ended with 1; .*\n.*no such format"),
        ("print('no end', flush=True); import time; time.sleep(600)", r"did not end within 2 s; .*\nno end"),
    ],
    ids=["fails", "never ends"],
)
def test_a_model_that_cannot_be_prepared_is_reported_and_nothing_is_started(
    tmp_path: Path, before: str, message: str
) -> None:
    server = ours(tmp_path, [0.25], before=before, timeout_s=2.0)
    with pytest.raises(ConfigError, match=message):
        server.start()
    assert "it was here" not in server.tail()
    assert processes_of(server.run_id) == set()


def test_a_benchmark_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    owner = subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-c", OWNER, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        run_id = owner.stdout.readline().strip()
        assert len(processes_of(run_id)) > 1
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    assert becomes(lambda: not processes_of(run_id))


def test_a_sweep_ends_what_carries_the_run_id_and_nothing_else() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    mine, others = (subprocess.Popen(command, env={VARIABLE: run_id}) for run_id in ("mine-7", "mine-77"))  # noqa: S603
    try:
        assert becomes(lambda: processes_of("mine-7") == {mine.pid})
        assert sweep("mine-7") == set()
        assert mine.wait(TIMEOUT_S) == -signal.SIGKILL
        assert others.poll() is None
    finally:
        for process in (mine, others):
            process.kill()
            process.wait()
