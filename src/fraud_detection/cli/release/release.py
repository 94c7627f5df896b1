"""`fraud release` and `fraud rollback`: what decides, and every step that changes it."""

from __future__ import annotations

from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command, group
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError


@group("release")
def release() -> None:
    """Release changes, canaries and shadows; show the releases."""


@release.command("start")
@options.bundle
@options.own_config
@options.releasing
def start(
    output: Output,
    *,
    bundle: Path,
    config: Path | None,
    request: options.ReleaseRequest,
) -> None:
    """Make the first release of a registry."""
    from fraud_detection.cli.release.announce import announce, author
    from fraud_detection.core.score.archive import read_bundle
    from fraud_detection.project.checks import open_project
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.registry import ReleaseRegistry

    new_bundle = read_bundle(bundle)
    project = new_bundle.contents.project if config is None else open_project(config)
    announce(
        output,
        request,
        lifecycle.start(ReleaseRegistry(request.registry), new_bundle, project, author(request)),
    )


@release.command("change")
@click.argument("change", type=options.PATH)
@options.releasing
def change_(output: Output, *, change: Path, request: options.ReleaseRequest) -> None:
    """Release a change of rules, lists, policy or caps.

    CHANGE is YAML with blocks of the project file.
    """
    from fraud_detection.cli.release.announce import announce, author, changed
    from fraud_detection.project.change_set import apply_change, load_change
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.registry import ReleaseRegistry

    registry = ReleaseRegistry(request.registry)
    bundle, _ = changed(registry, change)
    if bundle.name != lifecycle.bundle_of(registry, lifecycle.current(registry).champion).name:
        raise ConfigError(
            f"{change}: another bundle is released by `fraud promote`, which evaluates the gate; or for a "
            "share of the cards by `fraud release canary`"
        )
    change_set = load_change(change)
    released = lifecycle.publish(registry, lambda project: apply_change(project, change_set), author(request))
    announce(output, request, released)


@release.command("canary")
@click.argument("change", type=options.PATH, required=False)
@click.option("--share", type=float, default=0.05, help="Share of cards.")
@click.option("--stop", is_flag=True, help="Stop the canary.")
@options.releasing
def canary(
    output: Output,
    *,
    change: Path | None,
    share: float,
    stop: bool,
    request: options.ReleaseRequest,
) -> None:
    """Let a canary decide a share of the cards, or stop it.

    CHANGE is YAML with blocks of the project file.
    """
    from fraud_detection.cli.release.announce import announce, author, changed
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.registry import ReleaseRegistry

    registry = ReleaseRegistry(request.registry)
    if (change is None) == (not stop):
        raise ConfigError("give a change and its --share, or --stop")
    now = lifecycle.current(registry)
    if change is None:
        _, project = lifecycle.content_of(registry, now.champion)
        announce(output, request, lifecycle.set_canary(registry, None, project, 0.0, author(request)))
        return
    bundle, project = changed(registry, change)
    released = lifecycle.set_canary(registry, bundle, project, share, author(request), seen=now.number)
    announce(output, request, released)


@release.command("shadow")
@click.argument("change", type=options.PATH, nargs=-1)
@click.option("--stop", multiple=True, metavar="CONFIG_ID", help="Stop this shadow, repeatable.")
@options.releasing
def shadow(
    output: Output,
    *,
    change: tuple[Path, ...],
    stop: tuple[str, ...],
    request: options.ReleaseRequest,
) -> None:
    """Add configurations in shadow mode, or stop some.

    CHANGE is YAML with blocks of the project file.
    """
    from fraud_detection.cli.release.announce import OWN_FEATURES, announce, author, changed
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.registry import ReleaseRegistry

    registry = ReleaseRegistry(request.registry)
    if not change and not stop:
        raise ConfigError("give a change, or --stop CONFIG_ID")
    seen = lifecycle.current(registry).number
    new = [changed(registry, path) for path in change]
    released = lifecycle.set_shadows(registry, new, author(request), ended=stop, seen=seen)
    for bundle in {bundle.name: bundle for bundle, _ in new}.values():
        if lifecycle.has_other_features(registry, bundle):
            print_line(OWN_FEATURES.format(bundle.name))
    announce(output, request, released)


@command("rollback")
@options.releasing
def rollback(output: Output, *, request: options.ReleaseRequest) -> None:
    """Roll back to the previous release."""
    from fraud_detection.cli.release.announce import announce, author
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.registry import ReleaseRegistry

    announce(output, request, lifecycle.roll_back(ReleaseRegistry(request.registry), author(request)))


@release.command("show")
@click.option("--last", type=int, default=20, help="Number of releases to show.")
@click.option("--model-registry", is_flag=True, help="Update the champion in MLflow's model registry.")
@options.own_registry
def show(output: Output, *, last: int, model_registry: bool, registry: Path) -> None:
    """Print the releases, and the services that follow them.

    Exit code 2 where the evidence of a gate was tampered with.
    """
    import msgspec

    from fraud_detection.cli.release.announce import line, update_model_registry
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.registry import ReleaseRegistry

    released = ReleaseRegistry(registry)
    now = lifecycle.current(released)
    releases, services = released.releases(), released.services()
    problems = [problem for entry in releases if (problem := released.evidence_problem(entry))]
    if model_registry:
        update_model_registry(released, now)
    for entry in releases[-last:]:
        print_line(line(entry))
    for service in services:
        problem = "" if not service.problem else f"; cannot follow: {service.problem}"
        print_line(f"service {service.name} ({service.state}) answers by release {service.release}{problem}")
    if not services:
        print_line("no service on this machine follows this registry")
    output.write(
        {
            "releases": [msgspec.to_builtins(entry) for entry in releases],
            "services": [msgspec.to_builtins(service) for service in services],
            "problems": problems,
        }
    )
    if problems:
        raise ConfigError(
            f"{'; '.join(problems)}: restore the evidence of the gate from a copy. Decisions do not "
            "depend on it"
        )
