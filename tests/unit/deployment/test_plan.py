"""The plan: nothing where nothing changes, and for everything else what and why."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fraud_detection.deployment.plan import Running, compare, differences
from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import Alarms, Deployment, Endpoint, Stream
from fraud_detection.deployment.template.template import build

LOCAL = {"Local": "false"}

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def running(settings: Deployment, release: Release) -> Running:
    """Return what CloudFormation would tell of it: the template went through JSON."""
    return Running(json.loads(json.dumps(build(settings, release))), {**LOCAL, "TokenKey": "****"})


def test_the_same_again_is_nothing(settings: Deployment, release: Release) -> None:
    plan = compare(settings, running(settings, release), build(settings, release), LOCAL)
    assert plan.changes == ()
    assert plan.notes == ()
    assert "nothing to do" in str(plan)


def test_a_first_plan_adds_every_resource(settings: Deployment, release: Release) -> None:
    plan = compare(settings, Running(), build(settings, release), LOCAL)
    assert {change.name for change in plan.changes} == set(build(settings, release)["Resources"])
    assert {change.kind for change in plan.changes} == {"add"}


def test_a_plan_shows_from_what_to_what(settings: Deployment, release: Release) -> None:
    wider = replace(settings, stream=Stream(shards=8))
    plan = compare(settings, running(settings, release), build(wider, release), LOCAL)
    assert [str(change) for change in plan.changes] == [
        "~ Stream (AWS::Kinesis::Stream)\n    ShardCount: 4 -> 8"
    ]


def test_what_is_no_longer_wanted_is_removed(settings: Deployment, release: Release) -> None:
    called = replace(settings, alarms=Alarms(email="on-call@example.com"))
    plan = compare(settings, running(called, release), build(settings, release), LOCAL)
    assert [change.name for change in plan.changes if change.kind == "remove"] == ["Calls"]


def test_another_function_gets_another_version_behind_the_alias(
    settings: Deployment, release: Release
) -> None:
    newer = replace(release, code="releases/processor-other.zip")
    plan = compare(settings, running(settings, release), build(settings, newer), LOCAL)
    kinds = {(change.kind, change.type) for change in plan.changes}
    assert {("add", "AWS::Lambda::Version"), ("remove", "AWS::Lambda::Version")} <= kinds
    assert ("change", "AWS::Lambda::Alias") in kinds


def test_changed_features_are_reported_with_what_they_cost(settings: Deployment, release: Release) -> None:
    changed_release = replace(release, fingerprint="0000000000000000")
    plan = compare(settings, running(settings, release), build(settings, changed_release), LOCAL)
    assert any("memory starts empty" in note for note in plan.notes)


def test_a_parameter_that_changes_is_reported_with_the_resources_that_use_it(
    settings: Deployment, release: Release
) -> None:
    plan = compare(settings, running(settings, release), build(settings, release), {"TokenKey": "secret-key"})
    assert [change.name for change in plan.changes] == ["Processor"]
    assert "secret-key" not in str(plan)


def test_one_instance_is_reported(settings: Deployment, release: Release) -> None:
    single = replace(settings, endpoint=Endpoint(instances=1))
    plan = compare(single, Running(), build(single, release), LOCAL)
    assert any("cannot be split" in note for note in plan.notes)


@given(trees, trees)
def test_trees_differ_exactly_where_they_are_not_equal(left: object, right: object) -> None:
    assert not list(differences(left, left))
    if json.dumps(left) != json.dumps(right) and left != right:
        assert list(differences({"a": left, "b": 1}, {"a": right, "b": 1})) or _same_without_null(left, right)


def _same_without_null(left: object, right: object) -> bool:
    """Return whether they are equal once what is null counts as absent."""

    def plain(tree: object) -> object:
        if isinstance(tree, dict):
            return {key: plain(value) for key, value in tree.items() if plain(value) is not None} or {}
        return [plain(value) for value in tree] if isinstance(tree, list) else tree

    return plain({"a": left}) == plain({"a": right})
