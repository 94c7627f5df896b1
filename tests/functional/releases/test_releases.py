"""Releases: made in one step, followed while traffic flows, and taken back by one command."""

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
from fraud_detection.core.decision_settings import LimiterSettings, RuleSettings
from fraud_detection.core.decoding import Duration
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.releases import releases as live
from fraud_detection.releases.registry import LOG, LiveFolder, Release
from fraud_detection.serving.embedded.release_follower import ReleaseFollower
from tests.conftest import SmallWorld
from tests.functional.http.test_service import Served
from tests.states import open_released_service

ANN = live.Author("ann", "a test")
EVERYTHING = RuleSettings(name="everything", when="True", action="decline")
LIMITER = LimiterSettings(interval=Duration.parse("30d"), share=0.1, least=20)


@pytest.fixture(scope="module")
def events(small_world: SmallWorld) -> list[bytes]:
    return small_world.live(4_000, labels="none", late_share=0, repeat_share=0, poison_share=0)


@pytest.fixture(scope="module")
def challenger(small_world: SmallWorld) -> Bundle:
    """Return another model over the same features."""
    return read_bundle(small_world.other)


@pytest.fixture
def folder(small_world: SmallWorld, tmp_path: Path) -> LiveFolder:
    made = LiveFolder(tmp_path / "live")
    live.start(made, read_bundle(small_world.bundle), small_world.project, ANN)
    return made


def with_rules(world: SmallWorld, *rules: RuleSettings, limiter: LimiterSettings | None = None) -> Project:
    return msgspec.structs.replace(world.project, rules=rules, limiter=limiter)


def wait_for(told: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < until
        time.sleep(0.02)


def reached(follower: ReleaseFollower, number: int) -> bool:
    follower.look()
    return follower.release.number == number


def answered_by(folder: LiveFolder, release: Release) -> bool:
    services = folder.services()
    return bool(services) and all(service.release == release.number for service in services)


def config_ids(state: Path) -> list[tuple[Any, ...]]:
    with closing(StateFile(state, reading=True)) as state_file:
        return state_file.rows("SELECT transaction_id, config_id, bundle, action FROM decisions ORDER BY seq")


def test_every_step_is_a_release_with_who_and_why(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    first = live.standing(folder)
    changed = live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
    canary = live.set_canary(folder, challenger, small_world.project, 0.1, ANN)
    shadow = live.set_shadows(folder, [(challenger, small_world.project)], ANN)
    promoted = live.promote(folder, challenger, small_world.project, ANN)
    assert [one.kind for one in folder.releases()] == ["start", "change", "canary", "shadow", "promote"]
    assert [one.number for one in folder.releases()] == [1, 2, 3, 4, 5]
    assert changed.champion not in {first.champion, promoted.champion}
    assert canary.canary == promoted.champion == shadow.shadows[0]
    assert (promoted.canary, promoted.shadows) == ("", ())
    for nobody in (live.Author("", "why"), live.Author("ann", " ")):
        with pytest.raises(ConfigError, match="give --by and --reason"):
            live.put_live(folder, lambda _: with_rules(small_world), nobody)
    assert len(folder.releases()) == 5


def test_a_change_reaches_the_cards_of_a_canary_too_and_keeps_what_is_its_own(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    def with_emergency(project: Project) -> Project:
        return msgspec.structs.replace(project, rules=(*project.rules, EVERYTHING))

    own = RuleSettings(name="own", when="amount > 1", action="review")
    live.set_canary(folder, challenger, with_rules(small_world, own), 0.5, ANN)
    changed = live.put_live(folder, with_emergency, ANN)
    for config_id, names in ((changed.champion, ["everything"]), (changed.canary, ["own", "everything"])):
        assert [rule.name for rule in live.content_of(folder, config_id)[1].rules][-len(names) :] == names
    assert live.bundle_of(folder, changed.canary).name == challenger.name
    assert changed.share == 0.5


def test_nothing_is_made_of_a_project_that_is_not_live_any_more(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    seen, project = live.standing(folder).number, small_world.project
    small = with_rules(small_world, RuleSettings(name="small", when="amount > 5", action="review"))
    shadowed = live.set_shadows(folder, [(challenger, project)], ANN, seen=seen)
    # A shadow more changes no answer; a rule does.
    live.set_canary(folder, challenger, project, 0.1, ANN, seen=seen)
    changed = live.put_live(folder, lambda _: small, ANN)
    seen = shadowed.number
    with pytest.raises(ConfigError, match="was made meanwhile"):
        live.set_canary(folder, challenger, project, 0.2, ANN, seen=seen)
    with pytest.raises(ConfigError, match="was made meanwhile"):
        live.set_shadows(folder, [(challenger, small)], ANN, seen=seen)
    assert live.standing(folder) == changed


def test_a_card_stays_with_the_canary_when_its_rules_change_or_its_share_grows(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle, events: list[bytes], tmp_path: Path
) -> None:
    def cards(release: Release) -> set[str]:
        _, service, follower = open_released_service(folder, tmp_path / f"{release.number}.db")
        service.take(Batch(events[:1_500], None, 0), "test")
        service.close()
        follower.close()
        with closing(StateFile(tmp_path / f"{release.number}.db", reading=True)) as state_file:
            query = "SELECT event FROM decisions WHERE config_id = ?"
            return {json.loads(event)["card_id"] for (event,) in state_file.rows(query, (release.canary,))}

    first = live.set_canary(folder, challenger, small_world.project, 0.2, ANN)
    before = cards(first)
    stricter = RuleSettings(name="large", when="amount > 900", action="review")
    changed = live.put_live(folder, lambda _: with_rules(small_world, stricter), ANN)
    assert first.canary != changed.canary
    assert before == cards(changed)
    assert len(before) > 10
    project = live.content_of(folder, changed.canary)[1]
    more = live.set_canary(folder, challenger, project, 0.5, ANN)
    assert before < cards(more)


def test_a_shadow_that_was_ended_and_named_again_is_promoted_as_it_was_named_last(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    (config_id,) = live.set_shadows(folder, [(challenger, small_world.project)], ANN).shadows
    live.set_shadows(folder, [], ANN, ended=(config_id,))
    rule = RuleSettings(name="large", when="amount > 900", action="review")
    live.put_live(folder, lambda _: with_rules(small_world, rule), ANN)
    # Named again without the rule, on purpose: that was compared, and that goes live.
    named = live.set_shadows(folder, [(challenger, small_world.project)], ANN)
    assert named.shadows == (config_id,)
    assert promotion.project_of(folder, named.number, config_id).rules == small_world.project.rules


def test_a_setup_of_an_earlier_version_keeps_its_name_and_a_changed_one_is_refused(
    folder: LiveFolder, events: list[bytes], tmp_path: Path
) -> None:
    # That version knew no `gate.unseen`.
    plain = json.loads(folder.configuration(live.standing(folder).champion))
    del plain["project"]["gate"]["unseen"]
    content = json.dumps(plain).encode()
    name = hashlib.blake2b(content, digest_size=8).hexdigest()
    folder.keep_configuration(name, content)
    with folder.writing():
        folder.add(msgspec.structs.replace(live.standing(folder), champion=name))
    assert live.engine_of(folder, name).configuration.config_id == name
    _, service, follower = open_released_service(folder, tmp_path / "state.db")
    service.take(Batch(events[:50], None, 0), "test")
    service.close()
    follower.close()
    with closing(StateFile(tmp_path / "state.db", reading=True)) as state_file:
        assert state_file.rows("SELECT DISTINCT config_id FROM decisions") == [(name,)]
    (kept,) = folder.path.glob(f"configurations/{name}*")
    kept.write_bytes(content.replace(b'"review_at": null', b'"review_at": 0.99'))
    assert kept.read_bytes() != content
    with pytest.raises(ConfigError, match="is not as it was kept"):
        live.engine_of(folder, name)


def test_a_canary_ends_when_it_goes_live(small_world: SmallWorld, folder: LiveFolder) -> None:
    stricter = with_rules(small_world, EVERYTHING)
    canary = live.set_canary(folder, read_bundle(small_world.bundle), stricter, 0.5, ANN)
    changed = live.put_live(folder, lambda _: stricter, ANN)
    assert (changed.champion, changed.canary, changed.share) == (canary.canary, "", 0.0)


def test_what_was_kept_has_the_same_name_when_it_is_read(small_world: SmallWorld, folder: LiveFolder) -> None:
    whole = msgspec.structs.replace(
        small_world.project, costs=msgspec.structs.replace(small_world.project.costs, review=7)
    )
    released = live.put_live(folder, lambda _: whole, ANN)
    assert live.engine_of(folder, released.champion).configuration.config_id == released.champion


def test_a_shadow_that_goes_live_is_no_shadow_any_more(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    stricter = with_rules(small_world, EVERYTHING)
    bundle = read_bundle(small_world.bundle)
    live.set_shadows(folder, [(bundle, stricter), (challenger, small_world.project)], ANN)
    changed = live.put_live(folder, lambda _: stricter, ANN)
    assert len(changed.shadows) == 1
    assert changed.champion not in changed.shadows


def test_each_rollback_goes_one_step_further_back(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    first = live.standing(folder)
    second = live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
    live.set_shadows(folder, [(challenger, small_world.project)], ANN)
    live.set_canary(folder, challenger, small_world.project, 0.1, ANN)
    assert [(live.roll_back(folder, ANN)).champion for _ in range(2)] == [second.champion, first.champion]
    latest = live.standing(folder)
    assert (latest.canary, latest.restores, len(latest.shadows)) == ("", first.number, 1)
    with pytest.raises(ConfigError, match="nothing else answered before release 1"):
        live.roll_back(folder, ANN)


def test_a_shadow_named_after_a_rollback_does_not_bring_back_what_was_taken_back(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
    live.roll_back(folder, ANN)
    live.set_shadows(folder, [(challenger, small_world.project)], ANN)
    with pytest.raises(ConfigError, match="nothing else answered before release 1"):
        live.roll_back(folder, ANN)


def test_what_changes_nothing_is_refused(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle
) -> None:
    same = read_bundle(small_world.bundle)
    wrongs: list[tuple[Callable[[], object], str]] = [
        (lambda: live.start(folder, same, small_world.project, ANN), "release 1 is live already"),
        (lambda: live.put_live(folder, lambda _: small_world.project, ANN), "nothing would change"),
        (lambda: live.promote(folder, same, small_world.project, ANN), "nothing would change"),
        (lambda: live.set_canary(folder, same, small_world.project, 0.1, ANN), "what the champion does"),
        (lambda: live.set_canary(folder, challenger, small_world.project, 1.5, ANN), "--share 1.5"),
        (lambda: live.set_canary(folder, None, small_world.project, 0.0, ANN), "no canary to end"),
        (lambda: live.set_shadows(folder, [], ANN, ended=("x",)), "no shadow is called x"),
    ]
    for wrong, words in wrongs:
        with pytest.raises(ConfigError, match=words):
            wrong()
    rule = RuleSettings(name="typo", when="amuont > 3", action="review")
    with pytest.raises(ConfigError, match="nearest: `amount`"):
        live.put_live(folder, lambda _: with_rules(small_world, rule), ANN)
    assert [one.kind for one in folder.releases()] == ["start"]


def test_a_release_that_was_not_wholly_written_is_none(small_world: SmallWorld, folder: LiveFolder) -> None:
    log = folder.path / LOG
    whole = log.read_bytes()
    for cut in range(1, len(whole), 37):
        log.write_bytes(whole + whole[:cut])
        assert len(folder.releases()) == 1
    added = live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
    assert folder.releases()[-1] == added
    assert log.read_bytes().startswith(whole)


def test_a_log_that_was_changed_is_refused(small_world: SmallWorld, folder: LiveFolder) -> None:
    live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
    live.put_live(folder, lambda _: with_rules(small_world), ANN)
    log = folder.path / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    for changed, words in (
        ([lines[0].replace(b"ann", b"bob"), *lines[1:]], "line 1 is not as it was written"),
        ([*lines[:2], lines[2].replace(b"ann", b"bob")], "line 3 is not as it was written"),
        ([*lines[:2], lines[2].replace(b',"by"', b', "by"')], "line 3 is not as it was written"),
        ([*lines[:2], without_seal(lines[2])], "line 3 is not as it was written"),
        ([lines[0], lines[2]], "line 2 does not follow the line before it"),
        ([lines[1], lines[0], lines[2]], "line 1 does not follow the line before it"),
        (lines[1:], "line 1 does not follow the line before it"),
    ):
        log.write_bytes(b"".join(changed))
        with pytest.raises(ConfigError, match=f"{words}.*: bring it back from a copy"):
            folder.releases()
    log.write_bytes(b"".join(lines))
    assert len(folder.releases()) == 3


def without_seal(line: bytes) -> bytes:
    release = msgspec.json.decode(line, type=Release)
    return msgspec.json.encode(msgspec.structs.replace(release, seal="")) + b"\n"


def test_a_log_of_before_is_read_and_goes_on(small_world: SmallWorld, folder: LiveFolder) -> None:
    """Its lines had no hash of their own; those that come behind have one, and bind the last of them."""
    log = folder.path / LOG
    old = without_seal(log.read_bytes())
    log.write_bytes(old)
    added = live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN)
    assert folder.releases()[-1] == added
    assert log.read_bytes().startswith(old)
    log.write_bytes(log.read_bytes().replace(b'"reason":"a test"', b'"reason":"a jest"', 1))
    with pytest.raises(ConfigError, match="line 2 does not follow the line before it"):
        folder.releases()


def test_evidence_that_was_changed_or_is_gone_is_told_and_hinders_nothing(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    project = small_world.project
    kept = folder.keep_evidence("gate", b'{"passed":true}')
    assert folder.keep_evidence("gate", b'{"passed":false}') != kept
    promoted = live.promote(folder, challenger, project, ANN, kept)
    show = ["release", "show", f"--live={folder.path}", "--headless"]
    assert main(show) == 0
    assert not folder.evidence_problem(promoted)
    evidence = folder.path / kept
    evidence.write_bytes(b'{"passed":True}')
    assert main(show) == 2
    said = capsys.readouterr()
    assert f"{evidence}: is not what the gate found for release 2" in said.err
    assert "release 2, " in said.out
    evidence.unlink()
    assert main(show) == 2
    assert "the evidence of release 2 cannot be read" in capsys.readouterr().err
    assert live.roll_back(folder, ANN).champion == folder.releases()[0].champion


def test_a_service_takes_each_release_between_two_batches(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle, events: list[bytes], tmp_path: Path
) -> None:
    _, service, follower = open_released_service(folder, tmp_path / "state.db")
    steps: Iterator[Callable[[], Release]] = iter(
        [
            lambda: live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN),
            lambda: live.promote(folder, challenger, small_world.project, ANN),
            lambda: live.roll_back(folder, ANN),
        ]
    )
    expected: list[str] = []
    for start in range(0, 400, 100):
        for at in range(start, start + 100, 20):
            service.take(Batch(events[at : at + 20], None, 0), "test")
        expected += [live.standing(folder).champion] * 100
        if (step := next(steps, None)) is not None:
            released = step()
            wait_for(partial(reached, follower, released.number))
    service.close()
    follower.close()
    assert [row[1] for row in config_ids(tmp_path / "state.db")] == expected
    assert len(set(expected)) == 3
    assert folder.services() == []


def test_a_release_that_cannot_be_loaded_is_not_taken_and_the_service_says_so(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle, events: list[bytes], tmp_path: Path
) -> None:
    _, service, follower = open_released_service(folder, tmp_path / "state.db")
    live.promote(folder, challenger, small_world.project, ANN)
    folder.bundle_path(challenger.name).write_bytes(b"damaged")

    wait_for(lambda: reached(follower, 1) and bool(follower.problem))
    (report,) = folder.services()
    assert (report.release, bool(report.problem)) == (1, True)
    service.take(Batch(events[:1], None, 0), "test")
    assert service.tally.decided == 1
    live.roll_back(folder, ANN)
    wait_for(lambda: reached(follower, 3))
    assert not follower.problem
    service.close()
    follower.close()


def test_a_release_that_cannot_be_read_for_a_moment_is_taken_later(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle, tmp_path: Path
) -> None:
    _, service, follower = open_released_service(folder, tmp_path / "state.db")
    promoted = live.promote(folder, challenger, small_world.project, ANN)
    (kept,) = folder.path.glob(f"configurations/{promoted.champion}*")
    content = kept.read_bytes()
    # A disk that fails for a moment: reading what is a folder fails as an error of the system.
    kept.unlink()
    kept.mkdir()
    wait_for(lambda: reached(follower, 1) and bool(follower.problem))
    kept.rmdir()
    kept.write_bytes(content)
    wait_for(lambda: reached(follower, promoted.number))
    assert not follower.problem
    service.close()
    follower.close()


def test_promotion_and_rollback_under_traffic_drop_nothing(
    small_world: SmallWorld, folder: LiveFolder, challenger: Bundle, events: list[bytes], tmp_path: Path
) -> None:
    served = Served(small_world, tmp_path / "state.db", f"--live={folder.path}")
    try:
        served.wait()
        statuses: list[int] = []
        told: list[str] = []
        stop = threading.Event()

        def send() -> None:
            for event in events:
                if stop.is_set():
                    return
                status, body, _ = served.decide(event)
                statuses.append(status)
                told.append(body["config_id"])

        sender = threading.Thread(target=send)
        sender.start()
        champions = [live.standing(folder).champion]
        steps: list[Callable[[], Release]] = [
            lambda: live.promote(folder, challenger, small_world.project, ANN),
            lambda: live.roll_back(folder, ANN),
            lambda: live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING), ANN),
        ]
        for step in steps:
            released = step()
            champions.append(released.champion)
            wait_for(partial(answered_by, folder, released))
            before = len(told)
            wait_for(lambda: len(told) > before + 20)  # noqa: B023 - asked at once
        stop.set()
        sender.join()
        assert set(statuses) == {200}
        changes = [one for place, one in enumerate(told) if place == 0 or told[place - 1] != one]
        assert changes == champions
        assert served.ask("GET", "/readyz")[1]["release"] == 4
    finally:
        served.stop(signal.SIGTERM)
    assert [row[1] for row in config_ids(tmp_path / "state.db")] == told


def test_a_bad_rule_is_held_by_the_limiter_and_taken_back_by_one_command(
    small_world: SmallWorld, tmp_path: Path, events: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = LiveFolder(tmp_path / "live")
    project = with_rules(small_world, limiter=LIMITER)
    live.start(folder, read_bundle(small_world.bundle), project, ANN)
    served = Served(small_world, tmp_path / "state.db", f"--live={folder.path}")

    def counted(name: str) -> float:
        lines = served.ask("GET", "/metrics")[1].splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def send(part: list[bytes]) -> list[str]:
        return [served.decide(event)[1]["action"] for event in part]

    try:
        served.wait()
        before = send(events[:200])
        assert counted("fraud_decline_cap_total") == 0
        bad = live.put_live(folder, lambda _: with_rules(small_world, EVERYTHING, limiter=LIMITER), ANN)
        wait_for(lambda: answered_by(folder, bad))
        during = send(events[200:400])
        assert before.count("approve") > 60
        assert during.count("approve") == 0
        assert during.count("decline") <= 0.1 * 400
        assert counted("fraud_decline_cap_total") == during.count("review") >= 160
        why = ["--by=ben", "--reason=it declines everything", "--headless"]
        assert main(["rollback", f"--live={folder.path}", *why]) == 0
        told = capsys.readouterr()
        assert "1 service of this machine answers by it" in told.err + told.out
        after = send(events[400:600])
        assert after.count("approve") > 60
    finally:
        said = served.stop(signal.SIGTERM)
    assert "limiter" in said
    assert json.loads((folder.path / LOG).read_bytes().splitlines()[-1])["by"] == "ben"
