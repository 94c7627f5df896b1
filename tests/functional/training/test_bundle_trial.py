"""Bundles that damage or hostility has made: what would end a process ends a child, and is refused."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
import xgboost as xgb

from fraud_detection.adapters.xgboost.bundle_trial import try_bundle
from fraud_detection.cli.main import main
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Model
from fraud_detection.core.score.archive import read_bundle, write_bundle
from fraud_detection.core.score.bundle import Bundle, assemble
from fraud_detection.serving.sagemaker.container import Endpoint
from fraud_detection.training.workflow import train
from tests.conftest import SmallSimulation


def with_model(bundle: Bundle, model: bytes) -> Bundle:
    """Return the bundle with another model, under a manifest that fits it."""
    return assemble(msgspec.structs.replace(bundle.contents, model=model), bundle.manifest)


def hostile(bundle: Bundle) -> Bundle:
    """Return the bundle with a model whose first split leads far out of its tree."""
    booster = xgb.Booster()
    booster.load_model(bytearray(bundle.contents.model))
    plain = json.loads(bytes(booster.save_raw("json")))
    tree = plain["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["left_children"][0] = tree["right_children"][0] = 1 << 30
    return with_model(bundle, json.dumps(plain).encode())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def passed(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "command",
    [
        ("score", "events.jsonl"),
        pytest.param(("run", "--source", "events.jsonl", "--state", "state.db"), marks=pytest.mark.long),
        ("serve", "--state", "state.db", "--port", "0"),
        ("release", "start", "--registry", "registry", "--reason", "a trial"),
        pytest.param(("evaluate", "--no-tracking", "--features", "features.parquet"), marks=pytest.mark.long),
    ],
)
def test_a_model_that_ends_its_process_is_refused_where_it_enters(
    command: tuple[str, ...],
    small_simulation: SmallSimulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Were the model loaded here, the tests would end with it."""
    monkeypatch.chdir(tmp_path)
    write_bundle(hostile(read_bundle(small_simulation.bundle)), tmp_path / "bundle")
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(small_simulation.events(3)))
    shutil.copy(small_simulation.features, tmp_path / "features.parquet")
    (tmp_path / "params.yaml").write_text(files("fraud_detection").joinpath("simulated.yaml").read_text())
    assert main([*command, "--bundle", "bundle"]) == 2
    output = capsys.readouterr().err
    assert "in a process of its own" in output
    assert "train again" in output
    assert not (tmp_path / "registry" / "releases.jsonl").exists()


@pytest.mark.usefixtures("cache")
def test_the_container_refuses_a_model_that_would_end_it(small_simulation: SmallSimulation) -> None:
    with pytest.raises(ConfigError, match="in a process of its own"):
        Endpoint(hostile(read_bundle(small_simulation.bundle)))


def test_a_verdict_is_cached_by_the_digest_of_the_bundle(
    small_simulation: SmallSimulation, cache: Path
) -> None:
    bundle = read_bundle(small_simulation.bundle)
    try_bundle(bundle)
    (cached,) = passed(cache)
    when = cached.stat().st_mtime_ns
    try_bundle(bundle)
    assert [path.stat().st_mtime_ns for path in passed(cache)] == [when]
    # What failed is not cached as if it had passed.
    with pytest.raises(ConfigError):
        try_bundle(hostile(bundle))
    assert passed(cache) == [cached]


def test_a_bundle_that_was_trained_here_needs_no_trial(
    small_simulation: SmallSimulation, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tried(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    project = msgspec.structs.replace(small_simulation.project, model=Model(rounds=5, max_depth=2, threads=1))
    train(project, small_simulation.features, tmp_path / "bundle")
    monkeypatch.setattr(subprocess, "run", tried)
    bundle = read_bundle(tmp_path / "bundle")
    try_bundle(bundle)
    # Elsewhere nobody knows that.
    shutil.rmtree(cache)
    with pytest.raises(AssertionError, match="a process was started"):
        try_bundle(bundle)


@pytest.mark.usefixtures("cache")
def test_scores_that_differ_are_refused_with_the_message_of_the_check(
    small_simulation: SmallSimulation,
) -> None:
    bundle = read_bundle(small_simulation.bundle)
    vectors = msgspec.structs.replace(
        bundle.contents.vectors, expected=(0.5,) * len(bundle.contents.vectors.rows)
    )
    changed = assemble(msgspec.structs.replace(bundle.contents, vectors=vectors), bundle.manifest)
    with pytest.raises(ConfigError, match="test vector 0 scores"):
        try_bundle(changed)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cache")
def test_no_mutation_of_a_model_ends_this_process(small_simulation: SmallSimulation) -> None:
    """Those that pass the trial are loaded here, too."""
    bundle, chance, refused = read_bundle(small_simulation.bundle), random.Random(5), 0
    for _ in range(120):
        model = bytearray(bundle.contents.model)
        for _ in range(chance.choice((1, 1, 4, 40))):
            model[chance.randrange(len(model))] = chance.randrange(256)
        try:
            try_bundle(with_model(bundle, bytes(model)))
        except ConfigError:
            refused += 1
    assert refused > 60
