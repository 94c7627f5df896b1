"""`fraud release` and `fraud rollback`: what is live, and every step that changes it."""

from __future__ import annotations

import getpass
import time
from argparse import Namespace
from pathlib import Path

import msgspec

from fraud_detection.adapters.mlflow_tracking import MlflowTracker, is_kept
from fraud_detection.challengers import promotion
from fraud_detection.cli.arguments import BUNDLE, STATE
from fraud_detection.cli.extras import advice, has
from fraud_detection.cli.printing import Figures, print_line, terminal, write_figures
from fraud_detection.cli.release import compare as compared
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.project.change_set import apply_change, load_change
from fraud_detection.project.checks import open_project
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import Release, ReleaseRegistry

FOLLOWED_WITHIN_S = 15.0
OWN_FEATURES = (
    "bundle {} has other features than the services: `fraud shadow` makes them itself, and needs the "
    "--history that the service began with"
)


def start(arguments: Namespace) -> None:
    """Make the first release."""
    bundle = read_bundle(arguments.bundle or BUNDLE)
    project = bundle.contents.project if arguments.config is None else open_project(arguments.config)
    _told(arguments, lifecycle.start(ReleaseRegistry(arguments.live), bundle, project, _author(arguments)))


def change(arguments: Namespace) -> None:
    """Put a change of rules, lists, policy, decline cap or control group live."""
    registry = ReleaseRegistry(arguments.live)
    bundle, _ = changed(registry, arguments.change)
    if bundle.name != lifecycle.bundle_of(registry, lifecycle.current(registry).champion).name:
        raise ConfigError(
            f"{arguments.change}: another bundle goes live by `fraud promote`, which asks the gate; or for a "
            "share of the cards by `fraud release canary`"
        )
    asked = load_change(arguments.change)
    _told(
        arguments,
        lifecycle.publish(registry, lambda project: apply_change(project, asked), _author(arguments)),
    )


def canary(arguments: Namespace) -> None:
    """Let a change answer a share of the cards, or end that."""
    registry = ReleaseRegistry(arguments.live)
    if (arguments.change is None) == (not arguments.end):
        raise ConfigError("give a change and its --share, or --end")
    now = lifecycle.current(registry)
    if arguments.end:
        _, project = lifecycle.content_of(registry, now.champion)
        _told(arguments, lifecycle.set_canary(registry, None, project, 0.0, _author(arguments)))
        return
    bundle, project = changed(registry, arguments.change)
    author, share = _author(arguments), arguments.share
    _told(arguments, lifecycle.set_canary(registry, bundle, project, share, author, seen=now.number))


def shadow(arguments: Namespace) -> None:
    """Let changes decide in the shadow, or end some."""
    registry = ReleaseRegistry(arguments.live)
    if not arguments.change and not arguments.end:
        raise ConfigError("give a change, or --end SETUP")
    seen = lifecycle.current(registry).number
    new = [changed(registry, one) for one in arguments.change]
    released = lifecycle.set_shadows(registry, new, _author(arguments), ended=tuple(arguments.end), seen=seen)
    for bundle in {bundle.name: bundle for bundle, _ in new}.values():
        if lifecycle.has_other_features(registry, bundle):
            print_line(OWN_FEATURES.format(bundle.name))
    _told(arguments, released)


def promote(arguments: Namespace) -> None:
    """Let a shadow answer everything, if the gate opens."""
    screen, registry = terminal(arguments), ReleaseRegistry(arguments.live)
    config_id = promotion.chosen(registry, arguments.setup)
    screen.progress("comparing", 0.0)
    found = promotion.compared(registry, arguments.state or [STATE], config_id, arguments.as_of)
    screen.finish()
    for line in compared.lines(found):
        print_line(line)
    released = promotion.promote(registry, found, _author(arguments), anyway=arguments.anyway)
    if released is None:
        write_figures(arguments, msgspec.to_builtins(found))
        raise ConfigError(
            "the gate stays shut, and nothing is changed; wait for more labels, or overrule it with --anyway"
        )
    _told(arguments, released)


def rollback(arguments: Namespace) -> None:
    """Bring back what answered before."""
    _told(arguments, lifecycle.roll_back(ReleaseRegistry(arguments.live), _author(arguments)))


def show(arguments: Namespace) -> None:
    """Print every release, and which one each service answers by; tell evidence that was changed."""
    registry = ReleaseRegistry(arguments.live)
    now = lifecycle.current(registry)
    releases, services = registry.releases(), registry.services()
    problems = [problem for one in releases if (problem := registry.evidence_problem(one))]
    if arguments.registry:
        _update_model_registry(registry, now)
    for one in releases[-arguments.last :]:
        print_line(_line(one))
    for service in services:
        behind = "" if not service.problem else f"; cannot follow: {service.problem}"
        print_line(f"service {service.name} ({service.state}) answers by release {service.release}{behind}")
    if not services:
        print_line("no service of this machine follows this registry")
    write_figures(
        arguments,
        {
            "releases": [msgspec.to_builtins(one) for one in releases],
            "services": [msgspec.to_builtins(one) for one in services],
            "problems": problems,
        },
    )
    if problems:
        raise ConfigError(
            f"{'; '.join(problems)}: bring back from a copy what the gate found. What answers does not "
            "depend on it"
        )


def changed(registry: ReleaseRegistry, path: Path) -> tuple[Bundle, Project]:
    """Return the bundle and the project that a change makes of what is live.

    A bundle with other features brings its own schema and features.
    """
    asked = load_change(path)
    name, project = lifecycle.content_of(registry, lifecycle.current(registry).champion)
    bundle = registry.bundle(name) if asked.bundle is None else read_bundle(Path(asked.bundle))
    return bundle, apply_change(lifecycle.shadow_project(bundle, project), asked)


def follow(registry: ReleaseRegistry, release: Release) -> int:
    """Wait until every service of this machine answers by a release; return how many do.

    Raises ConfigError when one cannot: the release is there, and that service answers by the one before.
    """
    until = time.monotonic() + FOLLOWED_WITHIN_S
    while True:
        services = registry.services()
        behind = [service for service in services if service.release < release.number]
        stuck = [service for service in behind if service.problem]
        if stuck or (behind and time.monotonic() > until):
            service = (stuck or behind)[0]
            why = service.problem or f"it did not follow within {FOLLOWED_WITHIN_S:g} s"
            raise ConfigError(
                f"release {release.number} is made, but service {service.name} ({service.state}) answers by "
                f"release {service.release} on: {why}; take it back with `fraud rollback`"
            )
        if not behind:
            return len(services)
        time.sleep(0.05)


def _told(arguments: Namespace, release: Release) -> None:
    registry = ReleaseRegistry(arguments.live)
    print_line(_line(release))
    if not arguments.no_tracking:
        _update_model_registry(registry, release)
    services = follow(registry, release)
    followed = (
        f"{services} service{'s' * (services != 1)} of this machine answer{'s' * (services == 1)} by it"
    )
    terminal(arguments).say(followed if services else "no service of this machine follows the registry now")
    figures: Figures = {"release": msgspec.to_builtins(release), "services": services}
    write_figures(arguments, figures)


def _update_model_registry(registry: ReleaseRegistry, release: Release) -> None:
    """Let the registry's champion be the one that answers; what it missed before is made good too."""
    name, project = lifecycle.content_of(registry, release.champion)
    if not is_kept(project.tracking.uri):
        return
    if not has("mlflow"):
        print_line(
            f"the registry's champion was not told of it: that takes {advice('mlflow')}; then tell it with "
            "`fraud release show --registry`"
        )
        return
    try:
        version = MlflowTracker(project).promoted(name)
    except RetryError as error:
        raise RetryError(
            f"release {release.number} is made, but the registry could not be told: {error}; the next "
            "release tells it, or `fraud release show --registry`"
        ) from None
    if version is None:
        print_line(f"the registry does not know the bundle {name}; its champion stays what it was")
    else:
        print_line(f"the registry's champion of {project.tracking.model} is version {version}")


def _line(one: Release) -> str:
    words = f"release {one.number}, {one.at}, {one.kind} by {one.by}: {one.reason} (champion {one.champion}"
    if one.canary:
        words += f", canary {one.canary} for {100 * one.share:g} % of the cards"
    if one.shadows:
        words += f", in the shadow {', '.join(one.shadows)}"
    if one.reverts_to:
        words += f", as release {one.reverts_to}"
    return f"{words})"


def _author(arguments: Namespace) -> lifecycle.Author:
    return lifecycle.Author(arguments.by or getpass.getuser(), arguments.reason)
