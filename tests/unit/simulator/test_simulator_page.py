from __future__ import annotations

import re

import msgspec
import pytest

from fraud_detection.simulator.drift import BEHAVIOURS, KINDS, parse_drift
from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.naming import FIELDS
from fraud_detection.simulator.settings import SimulatorSettings
from tests.root import ROOT

PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
DRIFTS = re.findall(rf"^\| `((?:{'|'.join(KINDS)}):[^`]+)`", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("text", DRIFTS)
def test_every_drift_on_the_page_is_understood(text: str) -> None:
    assert parse_drift(text).field in text


def test_every_kind_of_drift_is_on_the_page() -> None:
    assert {text.split(":")[0] for text in DRIFTS} == set(KINDS)
    assert all(f"behaviour:{name}" in PAGE for name in BEHAVIOURS)


def test_every_scenario_column_and_setting_is_on_the_page() -> None:
    blocks = {"labels": SimulatorSettings().labels, "noise": SimulatorSettings().noise}
    settings = {*SimulatorSettings.__struct_fields__} - {"scenarios", *blocks}
    for block in blocks.values():
        settings |= set(msgspec.structs.asdict(block))
    for name in {*catalogue.SCENARIOS, *FIELDS, *settings, *catalogue.CHANNELS, *catalogue.ENTRY_MODES}:
        assert re.search(rf"[`.]{name}`", PAGE), name
