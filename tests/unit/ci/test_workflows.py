"""What the workflows name exists, what they use is pinned, and they may do no more than they need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import parsed
from tests.root import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
READ_ONLY = {"contents": "read"}

pytestmark = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    all_jobs: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return all_jobs


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job.get("steps", [])


def commands(path: Path) -> str:
    """Return all that the workflow's steps run, one command a line."""
    return "\n".join(step.get("run", "").replace("\\\n", " ") for step in steps(path))


def test_every_action_is_pinned_by_its_commit_and_names_its_version(path: Path) -> None:
    for action in re.findall(r"uses: (?!\./)(.+)", path.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_one_action_has_one_commit_in_all_workflows(path: Path) -> None:
    everywhere = {
        action for workflow in WORKFLOWS for action in re.findall(r"uses: (\S+@.+)", workflow.read_text())
    }
    names = [action.partition("@")[0] for action in everywhere]
    assert len(names) == len(set(names)), path


def test_nothing_is_allowed_but_what_a_job_needs(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for name, job in jobs(path).items():
        assert isinstance(job["permissions"], dict), name
        wider = set(job["permissions"].items()) - set(READ_ONLY.items())
        assert wider <= {("id-token", "write"), ("attestations", "write"), ("pull-requests", "write")}, name


def test_a_job_that_may_take_a_role_cannot_write_to_the_repository(path: Path) -> None:
    for name, job in jobs(path).items():
        if job["permissions"].get("id-token"):
            assert {"contents", "pull-requests"}.isdisjoint(
                right for right, level in job["permissions"].items() if level == "write"
            ), name


def test_no_step_keeps_the_token_of_the_checkout(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_job_that_runs_steps_ends_in_time(path: Path) -> None:
    assert [name for name, job in jobs(path).items() if "steps" in job and "timeout-minutes" not in job] == []


def test_values_reach_commands_through_the_environment_alone(path: Path) -> None:
    assert "${{" not in commands(path)


def test_every_target_of_make_exists(path: Path) -> None:
    makefile = (
        (ROOT / "Makefile")
        .read_text()
        .replace("$(LOCAL_AWS)", ".venv-aws")
        .replace("$(SPARK)", ".venv-spark")
    )
    targets = set(re.findall(r"^([\w./-]+):(?!=)", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([\w./-]+)", commands(path))) <= targets


def test_every_call_of_fraud_is_one_that_it_takes(path: Path) -> None:
    for call in re.findall(r"\bbin/fraud ([^|>\n]+)", commands(path)):
        arguments = call.replace('"', "").split()
        parsed(arguments)


def test_every_other_tool_of_the_environment_is_in_the_lock(path: Path) -> None:
    lock = (ROOT / "requirements/all.lock").read_text()
    for tool in set(re.findall(r"\.venv/bin/([\w-]+)", commands(path))) - {"python", "fraud"}:
        assert f"\n{tool}==" in lock, tool


def test_every_file_that_a_command_reads_exists(path: Path) -> None:
    for name in re.findall(r"(?<=[\s\"])(\.ci/[\w.]+)", commands(path)):
        assert (ROOT / name).exists(), name


def test_every_variable_is_in_the_page_of_the_workflows(path: Path) -> None:
    page = (ROOT / "docs/ci.md").read_text()
    names = set(re.findall(r"vars\.(\w+)", path.read_text()))
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    assert f"`{path.name}`" in page
