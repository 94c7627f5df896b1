"""Publish, promote and roll back releases; start and end canaries and shadows.

Every change of what decides is a release: a rule, a list, a cut-off, a bundle, a canary, a shadow, a
rollback. Services follow the registry, see `serving/embedded/release_follower.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import msgspec

from fraud_detection.adapters.xgboost.bundle_trial import trusted_scorer
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.engine.engine import Configuration, Engine, make_engine
from fraud_detection.releases.registry import Release, ReleaseRegistry


class Author(msgspec.Struct, frozen=True):
    """Author of a release, and the reason for it."""

    by: str
    reason: str


def start(registry: ReleaseRegistry, bundle: Bundle, project: Project, author: Author) -> Release:
    """Create the first release; raise ConfigError when the registry has one."""
    with registry.writing():
        if (latest := registry.latest()) is not None:
            raise ConfigError(
                f"{registry.path}: release {latest.number} exists already; change it, or promote"
            )
        return registry.add(_release("start", author, champion=store(registry, bundle, project).config_id))


def publish(registry: ReleaseRegistry, overlay: Callable[[Project], Project], author: Author) -> Release:
    """Publish a change of rules, lists, policy, decline cap or control group.

    overlay: applies the change set to a project: the champion's, and the canary's too, which decides for some
    cards.  Where both are equal afterwards, the canary ends.
    """
    with registry.writing():
        now = current(registry)
        champion, canary = (
            _with_overlay(registry, name, overlay) if name else "" for name in (now.champion, now.canary)
        )
        _check_changes_something((now.champion, now.canary), (champion, canary))
        shadows = tuple(shadow for shadow in now.shadows if shadow != champion)
        after = _after(now, "change", author, champion=champion, canary=canary, shadows=shadows)
        if canary == champion:
            after = msgspec.structs.replace(after, canary="", canary_share=0.0, salt="")
        return registry.add(after)


def _with_overlay(registry: ReleaseRegistry, config_id: str, overlay: Callable[[Project], Project]) -> str:
    _, project = content_of(registry, config_id)
    return store(registry, bundle_of(registry, config_id), overlay(project)).config_id


def promote(
    registry: ReleaseRegistry,
    bundle: Bundle,
    project: Project,
    author: Author,
    evidence: str = "",
    evaluated: tuple[int, str] | None = None,
) -> Release:
    """Make another bundle the champion for all cards; its canary and its shadow end.

    evidence: file in the registry with the result of the gate.  evaluated: number of the release that the
    gate compared with, and configuration of the shadow.  Raises ConfigError when what decides has changed
    since, when the shadow was ended, and when the bundle needs other features than the profiles of the
    services hold.
    """
    shadow = "" if evaluated is None else evaluated[1]
    with registry.writing():
        now = current(registry)
        _check_not_stale(registry, *(evaluated or (None,)))
        check_same_features(registry, bundle)
        champion = store(registry, bundle, project).config_id
        _check_changes_something(now.champion, champion)
        ended = {champion, now.champion, shadow}
        shadows = tuple(name for name in now.shadows if name not in ended)
        promoted = _after(now, "promote", author, champion=champion, evidence=evidence, shadows=shadows)
        return registry.add(msgspec.structs.replace(promoted, canary="", canary_share=0.0, salt=""))


def set_canary(
    registry: ReleaseRegistry,
    bundle: Bundle | None,
    project: Project,
    share: float,
    author: Author,
    *,
    seen: int | None = None,
) -> Release:
    """Let another configuration decide for a share of the cards; without a bundle the canary ends.

    seen: number of the release that `project` derives from.  Raises ConfigError when what decides has changed
    since.
    """
    if bundle is not None and not 0 < share < 1:
        raise ConfigError(f"--share {share:g}: expected a share of the cards, more than 0 and less than 1")
    with registry.writing():
        now = current(registry)
        _check_not_stale(registry, seen)
        if bundle is not None:
            check_same_features(registry, bundle)
        canary = "" if bundle is None else store(registry, bundle, project).config_id
        if bundle is None and not now.canary:
            raise ConfigError("there is no canary to end")
        if canary == now.champion:
            raise ConfigError("this is the configuration of the champion; a canary of it would show nothing")
        canary_share = 0.0 if bundle is None else share
        salt = now.salt if canary == now.canary else canary
        return registry.add(
            _after(now, "canary", author, canary=canary, canary_share=canary_share, salt=salt)
        )


def set_shadows(
    registry: ReleaseRegistry,
    shadows: list[tuple[Bundle, Project]],
    author: Author,
    *,
    ended: tuple[str, ...] = (),
    seen: int | None = None,
) -> Release:
    """Start and end shadows: configurations that decide in shadow mode, without an effect.

    seen: as in `set_canary`.
    """
    with registry.writing():
        now = current(registry)
        _check_not_stale(registry, seen)
        unknown = sorted(set(ended) - set(now.shadows))
        if unknown:
            existing = ", ".join(now.shadows) or "none"
            raise ConfigError(f"no shadow is called {', '.join(unknown)} (there are: {existing})")
        new = [store(registry, bundle, project).config_id for bundle, project in shadows]
        if now.champion in new:
            raise ConfigError("this is the configuration of the champion; a shadow of it would show nothing")
        remaining = [name for name in now.shadows if name not in ended]
        return registry.add(_after(now, "shadow", author, shadows=tuple(dict.fromkeys([*remaining, *new]))))


def roll_back(registry: ReleaseRegistry, author: Author) -> Release:
    """Restore the champion and canary that decided before the current ones."""
    with registry.writing():
        releases = registry.releases()
        now = current(registry)
        # A release that changed only shadows is no step of its own: it did not change what decides.
        last = next(release for release in reversed(releases) if release.kind != "shadow")
        origin = releases[(last.reverts_to or last.number) - 1]
        for earlier in reversed(releases[: origin.number - 1]):
            if (earlier.champion, earlier.canary, earlier.canary_share) != (
                now.champion,
                now.canary,
                now.canary_share,
            ):
                rollback = _after(now, "rollback", author, champion=earlier.champion, canary=earlier.canary)
                return registry.add(
                    msgspec.structs.replace(
                        rollback,
                        canary_share=earlier.canary_share,
                        salt=earlier.salt,
                        reverts_to=earlier.reverts_to or earlier.number,
                    )
                )
        raise ConfigError(f"{registry.path}: no other champion or canary before release {origin.number}")


def current(registry: ReleaseRegistry) -> Release:
    """Return the current release; raise ConfigError in an empty registry."""
    latest = registry.latest()
    if latest is None:
        raise ConfigError(
            f"{registry.path}: no release yet; begin with `fraud release start --registry {registry.path} "
            "--bundle BUNDLE --reason WHY`"
        )
    return latest


def store(registry: ReleaseRegistry, bundle: Bundle, project: Project) -> Configuration:
    """Store a bundle with a project in the registry, and return its configuration."""
    make_engine(bundle, trusted_scorer(bundle), project)
    configuration = Configuration.of(bundle.name, project)
    registry.store_bundle(bundle)
    registry.store_configuration(configuration.config_id, configuration.content)
    return configuration


def has_other_features(registry: ReleaseRegistry, bundle: Bundle) -> bool:
    """Return whether a bundle needs other features than the champion."""
    champion = bundle_of(registry, current(registry).champion)
    return bundle.manifest.fingerprint != champion.manifest.fingerprint


def check_same_features(registry: ReleaseRegistry, bundle: Bundle) -> None:
    """Raise ConfigError when a bundle needs other features than the profiles of the services hold."""
    if has_other_features(registry, bundle):
        raise ConfigError(
            f"bundle {bundle.name} needs other features than the profiles of the services that follow "
            f"{registry.path}, so they cannot decide by it; start a second service on a new state file, with "
            "a history that reaches to now, and switch over: `fraud release start --registry OTHER --bundle "
            f"{registry.bundle_path(bundle.name)}`, `fraud state create NEW --registry OTHER --history "
            "FILE`, then `fraud serve --registry OTHER --state NEW`"
        )


def content_of(registry: ReleaseRegistry, config_id: str) -> tuple[str, Project]:
    """Return the name of the bundle and the project that a configuration consists of."""
    return _stored(registry, config_id).read()


def bundle_of(registry: ReleaseRegistry, config_id: str) -> Bundle:
    """Return the bundle of a configuration."""
    return registry.bundle(content_of(registry, config_id)[0])


def engine_of(registry: ReleaseRegistry, config_id: str) -> Engine:
    """Load the engine of a configuration, and check it: files, fingerprint, test vectors."""
    stored = _stored(registry, config_id)
    name, project = stored.read()
    bundle = registry.bundle(name)
    return make_engine(bundle, trusted_scorer(bundle), project, stored)


def _stored(registry: ReleaseRegistry, config_id: str) -> Configuration:
    """Return a configuration; raise ConfigError when its file was changed."""
    stored = Configuration(config_id, registry.configuration(config_id))
    if not stored.is_intact:
        raise ConfigError(
            f"{registry.path}: configuration {config_id} was changed: its name is not the hash of its "
            "content; restore its file from a backup, or roll back a release that names it with `fraud "
            "rollback`"
        )
    return stored


def _release(kind: str, author: Author, champion: str) -> Release:
    at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if not author.by.strip() or not author.reason.strip():
        raise ConfigError("a release has an author and a reason: give --author and --reason")
    return Release(0, at, kind, author.by, author.reason, champion)


def _after(now: Release, kind: str, author: Author, **changes: object) -> Release:
    """Return a copy of the current release with changes."""
    draft = _release(kind, author, now.champion)
    unchanged = {
        "canary": now.canary,
        "canary_share": now.canary_share,
        "salt": now.salt,
        "shadows": now.shadows,
    }
    return msgspec.structs.replace(draft, **(unchanged | changes))


def _check_not_stale(registry: ReleaseRegistry, seen: int | None, shadow: str = "") -> None:
    """Raise ConfigError when release `seen` is outdated, or a shadow was ended; call inside `writing`."""
    releases = registry.releases()
    newer = [] if seen is None else [release for release in releases[seen:] if release.kind != "shadow"]
    if shadow and not newer and shadow not in releases[-1].shadows:
        newer = [releases[-1]]
    if newer:
        raise ConfigError(
            f"{registry.path}: release {newer[0].number} ({newer[0].kind} by {newer[0].by}: "
            f"{newer[0].reason}) was made after release {seen}, which this one is based on; nothing was "
            "changed: see `fraud release show`, and try again if it is still wanted"
        )


def _check_changes_something(now: object, then: object) -> None:
    if now == then:
        raise ConfigError("nothing would change: this is the current release already")
