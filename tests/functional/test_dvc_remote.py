"""Data goes to a DVC remote in S3 and comes back the same, through a local service that speaks for S3."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINISTACK = ROOT / ".venv-aws/bin/ministack"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not MINISTACK.exists():
        pytest.skip("no local AWS services here: make .venv-aws/.locked")
    state, port = tmp_path_factory.mktemp("ministack"), free_port()
    settings = {
        "PATH": os.environ["PATH"],
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "STATE_DIR": str(state),
        "TMPDIR": str(state),
    }
    with (state / "log").open("wb") as log:
        process = subprocess.Popen([MINISTACK], env=settings, cwd=state, stdout=log, stderr=log)  # noqa: S603
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - a local address
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the local services did not start")


class Project:
    """A folder under git and DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            **CREDENTIALS,
        }
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")

    def run(self, *command: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout


def test_what_was_pushed_comes_back_after_the_cache_is_lost(s3: str, tmp_path: Path) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{s3}/fraud-data", method="PUT"), timeout=10).close()  # noqa: S310
    project = Project(tmp_path)
    project.run("dvc", "remote", "add", "--local", "--default", "storage", "s3://fraud-data/dvc")
    project.run("dvc", "remote", "modify", "--local", "storage", "endpointurl", s3)
    project.run("dvc", "remote", "modify", "--local", "storage", "sse", "AES256")
    data = tmp_path / "history.bin"
    content = os.urandom(1 << 20)
    data.write_bytes(content)
    project.run("dvc", "add", "--quiet", data.name)

    # As the training workflow does on its first run: nothing is there yet, and that is no error.
    data.unlink()
    shutil.rmtree(tmp_path / ".dvc/cache")
    project.run("dvc", "pull", "--allow-missing")
    assert not data.exists()

    data.write_bytes(content)
    project.run("dvc", "commit", "--force", "--quiet")
    assert "new:" in project.run("dvc", "status", "--cloud")
    project.run("dvc", "push")
    assert "in sync" in project.run("dvc", "status", "--cloud")
    data.unlink()
    shutil.rmtree(tmp_path / ".dvc/cache")
    project.run("dvc", "pull")
    assert data.read_bytes() == content
    assert "fraud-data" not in (tmp_path / ".dvc/config").read_text()
