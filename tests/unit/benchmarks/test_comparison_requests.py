"""What the comparison servers are asked and answer, read back by hand; and what they are made of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suite.comparison.kind import Kind, Model, RunContext
from benchmarks.suite.comparison.roster import KINDS, work_of
from benchmarks.suite.comparison.server_process import evenly
from fraud_detection.core.score.archive import read_bundle
from tests.conftest import SmallSimulation
from tests.root import ROOT

Named = list[tuple[str, float | None]]


def row_of(kind: str, body: Any, columns: list[str]) -> Named:  # noqa: ANN401 - JSON
    """Return the values that a body gives to the columns, by the comparison server's own protocol."""
    match kind:
        case "fastapi":
            return list(body.items())
        case "mlflow":
            (row,) = body["dataframe_split"]["data"]
            return list(zip(body["dataframe_split"]["columns"], row, strict=True))
        case "mlserver":
            (tensor,) = body["inputs"]
            assert (tensor["shape"], tensor["datatype"]) == ([1, len(columns)], "FP32")
            return list(zip(columns, tensor["data"], strict=True))
        case _:
            (row,) = body["inputs" if kind == "mlflow-tensors" else "data"]
            return list(zip(columns, row, strict=True))


RESPONSES: dict[str, Callable[[float], Any]] = {
    "fastapi": lambda score: {"score": score},
    "mlflow": lambda score: {"predictions": [score]},
    "mlflow-tensors": lambda score: {"predictions": [score]},
    "mlserver": lambda score: {
        "model_name": "fraud",
        "id": "7",
        "parameters": {},
        "outputs": [{"name": "predict", "shape": [1, 1], "datatype": "FP32", "data": [score]}],
    },
    "bentoml": lambda score: [score],
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(row=st.lists(st.floats(allow_infinity=False), min_size=1, max_size=9))
def test_a_request_holds_every_value_under_its_column_and_nothing_for_a_missing_one(
    kind: Kind, row: list[float]
) -> None:
    columns = [f"column_{index}" for index in range(len(row))]
    decoded_row = row_of(kind.name, json.loads(kind.body(columns, row)), columns)
    wanted = [None if math.isnan(value) else value for value in row]
    assert decoded_row == list(zip(columns, wanted, strict=True))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_score_is_read_where_the_comparison_server_writes_it(kind: Kind) -> None:
    assert kind.score(json.dumps(RESPONSES[kind.name](0.8914)).encode()) == 0.8914


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("response", [b"", b"{}", b"[]", b'{"error": "no"}', b"[[0.1, 0.9]]", b"[0.1, 0.9]"])
def test_a_response_without_exactly_one_score_is_refused(kind: Kind, response: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        kind.score(response)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_comparison_server_listens_on_this_machine_alone_with_one_worker(
    kind: Kind, tmp_path: Path
) -> None:
    context = RunContext(tmp_path / "environment", tmp_path, (1001, 1002, 1003))
    serve = kind.prepare(context, Model(b"model", ("amount",)))[-1]
    commands_and_files = " ".join(serve) + "".join(
        path.read_text() for path in sorted(tmp_path.glob("*.json"))
    )
    assert "127.0.0.1" in commands_and_files
    assert "1001" in commands_and_files
    assert not re.search(r"workers[\" :=]+[02-9]", commands_and_files)
    assert (tmp_path / "model.ubj").read_bytes() == b"model"
    assert serve[0].startswith(str(context.environment))


def test_the_comparison_servers_are_given_the_scores_of_the_model_before_calibration(
    small_simulation: SmallSimulation,
) -> None:
    bundle = read_bundle(small_simulation.bundle)
    vectors = bundle.contents.vectors
    work = work_of(bundle)
    assert work.model.ubj == bundle.contents.model
    assert [1 / (1 + math.exp(-raw)) for raw in vectors.raw] == pytest.approx(work.scores, abs=1e-6)
    assert work_of(bundle, work.rows[:3]).scores == work.scores[:3]


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=60), count=st.integers(2, 20))
def test_the_rows_that_are_compared_reach_from_the_lowest_score_to_the_highest(
    scores: list[float], count: int
) -> None:
    indices = evenly(scores, count)
    assert len(indices) == len(set(indices)) == min(count, len(scores))
    chosen_scores = [scores[context] for context in indices]
    assert chosen_scores == sorted(chosen_scores)
    assert (chosen_scores[0], chosen_scores[-1]) == (min(scores), max(scores))


ENVIRONMENTS = list(dict.fromkeys(kind.environment for kind in KINDS))
LOCKS = {name: ROOT / f"requirements/comparison-{name}.lock" for name in ENVIRONMENTS}


def xgboost_of(lock: Path) -> set[str]:
    return set(re.findall(r"^xgboost(?:-cpu)?==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_comparison_server_has_the_xgboost_that_serves_here(name: str) -> None:
    version = xgboost_of(LOCKS[name])
    assert version
    assert version == xgboost_of(ROOT / "requirements/all.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_hashes_and_no_place_to_fetch_from(name: str) -> None:
    text = LOCKS[name].read_text()
    assert "://" not in text
    packages = re.split(r"\n(?=\S)", text.strip())
    assert len(packages) > 20
    assert [package for package in packages if "--hash=sha256:" not in package] == []


def test_make_knows_every_comparison_server_and_no_other() -> None:
    (listed,) = re.findall(r"^COMPARISON_SERVERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed.split() == ENVIRONMENTS
