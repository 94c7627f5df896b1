"""What every step does that changes what is released: print it, inform MLflow, wait for the services."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

import msgspec

from fraud_detection.adapters.mlflow_tracking import MlflowTracker, registry_exists
from fraud_detection.cli.extras import advice, has
from fraud_detection.cli.options import ReleaseRequest
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.project.change_set import apply_change, load_change
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import Release, ReleaseRegistry
from fraud_detection.releases.shadow_project import shadow_project

SERVED_WITHIN_S = 15.0
OWN_FEATURES = (
    "bundle {} has other features than the services: `fraud shadow` extracts them itself, and needs the "
    "--history that the service began with"
)


def announce(output: Output, request: ReleaseRequest, release: Release) -> None:
    """Print a release, inform MLflow, and wait until every service of this machine follows it."""
    registry = ReleaseRegistry(request.registry)
    print_line(line(release))
    if not request.no_tracking:
        update_model_registry(registry, release)
    services = wait_until_served(registry, release)
    message = f"{services} service{'s' * (services != 1)} of this machine answer{'s' * (services == 1)} by it"
    output.screen.print(message if services else "no service on this machine follows the registry")
    output.write({"release": msgspec.to_builtins(release), "services": services})


def author(request: ReleaseRequest) -> lifecycle.Author:
    """Return who wants a release, and why; the user of this process, where nobody is named."""
    return lifecycle.Author(request.author or getpass.getuser(), request.reason)


def changed(registry: ReleaseRegistry, path: Path) -> tuple[Bundle, Project]:
    """Return the bundle and the project that a change makes of what is released.

    A bundle with other features brings its own schema and features.
    """
    change_set = load_change(path)
    name, project = lifecycle.content_of(registry, lifecycle.current(registry).champion)
    bundle = registry.bundle(name) if change_set.bundle is None else read_bundle(Path(change_set.bundle))
    return bundle, apply_change(shadow_project(bundle, project), change_set)


def wait_until_served(registry: ReleaseRegistry, release: Release) -> int:
    """Wait until every service of this machine uses a release; return how many do.

    Raises ConfigError when one cannot: the release is published, and that service uses the previous one.
    """
    until = time.monotonic() + SERVED_WITHIN_S
    while True:
        services = registry.services()
        lagging = [service for service in services if service.release < release.number]
        stuck = [service for service in lagging if service.problem]
        if stuck or (lagging and time.monotonic() > until):
            service = (stuck or lagging)[0]
            why = service.problem or f"it did not follow within {SERVED_WITHIN_S:g} s"
            raise ConfigError(
                f"release {release.number} is made, but service {service.name} ({service.state}) answers by "
                f"release {service.release} on: {why}; take it back with `fraud rollback`"
            )
        if not lagging:
            return len(services)
        time.sleep(0.05)


def update_model_registry(registry: ReleaseRegistry, release: Release) -> None:
    """Let the registry's champion be the one that answers; what it missed before is made good too."""
    name, project = lifecycle.content_of(registry, release.champion)
    if not registry_exists(project.tracking.uri):
        return
    if not has("mlflow"):
        print_line(
            f"the model registry was not updated: that takes {advice('mlflow')}; then update it with "
            "`fraud release show --model-registry`"
        )
        return
    try:
        version = MlflowTracker(project).promoted(name)
    except RetryError as error:
        raise RetryError(
            f"release {release.number} is made, but the model registry was not updated: {error}; the next "
            "release updates it, or `fraud release show --model-registry`"
        ) from None
    if version is None:
        print_line(f"MLflow's model registry does not have the bundle {name}; its champion is unchanged")
    else:
        print_line(f"MLflow's champion of {project.tracking.model} is version {version}")


def line(made: Release) -> str:
    """Return a release in one line."""
    text = (
        f"release {made.number}, {made.at}, {made.kind} by {made.by}: {made.reason} (champion {made.champion}"
    )
    if made.canary:
        text += f", canary {made.canary} for {100 * made.canary_share:g} % of the cards"
    if made.shadows:
        text += f", in shadow mode {', '.join(made.shadows)}"
    if made.reverts_to:
        text += f", as release {made.reverts_to}"
    return f"{text})"
