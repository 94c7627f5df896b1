"""Every command and Python example of the pages runs as it stands, on a copy of a small simulation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_detection.adapters.aws.clients import clients_of
from tests.docs.blocks import BLOCKS, READER_PAGES, Block
from tests.docs.clone import environment, fresh_clone
from tests.docs.samples import write_own_data, write_page_files
from tests.docs.shell import run_block, run_lines
from tests.docs.test_blocks import NOT_RUN, name_of, named
from tests.root import ROOT
from tools.local_aws.services import LocalServices

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TOOLS = ROOT / ".venv-aws"
OWN_DATA = {"docs/your-own-data.md"}
"""Pages that begin with a file of payments and nothing else."""
WITH_STATE = {"docs/explain.md", "docs/labels.md", "docs/retrain.md"}
WITH_STREAM = {"docs/retrain.md"}
SMALL = {"make aws-demo": "--cards=100 --days=75 --seconds=5 --plain"}

ELSEWHERE = {"README.md", "docs/python.md", "docs/testing.md", *READER_PAGES}
"""Pages whose blocks tests of their own run."""
RUN = [block for block in BLOCKS if block.page not in ELSEWHERE and name_of(block) not in NOT_RUN]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_clone(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def simulation(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the clone in which all that the pages speak of has been made."""
    folder = tmp_path_factory.mktemp("simulation") / "fraud"
    shutil.copytree(clone, folder, symlinks=True)
    write_page_files(folder, lambda *lines: run_lines(lines, folder, in_venv(clone)))
    return folder


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, clone: Path, block: Block) -> Path:
    own = block.page in OWN_DATA
    source = clone if own else request.getfixturevalue("simulation")
    copy = tmp_path / "fraud"
    shutil.copytree(source, copy, symlinks=True)
    if own:
        write_own_data(copy)
    shadows = block.text.startswith("fraud shadow")
    if not shadows and block.page not in WITH_STATE:
        for left in (copy / "build").glob("state.db*"):
            left.unlink()
    if not shadows and block.page not in WITH_STREAM and "build/registry/bundles/" not in block.text:
        shutil.rmtree(copy / "build" / "registry", ignore_errors=True)
    return copy


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if not (TOOLS / ".locked").exists():
        pytest.skip("the local services are not here: make .venv-aws/.locked")
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as running:
        kinesis = clients_of(running.environment())("kinesis")
        kinesis.create_stream(StreamName="payments", ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName="payments")
        yield running.environment()


def in_venv(clone: Path, **more: str) -> dict[str, str]:
    variables = environment(clone, **more)
    return variables | {"PATH": f"{clone / '.venv' / 'bin'}:{variables['PATH']}"}


@pytest.mark.parametrize("block", [block for block in RUN if block.language == "bash"], ids=named)
def test_every_command_of_the_pages_does_what_is_written(
    request: pytest.FixtureRequest, block: Block, folder: Path, clone: Path
) -> None:
    more = {"ARGS": SMALL.get(block.text.strip(), ""), "JOBS": "1"}
    if "kinesis://" in block.text:
        more |= request.getfixturevalue("services")
    run_block(block, folder, in_venv(clone, **more), timeout=800)


@pytest.mark.parametrize("block", [block for block in RUN if block.language == "python"], ids=named)
def test_every_python_example_runs(
    request: pytest.FixtureRequest, block: Block, folder: Path, clone: Path
) -> None:
    more = request.getfixturevalue("services") if 'client("kinesis")' in block.text else {}
    given_code = (ROOT / "tests/docs/given.py").read_text(encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own documentation
        [sys.executable, "-c", given_code + block.text],
        cwd=folder,
        env=in_venv(clone, **more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.page}:{block.line}\n{done.stderr}"


def test_every_event_among_the_json_is_one_that_the_simulator_reads(simulation: Path, clone: Path) -> None:
    events = [
        json.loads(block.text)
        for block in RUN
        if block.language == "json" and '"type": "label"' in block.text
    ]
    assert events
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    (simulation / "labels.jsonl").write_text(lines)
    commands = ["fraud state create labels.db --plain"]
    commands += ["fraud run --source labels.jsonl --state labels.db --plain"]
    output = run_lines(commands, simulation, in_venv(clone))
    assert "quarantined 0" in output or "0 quarantined" in output or "quarantine" not in output
