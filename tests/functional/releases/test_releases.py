"""Releases: made in one step, followed while traffic flows, and rolled back by one command."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.challengers import promotion
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import DeclineCapSettings, RuleSettings
from fraud_detection.core.decoding import Duration
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import LOG, Release, ReleaseRegistry
from fraud_detection.serving.embedded.release_follower import ReleaseFollower
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served
from tests.states import open_released_service

ANN = lifecycle.Author("ann", "a test")
EVERYTHING = RuleSettings(name="everything", when="True", action="decline")
DECLINE_CAP = DeclineCapSettings(interval=Duration.parse("30d"), share=0.1, min_payments=20)


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(4_000, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


@pytest.fixture(scope="module")
def challenger(small_simulation: SmallSimulation) -> Bundle:
    """Return another model over the same features."""
    return read_bundle(small_simulation.other)


@pytest.fixture
def registry(small_simulation: SmallSimulation, tmp_path: Path) -> ReleaseRegistry:
    made = ReleaseRegistry(tmp_path / "registry")
    lifecycle.start(made, read_bundle(small_simulation.bundle), small_simulation.project, ANN)
    return made


def with_rules(
    simulation: SmallSimulation, *rules: RuleSettings, decline_cap: DeclineCapSettings | None = None
) -> Project:
    return msgspec.structs.replace(simulation.project, rules=rules, decline_cap=decline_cap)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def reached(follower: ReleaseFollower, number: int) -> bool:
    follower.look()
    return follower.release.number == number


def serves_release(registry: ReleaseRegistry, release: Release) -> bool:
    services = registry.services()
    return bool(services) and all(service.release == release.number for service in services)


def config_ids(state: Path) -> list[tuple[Any, ...]]:
    with closing(StateFile(state, reading=True)) as state_file:
        return state_file.rows("SELECT transaction_id, config_id, bundle, action FROM decisions ORDER BY seq")


def test_every_step_is_a_release_with_who_and_why(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    first = lifecycle.current(registry)
    changed = lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
    canary = lifecycle.set_canary(registry, challenger, small_simulation.project, 0.1, ANN)
    shadow = lifecycle.set_shadows(registry, [(challenger, small_simulation.project)], ANN)
    promoted = lifecycle.promote(registry, challenger, small_simulation.project, ANN)
    assert [release.kind for release in registry.releases()] == [
        "start",
        "change",
        "canary",
        "shadow",
        "promote",
    ]
    assert [release.number for release in registry.releases()] == [1, 2, 3, 4, 5]
    assert changed.champion not in {first.champion, promoted.champion}
    assert canary.canary == promoted.champion == shadow.shadows[0]
    assert (promoted.canary, promoted.shadows) == ("", ())
    for nobody in (lifecycle.Author("", "why"), lifecycle.Author("ann", " ")):
        with pytest.raises(ConfigError, match="give --author and --reason"):
            lifecycle.publish(registry, lambda _: with_rules(small_simulation), nobody)
    assert len(registry.releases()) == 5


def test_a_change_reaches_the_cards_of_a_canary_too_and_keeps_what_is_its_own(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    def with_emergency(project: Project) -> Project:
        return msgspec.structs.replace(project, rules=(*project.rules, EVERYTHING))

    own = RuleSettings(name="own", when="amount > 1", action="review")
    lifecycle.set_canary(registry, challenger, with_rules(small_simulation, own), 0.5, ANN)
    changed = lifecycle.publish(registry, with_emergency, ANN)
    for config_id, names in ((changed.champion, ["everything"]), (changed.canary, ["own", "everything"])):
        assert [rule.name for rule in lifecycle.content_of(registry, config_id)[1].rules][
            -len(names) :
        ] == names
    assert lifecycle.bundle_of(registry, changed.canary).name == challenger.name
    assert changed.canary_share == 0.5


def test_nothing_is_made_of_a_project_that_is_not_live_any_more(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    seen, project = lifecycle.current(registry).number, small_simulation.project
    small = with_rules(small_simulation, RuleSettings(name="small", when="amount > 5", action="review"))
    shadowed = lifecycle.set_shadows(registry, [(challenger, project)], ANN, seen=seen)
    # A shadow more changes no answer; a rule does.
    lifecycle.set_canary(registry, challenger, project, 0.1, ANN, seen=seen)
    changed = lifecycle.publish(registry, lambda _: small, ANN)
    seen = shadowed.number
    with pytest.raises(ConfigError, match="was made after release"):
        lifecycle.set_canary(registry, challenger, project, 0.2, ANN, seen=seen)
    with pytest.raises(ConfigError, match="was made after release"):
        lifecycle.set_shadows(registry, [(challenger, small)], ANN, seen=seen)
    assert lifecycle.current(registry) == changed


def test_a_card_stays_with_the_canary_when_its_rules_change_or_its_share_grows(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    challenger: Bundle,
    events: list[bytes],
    tmp_path: Path,
) -> None:
    def cards(release: Release) -> set[str]:
        _, service, follower = open_released_service(registry, tmp_path / f"{release.number}.db")
        service.take(Batch(events[:1_500], None, 0), "test")
        service.close()
        follower.close()
        with closing(StateFile(tmp_path / f"{release.number}.db", reading=True)) as state_file:
            query = "SELECT event FROM decisions WHERE config_id = ?"
            return {json.loads(event)["card_id"] for (event,) in state_file.rows(query, (release.canary,))}

    first = lifecycle.set_canary(registry, challenger, small_simulation.project, 0.2, ANN)
    before = cards(first)
    stricter = RuleSettings(name="large", when="amount > 900", action="review")
    changed = lifecycle.publish(registry, lambda _: with_rules(small_simulation, stricter), ANN)
    assert first.canary != changed.canary
    assert before == cards(changed)
    assert len(before) > 10
    project = lifecycle.content_of(registry, changed.canary)[1]
    more = lifecycle.set_canary(registry, challenger, project, 0.5, ANN)
    assert before < cards(more)


def test_a_shadow_that_was_ended_and_named_again_is_promoted_as_it_was_named_last(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    (config_id,) = lifecycle.set_shadows(registry, [(challenger, small_simulation.project)], ANN).shadows
    lifecycle.set_shadows(registry, [], ANN, ended=(config_id,))
    rule = RuleSettings(name="large", when="amount > 900", action="review")
    lifecycle.publish(registry, lambda _: with_rules(small_simulation, rule), ANN)
    # Named again without the rule, on purpose: that was compared, and that is promoted.
    named = lifecycle.set_shadows(registry, [(challenger, small_simulation.project)], ANN)
    assert named.shadows == (config_id,)
    assert promotion.project_of(registry, named.number, config_id).rules == small_simulation.project.rules


def test_a_setup_of_an_earlier_version_keeps_its_name_and_a_changed_one_is_refused(
    registry: ReleaseRegistry, events: list[bytes], tmp_path: Path
) -> None:
    # That version knew no `gate.unseen`.
    plain = json.loads(registry.configuration(lifecycle.current(registry).champion))
    del plain["project"]["gate"]["unobserved"]
    content = json.dumps(plain).encode()
    name = hashlib.blake2b(content, digest_size=8).hexdigest()
    registry.store_configuration(name, content)
    with registry.writing():
        registry.add(msgspec.structs.replace(lifecycle.current(registry), champion=name))
    assert lifecycle.engine_of(registry, name).configuration.config_id == name
    _, service, follower = open_released_service(registry, tmp_path / "state.db")
    service.take(Batch(events[:50], None, 0), "test")
    service.close()
    follower.close()
    with closing(StateFile(tmp_path / "state.db", reading=True)) as state_file:
        assert state_file.rows("SELECT DISTINCT config_id FROM decisions") == [(name,)]
    (stored,) = registry.path.glob(f"configurations/{name}*")
    stored.write_bytes(content.replace(b'"review_at": null', b'"review_at": 0.99'))
    assert stored.read_bytes() != content
    with pytest.raises(ConfigError, match="was changed: its name is not the hash of its content"):
        lifecycle.engine_of(registry, name)


def test_a_canary_ends_when_it_goes_live(
    small_simulation: SmallSimulation, registry: ReleaseRegistry
) -> None:
    stricter = with_rules(small_simulation, EVERYTHING)
    canary = lifecycle.set_canary(registry, read_bundle(small_simulation.bundle), stricter, 0.5, ANN)
    changed = lifecycle.publish(registry, lambda _: stricter, ANN)
    assert (changed.champion, changed.canary, changed.canary_share) == (canary.canary, "", 0.0)


def test_what_was_kept_has_the_same_name_when_it_is_read(
    small_simulation: SmallSimulation, registry: ReleaseRegistry
) -> None:
    whole = msgspec.structs.replace(
        small_simulation.project, costs=msgspec.structs.replace(small_simulation.project.costs, review=7)
    )
    released = lifecycle.publish(registry, lambda _: whole, ANN)
    assert lifecycle.engine_of(registry, released.champion).configuration.config_id == released.champion


def test_a_shadow_that_goes_live_is_no_shadow_any_more(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    stricter = with_rules(small_simulation, EVERYTHING)
    bundle = read_bundle(small_simulation.bundle)
    lifecycle.set_shadows(registry, [(bundle, stricter), (challenger, small_simulation.project)], ANN)
    changed = lifecycle.publish(registry, lambda _: stricter, ANN)
    assert len(changed.shadows) == 1
    assert changed.champion not in changed.shadows


def test_each_rollback_goes_one_step_further_back(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    first = lifecycle.current(registry)
    second = lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
    lifecycle.set_shadows(registry, [(challenger, small_simulation.project)], ANN)
    lifecycle.set_canary(registry, challenger, small_simulation.project, 0.1, ANN)
    assert [(lifecycle.roll_back(registry, ANN)).champion for _ in range(2)] == [
        second.champion,
        first.champion,
    ]
    latest = lifecycle.current(registry)
    assert (latest.canary, latest.reverts_to, len(latest.shadows)) == ("", first.number, 1)
    with pytest.raises(ConfigError, match="no other champion or canary before release 1"):
        lifecycle.roll_back(registry, ANN)


def test_a_shadow_named_after_a_rollback_does_not_restore_what_was_rolled_back(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
    lifecycle.roll_back(registry, ANN)
    lifecycle.set_shadows(registry, [(challenger, small_simulation.project)], ANN)
    with pytest.raises(ConfigError, match="no other champion or canary before release 1"):
        lifecycle.roll_back(registry, ANN)


def test_what_changes_nothing_is_refused(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle
) -> None:
    same = read_bundle(small_simulation.bundle)
    wrongs: list[tuple[Callable[[], object], str]] = [
        (lambda: lifecycle.start(registry, same, small_simulation.project, ANN), "release 1 exists already"),
        (
            lambda: lifecycle.publish(registry, lambda _: small_simulation.project, ANN),
            "nothing would change",
        ),
        (lambda: lifecycle.promote(registry, same, small_simulation.project, ANN), "nothing would change"),
        (
            lambda: lifecycle.set_canary(registry, same, small_simulation.project, 0.1, ANN),
            "the configuration of the champion",
        ),
        (
            lambda: lifecycle.set_canary(registry, challenger, small_simulation.project, 1.5, ANN),
            "--share 1.5",
        ),
        (
            lambda: lifecycle.set_canary(registry, None, small_simulation.project, 0.0, ANN),
            "no canary to end",
        ),
        (lambda: lifecycle.set_shadows(registry, [], ANN, ended=("x",)), "no shadow is called x"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(ConfigError, match=message):
            wrong()
    rule = RuleSettings(name="typo", when="amuont > 3", action="review")
    with pytest.raises(ConfigError, match="nearest: `amount`"):
        lifecycle.publish(registry, lambda _: with_rules(small_simulation, rule), ANN)
    assert [release.kind for release in registry.releases()] == ["start"]


def test_a_release_that_was_not_wholly_written_is_none(
    small_simulation: SmallSimulation, registry: ReleaseRegistry
) -> None:
    log = registry.path / LOG
    whole = log.read_bytes()
    for cut in range(1, len(whole), 37):
        log.write_bytes(whole + whole[:cut])
        assert len(registry.releases()) == 1
    added = lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
    assert registry.releases()[-1] == added
    assert log.read_bytes().startswith(whole)


def test_a_log_that_was_changed_is_refused(
    small_simulation: SmallSimulation, registry: ReleaseRegistry
) -> None:
    lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
    lifecycle.publish(registry, lambda _: with_rules(small_simulation), ANN)
    log = registry.path / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    for changed, message in (
        ([lines[0].replace(b"ann", b"bob"), *lines[1:]], "line 1 is not as it was written"),
        ([*lines[:2], lines[2].replace(b"ann", b"bob")], "line 3 is not as it was written"),
        ([*lines[:2], lines[2].replace(b',"by"', b', "by"')], "line 3 is not as it was written"),
        ([*lines[:2], without_checksum(lines[2])], "line 3 is not as it was written"),
        ([lines[0], lines[2]], "line 2 does not follow the previous line"),
        ([lines[1], lines[0], lines[2]], "line 1 does not follow the previous line"),
        (lines[1:], "line 1 does not follow the previous line"),
    ):
        log.write_bytes(b"".join(changed))
        with pytest.raises(ConfigError, match=f"{message}.*: restore it from a backup"):
            registry.releases()
    log.write_bytes(b"".join(lines))
    assert len(registry.releases()) == 3


def without_checksum(line: bytes) -> bytes:
    release = msgspec.json.decode(line, type=Release)
    return msgspec.json.encode(msgspec.structs.replace(release, checksum="")) + b"\n"


def test_a_log_of_before_is_read_and_goes_on(
    small_simulation: SmallSimulation, registry: ReleaseRegistry
) -> None:
    """Its lines had no hash of their own; those that come behind have one, and bind the last of them."""
    log = registry.path / LOG
    old = without_checksum(log.read_bytes())
    log.write_bytes(old)
    added = lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN)
    assert registry.releases()[-1] == added
    assert log.read_bytes().startswith(old)
    log.write_bytes(log.read_bytes().replace(b'"reason":"a test"', b'"reason":"a jest"', 1))
    with pytest.raises(ConfigError, match="line 2 does not follow the previous line"):
        registry.releases()


def test_evidence_that_was_changed_or_is_gone_is_reported_and_blocks_nothing(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    challenger: Bundle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = small_simulation.project
    stored = registry.store_evidence("gate", b'{"passed":true}')
    assert registry.store_evidence("gate", b'{"passed":false}') != stored
    promoted = lifecycle.promote(registry, challenger, project, ANN, stored)
    show = ["release", "show", f"--registry={registry.path}", "--plain"]
    assert main(show) == 0
    assert not registry.evidence_problem(promoted)
    evidence = registry.path / stored
    evidence.write_bytes(b'{"passed":True}')
    assert main(show) == 2
    captured = capsys.readouterr()
    assert f"{evidence}: is not the evidence that release 2 refers to" in captured.err
    assert "release 2, " in captured.out
    evidence.unlink()
    assert main(show) == 2
    assert "the evidence of release 2 cannot be read" in capsys.readouterr().err
    assert lifecycle.roll_back(registry, ANN).champion == registry.releases()[0].champion


def test_a_service_takes_each_release_between_two_batches(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    challenger: Bundle,
    events: list[bytes],
    tmp_path: Path,
) -> None:
    _, service, follower = open_released_service(registry, tmp_path / "state.db")
    steps: Iterator[Callable[[], Release]] = iter(
        [
            lambda: lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN),
            lambda: lifecycle.promote(registry, challenger, small_simulation.project, ANN),
            lambda: lifecycle.roll_back(registry, ANN),
        ]
    )
    expected: list[str] = []
    for start in range(0, 400, 100):
        for at in range(start, start + 100, 20):
            service.take(Batch(events[at : at + 20], None, 0), "test")
        expected += [lifecycle.current(registry).champion] * 100
        if (step := next(steps, None)) is not None:
            released = step()
            wait_for(partial(reached, follower, released.number))
    service.close()
    follower.close()
    assert [row[1] for row in config_ids(tmp_path / "state.db")] == expected
    assert len(set(expected)) == 3
    assert registry.services() == []


def test_a_release_that_cannot_be_loaded_is_not_applied_and_the_service_reports_it(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    challenger: Bundle,
    events: list[bytes],
    tmp_path: Path,
) -> None:
    _, service, follower = open_released_service(registry, tmp_path / "state.db")
    lifecycle.promote(registry, challenger, small_simulation.project, ANN)
    registry.bundle_path(challenger.name).write_bytes(b"damaged")

    wait_for(lambda: reached(follower, 1) and bool(follower.problem))
    (report,) = registry.services()
    assert (report.release, bool(report.problem)) == (1, True)
    service.take(Batch(events[:1], None, 0), "test")
    assert service.tally.decided == 1
    lifecycle.roll_back(registry, ANN)
    wait_for(lambda: reached(follower, 3))
    assert not follower.problem
    service.close()
    follower.close()


def test_a_release_that_cannot_be_read_for_a_moment_is_applied_later(
    small_simulation: SmallSimulation, registry: ReleaseRegistry, challenger: Bundle, tmp_path: Path
) -> None:
    _, service, follower = open_released_service(registry, tmp_path / "state.db")
    promoted = lifecycle.promote(registry, challenger, small_simulation.project, ANN)
    (stored,) = registry.path.glob(f"configurations/{promoted.champion}*")
    content = stored.read_bytes()
    # A disk that fails for a moment: reading what is a folder fails as an error of the system.
    stored.unlink()
    stored.mkdir()
    wait_for(lambda: reached(follower, 1) and bool(follower.problem))
    stored.rmdir()
    stored.write_bytes(content)
    wait_for(lambda: reached(follower, promoted.number))
    assert not follower.problem
    service.close()
    follower.close()


def test_promotion_and_rollback_under_traffic_drop_nothing(
    small_simulation: SmallSimulation,
    registry: ReleaseRegistry,
    challenger: Bundle,
    events: list[bytes],
    tmp_path: Path,
) -> None:
    served = Served(small_simulation, tmp_path / "state.db", f"--registry={registry.path}")
    try:
        served.wait()
        statuses: list[int] = []
        config_ids_seen: list[str] = []
        stop = threading.Event()

        def send() -> None:
            for event in events:
                if stop.is_set():
                    return
                status, body, _ = served.decide(event)
                statuses.append(status)
                config_ids_seen.append(body["config_id"])

        sender = threading.Thread(target=send)
        sender.start()
        champions = [lifecycle.current(registry).champion]
        steps: list[Callable[[], Release]] = [
            lambda: lifecycle.promote(registry, challenger, small_simulation.project, ANN),
            lambda: lifecycle.roll_back(registry, ANN),
            lambda: lifecycle.publish(registry, lambda _: with_rules(small_simulation, EVERYTHING), ANN),
        ]
        for step in steps:
            released = step()
            champions.append(released.champion)
            wait_for(partial(serves_release, registry, released))
            before = len(config_ids_seen)
            wait_for(lambda: len(config_ids_seen) > before + 20)  # noqa: B023 - asked at once
        stop.set()
        sender.join()
        assert set(statuses) == {200}
        changes = [
            config_id
            for index, config_id in enumerate(config_ids_seen)
            if index == 0 or config_ids_seen[index - 1] != config_id
        ]
        assert changes == champions
        assert served.request("GET", "/readyz")[1]["release"] == 4
    finally:
        served.stop(signal.SIGTERM)
    assert [row[1] for row in config_ids(tmp_path / "state.db")] == config_ids_seen


def test_a_bad_rule_is_held_by_the_decline_cap_and_rolled_back_by_one_command(
    small_simulation: SmallSimulation, tmp_path: Path, events: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ReleaseRegistry(tmp_path / "registry")
    project = with_rules(small_simulation, decline_cap=DECLINE_CAP)
    lifecycle.start(registry, read_bundle(small_simulation.bundle), project, ANN)
    served = Served(small_simulation, tmp_path / "state.db", f"--registry={registry.path}")

    def counted(name: str) -> float:
        lines = served.request("GET", "/metrics")[1].splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def send(part: list[bytes]) -> list[str]:
        return [served.decide(event)[1]["action"] for event in part]

    try:
        served.wait()
        before = send(events[:200])
        assert counted("fraud_decline_cap_total") == 0
        bad = lifecycle.publish(
            registry, lambda _: with_rules(small_simulation, EVERYTHING, decline_cap=DECLINE_CAP), ANN
        )
        wait_for(lambda: serves_release(registry, bad))
        during = send(events[200:400])
        assert before.count("approve") > 60
        assert during.count("approve") == 0
        assert during.count("decline") <= 0.1 * 400
        assert counted("fraud_decline_cap_total") == during.count("review") >= 160
        why = ["--author=ben", "--reason=it declines everything", "--plain"]
        assert main(["rollback", f"--registry={registry.path}", *why]) == 0
        captured = capsys.readouterr()
        assert "1 service of this machine answers by it" in captured.err + captured.out
        after = send(events[400:600])
        assert after.count("approve") > 60
    finally:
        summary = served.stop(signal.SIGTERM)
    assert "decline cap: " in summary
    assert json.loads((registry.path / LOG).read_bytes().splitlines()[-1])["by"] == "ben"
