"""The project by which a bundle decides in shadow mode, beside services that follow another release.

Not here: starting a shadow, which is a release (`lifecycle`).
"""

from __future__ import annotations

import msgspec

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.project_schema import Project, Schema
from fraud_detection.core.score.bundle import Bundle


def shadow_project(bundle: Bundle, current: Project) -> Project:
    """Return the project by which a bundle decides in shadow mode.

    Where the bundle needs other features than the current project makes, schema and features are its own.
    Raises ConfigError when it reads ids, times or labels in another way: the decision log has these as the
    services have read them.
    """
    if fingerprint(current, bundle.contents.features.category_encoding) == bundle.manifest.fingerprint:
        return current
    own = bundle.contents.project
    for name, (ours, theirs) in _identity_fields(own.schema, current.schema).items():
        if ours != theirs:
            raise ConfigError(
                f"bundle {bundle.name}: `schema.{name}` of its project file differs from that of the current "
                "release, and a shadow takes ids, times and labels as the services have read them; train it "
                "with the current `schema`"
            )
    return msgspec.structs.replace(current, schema=own.schema, features=own.features)


def _identity_fields(*schemas: Schema) -> dict[str, list[object]]:
    """Return how each schema reads ids, times and labels; aliases make no difference."""
    return {
        "transaction_id": [schema.transaction_id.field for schema in schemas],
        "event_time": [msgspec.structs.replace(schema.event_time, aliases=()) for schema in schemas],
        "label": [schema.label for schema in schemas],
    }
