"""The package: equal bytes, all that the handler needs, and nothing that it does not."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.package import check_same_machine, modules, package
from fraud_detection.deployment.settings import Function
from tests.conftest import SmallSimulation

HERE = Function(runtime=f"python3.{sys.version_info.minor}")  # type: ignore[arg-type]  # a runtime of today
LIGHT_MODULES = 450  # 407 by Python 3.11, in some 0.2 s of CPU
MAX_BYTES = 5 << 20


@pytest.fixture(scope="module")
def made(small_simulation: SmallSimulation) -> bytes:
    return package(read_bundle(small_simulation.bundle), HERE)


def test_a_package_made_again_has_the_same_bytes(small_simulation: SmallSimulation, made: bytes) -> None:
    assert package(read_bundle(small_simulation.bundle), HERE) == made


def test_a_package_is_small_and_holds_no_training(made: bytes) -> None:
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert len(made) < MAX_BYTES
    assert not [name for name in names if "/train/" in name or "/generate/" in name or "xgboost" in name]
    assert "fraud_detection/serving/aws_lambda/handler.py" in names
    assert "bundle/manifest.json" in names


def test_the_handler_runs_from_the_package_alone(made: bytes, tmp_path: Path) -> None:
    """Only the unzipped package and botocore, which Lambda has, are there; this repository is not."""
    zipfile.ZipFile(io.BytesIO(made)).extractall(tmp_path / "task")
    state_file = tmp_path / "lambda"
    state_file.mkdir()
    for library in ("botocore", "urllib3", "jmespath", "dateutil", "six"):
        spec = find_spec(library)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (state_file / source.name).symlink_to(source)
    program = (
        "import sys; import fraud_detection.serving.aws_lambda.handler as h;"
        "print(len(sys.modules), h.__file__);"
        "assert not {'numpy', 'xgboost', 'boto3', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - Python itself
        [
            sys.executable,
            "-S",
            "-I",
            "-c",
            f"import sys; sys.path[:0] = {[str(tmp_path / 'task'), str(state_file)]!r}; {program}",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
    )
    modules_read, location = done.stdout.split()
    assert Path(location).is_relative_to(tmp_path / "task")
    assert int(modules_read) < LIGHT_MODULES


def test_modules_follow_every_import_but_those_of_types() -> None:
    paths = modules("fraud_detection.serving.aws_lambda.handler")
    assert "fraud_detection.adapters.aws.sagemaker_endpoint" in paths
    assert "fraud_detection.core.features" in paths
    assert not [name for name in paths if "xgboost" in name or name.startswith("fraud_detection.training")]
    assert all(path.is_file() for path in paths.values())


@pytest.mark.parametrize(
    ("system", "machine", "version"),
    [("Darwin", "arm64", (3, 11)), ("Linux", "aarch64", (3, 11)), ("Linux", "x86_64", (3, 12))],
)
def test_libraries_of_another_machine_are_refused(
    system: str, machine: str, version: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError, match=r"function runs on Linux x86_64, python3\.11"):
        check_same_machine(Function(), system, machine, version)
