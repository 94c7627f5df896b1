"""SageMaker's container contract, spoken by a real process: by hand, and through boto3's own client."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from importlib.resources import files
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.cli.container import main
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from tests.conftest import SmallSimulation


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def url(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("ml")
    shutil.copytree(small_simulation.bundle, root / "model")
    port = free_port()
    environment = {**os.environ, "FRAUD_ROOT": str(root), "SAGEMAKER_BIND_TO_PORT": str(port)}
    command = [sys.executable, "-m", "fraud_detection.cli.container", "serve"]
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - our own command
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process)
        yield address
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            assert request(f"{address}/ping")[0] == 200
        except urllib.error.URLError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not start")


def request(
    address: str, body: bytes | None = None, kind: str = "application/json", accept: str = "*/*"
) -> tuple[int, bytes]:
    request = urllib.request.Request(address, body, {"Content-Type": kind, "Accept": accept})  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - our own server
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def bundle(small_simulation: SmallSimulation) -> Bundle:
    return read_bundle(small_simulation.bundle)


def rows_of(bundle: Bundle) -> list[list[float | None]]:
    return [list(row) for row in bundle.contents.vectors.rows]


def named(bundle: Bundle, row: list[float | None]) -> dict[str, float | None]:
    return dict(zip(bundle.contents.features.names, row, strict=True))


def test_json_rows_get_the_scores_of_the_test_vectors(url: str, bundle: Bundle) -> None:
    status, body = request(f"{url}/invocations", json.dumps({"rows": rows_of(bundle)}).encode())
    response = json.loads(body)
    assert (status, response["bundle"]) == (200, bundle.name)
    probabilities = [prediction["probability"] for prediction in response["predictions"]]
    assert probabilities == pytest.approx(list(bundle.contents.vectors.expected), abs=1e-6)
    assert [prediction["score"] for prediction in response["predictions"]] == pytest.approx(
        list(bundle.contents.vectors.raw), abs=1e-5
    )


def test_columns_are_matched_by_name_in_every_format(url: str, bundle: Bundle) -> None:
    names, rows = bundle.contents.features.names, rows_of(bundle)
    order = sorted(names)
    turned = [[named(bundle, row)[name] for name in order] for row in rows]
    texts = [["" if value is None else repr(value) for value in row] for row in turned]
    bodies = {
        "application/json": json.dumps({"features": order, "rows": turned}),
        "application/jsonlines": "\n".join(json.dumps({**named(bundle, row), "more": "x"}) for row in rows),
        "text/csv": "\n".join([",".join(order), *(",".join(row) for row in texts)]),
    }
    for kind, body in bodies.items():
        status, response = request(f"{url}/invocations", body.encode(), kind, "application/jsonlines")
        probabilities = [json.loads(line)["probability"] for line in response.splitlines()]
        assert status == 200
        assert probabilities == pytest.approx(list(bundle.contents.vectors.expected), abs=1e-6), kind


def test_a_bad_row_gets_an_error_and_the_others_are_scored(url: str, bundle: Bundle) -> None:
    good = rows_of(bundle)[0]
    bad = [[1.0], "x", {**named(bundle, good), "amount": "much"}, {**named(bundle, good), "amount": True}]
    body = json.dumps({"rows": [good, *bad, named(bundle, good)]}).encode()
    status, response = request(f"{url}/invocations", body)
    predictions = json.loads(response)["predictions"]
    assert status == 200
    assert ["error" in prediction for prediction in predictions] == [False, True, True, True, True, False]
    assert predictions[0] == predictions[-1]
    assert "at `amount`" in predictions[3]["error"]


def test_reasons_are_the_strongest_exact_contributions(url: str, bundle: Bundle) -> None:
    body = json.dumps({"rows": rows_of(bundle), "explain_at": 0.0}).encode()
    predictions = json.loads(request(f"{url}/invocations", body)[1])["predictions"]
    contributions = XGBoostScorer(bundle.contents.model).contributions(bundle.contents.vectors.matrix())
    for prediction, row in zip(predictions, contributions, strict=True):
        expected = sorted((value for value in row.tolist() if value > 0), reverse=True)[:10]
        assert [value for _, value in prediction.get("reasons", [])] == pytest.approx(expected, abs=1e-5)
    quiet = json.loads(
        request(f"{url}/invocations", json.dumps({"rows": rows_of(bundle), "explain_at": 1.0}).encode())[1]
    )
    assert not any("reasons" in prediction for prediction in quiet["predictions"])


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"{", "application/json", "rows"),
        (b'{"rows": [], "fingerprint": "other"}', "application/json", "trained on"),
        (b'{"rows": [], "features": ["amount"]}', "application/json", "does not name the features"),
        (b'{"rows": [], "more": 1}', "application/json", "more"),
        (b"\xff\xfe", "text/csv", "not valid CSV"),
        (b"<x/>", "text/xml", "send one of"),
    ],
)
def test_a_request_that_is_empty_is_refused_in_words(url: str, body: bytes, kind: str, message: str) -> None:
    status, response = request(f"{url}/invocations", body, kind)
    assert status == 400
    assert message in json.loads(response)["detail"]


def test_what_is_too_large_or_elsewhere_is_refused(url: str) -> None:
    assert request(f"{url}/invocations", b" " * (6 << 20) + b" ")[0] == 413
    assert request(f"{url}/elsewhere")[0] == 404
    assert request(f"{url}/invocations", b"{}", accept="\xff")[0] == 400
    assert json.loads(request(f"{url}/execution-parameters")[1])["MaxPayloadInMB"] == 6


@pytest.mark.parametrize("path", ["/ping", "/execution-parameters", "/invocations", "/elsewhere"])
def test_every_error_is_a_problem_and_head_has_a_response_where_get_has(url: str, path: str) -> None:
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        statuses = {}
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            connection.request(method, path, b"{}" if method == "POST" else None)
            response = connection.getresponse()
            body = response.read()
            statuses[method] = response.status
            if response.status == 405:
                assert {name for name, status in statuses.items() if status == 405}.isdisjoint(
                    response.headers["allow"].split(", ")
                )
            if response.status >= 400 and method != "HEAD":
                assert response.headers["content-type"] == "application/problem+json"
                assert json.loads(body)["status"] == response.status
            assert method != "HEAD" or not body
    assert statuses["HEAD"] == statuses["GET"]
    expected = {"/elsewhere": 404}.get(path, 405)
    assert statuses["PUT"] == statuses["DELETE"] == expected


def runtime(url: str) -> Any:  # noqa: ANN401 - boto3 makes its clients
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",  # noqa: S106 - nobody checks it
    )


def test_boto3_speaks_to_it_as_to_sagemaker(url: str, bundle: Bundle) -> None:
    client = runtime(url)
    body = json.dumps({"rows": rows_of(bundle)})
    response = client.invoke_endpoint(EndpointName="fraud", ContentType="application/json", Body=body)
    assert len(json.loads(response["Body"].read())["predictions"]) == len(rows_of(bundle))
    with pytest.raises(ClientError):
        client.invoke_endpoint(EndpointName="fraud", ContentType="application/json", Body="{")


def job(root: Path, small_simulation: SmallSimulation, hyperparameters: dict[str, str]) -> Path:
    data = root / "input" / "data"
    for channel in ("training", "config"):
        (data / channel).mkdir(parents=True)
    shutil.copy(small_simulation.history, data / "training" / "history.parquet")
    (data / "config" / "params.yaml").write_text(
        files("fraud_detection").joinpath("simulated.yaml").read_text()
    )
    (root / "input" / "config").mkdir()
    (root / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return root


@pytest.mark.usefixtures("no_pictures")
def test_the_same_program_trains_as_a_job(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = job(tmp_path, small_simulation, {"model.rounds": "12", "model.max_depth": "2"})
    monkeypatch.setenv("FRAUD_ROOT", str(root))
    assert main(["train"]) == 0
    made = read_bundle(root / "model")
    assert (made.contents.project.model.rounds, made.contents.project.model.max_depth) == (12, 2)
    assert math.isfinite(made.manifest.metrics["average_precision"])
    assert not (root / "output" / "failure").exists()


def test_a_job_that_fails_reports_why(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = job(tmp_path, small_simulation, {"model.max_dept": "2"})
    monkeypatch.setenv("FRAUD_ROOT", str(root))
    assert main(["train"]) == 2
    assert "did you mean `max_depth`" in (root / "output" / "failure").read_text()
    assert main(["dance"]) == 2
