"""What goes out in one deployment: the function's package and the bundle, named by their content."""

from __future__ import annotations

import hashlib

import msgspec

from fraud_detection.core.score.archive import pack
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.core.score.score_bands import Bands
from fraud_detection.deployment.secrets import check_secrets

PREFIX = "releases/"


class Artefact(msgspec.Struct, frozen=True):
    """A file for the bucket; its key is a hash of its content, so it never changes once it is there."""

    key: str
    content: bytes

    @classmethod
    def of(cls, stem: str, content: bytes, suffix: str) -> Artefact:
        """Name the content."""
        return cls(f"{PREFIX}{stem}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}", content)


class Release(msgspec.Struct, frozen=True):
    """What the template has to know of what goes out.

    code, model: keys in the bucket.  image: of the container.  entities: of the project, the ordering one
    first.  bands: of the scores in training.  secrets: variables that the project names; their values stand
    in no file.
    """

    bundle: str
    fingerprint: str
    code: str
    model: str
    image: str
    entities: tuple[str, ...]
    bands: Bands
    secrets: tuple[str, ...] = ()

    @property
    def features(self) -> str:
        """Return the part of the fingerprint that names carry."""
        return self.fingerprint[:8]


def prepare(bundle: Bundle, package: bytes, image: str) -> tuple[Release, list[Artefact]]:
    """Return the release, and the files that have to be in the bucket before it."""
    code = Artefact.of("processor", package, ".zip")
    model = Artefact.of("model", pack(bundle.files()), ".tar.gz")
    release = Release(
        bundle.name,
        bundle.manifest.fingerprint,
        code.key,
        model.key,
        image,
        tuple(bundle.contents.project.schema.entities),
        Bands.of(bundle.contents.reference.score),
        check_secrets(bundle.contents.project.secrets),
    )
    return release, [code, model]
