"""No project can be deployed whose function does not start: each is tried out as it will be."""

from __future__ import annotations

import datetime as dt
import io
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decision_settings import (
    ControlGroupSettings,
    DeclineCapSettings,
    ListEntry,
    ListSettings,
    PolicySettings,
    RuleSettings,
)
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import (
    AmountSource,
    DateParts,
    EntitySource,
    FieldSource,
    IdSource,
    PlaceSource,
    Project,
    Schema,
    TimeSource,
)
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle, assemble
from fraud_detection.deployment import apply as applying
from fraud_detection.deployment.package import package, zipped
from fraud_detection.deployment.preflight import try_out
from fraud_detection.deployment.release import Artefact, Release, prepare
from fraud_detection.deployment.sample import sample_payment
from fraud_detection.deployment.secrets import values
from fraud_detection.deployment.settings import Deployment, Function
from fraud_detection.deployment.template.template import build
from tests.conftest import SmallSimulation

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud:1.0"
HERE = Function(runtime=f"python3.{sys.version_info.minor}")  # type: ignore[arg-type]  # a runtime of today
CONTROL_GROUP = ControlGroupSettings(sampling_rate=0.05, max_amount=100.0)
RULE = RuleSettings(name="everything", when="amount >= 0", action="decline")
LIST = ListSettings(name="stolen", kind="deny", of="card", entries=(ListEntry(value="1"),))
BLOCKS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "decline_cap": {"decline_cap": DeclineCapSettings(count=20)},
    "control_group": {"control_group": CONTROL_GROUP},
    "control_group by another variable": {
        "control_group": msgspec.structs.replace(CONTROL_GROUP, key_variable="ASSIGNMENT_KEY")
    },
    "rules": {"rules": (RULE,)},
    "lists": {"lists": (LIST,)},
    "policy": {"policy": PolicySettings(review_at=0.1, decline_at=0.2)},
}
IN_SHORT = {"nothing", "control_group by another variable"}
EVERYTHING = {
    name: block
    for key in ("decline_cap", "control_group", "rules", "lists", "policy")
    for name, block in BLOCKS[key].items()
}


def with_alias(project: Project) -> Project:
    entities = dict(project.schema.entities)
    card = entities["card"]
    entities["card"] = msgspec.structs.replace(card, aliases=("card_number",))
    return msgspec.structs.replace(project, schema=msgspec.structs.replace(project.schema, entities=entities))


def bundle_of(simulation: SmallSimulation, blocks: Mapping[str, Any]) -> Bundle:
    """Return the bundle of the small simulation as training would have written it with these blocks."""
    bundle = read_bundle(simulation.bundle)
    project = with_alias(msgspec.structs.replace(bundle.contents.project, **blocks))
    return assemble(msgspec.structs.replace(bundle.contents, project=project), bundle.manifest)


def made(bundle: Bundle, store: str = "dynamodb") -> tuple[Deployment, Release, list[Artefact]]:
    settings = Deployment(profiles=store, function=HERE)  # type: ignore[arg-type]  # one of the two
    return settings, *prepare(bundle, package(bundle, settings.function), IMAGE)


def tried(settings: Deployment, release: Release, artefacts: list[Artefact], **environment: str) -> None:
    try_out(build(settings, release), release, artefacts, environment, local=False)


@pytest.mark.parametrize(
    "name", [pytest.param(block, marks=() if block in IN_SHORT else pytest.mark.long) for block in BLOCKS]
)
def test_a_project_with_any_optional_block_starts_and_decides(
    small_simulation: SmallSimulation, name: str
) -> None:
    tried(*made(bundle_of(small_simulation, BLOCKS[name])))


def test_a_project_with_all_of_them_starts_on_the_feature_store_too(
    small_simulation: SmallSimulation,
) -> None:
    tried(*made(bundle_of(small_simulation, EVERYTHING), "feature-store"), FRAUD_CONTROL_GROUP_KEY="a secret")


def test_no_optional_block_was_forgotten_here() -> None:
    optional = {"policy", "rules", "lists", "decline_cap", "control_group"}
    of_training = {"project", "schema", "history", "features", "split", "model", "costs", "gate", "tracking"}
    assert set(Project.__struct_fields__) == optional | of_training
    assert set(EVERYTHING) == optional


def test_the_key_stands_in_no_template_and_reaches_the_function_by_the_name_that_the_project_gives(
    small_simulation: SmallSimulation,
) -> None:
    settings, release, _ = made(bundle_of(small_simulation, BLOCKS["control_group by another variable"]))
    template = build(settings, release)
    variables = template["Resources"]["Processor"]["Properties"]["Environment"]["Variables"]
    assert variables["ASSIGNMENT_KEY"] == {"Ref": "SecretAssignmentKey"}
    assert template["Parameters"]["SecretAssignmentKey"]["NoEcho"] is True
    first = {
        value["ParameterKey"]: value for value in values(release.secrets, {}, {"ASSIGNMENT_KEY": "my key"})
    }
    assert first["SecretAssignmentKey"]["ParameterValue"] == "my key"
    alone = {value["ParameterKey"]: value for value in values(release.secrets, {}, {})}
    assert len(alone["SecretAssignmentKey"]["ParameterValue"]) == 64
    again = values(release.secrets, template["Parameters"], {"ASSIGNMENT_KEY": "another"})
    assert all(value.get("UsePreviousValue") for value in again)


@pytest.mark.parametrize(
    "name", ["AWS_REGION", "_HANDLER", "LAMBDA_KEY", "PATH", "a key", "FRAUD_ENDPOINT", "FRAUD_TOKEN_KEY"]
)
def test_a_name_that_the_function_cannot_have_for_a_key_is_refused(
    small_simulation: SmallSimulation, name: str
) -> None:
    block = {"control_group": msgspec.structs.replace(CONTROL_GROUP, key_variable=name)}
    with pytest.raises(ConfigError, match="key_variable"):
        build(Deployment(function=HERE), prepare(bundle_of(small_simulation, block), b"", IMAGE)[0])


def test_a_function_without_its_key_is_not_deployed(small_simulation: SmallSimulation) -> None:
    settings, release, artefacts = made(bundle_of(small_simulation, BLOCKS["control_group"]))
    template = build(settings, release)
    del template["Resources"]["Processor"]["Properties"]["Environment"]["Variables"][
        "FRAUD_CONTROL_GROUP_KEY"
    ]
    with pytest.raises(ConfigError, match=r"nothing was changed: .*`control_group` needs a key"):
        try_out(template, release, artefacts, {}, local=False)


class Untouchable:
    """A stack that is not there, and of which nothing may be asked but that."""

    name = "fraud-demo"

    def status(self) -> str:
        return ""

    def template(self) -> dict[str, Any]:
        return {}

    def __getattr__(self, name: str) -> object:
        """Refuse whatever else is asked."""
        raise AssertionError(name)


def test_apply_and_plan_refuse_a_package_that_cannot_start_before_anything_is_changed(
    small_simulation: SmallSimulation,
) -> None:
    settings, release, (code, model) = made(bundle_of(small_simulation, {}))
    archive = zipfile.ZipFile(io.BytesIO(code.content))
    less = zipped(
        {
            name: archive.read(name)
            for name in archive.namelist()
            if not name.endswith("sagemaker_endpoint.py")
        }
    )
    artefacts = [msgspec.structs.replace(code, content=less), model]
    cloud = applying.Cloud(Untouchable(), lambda _: pytest.fail("a bucket"), local=False)  # type: ignore[arg-type]
    refused = pytest.raises(ConfigError, match=r"nothing was changed: .*sagemaker")
    with refused:
        applying.plan(settings, release, artefacts, cloud)
    with refused:
        applying.apply(settings, release, artefacts, cloud, lambda _: None)


NOW = dt.datetime(2026, 11, 30, 12, 30, tzinfo=dt.UTC)
TIMES = [
    TimeSource(field="t"),
    TimeSource(field="t", format="number", unit="h", origin=dt.date(2020, 1, 1)),
    TimeSource(field="t", format="%d.%m.%Y %H:%M", utc_offset_hours=5.5),
    TimeSource(field="t", latest=dt.date(2001, 1, 1)),
    TimeSource(date_parts=DateParts(year="y", month="m", day="d")),
    TimeSource(date_parts=DateParts(year="y", month="m", week_of_month="w", day_of_week="d")),
]


@pytest.mark.parametrize("time", TIMES)
@given(st.integers(-3, 3), st.booleans(), st.booleans(), st.sets(st.sampled_from(["0", "1", "2", "3.0"])))
def test_a_payment_is_made_of_any_schema(
    time: TimeSource,
    amount: int,
    own_id: bool,  # noqa: FBT001 - drawn
    required: bool,  # noqa: FBT001 - drawn
    missing: set[str],
) -> None:
    schema = Schema(
        event_time=time,
        transaction_id=IdSource("id" if own_id else None),
        amount=AmountSource("money", minimum=amount, maximum=amount + 9.5),
        entities={"card": EntitySource("card", required=required), "seller": EntitySource("mcc")},
        numbers={"size": FieldSource("mcc")},
        categories={"kind": FieldSource("card")},
        place=PlaceSource("lat", "lon"),
        missing=tuple(missing),
    )
    assert isinstance(Parser(schema).parse(sample_payment(schema, NOW), "row"), Transaction)


def test_a_schema_that_can_read_nothing_is_refused_with_the_reason() -> None:
    schema = Schema(event_time=TimeSource(field="t", format="%H:%M"))
    with pytest.raises(ConfigError, match="impossible time"):
        sample_payment(schema, NOW)
