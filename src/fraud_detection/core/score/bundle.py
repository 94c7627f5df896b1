"""The bundle: everything that serving needs of one training, in one directory or tar.gz.

It holds the model in XGBoost's own format, the features it expects with their
fingerprint, calibration, cut-offs, reference distributions, test vectors and a
model card.  Nothing in it is executed, there is no pickle, and a bundle that does
not fit is refused with the reason.  Files are read and written by `score.archive`.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from fraud_detection.core.decoding import decode, to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import FeatureDefinition
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.calibration import Calibration
from fraud_detection.core.score.reference import BundleStruct, Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fraud_detection.core.ports import Scorer

T = TypeVar("T")

FORMAT = 2
MANIFEST = "manifest.json"
CONTENTS = ("model.ubj", "features.json", "project.json", "reference.json", "vectors.json", "MODEL_CARD.md")
"""Every file of a bundle besides the manifest; one more or one less is refused."""


class Cutoffs(BundleStruct, frozen=True):
    """From which score on a payment is reviewed, and from which it is declined.

    origin: 'money' when training chose them, 'settings' when the project file gave them.
    """

    review_at: float
    decline_at: float
    origin: Literal["money", "settings"] = "money"


class Periods(BundleStruct, frozen=True):
    """What was learned from, as ISO 8601 times in UTC; `until` is exclusive.

    labels_as_of: the last moment whose labels were used, for learning and for calibration.
    """

    train_from: str
    train_until: str
    validation_from: str
    validation_until: str
    labels_as_of: str


class Manifest(BundleStruct, frozen=True, omit_defaults=True):
    """What the bundle is, and the SHA-256 of each of its files.

    name: the first 12 hex digits of the hash of this manifest with an empty name.
    metrics: of the validation slice; the test slice is evaluated later, by `fraud evaluate`.
    evaluated_as: where the trees were refitted, the bundle whose calibration, cut-offs and metrics these
    are.
    """

    name: str
    project: str
    fingerprint: str
    calibration: Calibration
    cutoffs: Cutoffs
    periods: Periods
    metrics: dict[str, float]
    files: dict[str, str]
    format: int
    evaluated_as: str | None = None


class FeatureSet(BundleStruct, frozen=True):
    """The features in the order of the model's columns, and the codes of the categories."""

    fingerprint: str
    definitions: tuple[FeatureDefinition, ...]
    category_encoding: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the column names in order."""
        return tuple(definition.name for definition in self.definitions)


class Vectors(BundleStruct, frozen=True):
    """Rows with the scores that every loader must find; None is a missing value.

    raw: log-odds before calibration; expected: calibrated probabilities.
    tolerance: the largest difference of a probability that passes.
    """

    rows: tuple[tuple[float | None, ...], ...]
    raw: tuple[float, ...]
    expected: tuple[float, ...]
    tolerance: float = 1e-6

    def matrix(self) -> list[list[float]]:
        """Return the rows as a scorer takes them.

        >>> Vectors(rows=((1.5, None),), raw=(0.0,), expected=(0.5,)).matrix()
        [[1.5, nan]]
        """
        return [[math.nan if value is None else value for value in row] for row in self.rows]


class Contents(BundleStruct, frozen=True):
    """What training hands over; `Bundle` adds the manifest."""

    model: bytes
    features: FeatureSet
    project: Project
    reference: Reference
    vectors: Vectors
    card: str

    def files(self) -> dict[str, bytes]:
        """Return the bytes of every file; equal contents give equal bytes."""
        parts = (self.features, self.project, self.reference, self.vectors)
        encoded = [encode(part) for part in parts]
        return dict(zip(CONTENTS, [self.model, *encoded, self.card.encode()], strict=True))


class Bundle(BundleStruct, frozen=True):
    """One trained model with all that belongs to it."""

    manifest: Manifest
    contents: Contents

    @property
    def name(self) -> str:
        """Return the name, which is a hash of the whole content."""
        return self.manifest.name

    def files(self) -> dict[str, bytes]:
        """Return every file of the bundle, the manifest first."""
        return {MANIFEST: encode(self.manifest), **self.contents.files()}

    def check_fingerprint(self, own: str) -> None:
        """Raise ConfigError unless the features served here are those the model was trained on."""
        if own != self.manifest.fingerprint:
            raise ConfigError(
                f"bundle {self.name}: its features have the fingerprint {self.manifest.fingerprint}, "
                f"those of this process {own}; serve it with the project file of its training, or train"
            )

    def check_vectors(self, scorer: Scorer) -> None:
        """Raise ConfigError unless `scorer` finds the expected score for every test vector."""
        vectors = self.contents.vectors
        scores = scorer.score(vectors.matrix())
        if len(scores) != len(vectors.expected):
            raise ConfigError(
                f"bundle {self.name}: the scorer gave {len(scores)} scores for {len(vectors.rows)} vectors"
            )
        for number, (score, expected) in enumerate(zip(scores, vectors.expected, strict=True)):
            # Written so that NaN fails too.
            if not abs(score - expected) <= vectors.tolerance:
                raise ConfigError(
                    f"bundle {self.name}: test vector {number} scores {score}, expected {expected} within "
                    f"{vectors.tolerance}; the model is loaded wrongly, or by an incompatible version"
                )


def assemble(contents: Contents, draft: Manifest) -> Bundle:
    """Complete the draft of a manifest with the files' hashes and the name that follows from them."""
    hashes = {name: _sha256(data) for name, data in contents.files().items()}
    manifest = msgspec.structs.replace(draft, files=hashes, name="")
    return Bundle(manifest=msgspec.structs.replace(manifest, name=_name(manifest)), contents=contents)


def from_files(files: Mapping[str, bytes], origin: str) -> Bundle:
    """Decode and check the files of a bundle; raise ConfigError that names `origin` and the file."""
    if MANIFEST not in files:
        raise ConfigError(f"{origin}: {MANIFEST} is missing: this is no bundle, or an incomplete copy of one")
    manifest = _manifest(files[MANIFEST], origin)
    _check_file_list(manifest, files, origin)
    for name, expected in manifest.files.items():
        if _sha256(files[name]) != expected:
            raise ConfigError(f"{origin}: {name} was changed: its SHA-256 is not the one in {MANIFEST}")
    bundle = Bundle(manifest=manifest, contents=_contents(files, origin))
    _check_consistency(bundle, origin)
    return bundle


def encode(part: object) -> bytes:
    """Return indented JSON: equal parts give equal bytes.

    Keys keep their order, because the order of a schema's entities has a meaning.
    """
    return msgspec.json.format(msgspec.json.encode(to_plain(part)), indent=1) + b"\n"


def _manifest(data: bytes, origin: str) -> Manifest:
    plain = _json(data, f"{origin}: {MANIFEST}")
    version = plain.get("format") if isinstance(plain, dict) else None
    if version != FORMAT:
        raise ConfigError(
            f"{origin}: {MANIFEST}: format {version!r}, this version reads {FORMAT}; train again"
        )
    manifest = decode(plain, Manifest, f"{origin}: {MANIFEST}")
    if manifest.name != _name(manifest):
        raise ConfigError(
            f"{origin}: {MANIFEST} was changed: its name {manifest.name!r} is not the hash of it"
        )
    return manifest


def _name(manifest: Manifest) -> str:
    return _sha256(encode(msgspec.structs.replace(manifest, name="")))[:12]


def _check_file_list(manifest: Manifest, files: Mapping[str, bytes], origin: str) -> None:
    present = files.keys() - {MANIFEST}
    missing = sorted((set(CONTENTS) | manifest.files.keys()) - present)
    if missing:
        raise ConfigError(f"{origin}: {', '.join(missing)} is missing: an incomplete copy of a bundle")
    unlisted = sorted((present - set(CONTENTS)) | (present - manifest.files.keys()))
    if unlisted:
        raise ConfigError(f"{origin}: {', '.join(unlisted)} does not belong to a bundle; remove it")


def _contents(files: Mapping[str, bytes], origin: str) -> Contents:
    return Contents(
        model=files["model.ubj"],
        features=_part(files, "features.json", FeatureSet, origin),
        project=_part(files, "project.json", Project, origin),
        reference=_part(files, "reference.json", Reference, origin),
        vectors=_part(files, "vectors.json", Vectors, origin),
        card=_text(files["MODEL_CARD.md"], f"{origin}: MODEL_CARD.md"),
    )


def _part(files: Mapping[str, bytes], name: str, kind: type[T], origin: str) -> T:
    where = f"{origin}: {name}"
    return decode(_json(files[name], where), kind, where)


def _check_consistency(bundle: Bundle, origin: str) -> None:
    features, vectors = bundle.contents.features, bundle.contents.vectors
    if features.fingerprint != bundle.manifest.fingerprint:
        raise ConfigError(f"{origin}: features.json and {MANIFEST} carry different fingerprints")
    if len(vectors.rows) != len(vectors.expected) or not vectors.rows:
        raise ConfigError(f"{origin}: vectors.json needs one expected score a row, and at least one row")
    if any(len(row) != len(features.definitions) for row in vectors.rows):
        raise ConfigError(
            f"{origin}: vectors.json has rows that are not {len(features.definitions)} values long"
        )


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not text in UTF-8: {error}") from None


def _json(data: bytes, where: str) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: is not valid JSON: {error}") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
