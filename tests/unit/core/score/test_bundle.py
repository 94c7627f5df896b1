from __future__ import annotations

import contextlib
import hashlib
import io
import math
import tarfile
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import FeatureDefinition
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import pack, read_bundle, unpack, write_bundle
from fraud_detection.core.score.bundle import (
    CONTENTS,
    FORMAT,
    MANIFEST,
    Bundle,
    Contents,
    Cutoffs,
    FeatureSet,
    Manifest,
    Periods,
    Vectors,
    assemble,
    encode,
    from_files,
)
from fraud_detection.core.score.calibration import Calibration
from fraud_detection.core.score.reference import Distribution, FeatureReference, Reference

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path


class SumScorer:
    """Answers with the sum of the row, missing values left out, plus `error`."""

    def __init__(self, error: float = 0.0, scores: int | None = None) -> None:
        self.error, self.scores = error, scores

    def score(self, rows: Sequence[Sequence[float]], explained: Collection[int] = ()) -> list[float]:  # noqa: ARG002 - the port
        scores = [sum(value for value in row if not math.isnan(value)) + self.error for row in rows]
        return scores[: self.scores]

    def contributions(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows)


def example(model: bytes = b"\x00trees") -> Bundle:
    entities = {"zebra": {"field": "z"}, "ant": {"field": "a"}}
    project = decode(
        {"project": "p", "schema": {"event_time": {"field": "t"}, "entities": entities}}, Project, "test"
    )
    shape = Distribution(edges=(1.0,), shares=(0.5, 0.5))
    names = ("amount", "count")
    contents = Contents(
        model=model,
        features=FeatureSet(
            fingerprint="f1",
            definitions=tuple(FeatureDefinition(name, "{value}", "count") for name in names),
            category_encoding={"channel": {"web": 0.7, "app": 0.3}},
        ),
        project=project,
        reference=Reference(
            rows=10,
            fraud_rate=0.1,
            features=tuple(
                FeatureReference(name=name, typical_value=1.0, quantiles=(), distribution=shape)
                for name in names
            ),
            score=shape,
        ),
        vectors=Vectors(rows=((0.25, 0.5), (None, 0.125)), raw=(0.0, 0.0), expected=(0.75, 0.125)),
        card="# Karte für Zahlungen\n",
    )
    day = "2026-01-01T00:00:00.000Z"
    draft = Manifest(
        format=FORMAT,
        name="",
        project="p",
        fingerprint="f1",
        calibration=Calibration(1.1, -0.2),
        cutoffs=Cutoffs(review_at=0.2, decline_at=0.8),
        periods=Periods(
            train_from=day, train_until=day, validation_from=day, validation_until=day, labels_as_of=day
        ),
        metrics={"auc": 0.9},
        files={},
    )
    return assemble(contents, draft)


def test_what_was_written_is_read_from_the_directory_and_from_the_archive(tmp_path: Path) -> None:
    bundle = example()
    archive = write_bundle(bundle, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle") == bundle
    assert read_bundle(archive) == bundle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.tar.gz"]


def test_the_order_of_the_entities_survives_because_the_first_one_orders_the_stream() -> None:
    again = from_files(example().files(), "here")
    assert list(again.contents.project.schema.entities) == ["zebra", "ant"]


def test_equal_bundles_are_equal_bytes(tmp_path: Path) -> None:
    first, second = (write_bundle(example(), tmp_path / name).read_bytes() for name in ("one", "other"))
    assert first == second
    assert from_files(example().files(), "here").files() == example().files()


def test_the_name_changes_with_any_content() -> None:
    bundle = example()
    manifest = msgspec.structs.replace(bundle.manifest, cutoffs=Cutoffs(review_at=0.3, decline_at=0.8))
    names = {bundle.name, example(b"other").name, assemble(bundle.contents, manifest).name}
    assert len(names) == 3


@pytest.mark.parametrize("name", [MANIFEST, *CONTENTS])
@settings(max_examples=25)
@given(data=st.data())
def test_a_changed_byte_in_any_file_is_refused_with_its_name(name: str, data: st.DataObject) -> None:
    files = example().files()
    offset = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[offset] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ConfigError, match=name):
        from_files({**files, name: bytes(changed)}, "here")


@pytest.mark.parametrize("name", [MANIFEST, *CONTENTS])
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    write_bundle(example(), tmp_path / "bundle")
    (tmp_path / "bundle" / name).unlink()
    with pytest.raises(ConfigError, match=f"{name} is missing"):
        read_bundle(tmp_path / "bundle")


def test_a_file_that_does_not_belong_is_refused(tmp_path: Path) -> None:
    write_bundle(example(), tmp_path / "bundle")
    (tmp_path / "bundle" / "run.pkl").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"run\.pkl does not belong"):
        read_bundle(tmp_path / "bundle")


def test_a_file_that_the_manifest_vouches_for_is_still_refused_if_it_does_not_belong() -> None:
    bundle = example()
    listed = {**bundle.manifest.files, "run.pkl": "0" * 64}
    manifest = msgspec.structs.replace(bundle.manifest, files=listed, name="")
    files = {**bundle.files(), MANIFEST: encode(manifest), "run.pkl": b"x"}
    with pytest.raises(ConfigError):
        from_files(files, "here")


def test_another_format_is_refused_before_anything_else_is_believed() -> None:
    with pytest.raises(ConfigError, match=f"format 99, this version reads {FORMAT}"):
        from_files({**example().files(), MANIFEST: b'{"format": 99, "novelty": 1}'}, "here")


def test_a_bundle_of_other_features_is_refused() -> None:
    example().check_fingerprint("f1")
    with pytest.raises(ConfigError, match=r"fingerprint f1, those of this process f2"):
        example().check_fingerprint("f2")


def test_a_scorer_must_find_every_expected_score() -> None:
    example().check_vectors(SumScorer())
    with pytest.raises(ConfigError, match="test vector 0 scores"):
        example().check_vectors(SumScorer(error=2e-6))
    with pytest.raises(ConfigError, match="test vector 0 scores nan"):
        example().check_vectors(SumScorer(error=float("nan")))
    with pytest.raises(ConfigError, match="gave 1 scores for 2 vectors"):
        example().check_vectors(SumScorer(scores=1))


def test_a_directory_that_is_no_bundle_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something that is not a bundle"):
        write_bundle(example(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_newer_bundle_replaces_an_older_one(tmp_path: Path) -> None:
    write_bundle(example(), tmp_path / "bundle")
    archive = write_bundle(example(b"newer"), tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle") == read_bundle(archive) == example(b"newer")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", "./model.ubj"])
def test_an_archive_with_a_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a plain file at its top"):
        unpack(pack({name: b"x"}), "here")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_a_link_a_folder_or_a_pipe_is_refused(kind: bytes) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        entry = tarfile.TarInfo("model.ubj")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(ConfigError, match="not a plain file at its top"):
        unpack(target.getvalue(), "here")


def test_an_archive_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(ConfigError, match="unpacks to more than 20000 bytes"):
        unpack(pack({"model.ubj": bytes(30_000)}), "here", limit=20_000)


def test_an_archive_with_a_file_twice_is_refused() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("model.ubj"))
    with pytest.raises(ConfigError, match="twice"):
        unpack(target.getvalue(), "here")


@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_still_holds_the_same(data: st.DataObject) -> None:
    damaged = bytearray(pack(example().files()))
    offset = data.draw(st.integers(0, len(damaged) - 1))
    damaged[offset] ^= data.draw(st.integers(1, 255))
    truncated = bytes(damaged[: data.draw(st.integers(offset, len(damaged)))])
    # A gzip header holds bytes without a meaning, such as the name of an operating system.
    bundle = None
    with contextlib.suppress(ConfigError):
        bundle = from_files(unpack(truncated, "here"), "here")
    assert bundle is None or bundle == example()


def test_a_model_card_that_is_no_text_is_refused_by_name() -> None:
    files = {**example().files(), "MODEL_CARD.md": b"caf\xe9"}
    manifest = msgspec.structs.replace(
        example().manifest,
        files={name: hashlib.sha256(files[name]).hexdigest() for name in example().manifest.files},
        name="",
    )
    named = msgspec.structs.replace(manifest, name=hashlib.sha256(encode(manifest)).hexdigest()[:12])
    with pytest.raises(ConfigError, match=r"here: MODEL_CARD\.md: is not text in UTF-8"):
        from_files({**files, MANIFEST: encode(named)}, "here")
