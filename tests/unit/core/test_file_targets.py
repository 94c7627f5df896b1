from __future__ import annotations

from pathlib import Path

import pytest

from fraud_detection.cli.main import main
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import PACKAGE, check_target

ROWS = "transaction_id,time,card,amount,fraud\n" + "".join(
    f"t{n},2026-01-{1 + n // 24:02}T{n % 24:02}:00:00Z,c{n % 7},{n % 50 + 1}.5,{int(n % 9 == 0)}\n"
    for n in range(600)
)

WRITERS = [
    ["init", "--data=payments.csv", "--yes", "--out=link"],
    ["init", "--data=payments.csv", "--yes", "--force", "--out=link"],
    ["init", "--data=payments.csv", "--yes", "--out=other.yaml", "--json=link"],
    ["train", "--data=payments.csv", "--no-tracking", "--bundle=link"],
    ["train", "--data=payments.csv", "--no-tracking", "--bundle=link.new", "--json=link"],
    ["features", "--data=payments.csv", "--out=link"],
    ["evaluate", "--json=link"],
    ["prequential", "--data=payments.csv", "--start-dates=2026-01-20", "--out=link"],
    ["generate", "history", "--cards=10", "--days=5", "--out=link"],
    ["generate", "history", "--cards=10", "--days=5", "--out=history.csv", "--ground-truth=link"],
    ["generate", "stream", "--seconds=1", "--to=link"],
    ["score", "payments.csv", "--out=link"],
    ["run", "--source=payments.csv", "--out=link"],
    ["api-key", "shop", "--roles=decide", "--keys=link"],
    ["audit", "verify", "--state=state.db", "--anchor=link"],
    ["explain", "t1", "--state=state.db", "--json=link"],
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "payments.csv").write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--data=payments.csv", "--yes", "--plain"]) == 0
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to("theirs")
    return tmp_path


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_no_command_writes_through_a_link(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *([] if arguments[0] == "api-key" else ["--plain"])]) == 2
    assert "is a symbolic link to theirs, and nothing is written through one" in capsys.readouterr().err
    assert (folder / "theirs").read_text() == "theirs"
    assert (folder / "link").is_symlink()


def test_a_bundle_neither_replaces_a_link_nor_follows_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to(folder / "bundles", target_is_directory=True)
    (folder / "bundles").mkdir()
    assert main(["train", "--data=payments.csv", "--no-tracking", "--plain", "--bundle=link"]) == 2
    assert "symbolic link" in capsys.readouterr().err
    assert list((folder / "bundles").iterdir()) == []


def test_nothing_is_written_into_the_package(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (PACKAGE / "simulated.yaml").read_bytes()
    for arguments in (["--force"], []):
        out = f"--out={PACKAGE / 'simulated.yaml'}"
        assert main(["init", "--data=payments.csv", "--yes", "--plain", out, *arguments]) == 2
        assert "lies in the installed package" in capsys.readouterr().err
    (folder / "inside").symlink_to(PACKAGE, target_is_directory=True)
    with pytest.raises(ConfigError, match="installed package"):
        check_target(Path("inside/simulated.yaml"))
    assert (PACKAGE / "simulated.yaml").read_bytes() == before


def test_a_link_among_the_folders_and_a_device_are_accepted(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "linked").symlink_to(folder / "real", target_is_directory=True)
    assert check_target(Path("linked/params.yaml")) == Path("linked/params.yaml")
    assert check_target(Path("/dev/stdout")) == Path("/dev/stdout")
    assert check_target(Path("new/params.yaml")) == Path("new/params.yaml")
