"""Try the function out before anything is changed: the very package, under the very environment.

A child process gets the package as it will be uploaded, the variables as the template gives them, and the
libraries that Lambda has.  It loads the function and decides one payment, on stand-ins for the services.
So no project is deployed whose function cannot start.  Who deploys has the function's Python and machine
already: `package` refuses others, since the package holds compiled libraries.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.release import Artefact, Release
from fraud_detection.deployment.sample import sample_payment
from fraud_detection.deployment.secrets import TOKEN_KEY, parameter_of
from fraud_detection.deployment.template.stream import BUNDLE_FOLDER, HANDLER

LIBRARIES = ("botocore", "urllib3", "jmespath", "dateutil", "six")
"""What Lambda has beside Python."""
FAKES = "fraud_detection.testing"
CHILD = "preflight_child.py"
TIMEOUT_S = 120.0
STAND_IN = "0" * 64
"""The value of a secret that only the stack knows."""


class Trial(msgspec.Struct, frozen=True):
    """What the child is given: where things lie, what to load, and what to decide."""

    task: str
    libraries: str
    fakes: str
    handler: str
    event: str


def try_out(
    template: Mapping[str, Any],
    release: Release,
    artefacts: Sequence[Artefact],
    environment: Mapping[str, str],
    *,
    local: bool,
) -> None:
    """Let the function of a template decide one payment; raise ConfigError with its message if it cannot.

    environment: of whoever deploys, for the secrets that are given there.
    """
    package = next(artefact.content for artefact in artefacts if artefact.key == release.code)
    secrets = {parameter_of(secret): environment.get(secret) or STAND_IN for secret in release.secrets}
    known = {TOKEN_KEY: STAND_IN} | secrets
    function = template["Resources"]["Processor"]["Properties"]
    variables = {
        name: _plain(value, template["Resources"], known, local=local)
        for name, value in function["Environment"]["Variables"].items()
    }
    with TemporaryDirectory(prefix="fraud-preflight-") as folder:
        _decide_one(Path(folder), package, variables)


def _decide_one(folder: Path, package: bytes, variables: Mapping[str, str]) -> None:
    task, libraries, fakes = (folder / name for name in ("task", "libraries", "fakes"))
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        archive.extractall(task)
    _link(libraries, [_origin(name) for name in LIBRARIES])
    _link(fakes, [_origin(FAKES)])
    event = sample_payment(_project(task).schema, dt.datetime.now(dt.UTC))
    trial = Trial(str(task), str(libraries), str(fakes), HANDLER, base64.b64encode(event).decode())
    try:
        done = subprocess.run(  # noqa: S603 - Python itself
            [sys.executable, "-I", "-S", str(Path(__file__).with_name(CHILD))],
            input=msgspec.json.encode(trial),
            capture_output=True,
            check=False,
            cwd=task,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC", **variables},
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"the function did not decide a payment within {TIMEOUT_S:.0f} s here") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"]
        raise ConfigError(f"the function would not work when deployed, so nothing was changed: {message[-1]}")


def _project(task: Path) -> Project:
    return read_bundle(task / BUNDLE_FOLDER).contents.project


def _plain(value: object, resources: Mapping[str, Any], parameters: Mapping[str, str], *, local: bool) -> str:
    """Return what CloudFormation would make of a value: a name, where it refers to a resource.

    >>> table = {"Profiles": {"Properties": {"TableName": "profiles"}}}
    >>> _plain({"Ref": "Profiles"}, table, {}, local=False)
    'profiles'
    >>> _plain({"Fn::If": ["OnAws", {"Fn::GetAtt": ["Endpoint", "EndpointName"]}, "e"]}, {}, {}, local=False)
    'Endpoint'
    """
    if not isinstance(value, dict):
        return str(value)
    if "Fn::If" in value:
        _, there, here = value["Fn::If"]
        return _plain(here if local else there, resources, parameters, local=local)
    name = str(value.get("Ref") or value.get("Fn::GetAtt", ["x"])[0])
    properties = resources.get(name, {}).get("Properties", {})
    named = [value for key, value in properties.items() if key.endswith("Name") and isinstance(value, str)]
    return parameters.get(name) or next(iter(named), name)


def _link(folder: Path, origins: Sequence[Path]) -> None:
    folder.mkdir()
    for origin in origins:
        (folder / origin.name).symlink_to(origin)


def _origin(module: str) -> Path:
    """Return the folder of a package, or the file of a module."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{module} is not installed here, and the trial of the function needs it")
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin
