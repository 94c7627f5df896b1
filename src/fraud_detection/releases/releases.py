"""What is live: releases, which are added to a folder and never changed.

Every change of what answers is a release, whoever makes it: a rule, a list, a cut-off, a bundle, a canary, a
shadow, a rollback.  Services follow the folder, see `follow_release`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import msgspec

from fraud_detection.adapters.xgboost.bundle_trial import trusted_scorer
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.project_schema import Project, Schema
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.engine.engine import Configuration, Engine, make_engine
from fraud_detection.releases.registry import LiveFolder, Release


class Author(msgspec.Struct, frozen=True):
    """Who wants a release, and why."""

    by: str
    reason: str


def start(folder: LiveFolder, bundle: Bundle, project: Project, author: Author) -> Release:
    """Make the first release; raise ConfigError when there is one."""
    with folder.writing():
        if (there := folder.latest()) is not None:
            raise ConfigError(f"{folder.path}: release {there.number} is live already; change it, or promote")
        return folder.add(_release("start", author, champion=keep(folder, bundle, project).config_id))


def put_live(folder: LiveFolder, lay: Callable[[Project], Project], author: Author) -> Release:
    """Let what answers answer by another project: rules, lists, policy, limiter, let-through.

    lay: lays the change over a project: over the champion's and, since some cards are the canary's, over that
    of the canary too; where the two are then the same, the canary ends.
    """
    with folder.writing():
        now = standing(folder)
        champion, canary = (_relaid(folder, one, lay) if one else "" for one in (now.champion, now.canary))
        _refuse_same((now.champion, now.canary), (champion, canary))
        shadows = tuple(one for one in now.shadows if one != champion)
        after = _after(now, "change", author, champion=champion, canary=canary, shadows=shadows)
        if canary == champion:
            after = msgspec.structs.replace(after, canary="", share=0.0, salt="")
        return folder.add(after)


def _relaid(folder: LiveFolder, config_id: str, lay: Callable[[Project], Project]) -> str:
    _, project = content_of(folder, config_id)
    return keep(folder, bundle_of(folder, config_id), lay(project)).config_id


def promote(
    folder: LiveFolder,
    bundle: Bundle,
    project: Project,
    author: Author,
    evidence: str = "",
    judged: tuple[int, str] | None = None,
) -> Release:
    """Let another bundle answer everything; its canary and its shadow end.

    evidence: what the gate found, in the folder.  judged: the number of the release that it looked at, and
    the configuration of the shadow.  Raises ConfigError when other answers went live since, or the shadow was
    ended, and when the features of the bundle are others than those that the services remember.
    """
    shadow = "" if judged is None else judged[1]
    with folder.writing():
        now = standing(folder)
        _refuse_news(folder, *(judged or (None,)))
        refuse_other_features(folder, bundle)
        champion = keep(folder, bundle, project).config_id
        _refuse_same(now.champion, champion)
        shadows = tuple(one for one in now.shadows if one not in {champion, now.champion, shadow})
        promoted = _after(now, "promote", author, champion=champion, evidence=evidence, shadows=shadows)
        return folder.add(msgspec.structs.replace(promoted, canary="", share=0.0, salt=""))


def set_canary(
    folder: LiveFolder,
    bundle: Bundle | None,
    project: Project,
    share: float,
    author: Author,
    *,
    seen: int | None = None,
) -> Release:
    """Let another configuration answer a share of the cards; without a bundle the canary ends.

    seen: number of the release of whose project this one is made.  Raises ConfigError when other answers went
    live since.
    """
    if bundle is not None and not 0 < share < 1:
        raise ConfigError(f"--share {share:g}: expected a part of the cards, more than 0 and less than 1")
    with folder.writing():
        now = standing(folder)
        _refuse_news(folder, seen)
        if bundle is not None:
            refuse_other_features(folder, bundle)
        canary = "" if bundle is None else keep(folder, bundle, project).config_id
        if bundle is None and not now.canary:
            raise ConfigError("there is no canary to end")
        if canary == now.champion:
            raise ConfigError("this is what the champion does already; a canary of it would show nothing")
        part = 0.0 if bundle is None else share
        salt = now.salt if canary == now.canary else canary
        return folder.add(_after(now, "canary", author, canary=canary, share=part, salt=salt))


def set_shadows(
    folder: LiveFolder,
    shadows: list[tuple[Bundle, Project]],
    author: Author,
    *,
    ended: tuple[str, ...] = (),
    seen: int | None = None,
) -> Release:
    """Let more configurations decide in the shadow, and end others; the answers stay what they are.

    seen: as of a canary.
    """
    with folder.writing():
        now = standing(folder)
        _refuse_news(folder, seen)
        unknown = sorted(set(ended) - set(now.shadows))
        if unknown:
            there = ", ".join(now.shadows) or "none"
            raise ConfigError(f"no shadow is called {', '.join(unknown)} (there are: {there})")
        new = [keep(folder, bundle, project).config_id for bundle, project in shadows]
        if now.champion in new:
            raise ConfigError("this is what the champion does already; a shadow of it would show nothing")
        kept = [one for one in now.shadows if one not in ended]
        return folder.add(_after(now, "shadow", author, shadows=tuple(dict.fromkeys([*kept, *new]))))


def roll_back(folder: LiveFolder, author: Author) -> Release:
    """Bring back champion and canary as they were before those of today."""
    with folder.writing():
        releases = folder.releases()
        now = standing(folder)
        # One that changed only shadows is no step of its own: what answers is older than it.
        last = next(one for one in reversed(releases) if one.kind != "shadow")
        origin = releases[(last.restores or last.number) - 1]
        for before in reversed(releases[: origin.number - 1]):
            if (before.champion, before.canary, before.share) != (now.champion, now.canary, now.share):
                brought = _after(now, "rollback", author, champion=before.champion, canary=before.canary)
                return folder.add(
                    msgspec.structs.replace(
                        brought,
                        share=before.share,
                        salt=before.salt,
                        restores=before.restores or before.number,
                    )
                )
        raise ConfigError(f"{folder.path}: nothing else answered before release {origin.number}")


def standing(folder: LiveFolder) -> Release:
    """Return what is live; raise ConfigError where nothing ever was."""
    latest = folder.latest()
    if latest is None:
        raise ConfigError(
            f"{folder.path}: nothing is live here; begin with `fraud release start --live {folder.path} "
            "--bundle BUNDLE --reason WHY`"
        )
    return latest


def keep(folder: LiveFolder, bundle: Bundle, project: Project) -> Configuration:
    """Keep a bundle with a project in the folder, and return its configuration."""
    make_engine(bundle, trusted_scorer(bundle), project)
    configuration = Configuration.of(bundle.name, project)
    folder.keep_bundle(bundle)
    folder.keep_configuration(configuration.config_id, configuration.content)
    return configuration


def fitting(bundle: Bundle, today: Project) -> Project:
    """Return the project under which a bundle decides beside what is live.

    Where the bundle has other features than the project of today makes, schema and features are its own.
    Raises ConfigError when it reads ids, times or labels otherwise: the log tells these as the services read
    them.
    """
    if fingerprint(today, bundle.contents.features.vocabulary) == bundle.manifest.fingerprint:
        return today
    own = bundle.contents.project
    for name, (one, other) in _told(own.schema, today.schema).items():
        if one != other:
            raise ConfigError(
                f"bundle {bundle.name}: its project file reads `schema.{name}` otherwise than the live one, "
                "and a shadow takes ids, times and labels as the services have read them; train it with that "
                "of the live one"
            )
    return msgspec.structs.replace(today, schema=own.schema, features=own.features)


def has_other_features(folder: LiveFolder, bundle: Bundle) -> bool:
    """Tell whether a bundle needs other features than what is live."""
    champion = bundle_of(folder, standing(folder).champion)
    return bundle.manifest.fingerprint != champion.manifest.fingerprint


def refuse_other_features(folder: LiveFolder, bundle: Bundle) -> None:
    """Raise ConfigError when the services cannot answer by a bundle, because they remember other features."""
    if has_other_features(folder, bundle):
        raise ConfigError(
            f"bundle {bundle.name} needs other features than services that follow {folder.path} remember, "
            "so they cannot answer by it; start a second service on a new state, with a history that reaches "
            f"to now, and switch over: `fraud release start --live OTHER --bundle "
            f"{folder.bundle_path(bundle.name)}`, `fraud state create NEW --live OTHER --history FILE`, then "
            "`fraud serve --live OTHER --state NEW`"
        )


def _told(*schemas: Schema) -> dict[str, list[object]]:
    """Return what ids, times and labels are read by, of each schema; aliases change nothing."""
    return {
        "transaction_id": [one.transaction_id.field for one in schemas],
        "event_time": [msgspec.structs.replace(one.event_time, aliases=()) for one in schemas],
        "label": [one.label for one in schemas],
    }


def content_of(folder: LiveFolder, config_id: str) -> tuple[str, Project]:
    """Return the name of the bundle and the project that a configuration consists of."""
    return _kept(folder, config_id).read()


def bundle_of(folder: LiveFolder, config_id: str) -> Bundle:
    """Return the bundle of a configuration."""
    return folder.bundle(content_of(folder, config_id)[0])


def engine_of(folder: LiveFolder, config_id: str) -> Engine:
    """Load what a configuration consists of, and check it: files, fingerprint, test vectors."""
    kept = _kept(folder, config_id)
    name, project = kept.read()
    bundle = folder.bundle(name)
    return make_engine(bundle, trusted_scorer(bundle), project, kept)


def _kept(folder: LiveFolder, config_id: str) -> Configuration:
    """Return a configuration; raise ConfigError when it is not as it was kept."""
    kept = Configuration(config_id, folder.configuration(config_id))
    if not kept.is_whole:
        raise ConfigError(
            f"{folder.path}: configuration {config_id} is not as it was kept: its name is not the hash of "
            "its content; bring its file back from a copy, or take a release back that names it with `fraud "
            "rollback`"
        )
    return kept


def _release(kind: str, author: Author, champion: str) -> Release:
    at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if not author.by.strip() or not author.reason.strip():
        raise ConfigError("a release says who wants it and why: give --by and --reason")
    return Release(0, at, kind, author.by, author.reason, champion)


def _after(now: Release, kind: str, author: Author, **changes: object) -> Release:
    """Return a release that is like the standing one, but for its changes."""
    draft = _release(kind, author, now.champion)
    kept = {"canary": now.canary, "share": now.share, "salt": now.salt, "shadows": now.shadows}
    return msgspec.structs.replace(draft, **(kept | changes))


def _refuse_news(folder: LiveFolder, seen: int | None, shadow: str = "") -> None:
    """Raise ConfigError when other answers went live after a release, or a shadow was ended; in `writing`."""
    releases = folder.releases()
    news = [] if seen is None else [one for one in releases[seen:] if one.kind != "shadow"]
    if shadow and not news and shadow not in releases[-1].shadows:
        news = [releases[-1]]
    if news:
        raise ConfigError(
            f"{folder.path}: release {news[0].number} ({news[0].kind} by {news[0].by}: {news[0].reason}) was "
            f"made meanwhile, after release {seen} that this one is made of; nothing is changed: see `fraud "
            "release show`, and try again if it is still wanted"
        )


def _refuse_same(now: object, then: object) -> None:
    if now == then:
        raise ConfigError("nothing would change: this is what answers already")
