"""The package as it is installed: plain, and with each extra alone."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from fraud_detection.cli.extras import EXTRAS
from tests.conftest import SmallSimulation
from tests.root import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
IMPORTED_AS = {"PyYAML": "yaml", "mypy-extensions": "mypy_extensions", "xgboost-cpu": "xgboost"}
OF_OTHERS = {"botocore": "boto3"}
"""Libraries that come with a declared one, by its makers' promise."""

WITHOUT_EXTRAS = """
import sys
from importlib.machinery import PathFinder

class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)

ABSENT = set(sys.argv.pop(1).split(","))
sys.meta_path[:] = [one for one in sys.meta_path if one is not PathFinder] + [Present]
from fraud_detection.cli.main import main
for line in sys.argv[1:]:
    if code := main(line.split("\\n")):
        sys.exit(code)
"""
"""Runs commands, up to the first that fails, as if some libraries were not installed."""


def without(absent: str, *commands: tuple[object, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    lines = ["\n".join(map(str, arguments)) for arguments in commands]
    return subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-c", WITHOUT_EXTRAS, absent, *lines],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def third_party_imports() -> dict[str, set[Path]]:
    """Return every library that the package imports while running, with the modules that do."""
    imports_by_module: dict[str, set[Path]] = {}
    for path in (ROOT / "src/fraud_detection").rglob("*.py"):
        if "comparison/services" in path.as_posix():
            continue  # other environments run these
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for root in {name.partition(".")[0] for name in names}:
                if root and root not in sys.stdlib_module_names and root != "fraud_detection":
                    imports_by_module.setdefault(root, set()).add(path)
    return imports_by_module


OF_A_CHECKOUT = ("benchmarks", "tests", "tools")
"""Packages that lie beside `src`, and never in the wheel."""


def named_modules(path: Path) -> set[str]:
    """Return every module that a file imports, or names in a text as what is loaded later is named."""
    names_found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names_found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names_found.add(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names_found |= set(re.findall(r"\A(?:-m )?(\w+(?:\.\w+)+)(?::\w+)?\Z", node.value))
    return names_found


@pytest.mark.parametrize("package", OF_A_CHECKOUT)
def test_the_package_names_no_module_of_the_checkout_around_it(package: str) -> None:
    modules = {path: named_modules(path) for path in (ROOT / "src/fraud_detection").rglob("*.py")}
    assert len(modules) > 200
    assert not [
        path for path, names in modules.items() if {name.partition(".")[0] for name in names} & {package}
    ]


def declared(requirements: list[str]) -> set[str]:
    names = [re.split(r"[\[><=~! ]", requirement)[0] for requirement in requirements]
    return {IMPORTED_AS.get(name, name) for name in names}


def test_every_library_that_is_imported_is_a_dependency_or_of_an_extra_that_is_named() -> None:
    plain = declared(PROJECT["dependencies"])
    for library, modules in third_party_imports().items():
        if library in plain:
            continue
        assert library in EXTRAS, f"{library}, imported by {modules}, is in no extra that a command names"
        assert OF_OTHERS.get(library, library) in declared(PROJECT["optional-dependencies"][EXTRAS[library]])


def test_every_file_next_to_the_modules_goes_into_the_wheel() -> None:
    """A file that is forgotten is missed only where the wheel is installed alone."""
    package, listed = ROOT / "src/fraud_detection", SETTINGS["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in listed["fraud_detection"] for path in package.glob(pattern)}
    package_files = [
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {path for path in package_files if path.suffix not in {".py", ".so", ".pyd"}} <= packed


def test_the_locks_of_the_engine_and_of_the_image_stay_light() -> None:
    def locked(name: str) -> set[str]:
        lines = (ROOT / f"requirements/{name}.lock").read_text().splitlines()
        return {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}

    assert locked("engine") == {"msgspec", "numpy", "pyyaml"}
    heavy = {"boto3", "botocore", "dvc", "mlflow", "optuna", "pandas", "rich", "scikit-learn"}
    assert not locked("container") & heavy
    assert len(locked("container")) <= 25


def replace_block(path: Path, block: str, content: str) -> None:
    """Give a block of a project file another content, whether it stood there or not."""
    others = re.sub(rf"(?m)^{block}:.*\n((?:[ #].*)?\n)*", "", path.read_text())
    path.write_text(f"{others}\n{block}: {content}\n")


LIBRARIES = ",".join(sorted({*EXTRAS, "dvc", "pandas", "sklearn"}))


def test_the_plain_installation_trains_scores_serves_and_explains(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    """From a file to a decision that is explained, with no library of an extra."""
    rows = [
        json.loads(line)
        for line in small_simulation.events(200, labels="none", malformed_share=0, late_share=0)
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bundle, state = ("--bundle", "build/bundle"), ("--state", "s.db")
    done = without(
        LIBRARIES,
        ("init", "--data", small_simulation.history, "--yes"),
        ("train", "--data", small_simulation.history),
        ("score", "events.jsonl", *bundle, "--out", "decisions.jsonl"),
        ("state", "create", "s.db"),
        ("run", "--source", "events.jsonl", *bundle, *state),
        ("explain", rows[0]["transaction_id"], *bundle, *state),
        ("serve", "--help"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "not tracked" in (done.stdout + done.stderr)
    assert len((tmp_path / "decisions.jsonl").read_text().splitlines()) == 200
    assert rows[0]["transaction_id"] in done.stdout
    assert "Usage: fraud serve" in done.stdout


Arguments = tuple[str, ...]


def commands_in(help_text: str) -> list[str]:
    """Return the commands that a help lists, in whatever groups."""
    if "COMMAND" not in help_text.partition("\n")[0]:
        return []
    _, *parts = re.split(r"(?m)^(\S.*):$", help_text)
    sections = zip(parts[::2], parts[1::2], strict=True)
    listed = [text for title, text in sections if title not in {"Options", "Arguments"}]
    return [name for text in listed for name in re.findall(r"(?m)^  ([a-z][a-z-]*)(?:  |$)", text)]


def every_command(helps: Callable[[list[Arguments]], list[str]]) -> set[Arguments]:
    """Ask for the help of `fraud`, of every command in it, and so on; return all commands.

    helps: gives the help of each command.
    """
    commands: set[Arguments] = set()
    pending: list[Arguments] = [()]
    while pending:
        texts = helps(pending)
        for arguments, help_text in zip(pending, texts, strict=True):
            assert help_text.startswith(" ".join(["Usage: fraud", *arguments, ""])), arguments
            assert "--help" in help_text
        commands |= set(pending)
        pending = [
            (*arguments, name)
            for arguments, help_text in zip(pending, texts, strict=True)
            for name in commands_in(help_text)
        ]
    return commands - {()}


README_COMMANDS = {
    tuple(arguments)
    for row in (ROOT / "README.md").read_text().splitlines()
    if row.startswith("| `fraud ")
    for arguments in [re.findall(r"[a-z-]+", row.split("`")[1])[1:]]
}


def test_every_command_of_the_help_describes_itself_without_any_library_of_an_extra(tmp_path: Path) -> None:
    def helps(commands: list[Arguments]) -> list[str]:
        pending = [(*arguments, "--help") for arguments in commands]
        done = without(f"{LIBRARIES},{','.join(OF_A_CHECKOUT)}", *pending, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return re.split(r"(?m)^(?=Usage: )", done.stdout)[1:]

    commands = every_command(helps)
    assert commands >= README_COMMANDS
    assert len(commands) > 30


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (("deploy", "plan"), "boto3", "aws"),
        (("generate", "stream", "--to", "kinesis://payments", "--events", "1"), "boto3", "aws"),
        (("retrain",), "optuna", "tune"),
    ],
)
def test_a_missing_extra_is_one_sentence_before_any_work(
    arguments: tuple[str, ...], library: str, extra: str, tmp_path: Path
) -> None:
    absent = {"boto3": "boto3,botocore"}.get(library, library)
    refused = without(absent, arguments, folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"pip install 'fraud-detection-system[{extra}]'" in refused.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_named_tracking_server_is_not_left_out_in_silence(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    own = files("fraud_detection").joinpath("simulated.yaml").read_text()
    (tmp_path / "params.yaml").write_text(own)
    replace_block(tmp_path / "params.yaml", "tracking", "{uri: 'https://mlflow.example'}")
    refused = without("mlflow", ("train", "--data", small_simulation.history), folder=tmp_path)
    assert (refused.returncode, "[track]" in refused.stderr) == (2, True)
    assert not (tmp_path / "build").exists()


def test_the_version_shows_whether_the_hot_modules_are_compiled(tmp_path: Path) -> None:
    output = without("dvc", ("--version",), folder=tmp_path)
    compiled = list((ROOT / "src").rglob("*.so"))
    assert output.stdout.startswith(PROJECT["version"])
    assert ("plain Python" in output.stdout) is not bool(compiled)


# --- the wheel itself, in empty environments -----------------------------------


def uv(*arguments: object) -> None:
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if name != "FRAUD_PURE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=clean)  # noqa: S603
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that `pip install` would make of a copy of the sources, in isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "src", "pyproject.toml", "setup.py", "LICENSE"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "sources" / name).write_bytes((ROOT / name).read_bytes())
    uv("build", "--quiet", "--wheel", "--out-dir", folder / "dist", folder / "sources")
    return next((folder / "dist").glob("*.whl"))


def installed(wheel: Path, folder: Path, extra: str = "") -> Path:
    """Install the wheel into an empty environment, and return its `fraud`."""
    uv("venv", "--quiet", "--python", sys.executable, folder)
    what = f"fraud-detection-system[{extra}] @ {wheel.as_uri()}" if extra else wheel
    lock = ROOT / "requirements/all.lock"
    uv("pip", "install", "--quiet", "--python", folder / "bin/python", "--constraint", lock, what)
    return folder / "bin/fraud"


def run(command: Path, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [command, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_plain_wheel_is_compiled_and_runs_the_whole_way(
    wheel: Path, small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    fraud = installed(wheel, tmp_path / "environment")
    assert "compiled" in run(fraud, "--version", folder=tmp_path).stdout
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(small_simulation.events(200)))
    for arguments in (
        ("init", "--data", small_simulation.history, "--yes"),
        ("train", "--refit", "--data", small_simulation.history),
        ("score", "events.jsonl", "--history", small_simulation.history, "--out", "decisions.jsonl"),
        ("backtest", "--change", ROOT / "examples/changes/lower-cut-offs.yaml"),
        ("demo", "--plain", "--seconds", "2", "--rate", "200", "--days", "60", "--cards", "500"),
    ):
        done = run(fraud, *arguments, folder=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
    assert "Traceback" not in run(fraud, "serve", "--bundle", "nowhere", folder=tmp_path).stderr


EVERY_MODULE = """
import json, pkgutil, sys
from importlib import import_module
import fraud_detection

missing = {}
for found in pkgutil.walk_packages(fraud_detection.__path__, "fraud_detection."):
    if not found.name.endswith("__main__"):
        try:
            import_module(found.name)
        except ModuleNotFoundError as error:
            missing[found.name] = error.name.partition(".")[0]
print(json.dumps({"missing": missing, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""
"""Imports every module of the package; says which could not be, for want of what, and all that was loaded."""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_wheel_alone_prints_the_help_of_every_command_and_needs_nothing_of_a_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    fraud = installed(wheel, tmp_path / "environment")

    def helps(commands: list[Arguments]) -> list[str]:
        done = [run(fraud, *arguments, "--help", folder=tmp_path) for arguments in commands]
        assert [line.stderr for line in done if line.returncode or line.stderr] == []
        return [line.stdout for line in done]

    assert every_command(helps) >= README_COMMANDS
    done = run(fraud.with_name("python"), "-I", "-c", EVERY_MODULE, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    helps_by_command = json.loads(done.stdout)
    assert "fraud_detection" in helps_by_command["loaded"]
    assert not set(helps_by_command["loaded"]) & set(OF_A_CHECKOUT)
    assert set(helps_by_command["missing"].values()) <= EXTRAS.keys()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("extra", "program"),
    [
        ("aws", "import fraud_detection.cli.aws.cloud, fraud_detection.serving.aws_lambda.handler"),
        ("dvc", "import dvc.api"),
        (
            "track",
            (
                "from fraud_detection.adapters.mlflow_tracking import MlflowTracker;"
                "from fraud_detection.demo.demo import demo_project; MlflowTracker(demo_project())"
            ),
        ),
        (
            "tune",
            (
                "from fraud_detection.adapters.optuna_tuner import SearchParameter, OptunaTuner;"
                "print(OptunaTuner([SearchParameter('depth', 1, 8, is_integer=True)], 7).propose())"
            ),
        ),
    ],
)
def test_each_extra_alone_brings_what_it_promises(
    wheel: Path, extra: str, program: str, tmp_path: Path
) -> None:
    fraud = installed(wheel, tmp_path / "environment", extra)
    done = run(fraud.with_name("python"), "-c", program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
