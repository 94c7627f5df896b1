"""Data goes to a DVC remote in S3 and comes back the same, through a local service that speaks for S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_detection.adapters.aws.clients import clients_of
from tests.root import ROOT
from tools.local_aws.services import REGION, LocalServices

TOOLS = ROOT / ".venv-aws"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not (TOOLS / ".locked").exists():
        pytest.skip("no local AWS services here: make .venv-aws/.locked")
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as services:
        where = {"LocationConstraint": REGION}
        s3 = clients_of(services.environment())("s3")
        s3.create_bucket(Bucket="fraud-data", CreateBucketConfiguration=where)
        yield services.environment()["AWS_ENDPOINT_URL"]


IN_ONE_PROCESS = """
import sys
from dvc.cli import main
for line in sys.argv[1:]:
    if code := main(line.split()):
        sys.exit(code)
"""


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
        self.dvc("init --quiet")
        shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")

    def run(self, *command: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def dvc(self, *commands: str) -> str:
        """Run commands of DVC one after another, up to the first that fails; return what they said."""
        return self.run(sys.executable, "-c", IN_ONE_PROCESS, *commands)


def test_what_was_pushed_comes_back_after_the_cache_is_lost(s3: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    data = tmp_path / "history.bin"
    content = os.urandom(1 << 20)
    data.write_bytes(content)
    project.dvc(
        "remote add --local --default storage s3://fraud-data/dvc",
        f"remote modify --local storage endpointurl {s3}",
        "remote modify --local storage sse AES256",
        f"add --quiet {data.name}",
    )

    # As the training workflow does on its first run: nothing is there yet, and that is no error.
    data.unlink()
    shutil.rmtree(tmp_path / ".dvc/cache")
    project.dvc("pull --allow-missing")
    assert not data.exists()

    data.write_bytes(content)
    assert "new:" in project.dvc("commit --force --quiet", "status --cloud")
    assert "in sync" in project.dvc("push", "status --cloud")
    data.unlink()
    shutil.rmtree(tmp_path / ".dvc/cache")
    project.dvc("pull")
    assert data.read_bytes() == content
    assert "fraud-data" not in (tmp_path / ".dvc/config").read_text()
