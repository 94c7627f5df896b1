"""The image without a Docker engine: its Dockerfile is read, and its commands run with its lock alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from fraud_detection.core.score.archive import read_bundle
from tests.conftest import SmallSimulation
from tests.functional.sagemaker.test_container import free_port, job, request
from tests.root import ROOT

NOBODY = 65534

# Runs the module with the imports of an image: the standard library, the project, and what the lock names.
# Once root was given up nothing is imported: all of it may lie in a folder that only root may enter.
ONLY_LOCKED = """
import os, runpy, sys
from importlib.metadata import packages_distributions
from pathlib import Path

locked = set(sys.argv[1].split(","))
theirs = {
    package: {name.lower().replace("_", "-") for name in names}
    for package, names in packages_distributions().items()
}
absent = {package for package, names in theirs.items() if not names & locked} - {"fraud_detection"}

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if os.environ.get("FRAUD_RUN_AS") and os.geteuid() != 0 and os.environ["BEGAN_AS"] == "0":
            raise ModuleNotFoundError(f"imported after root was given up: {name}", name=name)
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"not in the lock of the image: {name}", name=name)

sys.meta_path.insert(0, Absent)
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def instructions(text: str) -> list[tuple[str, str]]:
    spoken = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    lines = spoken.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


STEPS = instructions((ROOT / "Dockerfile").read_text())


def instruction_arguments(instruction: str) -> list[str]:
    (rest,) = [rest for word, rest in STEPS if word == instruction]
    found: list[str] = json.loads(rest[rest.index("[") :])
    return found


def names_in(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


def environment(root: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "BEGAN_AS": str(os.geteuid()),
        "FRAUD_ROOT": str(root),
        "MPLCONFIGDIR": str(root / "matplotlib"),
        **more,
    }


def entrypoint(*arguments: str) -> list[str]:
    """Return the command of `docker run IMAGE ARGUMENTS` for this Python, without what the image lacks."""
    python, flag, module = instruction_arguments("ENTRYPOINT")
    assert (python, flag) == ("python", "-m")
    return [sys.executable, "-c", ONLY_LOCKED, ",".join(names_in("container.lock")), module, *arguments]


@pytest.fixture(scope="module")
def served(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, int]]:
    root = tmp_path_factory.mktemp("ml")
    shutil.copytree(small_simulation.bundle, root / "model")
    port = free_port()
    settings = environment(root, SAGEMAKER_BIND_TO_PORT=str(port), FRAUD_RUN_AS="nobody")
    process = subprocess.Popen(entrypoint("serve"), env=settings)  # noqa: S603 - our own command
    try:
        yield port, process.pid
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15)


def healthy(port: int) -> bool:
    command = [sys.executable, *instruction_arguments("HEALTHCHECK")[1:]]
    settings = {**os.environ, "SAGEMAKER_BIND_TO_PORT": str(port)}
    return subprocess.run(command, env=settings, stderr=subprocess.DEVNULL, check=False).returncode == 0  # noqa: S603


def test_serve_starts_with_the_lock_of_the_image_and_its_health_check_agrees(served: tuple[int, int]) -> None:
    port, _ = served
    deadline = time.monotonic() + 60
    while not healthy(port):
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.1)
    assert request(f"http://127.0.0.1:{port}/execution-parameters")[0] == 200
    assert not healthy(free_port())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_the_server_gives_root_up_before_the_first_request(
    served: tuple[int, int], small_simulation: SmallSimulation
) -> None:
    port, pid = served
    rows = [list(row) for row in read_bundle(small_simulation.bundle).contents.vectors.rows]
    for accept in ("application/json", "text/csv"):
        body = json.dumps({"rows": rows, "explain_at": 0.0}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            body,
            {"Accept": accept, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310 - our own server
            assert response.status == 200
    status = Path(f"/proc/{pid}/status").read_text()
    kinds = dict(line.split(":", 1) for line in status.splitlines())
    assert set(kinds["Uid"].split()) == {str(NOBODY)}
    assert kinds["Groups"].strip() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
@pytest.mark.parametrize(("user", "message"), [("root", "is root"), ("no-such-user", "there is no user")])
def test_a_user_that_cannot_be_switched_to_is_refused_with_a_reason(
    small_simulation: SmallSimulation, tmp_path: Path, user: str, message: str
) -> None:
    shutil.copytree(small_simulation.bundle, tmp_path / "model")
    settings = environment(tmp_path, FRAUD_RUN_AS=user, SAGEMAKER_BIND_TO_PORT=str(free_port()))
    done = subprocess.run(entrypoint("serve"), env=settings, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert message in done.stderr


def test_train_runs_with_the_lock_of_the_image(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    root = job(tmp_path, small_simulation, {"model.rounds": "5", "model.max_depth": "2"})
    done = subprocess.run(  # noqa: S603 - our own command
        entrypoint("train"), env=environment(root), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (root / "model" / "manifest.json").exists()


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    copied = [rest.split()[:-1] for word, rest in STEPS if word == "COPY" and "--from" not in rest]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in (path for paths in copied for path in paths):
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), f"{source} is in .dockerignore"


def test_the_base_is_pinned_and_every_stage_starts_from_it() -> None:
    first, *others = [rest.split() for word, rest in STEPS if word == "FROM"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", first[0])
    stages = {first[-1]}
    for other_file in others:
        assert other_file[0] in stages
        stages.add(other_file[-1])


def test_the_last_stage_does_not_run_as_root() -> None:
    user = [rest for word, rest in STEPS if word in {"FROM", "USER"}][-1]
    assert int(user.partition(":")[0]) > 0


def test_pip_installs_only_what_a_lock_names() -> None:
    runs = " ".join(rest for word, rest in STEPS if word == "RUN")
    for command in re.findall(r"pip [^&]*(?:install|wheel) [^&]*", runs):
        assert "--require-hashes --no-deps --only-binary :all:" in command or "--no-index" in command, command
