"""What an earlier version wrote is read, decides on with equal bits, and is explained and verified."""

from __future__ import annotations

import lzma
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.sqlite.tables import FORMAT
from fraud_detection.cli.main import main
from tests.functional.formats.stored import CURRENT, HERE, STATE, decide, unpacked

STORED = sorted(HERE.glob("state-*"))


def test_the_current_format_is_stored() -> None:
    assert CURRENT in STORED, (
        f"the state file has format {FORMAT}, of which nothing is stored: run "
        "`python -m tests.functional.formats.stored` and commit the folder"
    )


@pytest.fixture(params=STORED, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    stored: Path = request.param
    for name in STATE:
        unpacked(stored / f"{name}.xz", tmp_path / name).chmod(0o600)
    unpacked(stored / "events.jsonl.xz", tmp_path / "events.jsonl")
    (tmp_path / "bundle.tar.gz").write_bytes((stored / "bundle.tar.gz").read_bytes())
    (tmp_path / "stored").symlink_to(stored)
    return tmp_path


def test_the_stream_goes_on_from_a_stored_state_with_equal_bits(folder: Path) -> None:
    decide(folder, "events.jsonl", "decisions.out", bundle="bundle.tar.gz")
    expected = lzma.decompress((folder / "stored/decisions.jsonl.xz").read_bytes())
    assert (folder / "decisions.out").read_bytes() == expected
    assert {"approve", "review", "decline"} <= {record.get("action") for record in records(expected)}


def test_a_stored_decision_is_explained_and_the_chain_is_intact(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = lzma.decompress((folder / "stored/first.jsonl.xz").read_bytes())
    stopped = next(one for one in records(logged) if one.get("action") == "review")
    options = ["--state", str(folder / "state.db"), "--bundle", str(folder / "bundle.tar.gz")]
    assert main(["explain", str(stopped["transaction_id"]), *options]) == 0
    assert "bit-identical" in capsys.readouterr().out
    assert main(["audit", "verify", *options[:2]]) == 0


def records(log: bytes) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in log.splitlines()]
